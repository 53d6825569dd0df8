//! Which publish ids were seen lately, so that a repeated publish is recognised and answered like the first.
//!
//! Ids are compared exactly, and forgotten exactly: [`RETRY_WINDOW`] or [`KEYED_WINDOW`] after the first publish.
//! Memory goes by generations of half a window, dropped as a whole, because removing ids one by one would cost as much
//! as remembering them.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};

use super::copy::KnownId;
use crate::message::PublishId;

/// How long an SDK's own retry id is remembered; SDKs stop retrying well before.
pub const RETRY_WINDOW: Duration = Duration::from_secs(30);
/// How long a publisher's own id is remembered.
pub const KEYED_WINDOW: Duration = Duration::from_secs(120);

/// One life of a channel: ids of a closed channel must not meet those of the next one under the same key.
pub(super) type Life = u64;

/// Where the first publish went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct First {
    pub(super) idx: u64,
    pub(super) offset: u64,
    /// When, in nanoseconds of the monotonic clock: half a `Duration`, and there are many of these.
    at: u64,
}

/// The ids of one slot.
#[derive(Debug)]
pub(super) struct Dedupe {
    /// Sixteen bytes instead of a `u128` save the padding that its alignment asks for.
    retry: Generations<(Life, [u8; 16])>,
    keyed: Generations<(Life, Arc<str>)>,
    shortened: u64,
}

impl Dedupe {
    pub(super) fn new() -> Self {
        Self { retry: Generations::new(RETRY_WINDOW), keyed: Generations::new(KEYED_WINDOW), shortened: 0 }
    }

    /// How long this id will be remembered.
    pub(super) fn window(id: &PublishId) -> Duration {
        match id {
            PublishId::Retry(_) => RETRY_WINDOW,
            PublishId::Keyed(_) => KEYED_WINDOW,
        }
    }

    /// The first publish of this id on this channel, if it is still remembered.
    pub(super) fn find(&self, life: Life, id: &PublishId, now: Duration) -> Option<First> {
        match id {
            PublishId::Retry(id) => self.retry.find(&(life, id.to_le_bytes()), now),
            PublishId::Keyed(id) => self.keyed.find(&(life, id.clone()), now),
        }
    }

    /// Remembers an id. Without room in the node the oldest ids of this slot go early and are counted; the newest is
    /// always remembered, because an immediate retry is the likeliest one. So the node's bound can be passed by one id
    /// per slot, not by more.
    pub(super) fn remember(&mut self, life: Life, id: &PublishId, at: (u64, u64), now: Duration, room: usize) {
        self.remember_since(life, id, at, now, now, room);
    }

    /// As [`Dedupe::remember`], for an id that was first seen a while ago.
    pub(super) fn remember_since(
        &mut self,
        life: Life,
        id: &PublishId,
        (idx, offset): (u64, u64),
        since: Duration,
        now: Duration,
        room: usize,
    ) {
        self.rotate(now);
        if room == 0 {
            self.give_up_oldest();
        }
        let first = First { idx, offset, at: nanos(since) };
        match id {
            PublishId::Retry(id) => self.retry.insert((life, id.to_le_bytes()), first, now),
            PublishId::Keyed(id) => self.keyed.insert((life, id.clone()), first, now),
        }
    }

    /// Forgets what went to indices after this one.
    pub(super) fn cut(&mut self, idx: u64) {
        self.retry.cut(idx);
        self.keyed.cut(idx);
    }

    /// All ids of one life of a channel.
    pub(super) fn of(&self, life: Life, now: Duration) -> Vec<KnownId> {
        let known = |id, first: &First| KnownId {
            id,
            idx: first.idx,
            offset: first.offset,
            age: Duration::from_nanos(nanos(now).saturating_sub(first.at)),
        };
        let retry = self.retry.of(life).map(|(id, first)| known(PublishId::Retry(u128::from_le_bytes(*id)), first));
        let keyed = self.keyed.of(life).map(|(id, first)| known(PublishId::Keyed(id.clone()), first));
        retry.chain(keyed).collect()
    }

    /// Frees the generations that nobody can ask for any more.
    pub(super) fn rotate(&mut self, now: Duration) {
        self.retry.rotate(now);
        self.keyed.rotate(now);
    }

    /// Ids in memory.
    pub(super) fn len(&self) -> usize {
        self.retry.len() + self.keyed.len()
    }

    /// Ids that were given up before their time, ever.
    pub(super) fn shortened(&self) -> u64 {
        self.shortened
    }

    fn give_up_oldest(&mut self) {
        let dropped = match (self.retry.oldest(), self.keyed.oldest()) {
            (None, None) => 0,
            (Some(_), None) => self.retry.give_up_oldest(),
            (None, Some(_)) => self.keyed.give_up_oldest(),
            (Some(retry), Some(keyed)) if retry <= keyed => self.retry.give_up_oldest(),
            (Some(_), Some(_)) => self.keyed.give_up_oldest(),
        };
        self.shortened += dropped as u64;
    }
}

/// Ids of one kind, by age.
#[derive(Debug)]
struct Generations<K> {
    window: Duration,
    /// Oldest first; none is without ids, and at most three at a time.
    ages: VecDeque<Generation<K>>,
}

#[derive(Debug)]
struct Generation<K> {
    since: Duration,
    ids: HashMap<K, First>,
}

impl<K: Eq + Hash> Generations<K> {
    fn new(window: Duration) -> Self {
        Self { window, ages: VecDeque::new() }
    }

    fn find(&self, key: &K, now: Duration) -> Option<First> {
        let now = nanos(now);
        // Newest first: an id that was forgotten and came again stands in two generations.
        let first = self.ages.iter().rev().find_map(|age| age.ids.get(key))?;
        (now.saturating_sub(first.at) < nanos(self.window)).then_some(*first)
    }

    fn insert(&mut self, key: K, first: First, now: Duration) {
        let room = match self.ages.back() {
            Some(newest) if now < newest.since.saturating_add(self.window / 2) => None,
            // As many as last time: growing would move every id, and that under the slot's lock.
            Some(newest) => Some(newest.ids.len()),
            None => Some(0),
        };
        if let Some(room) = room {
            self.ages.push_back(Generation { since: now, ids: HashMap::with_capacity(room) });
        }
        if let Some(newest) = self.ages.back_mut() {
            newest.ids.insert(key, first);
        }
    }

    fn cut(&mut self, idx: u64) {
        self.ages.iter_mut().for_each(|age| age.ids.retain(|_, first| first.idx <= idx));
        self.ages.retain(|age| !age.ids.is_empty());
    }

    fn rotate(&mut self, now: Duration) {
        let stay = self.window + self.window / 2;
        while self.ages.front().is_some_and(|age| age.since.saturating_add(stay) <= now) {
            self.ages.pop_front();
        }
    }

    fn oldest(&self) -> Option<Duration> {
        self.ages.front().map(|age| age.since)
    }

    fn give_up_oldest(&mut self) -> usize {
        self.ages.pop_front().map_or(0, |age| age.ids.len())
    }

    fn len(&self) -> usize {
        self.ages.iter().map(|age| age.ids.len()).sum()
    }
}

impl<T> Generations<(Life, T)>
where
    (Life, T): Eq + Hash,
{
    fn of(&self, life: Life) -> impl Iterator<Item = (&T, &First)> {
        self.ages.iter().flat_map(|age| &age.ids).filter(move |((of, _), _)| *of == life).map(|((_, id), first)| (id, first))
    }
}

/// Nanoseconds of a monotonic time; 584 years fit.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
