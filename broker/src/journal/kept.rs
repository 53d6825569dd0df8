//! The newest records, as many as may be kept.

use std::collections::VecDeque;

use super::Record;

/// How far back a repetition is looked for.
const REPEATS_LOOKED_AT: usize = 64;

#[derive(Debug)]
pub(super) struct Kept {
    records: VecDeque<Record>,
    records_max: usize,
    number: u64,
}

impl Kept {
    /// Takes all the memory it will ever need, so that no session pays for it.
    pub(super) fn new(records_max: usize) -> Self {
        Self { records: VecDeque::with_capacity(records_max), records_max, number: 0 }
    }

    /// Keeps a record; gives back what had to leave for it.
    pub(super) fn keep(&mut self, mut record: Record) -> Option<Record> {
        if self.records_max == 0 {
            return Some(record);
        }
        if record.may_repeat()
            && let Some(known) = self.records.iter_mut().rev().take(REPEATS_LOOKED_AT).find(|known| known.repeats(&record))
        {
            known.times = known.times.saturating_add(1);
            known.unix_ms = record.unix_ms;
            return Some(record);
        }
        self.number += 1;
        record.number = self.number;
        let evicted = if self.records.len() == self.records_max { self.records.pop_front() } else { None };
        self.records.push_back(record);
        evicted
    }

    pub(super) fn newest(&self, limit: usize, before: Option<u64>, mut wanted: impl FnMut(&Record) -> bool) -> Vec<Record> {
        let is_before = |record: &&Record| before.is_none_or(|before| record.number < before);
        self.records.iter().rev().filter(is_before).filter(|record| wanted(record)).take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SessionId, What};
    use super::*;
    use crate::close::CloseReason;
    use crate::error::Error;
    use crate::metrics::Front;

    fn record(session: &str, what: What) -> Record {
        Record { number: 0, unix_ms: 0, times: 1, session: SessionId::parse(session).unwrap(), front: Front::Sse, what }
    }

    fn closed(session: &str) -> Record {
        record(session, What::Closed { reason: CloseReason::ClientGone, lasted: std::time::Duration::ZERO })
    }

    #[test]
    fn the_oldest_leave_and_the_newest_come_first() {
        let mut kept = Kept::new(2);
        for session in ["a", "b", "c"] {
            kept.keep(closed(session));
        }
        let names =
            |kept: &Kept, before| kept.newest(9, before, |_| true).iter().map(|record| record.session.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&kept, None), ["c", "b"]);
        assert_eq!(names(&kept, Some(3)), ["b"], "pages go on before a number");
        let mut none = Kept::new(0);
        none.keep(closed("a"));
        assert!(names(&none, None).is_empty());
    }

    #[test]
    fn who_is_refused_again_and_again_pushes_nobody_out() {
        let mut kept = Kept::new(4);
        kept.keep(closed("victim"));
        let address = Some("192.0.2.1:1".parse().unwrap());
        for number in 0..100 {
            kept.keep(record(&format!("r{number}"), What::refused(&Error::invalid("no"), address)));
            kept.keep(record("d", What::denied(&Error::invalid("no"))));
        }
        let all = kept.newest(9, None, |_| true);
        assert_eq!(all.iter().map(|record| record.times).collect::<Vec<_>>(), [100, 100, 1]);
        assert_eq!(all[2].session.as_str(), "victim");
    }
}
