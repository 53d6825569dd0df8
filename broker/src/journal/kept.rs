//! The newest records, as many as may be kept. A flood of refusals is one record here, whoever makes it; in [`Refusals`] each is by itself. Polls
//! that went well are no news, and only in [`Polls`].

use std::collections::VecDeque;

use super::polls::Polls;
use super::refusals::Refusals;
use super::{Record, SessionId, What};

/// How far back a repetition is looked for.
const REPEATS_LOOKED_AT: usize = 64;

#[derive(Debug)]
pub(super) struct Kept {
    records: VecDeque<Record>,
    refusals: Refusals,
    polls: Polls,
    records_max: usize,
    number: u64,
}

impl Kept {
    /// Takes the memory for the list at once, so that no session pays for it.
    pub(super) fn new(records_max: usize) -> Self {
        Self {
            records: VecDeque::with_capacity(records_max),
            refusals: Refusals::new(records_max),
            polls: Polls::new(records_max),
            records_max,
            number: 0,
        }
    }

    /// Keeps a record; gives back what had to leave for it.
    pub(super) fn keep(&mut self, mut record: Record) -> [Option<Record>; 2] {
        if self.records_max == 0 {
            return [Some(record), None];
        }
        self.number += 1;
        record.number = self.number;
        if matches!(record.what, What::Polled { .. }) {
            return [self.polls.keep(record), None];
        }
        let refusal = if record.is_refusal() { self.refusals.keep(record.clone()) } else { None };
        [self.list(record), refusal]
    }

    fn list(&mut self, record: Record) -> Option<Record> {
        if record.may_repeat()
            && let Some(known) = self.records.iter_mut().rev().take(REPEATS_LOOKED_AT).find(|known| known.repeats(&record))
        {
            // The newest is shown: its story is what is kept for longest.
            let (number, times) = (known.number, known.times.saturating_add(1));
            return Some(std::mem::replace(known, Record { number, times, ..record }));
        }
        let evicted = if self.records.len() == self.records_max { self.records.pop_front() } else { None };
        self.records.push_back(record);
        evicted
    }

    /// How many are in the list, among the refusals, or among the polls, whichever are most.
    pub(super) fn count(&self) -> usize {
        self.records.len().max(self.refusals.count()).max(self.polls.count())
    }

    /// The list with a number below this, the newest first.
    pub(super) fn listed(&self, before: u64) -> impl Iterator<Item = &Record> {
        let count = self.records.partition_point(|record| record.number < before);
        self.records.range(..count).rev()
    }

    /// The same with each refusal by itself, and with polls.
    pub(super) fn each(&self, before: u64) -> impl Iterator<Item = &Record> {
        let others = self.listed(before).filter(|record| !record.is_refusal());
        newest_first(newest_first(others, self.refusals.before(before)), self.polls.before(before))
    }

    /// All that is kept of one session, oldest first.
    pub(super) fn story(&self, session: SessionId) -> Vec<Record> {
        let mut story: Vec<Record> = self.each(u64::MAX).filter(|record| record.session == Some(session)).cloned().collect();
        story.reverse();
        story
    }
}

/// Both in one order.
fn newest_first<'a>(one: impl Iterator<Item = &'a Record>, other: impl Iterator<Item = &'a Record>) -> impl Iterator<Item = &'a Record> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || {
        let is_one = match (one.peek(), other.peek()) {
            (Some(one), Some(other)) => one.number > other.number,
            (one, _) => one.is_some(),
        };
        if is_one { one.next() } else { other.next() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::CloseReason;
    use crate::error::Error;
    use crate::metrics::Front;

    fn record(session: &str, what: What) -> Record {
        Record { number: 0, unix_ms: 0, times: 1, session: SessionId::parse(session), front: Some(Front::Sse), what }
    }

    fn closed(session: &str) -> Record {
        record(session, What::Closed { reason: CloseReason::ClientGone, lasted: std::time::Duration::ZERO })
    }

    fn refused(session: &str, why: &str) -> Record {
        record(session, What::refused(&Error::invalid(why.to_owned()), Some("192.0.2.1:1".parse().unwrap())))
    }

    fn names<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<(&'a str, u32)> {
        records.map(|record| (record.session.as_ref().unwrap().as_str(), record.times)).collect()
    }

    #[test]
    fn the_oldest_leave_and_the_newest_come_first() {
        let mut kept = Kept::new(2);
        for session in ["a", "b", "c"] {
            kept.keep(closed(session));
        }
        assert_eq!(names(kept.listed(u64::MAX)), [("c", 1), ("b", 1)]);
        assert_eq!(names(kept.listed(3)), [("b", 1)], "pages go on before a number");
        let mut none = Kept::new(0);
        none.keep(closed("a"));
        none.keep(refused("a", "no"));
        assert!(none.each(u64::MAX).next().is_none());
    }

    #[test]
    fn who_is_refused_again_and_again_pushes_nobody_out() {
        let mut kept = Kept::new(4);
        kept.keep(closed("victim"));
        for number in 0..100 {
            kept.keep(refused(&format!("r{number}"), "no"));
            kept.keep(record("d", What::denied(&Error::invalid("no"))));
        }
        assert_eq!(names(kept.listed(u64::MAX)), [("d", 100), ("r99", 100), ("victim", 1)]);
    }

    #[test]
    fn whoever_was_refused_finds_its_own_words_though_the_list_shows_one_line() {
        let mut kept = Kept::new(4);
        for record in [refused("a", "this"), refused("b", "that"), closed("a"), refused("a", "these"), refused("b", "that")] {
            kept.keep(record);
        }
        let story = |name| {
            let story = kept.story(SessionId::parse(name).unwrap());
            story.iter().map(|record| (record.what.to_string(), record.times)).collect::<Vec<_>>()
        };
        let said = |words: &str, times| (words.to_owned(), times);
        assert_eq!(story("a"), [said("was not let in: this", 1), said("ended: the client went away", 1), said("was not let in: these", 1)]);
        assert_eq!(story("b"), [said("was not let in: that", 2)]);
        assert_eq!(names(kept.listed(u64::MAX)), [("a", 1), ("b", 4)]);
        assert_eq!(names(kept.each(u64::MAX)), [("a", 1), ("a", 1), ("b", 2), ("a", 1)]);
    }
}
