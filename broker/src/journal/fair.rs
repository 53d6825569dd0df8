//! Records of which anybody can cause as many as it likes, under whatever name. So when there are as many as may be kept, the oldest leaves of
//! whoever has most of them, and a flood pushes out nobody's but its own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{Record, SessionId};
use crate::limits::network_of;

/// Who causes them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Network(Option<IpAddr>),
    Session(SessionId),
    /// A key or a user, which has proven its name: wherever it comes from, it is one.
    Named(Arc<str>),
}

impl Source {
    /// The network of an address: what is of one network is of one stranger.
    pub(super) fn of(address: Option<SocketAddr>) -> Self {
        Self::Network(address.map(|address| network_of(address.ip())))
    }
}

#[derive(Debug)]
pub(super) struct Fair {
    by_number: BTreeMap<u64, Record>,
    /// The numbers of each source's, the oldest first. None is empty.
    sources: HashMap<Source, VecDeque<u64>, RandomState>,
    /// By how many a source has; of those with as many the one whose oldest is the oldest comes last.
    by_count: BTreeMap<(usize, Reverse<u64>), Source>,
    records_max: usize,
}

impl Fair {
    pub(super) fn new(records_max: usize) -> Self {
        Self { by_number: BTreeMap::new(), sources: HashMap::default(), by_count: BTreeMap::new(), records_max }
    }

    /// Keeps one, whose number is higher than all before. Gives back what had to leave for it.
    pub(super) fn keep(&mut self, source: Source, record: Record) -> Option<Record> {
        let numbers = self.sources.entry(source.clone()).or_default();
        if let Some(oldest) = numbers.front() {
            self.by_count.remove(&(numbers.len(), Reverse(*oldest)));
        }
        numbers.push_back(record.number);
        self.by_count.insert((numbers.len(), Reverse(numbers[0])), source);
        self.by_number.insert(record.number, record);
        if self.by_number.len() > self.records_max { self.make_room() } else { None }
    }

    /// Lets go of the oldest of the source that has most.
    fn make_room(&mut self) -> Option<Record> {
        let (_, source) = self.by_count.pop_last()?;
        let numbers = self.sources.get_mut(&source)?;
        let oldest = numbers.pop_front()?;
        match numbers.front() {
            Some(next) => {
                self.by_count.insert((numbers.len(), Reverse(*next)), source);
            }
            None => {
                self.sources.remove(&source);
            }
        }
        self.by_number.remove(&oldest)
    }

    /// The newest of a source's that passes, among so many.
    pub(super) fn newest_of(&mut self, source: &Source, among: usize, is_wanted: impl Fn(&Record) -> bool) -> Option<&mut Record> {
        let by_number = &self.by_number;
        let is_wanted = |number: &u64| by_number.get(number).is_some_and(&is_wanted);
        let number = self.sources.get(source)?.iter().rev().take(among).copied().find(is_wanted)?;
        self.by_number.get_mut(&number)
    }

    /// The record of this number, if it is still kept.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Record> {
        self.by_number.get_mut(&number)
    }

    /// How many are kept.
    pub(super) fn count(&self) -> usize {
        self.by_number.len()
    }

    /// All of them with a number below this, the newest first.
    pub(super) fn before(&self, number: u64) -> impl Iterator<Item = &Record> {
        self.by_number.range(..number).rev().map(|(_, record)| record)
    }

    /// How many sources are known, and in how many ranks: as many as have a record.
    #[cfg(test)]
    pub(super) fn source_counts(&self) -> (usize, usize) {
        (self.sources.len(), self.by_count.len())
    }
}
