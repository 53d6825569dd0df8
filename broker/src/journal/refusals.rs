//! What clients were refused, each in its own words: whoever was told the name of a session finds there why, and who was turned away before
//! it had one is found by its address. In the list of what happened lately a flood of them is one line ([`super::kept`]); here each is by itself.

use super::fair::{Fair, Source};
use super::{Record, What};

/// How far back it is looked, among those of the same source, whether the same client asks for the same again.
const AGAIN_LOOKED_AT: usize = 8;

#[derive(Debug)]
pub(super) struct Refusals(Fair);

impl Refusals {
    pub(super) fn new(records_max: usize) -> Self {
        Self(Fair::new(records_max))
    }

    /// Keeps one, whose number is higher than all before. Gives back what had to leave for it.
    pub(super) fn keep(&mut self, record: Record) -> Option<Record> {
        let source = source_of(&record);
        if let Some(known) = self.0.newest_of(&source, AGAIN_LOOKED_AT, |known| known.is_again(&record)) {
            (known.times, known.unix_ms) = (known.times.saturating_add(1), record.unix_ms);
            return Some(record);
        }
        self.0.keep(source, record)
    }

    /// How many are kept.
    pub(super) fn count(&self) -> usize {
        self.0.count()
    }

    /// All of them with a number below this, the newest first.
    pub(super) fn before(&self, number: u64) -> impl Iterator<Item = &Record> {
        self.0.before(number)
    }
}

/// Who makes it: who was not let in counts with its network, under whatever name it comes.
fn source_of(record: &Record) -> Source {
    match (&record.what, record.session) {
        (What::Refused { address, .. }, _) => Source::of(*address),
        (What::PublishRefused(refused), _) if refused.is_named => Source::Named(refused.by.clone()),
        (What::PublishRefused(refused), _) => Source::of(refused.address.map(|address| (address, 0).into())),
        (_, Some(session)) => Source::Session(session),
        (_, None) => Source::of(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorCode};
    use crate::journal::{PublishRefused, SessionId};
    use crate::message::ChannelName;
    use crate::metrics::{self, Front};

    fn refused(number: u64, session: &str, from: &str, why: &str) -> Record {
        let what = What::refused(&Error::invalid(why.to_owned()), Some(from.parse().unwrap()));
        Record { number, unix_ms: number, times: 1, session: SessionId::parse(session), front: Some(Front::Sse), what }
    }

    fn denied(number: u64, session: &str, why: &str) -> Record {
        Record { what: What::denied(&Error::invalid(why.to_owned())), ..refused(number, session, "[::1]:1", why) }
    }

    fn kept(refusals: &Refusals) -> Vec<(u64, u32)> {
        refusals.before(u64::MAX).map(|record| (record.number, record.times)).collect()
    }

    #[test]
    fn each_says_its_own_and_only_the_same_again_is_counted() {
        let mut refusals = Refusals::new(9);
        for record in [
            refused(1, "a", "192.0.2.1:1", "this"),
            refused(2, "b", "192.0.2.1:2", "this"),
            refused(3, "a", "192.0.2.1:3", "that"),
            refused(4, "a", "192.0.2.1:4", "this"),
            denied(5, "a", "this"),
            denied(6, "a", "that"),
            denied(7, "a", "this"),
        ] {
            refusals.keep(record);
        }
        assert_eq!(kept(&refusals), [(6, 1), (5, 2), (3, 1), (2, 1), (1, 2)]);
        assert_eq!(refusals.before(3).map(|record| record.unix_ms).collect::<Vec<_>>(), [2, 4], "the first was refused again later");
    }

    #[test]
    fn a_flood_pushes_out_itself_whatever_names_it_gives() {
        let mut refusals = Refusals::new(10);
        refusals.keep(refused(1, "victim", "192.0.2.1:1", "no"));
        refusals.keep(denied(2, "other", "no"));
        for number in 3..1000_u64 {
            // Of one network of IPv6, from as many addresses as it likes.
            refusals.keep(refused(number, &format!("s{number}"), &format!("[2001:db8::{number:x}]:1"), "no"));
        }
        let left: Vec<u64> = kept(&refusals).into_iter().map(|(number, _)| number).collect();
        assert_eq!(left, [999, 998, 997, 996, 995, 994, 993, 992, 2, 1]);
    }

    #[test]
    fn a_key_that_floods_pushes_out_no_other_though_both_come_from_one_address() {
        let mut refusals = Refusals::new(10);
        let of = |number: u64, by: &str, is_named: bool, why: &str| {
            let refused = PublishRefused {
                code: ErrorCode::PermissionDenied,
                message: why.into(),
                rule: Some("no_scope"),
                channel: Some(ChannelName::parse("news").unwrap()),
                by: by.into(),
                is_named,
                address: Some("192.0.2.1".parse().unwrap()),
                source: metrics::Source::Http,
            };
            Record { number, unix_ms: number, times: 1, session: None, front: None, what: What::PublishRefused(Box::new(refused)) }
        };
        refusals.keep(of(1, "key quiet", true, "no"));
        refusals.keep(of(2, "address 192.0.2.1", false, "no"));
        refusals.keep(of(3, "address 192.0.2.1", false, "no"));
        for number in 4..1000 {
            refusals.keep(of(number, "key wild", true, &format!("no {number}")));
        }
        assert_eq!(kept(&refusals), [(999, 1), (998, 1), (997, 1), (996, 1), (995, 1), (994, 1), (993, 1), (992, 1), (2, 2), (1, 1)]);
    }

    #[test]
    fn of_many_who_have_as_much_the_oldest_leaves_and_nothing_is_kept_of_it() {
        let mut refusals = Refusals::new(3);
        for number in 1..=5_u64 {
            refusals.keep(refused(number, "a", &format!("192.0.2.{number}:1"), "no"));
        }
        assert_eq!(kept(&refusals), [(5, 1), (4, 1), (3, 1)]);
        assert_eq!(refusals.0.source_counts(), (3, 3));
    }
}
