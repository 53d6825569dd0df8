//! Polls that went well. There are as many as messages, so a client has one record, which counts them; who keeps no name has one with its
//! whole network.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::fair::{Fair, Source};
use super::{Record, SessionId, What};
use crate::limits::network_of;

/// Whose polls are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Poller {
    Named(SessionId),
    Nameless(Option<IpAddr>),
}

impl Poller {
    fn of(record: &Record) -> Option<(Self, Source)> {
        let What::Polled { address, is_named, .. } = &record.what else { return None };
        let named = record.session.filter(|_| *is_named).map(Self::Named);
        let poller = named.unwrap_or_else(|| Self::Nameless(address.map(|address| network_of(address.ip()))));
        Some((poller, Source::of(*address)))
    }
}

#[derive(Debug)]
pub(super) struct Polls {
    kept: Fair,
    /// The number of each poller's record: no more than are kept.
    numbers: HashMap<Poller, u64, RandomState>,
}

impl Polls {
    pub(super) fn new(records_max: usize) -> Self {
        Self { kept: Fair::new(records_max), numbers: HashMap::default() }
    }

    /// Counts a poll in, or keeps the first of a poller, whose number is higher than all before. Gives back what is not kept.
    pub(super) fn keep(&mut self, mut record: Record) -> Option<Record> {
        let Some((poller, source)) = Poller::of(&record) else { return Some(record) };
        let known = self.numbers.get(&poller).and_then(|number| self.kept.get_mut(*number));
        if let Some(known) = known {
            (record.number, record.times) = (known.number, known.times.saturating_add(1));
            if let (What::Polled { messages, since_ms, .. }, What::Polled { messages: before, since_ms: since, .. }) =
                (&mut record.what, &known.what)
            {
                (*messages, *since_ms) = (messages.saturating_add(*before), *since);
            }
            return Some(std::mem::replace(known, record));
        }
        self.numbers.insert(poller, record.number);
        let gone = self.kept.keep(source, record)?;
        if let Some((poller, _)) = Poller::of(&gone) {
            self.numbers.remove(&poller);
        }
        Some(gone)
    }

    /// How many are kept.
    pub(super) fn count(&self) -> usize {
        self.kept.count()
    }

    /// All of them with a number below this, the newest first.
    pub(super) fn before(&self, number: u64) -> impl Iterator<Item = &Record> {
        self.kept.before(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Front;

    fn polled(number: u64, session: &str, is_named: bool, from: &str, messages: u64) -> Record {
        let what =
            What::Polled { channels: Default::default(), address: Some(from.parse().unwrap()), is_named, messages, since_ms: 100 + number };
        Record { number, unix_ms: 100 + number, times: 1, session: SessionId::parse(session), front: Some(Front::LongPoll), what }
    }

    fn shown(polls: &Polls) -> Vec<(u64, &str, u32, u64, u64, u64)> {
        let one = |record: &'_ Record| {
            let What::Polled { messages, since_ms, .. } = record.what else { panic!() };
            (record.number, record.times, messages, since_ms, record.unix_ms)
        };
        let all = polls.before(u64::MAX).map(|record| {
            let (number, times, messages, since, last) = one(record);
            (number, record.session.as_ref().unwrap().as_str(), times, messages, since, last)
        });
        all.collect()
    }

    #[test]
    fn a_client_has_one_record_which_counts_and_who_keeps_no_name_has_one_with_its_network() {
        let mut polls = Polls::new(9);
        for record in [
            polled(1, "anna", true, "192.0.2.1:1", 0),
            polled(2, "x1", false, "192.0.2.1:2", 3),
            polled(3, "anna", true, "198.51.100.1:3", 2),
            polled(4, "x2", false, "192.0.2.1:4", 4),
            polled(5, "x3", false, "192.0.2.2:5", 1),
            polled(6, "anna", true, "192.0.2.1:6", 5),
        ] {
            polls.keep(record);
        }
        assert_eq!(shown(&polls), [(5, "x3", 1, 1, 105, 105), (2, "x2", 2, 7, 102, 104), (1, "anna", 3, 7, 101, 106)]);
    }

    #[test]
    fn who_polls_under_ever_new_names_pushes_out_its_own_and_nothing_is_left_of_what_went() {
        let mut polls = Polls::new(10);
        polls.keep(polled(1, "victim", true, "192.0.2.1:1", 0));
        for number in 2..1000_u64 {
            polls.keep(polled(number, &format!("s{number}"), true, &format!("[2001:db8::{number:x}]:1"), 0));
        }
        let left: Vec<u64> = polls.before(u64::MAX).map(|record| record.number).collect();
        assert_eq!(left, [999, 998, 997, 996, 995, 994, 993, 992, 991, 1]);
        assert_eq!(polls.numbers.len(), 10);
        // One that went begins anew.
        polls.keep(polled(1000, "s5", true, "[2001:db8::5]:1", 0));
        assert_eq!(shown(&polls)[0], (1000, "s5", 1, 0, 1100, 1100));
    }
}
