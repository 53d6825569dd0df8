//! A client and presence: the channels it is seen on, and those whose joins and leaves it is told.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::Result;
use crate::hub::{Ear, Hub, Present, Signal};
use crate::message::ChannelName;
use crate::presence::{Member, Notice};

/// Where one client is seen, and what it is told of others. It leaves when dropped.
#[derive(Debug, Default)]
pub struct Presence {
    seen: Vec<Present>,
    ears: Vec<Ear>,
    signal: Arc<Signal>,
}

impl Presence {
    /// Lets a client in: it is seen as `member` where namespaces ask for it, and told of others if it wants to be, since what it
    /// was [`told`](Self::told) last (0: nothing). Into `presence`, which is nothing as long as neither is the case.
    ///
    /// # Errors
    /// `overloaded` at a bound of members.
    pub fn enter(
        presence: &mut Option<Box<Self>>,
        hub: &Arc<Hub>,
        channel: &ChannelName,
        member: Option<&Member>,
        since: Option<u64>,
    ) -> Result<()> {
        let seen = match member {
            Some(member) => hub.enter(channel, member)?,
            None => None,
        };
        if seen.is_none() && since.is_none() {
            return Ok(());
        }
        let presence = presence.get_or_insert_default();
        presence.seen.extend(seen);
        if let Some(told) = since {
            presence.ears.push(hub.hear_presence(channel, &presence.signal, told));
        }
        Ok(())
    }

    /// The client is seen as somebody else on a channel, or with another info, from now on.
    ///
    /// # Errors
    /// `overloaded` at a bound of members; it is seen as before then.
    pub fn reappear(&mut self, hub: &Arc<Hub>, channel: &ChannelName, member: &Member) -> Result<()> {
        // First come, then go: who is the same has not gone in between.
        let seen = hub.enter(channel, member)?;
        self.seen.retain(|present| present.channel != *channel);
        self.seen.extend(seen);
        Ok(())
    }

    /// Nothing of this channel concerns the client any more.
    pub fn leave(&mut self, channel: &ChannelName) {
        self.seen.retain(|present| present.channel != *channel);
        self.unlisten(channel);
    }

    /// It is told of this channel no more.
    pub fn unlisten(&mut self, channel: &ChannelName) {
        self.ears.retain(|ear| ear.channel != *channel);
    }

    /// What it was told last of each channel that it is told of.
    pub fn told(&self) -> impl Iterator<Item = (&ChannelName, u64)> {
        self.ears.iter().map(|ear| (&ear.channel, ear.told()))
    }

    /// Whether it is told of any channel.
    #[must_use]
    pub fn has_ears(&self) -> bool {
        !self.ears.is_empty()
    }

    /// Tells what is new; ready when there was something. Else the waker is kept.
    pub fn poll_told(&mut self, context: &mut Context<'_>, mut tell: impl FnMut(&ChannelName, &Notice)) -> Poll<()> {
        loop {
            std::task::ready!(self.signal.poll_raised(context));
            // Taken down before it is read: what comes afterwards raises it again.
            self.signal.lower();
            if self.read(&mut tell) {
                return Poll::Ready(());
            }
        }
    }

    /// Tells what is new now. `true` when there was something.
    pub fn read(&mut self, mut tell: impl FnMut(&ChannelName, &Notice)) -> bool {
        let mut has_told = false;
        for ear in &mut self.ears {
            if let Some(notice) = ear.read() {
                tell(&ear.channel, &notice);
                has_told = true;
            }
        }
        has_told
    }
}
