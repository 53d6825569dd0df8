//! What sessions on a shard's sockets are told by backends' orders, and how they obey.

use std::task::{Context, Poll};

use super::Shard;
use super::session::Listener;
use super::state::State;
use super::tally::Tally;
use crate::auth::pattern::Pattern;
use crate::close::CloseReason;
use crate::control::Word;
use crate::journal::SessionId;
use crate::message::ChannelName;

impl Shard {
    /// Tells sessions of this name that are in no register; says how many stays or subscriptions ended. Looks at everyone.
    #[must_use]
    pub fn tell_nameless(&self, session: SessionId, word: &Word) -> u64 {
        let mut tally = Tally::default();
        let ended = self.0.cell.with(|state| {
            let is_meant =
                |listener: &Listener| matches!(listener, Listener::Session(known) if known.id == session && known.stay.is_none());
            let meant = state.listeners.iter().filter(|(_, listener)| is_meant(listener));
            let keys: Vec<u32> = meant.map(|(key, _)| key as u32).collect();
            keys.into_iter().map(|key| state.follow(key, word, &mut tally)).sum()
        });
        tally.book(self.metrics(), self.clock().mono());
        ended
    }
}

impl State {
    /// Does what the session was told since it was asked last, and has its task woken by what it is told next.
    pub(super) fn obey(&mut self, key: u32, context: &mut Context<'_>, tally: &mut Tally) {
        loop {
            let Some(stay) = self.session(key).and_then(|session| session.stay.as_ref()) else { return };
            let Poll::Ready(told) = stay.poll_told(context) else { return };
            let ended = self.follow(key, &told.word, tally);
            told.done(ended);
            // Looked at again at once: it may have to wait for its socket now, or for the client's last word.
            context.waker().wake_by_ref();
        }
    }

    /// Does what a session is told, and says how many stays or subscriptions ended by it.
    fn follow(&mut self, key: u32, word: &Word, tally: &mut Tally) -> u64 {
        let Some(session) = self.session(key) else { return 0 };
        if session.ended.is_some() {
            return 0;
        }
        match word {
            Word::End(reason) => {
                self.end_session(key, *reason, tally);
                1
            }
            Word::Unsubscribe(channels) => self.unsubscribe_all(key, channels, tally),
        }
    }

    /// Ends a session's subscriptions to these channels; a stream without any is over.
    fn unsubscribe_all(&mut self, key: u32, channels: &Pattern, tally: &mut Tally) -> u64 {
        let Some(session) = self.session(key) else { return 0 };
        let names = session.subscription.channels().map(|channel| &channel.name).filter(|name| channels.covers(name));
        let names: Vec<ChannelName> = names.cloned().collect();
        let encoder = session.encoder;
        let mut out = Vec::new();
        for name in &names {
            self.unsubscribe(key, name);
            encoder.unsubscribed(name, &mut out);
        }
        let tick = self.tick;
        let Some(session) = self.session(key) else { return 0 };
        session.write_behind(&out, tick, tally);
        let is_over = !names.is_empty() && session.conversation.is_none() && session.places.is_empty();
        if is_over {
            self.end_session(key, CloseReason::Unsubscribed, tally);
        }
        names.len() as u64
    }
}
