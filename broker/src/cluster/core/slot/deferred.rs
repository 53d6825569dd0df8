//! Publishers who insist on more copies than there are followers by now: what they publish waits a moment for the follower that is on
//! its way, and is refused when none came. A slot that was just opened has none for some tens of milliseconds.

use std::collections::VecDeque;
use std::time::Duration;

use foldhash::{HashSet, HashSetExt};

use super::super::frame::{Ask, Outcome, Refusal, Terms};
use super::home::Asker;
use super::{Context, Replica, Role};
use crate::log::{SlotLog, Tag};
use crate::message::ChannelName;

/// What waits for a follower before it is given a position.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    /// In the order they came.
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    asker: Asker,
    /// When it was published, and when it began to wait here.
    since: Duration,
    at: Duration,
    ask: Ask,
    terms: Terms,
}

impl Deferred {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether something waits that was asked of this channel: what comes later stands behind it.
    fn has(&self, channel: &ChannelName) -> bool {
        self.waiting.iter().any(|waiting| waiting.ask.channel() == channel)
    }

    /// Nobody waits for these answers any more.
    pub(super) fn forget(&mut self, is_gone: impl Fn(&Asker) -> bool) {
        self.waiting.retain(|waiting| !is_gone(&waiting.asker));
        self.bytes = self.waiting.iter().map(|waiting| waiting.ask.bytes()).sum();
    }

    /// Who waits, in order; nothing does afterwards.
    pub(super) fn drain(self) -> impl Iterator<Item = Asker> {
        self.waiting.into_iter().map(|waiting| waiting.asker)
    }
}

impl Ask {
    fn channel(&self) -> &ChannelName {
        match self {
            Self::Publish(draft) => &draft.channel,
            Self::Clear(channel) => channel,
        }
    }
}

impl Replica {
    /// What somebody asks of the home: done at once, or when there are as many copies as its terms want, or refused.
    pub(super) fn append(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, asker: Asker, since: Duration, ask: Ask, terms: Terms) {
        let Role::Home(home) = &self.role else { return };
        let is_behind = home.deferred.has(ask.channel());
        if !is_behind && terms.copies_min <= home.copies_to_be() {
            return self.append_now(log, cx, asker, since, ask, terms);
        }
        if !is_behind && !self.expects_copy(cx) {
            return self.answer(cx, asker, Outcome::Refused(Refusal::Degraded));
        }
        let Role::Home(home) = &mut self.role else { return };
        let (deferred, bytes) = (&mut home.deferred, ask.bytes());
        if deferred.bytes + bytes > cx.settings.publish_bytes {
            return self.answer(cx, asker, Outcome::Refused(Refusal::Busy));
        }
        deferred.bytes += bytes;
        deferred.waiting.push_back(Waiting { asker, since, at: cx.now.mono, ask, terms });
    }

    /// Takes what waited long enough, or need not wait any more. Called after every input.
    pub(super) fn take_deferred(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        let is_expected = self.expects_copy(cx);
        let Role::Home(home) = &mut self.role else { return };
        if home.deferred.is_empty() {
            return;
        }
        let (now, copies) = (cx.now.mono, home.copies_to_be());
        let mut kept = Deferred::default();
        // Of a channel of which something goes on waiting everything later does.
        let mut blocked = HashSet::new();
        for waiting in std::mem::take(&mut home.deferred).waiting {
            let is_behind = blocked.contains(waiting.ask.channel());
            let is_short = waiting.terms.copies_min > copies;
            let may_wait = is_expected && now < waiting.at + cx.settings.follow;
            if is_behind || is_short && may_wait {
                blocked.insert(waiting.ask.channel().clone());
                kept.bytes += waiting.ask.bytes();
                kept.waiting.push_back(waiting);
            } else if is_short {
                self.answer(cx, waiting.asker, Outcome::Refused(Refusal::Degraded));
            } else {
                self.append_now(log, cx, waiting.asker, waiting.since, waiting.ask, waiting.terms);
            }
        }
        if let Role::Home(home) = &mut self.role {
            home.deferred = kept;
        }
    }

    /// Whether another node is to hold a copy soon: the follower by the view, or whoever is to be the home instead of this node.
    fn expects_copy(&self, cx: &Context<'_>) -> bool {
        let owners = self.place.into_iter().flat_map(|place| [Some(place.home), place.follower]).flatten();
        owners.into_iter().any(|owner| owner != self.me && cx.view.is_present(owner))
    }

    /// This home seals: whoever waits asks the next one.
    pub(super) fn send_deferred_back(&mut self, cx: &mut Context<'_>, deferred: Deferred, successor: Tag) {
        for asker in deferred.drain() {
            if let Asker::There { peer, rid, flight } = asker {
                self.send_publish_back(cx, (peer, rid, flight), Some(successor));
            }
        }
    }
}
