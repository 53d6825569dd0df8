//! What a session published itself and does not hear, in namespaces with `echo: false`.
//!
//! The front tells the id of a message before it is published, so it makes no difference which node orders the channel and how
//! soon the message is there. A session that waits for none of its own costs nothing here.

use std::collections::VecDeque;

use crate::log::Entry;
use crate::message::{ChannelName, MessageId};

/// Most messages of one session that it has published and not come to yet; past it the oldest are forgotten, and heard.
const ECHOES_MAX: usize = 256;
/// Ticks for which a message is waited for: it may have been refused, or be one that was heard before.
const ECHO_TICKS: u32 = 120;

/// The messages of one session that it is not to hear, in the order in which it published them.
#[derive(Debug, Default)]
pub(super) struct Echoes(VecDeque<Echo>);

#[derive(Debug)]
struct Echo {
    channel: ChannelName,
    id: MessageId,
    since: u32,
}

impl Echoes {
    /// The session publishes this now.
    pub(super) fn expect(&mut self, channel: ChannelName, id: MessageId, tick: u32) {
        if self.0.len() >= ECHOES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Echo { channel, id, since: tick });
    }

    /// Whether the session published this message. It is not waited for any more.
    pub(super) fn take(&mut self, entry: &Entry) -> bool {
        let own = self.0.iter().position(|echo| echo.id == entry.id && echo.channel == entry.channel);
        own.and_then(|at| self.0.remove(at)).is_some()
    }

    /// Gives up what did not come.
    pub(super) fn forget(&mut self, tick: u32) {
        while self.0.front().is_some_and(|echo| tick.saturating_sub(echo.since) > ECHO_TICKS) {
            self.0.pop_front();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::Moment;
    use crate::log::{Epoch, NamespaceId, Retention, Slot, SlotLog, Tag};
    use crate::message::{Draft, Headers, Payload, PublishId};

    /// A message of this id as it comes back.
    fn entry(channel: &str, id: u128) -> Arc<Entry> {
        let (name, now) = (ChannelName::parse(channel).unwrap(), Moment { mono: Duration::ZERO, unix_ms: 0 });
        let mut log = SlotLog::new(Slot::of(&name), Epoch::new(1, Tag::new(7).unwrap()));
        let retention = Retention { size: 1, ttl: Duration::from_secs(60), bytes: 1 << 20 };
        let key = log.open_channel(name.clone(), NamespaceId(0), retention, now);
        let payload = Payload::new(b"x", None).unwrap();
        let draft = Draft { channel: name, id: Some(PublishId::Retry(id)), event: None, payload, headers: Headers::default(), ttl: None };
        log.append(key, draft, now, 9);
        let mut committed = Vec::new();
        log.commit_to(log.head().idx, now, &mut committed, &mut Vec::new());
        committed.remove(0).1
    }

    fn expect(echoes: &mut Echoes, channel: &str, id: u128, tick: u32) {
        echoes.expect(ChannelName::parse(channel).unwrap(), MessageId::Auto(id), tick);
    }

    #[test]
    fn only_what_was_published_here_is_left_out_and_once() {
        let mut echoes = Echoes::default();
        expect(&mut echoes, "a", 1, 0);
        expect(&mut echoes, "a", 2, 0);
        assert!(!echoes.take(&entry("a", 3)) && !echoes.take(&entry("b", 1)));
        assert!(echoes.take(&entry("a", 2)), "they may come in another order");
        assert!(!echoes.take(&entry("a", 2)), "the same id again is another message");
        assert!(echoes.take(&entry("a", 1)) && echoes.is_empty());
    }

    #[test]
    fn what_does_not_come_is_forgotten_and_so_is_what_is_too_much() {
        let mut echoes = Echoes::default();
        for id in 0..=ECHOES_MAX as u128 {
            expect(&mut echoes, "a", id, 5);
        }
        assert!(!echoes.take(&entry("a", 0)) && echoes.take(&entry("a", 1)));
        echoes.forget(5 + ECHO_TICKS);
        assert!(!echoes.is_empty());
        echoes.forget(6 + ECHO_TICKS);
        assert!(echoes.is_empty());
    }
}
