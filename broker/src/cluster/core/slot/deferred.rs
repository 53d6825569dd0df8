//! Publishers who insist on more copies than there are followers by now: what they publish waits a moment for the follower that is on
//! its way, and is refused when none came. A slot that was just opened has none for some tens of milliseconds.

use std::collections::VecDeque;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};

use super::super::frame::{Ask, Outcome, Refusal, Terms};
use super::super::settings::Bug;
use super::asker::Asker;
use super::publish::takes_nothing;
use super::{Context, Replica, Role};
use crate::log::{SlotLog, Tag};
use crate::message::{ChannelName, Draft};

/// What waits for a follower before it is given a position.
#[derive(Debug)]
pub(super) struct Deferred {
    /// Of each channel all that waits, in the order it came: behind what waits everything later does.
    channels: HashMap<ChannelName, VecDeque<Waiting>>,
    bytes: usize,
    /// How many ever waited.
    count: u64,
    /// When the one that has waited longest began to; the end of time for none.
    oldest: Duration,
    /// With how many copies, and whether one more was expected, it was looked through last; `None` when something left since. As long as
    /// that is so, nothing but time lets anything go.
    looked_at: Option<(u32, bool)>,
}

#[derive(Debug)]
struct Waiting {
    /// Its number among all that ever waited.
    number: u64,
    asker: Asker,
    /// When it was published, and when it began to wait here.
    since: Duration,
    at: Duration,
    ask: Ask,
    terms: Terms,
}

impl Default for Deferred {
    fn default() -> Self {
        Self { channels: HashMap::new(), bytes: 0, count: 0, oldest: Duration::MAX, looked_at: None }
    }
}

impl Deferred {
    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether something waits that was asked of this channel: what comes later stands behind it.
    fn has(&self, channel: &ChannelName) -> bool {
        self.channels.contains_key(channel)
    }

    /// Whether this waits already because its node sent it before. It keeps its turn and its time: were the older one refused and the
    /// newer one taken, its publisher would have been told that it is nowhere.
    fn has_again(&mut self, asker: Asker, channel: &ChannelName) -> bool {
        let Some(queue) = self.channels.get_mut(channel) else { return false };
        // What one node sends stands in the order of its numbers.
        let mut not_before = queue.iter_mut().rev().take_while(|waiting| !waiting.asker.is_before(&asker));
        match not_before.find(|waiting| waiting.asker.is_again(&asker)) {
            Some(waiting) => {
                waiting.asker = asker;
                true
            }
            None => false,
        }
    }

    fn push(&mut self, asker: Asker, since: Duration, at: Duration, ask: Ask, terms: Terms) {
        self.count += 1;
        self.bytes += ask.bytes();
        self.oldest = self.oldest.min(at);
        let channel = ask.channel().clone();
        self.channels.entry(channel).or_default().push_back(Waiting { number: self.count, asker, since, at, ask, terms });
    }

    /// Nobody waits for these answers any more.
    pub(super) fn forget(&mut self, is_gone: impl Fn(&Asker) -> bool) {
        for queue in self.channels.values_mut() {
            queue.retain(|waiting| !is_gone(&waiting.asker));
        }
        self.bytes = self.channels.values().flatten().map(|waiting| waiting.ask.bytes()).sum();
        self.tidy();
    }

    /// Takes out what need not wait, or not any more, in the order it came: of each channel all before the first one that may.
    fn take(&mut self, may_wait: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let mut taken = Vec::new();
        for queue in self.channels.values_mut() {
            let count = queue.iter().position(&may_wait).unwrap_or(queue.len());
            taken.extend(queue.drain(..count));
        }
        self.bytes -= taken.iter().map(|waiting| waiting.ask.bytes()).sum::<usize>();
        self.tidy();
        taken.sort_unstable_by_key(|waiting| waiting.number);
        taken
    }

    /// Something may have left.
    fn tidy(&mut self) {
        self.channels.retain(|_, queue| !queue.is_empty());
        self.oldest = self.channels.values().filter_map(|queue| Some(queue.front()?.at)).min().unwrap_or(Duration::MAX);
        self.looked_at = None;
    }

    /// Who waits, in order.
    fn into_askers(mut self) -> impl Iterator<Item = Asker> {
        self.take(|_| false).into_iter().map(|waiting| waiting.asker)
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
        let may_be_taken = !is_behind && terms.copies_min <= home.copies_to_be();
        if may_be_taken || is_in_log(log, cx, &ask) {
            return self.append_now(log, cx, asker, since, ask, terms);
        }
        if !is_behind && !self.expects_copy(cx) {
            return self.answer(cx, asker, Outcome::Refused(Refusal::Degraded));
        }
        let Role::Home(home) = &mut self.role else { return };
        if home.deferred.has_again(asker, ask.channel()) {
            return;
        }
        if home.deferred.bytes + ask.bytes() > cx.settings.publish_bytes {
            return self.answer(cx, asker, Outcome::Refused(Refusal::Busy));
        }
        home.deferred.push(asker, since, cx.now.mono, ask, terms);
    }

    /// Takes what waited long enough, or need not wait any more. Called after every input.
    pub(super) fn take_deferred(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        let Role::Home(home) = &self.role else { return };
        if home.deferred.is_empty() {
            return;
        }
        let (now, copies, takes_nothing) = (cx.now.mono, home.copies_to_be(), takes_nothing(cx));
        let is_expected = !takes_nothing && self.expects_copy(cx);
        let Role::Home(home) = &mut self.role else { return };
        let (deferred, follow) = (&mut home.deferred, cx.settings.follow);
        if !takes_nothing && deferred.looked_at == Some((copies, is_expected)) && now < deferred.oldest + follow {
            return;
        }
        let taken = deferred.take(|waiting| waiting.terms.copies_min > copies && is_expected && now < waiting.at + follow);
        deferred.looked_at = Some((copies, is_expected));
        for Waiting { asker, since, ask, terms, .. } in taken {
            // It may have come in from a branch meanwhile.
            if is_in_log(log, cx, &ask) {
                self.append_now(log, cx, asker, since, ask, terms);
            } else if takes_nothing {
                self.turn_away(cx, asker);
            } else if terms.copies_min > copies {
                self.answer(cx, asker, Outcome::Refused(Refusal::Degraded));
            } else {
                self.append_now(log, cx, asker, since, ask, terms);
            }
        }
    }

    /// Whether another node is to hold a copy soon: the follower by the view, or whoever is to be the home instead of this node.
    fn expects_copy(&self, cx: &Context<'_>) -> bool {
        let owners = self.place.into_iter().flat_map(|place| [Some(place.home), place.follower]).flatten();
        owners.into_iter().any(|owner| owner != self.me && cx.view.is_present(owner))
    }

    /// This home seals: whoever waits asks the next one.
    pub(super) fn send_deferred_back(&mut self, cx: &mut Context<'_>, deferred: Deferred, successor: Tag) {
        for asker in deferred.into_askers() {
            if let Asker::There { peer, rid, flight } = asker {
                self.send_publish_back(cx, (peer, rid, flight), Some(successor));
            }
        }
    }
}

/// Whether this was asked for before and has its place: then it stands before all that waits, and cannot be refused any more. Its answer
/// waits for the copies that are wanted, as that of the first one does.
pub(super) fn is_in_log(log: &SlotLog, cx: &Context<'_>, ask: &Ask) -> bool {
    let Ask::Publish(Draft { id: Some(id), channel, .. }) = ask else { return false };
    let is_known = cx.channels.find(channel).is_some_and(|key| log.is_known(key, id, cx.now));
    is_known && !cx.settings.has(Bug::RefuseRetry)
}
