//! Which channels have listeners on this node.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::frame::Frame;
use super::super::settings::Bug;
use super::{Context, Output, Replica, Role};
use crate::log::SlotLog;
use crate::message::ChannelName;

/// The channels that are kept up to date for listeners here.
#[derive(Debug, Default)]
pub(super) struct Interest {
    channels: BTreeMap<ChannelName, Listened>,
}

#[derive(Debug, Default)]
struct Listened {
    /// The log holds an exact copy, as far as it has come.
    is_held: bool,
    /// When the last listener left.
    left_at: Option<Duration>,
}

impl Interest {
    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    pub(super) fn has(&self, channel: &ChannelName) -> bool {
        self.channels.contains_key(channel)
    }

    pub(super) fn is_held(&self, channel: &ChannelName) -> bool {
        self.channels.get(channel).is_some_and(|listened| listened.is_held)
    }

    /// Whether the log holds anything for listeners.
    pub(super) fn holds_any(&self) -> bool {
        self.channels.values().any(|listened| listened.is_held)
    }

    /// Whether somebody listens right now.
    pub(super) fn is_eager(&self) -> bool {
        self.channels.values().any(|listened| listened.left_at.is_none())
    }

    pub(super) fn leave(&mut self, channel: &ChannelName, now: Duration) {
        if let Some(listened) = self.channels.get_mut(channel) {
            listened.left_at.get_or_insert(now);
        }
    }

    /// Every channel, and whether it is held.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ChannelName, bool)> {
        self.channels.iter().map(|(name, listened)| (name, listened.is_held))
    }

    /// Marks a channel as held; `true` when it was wanted and not held before.
    pub(super) fn hold(&mut self, channel: &ChannelName) -> bool {
        self.channels.get_mut(channel).is_some_and(|listened| !std::mem::replace(&mut listened.is_held, true))
    }

    /// All of them are held; returns those that were not.
    pub(super) fn hold_all(&mut self) -> Vec<ChannelName> {
        let fresh = self.channels.iter_mut().filter(|(_, listened)| !listened.is_held);
        fresh.map(|(name, listened)| (listened.is_held = true, name.clone()).1).collect()
    }
}

impl Replica {
    pub(super) fn listen(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, channel: ChannelName) {
        let serves_all = self.serves_all();
        let was_eager = self.interest.is_eager();
        let listened = self.interest.channels.entry(channel.clone()).or_default();
        let is_new = listened.left_at.take().is_none() && !listened.is_held;
        if serves_all || cx.settings.has(Bug::ReadyEarly) {
            cx.channels.open(log, &channel, cx.now);
            listened.is_held = true;
        }
        if listened.is_held {
            cx.out.push(Output::Ready(channel));
            if !was_eager {
                self.tell_eager(log, cx);
            }
            return;
        }
        if is_new {
            self.ask_more(cx, channel);
        }
    }

    /// Lets go of channels that nobody came back to.
    pub(super) fn linger(&mut self, cx: &mut Context<'_>) {
        let is_over = |listened: &Listened| listened.left_at.is_some_and(|at| at + cx.settings.linger <= cx.now.mono);
        let over: Vec<ChannelName> =
            self.interest.channels.iter().filter(|(_, listened)| is_over(listened)).map(|(name, _)| name.clone()).collect();
        if over.is_empty() {
            return;
        }
        for name in &over {
            self.interest.channels.remove(name);
        }
        if let (Role::Guest, Some((to, generation))) = (&self.role, self.receiver.live_channels()) {
            cx.send(to, Frame::Unsub { generation, channels: over });
        }
    }

    /// Everything wanted is there now.
    pub(super) fn all_ready(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        for name in self.interest.hold_all() {
            cx.channels.open(log, &name, cx.now);
            cx.out.push(Output::Ready(name));
        }
    }
}
