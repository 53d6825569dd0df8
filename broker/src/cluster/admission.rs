//! Whether the cluster lets this node in.

use std::time::Duration;

use parking_lot::Mutex;

use super::core::State;
use super::link::Reason;
use super::membership::{Members, Record};

/// A refusal counts for so long: those who are refused ask again and again.
const LATELY: Duration = Duration::from_secs(10);

/// What this node, or others of it, refused lately.
#[derive(Debug, Default)]
pub(super) struct Admission {
    refused: Mutex<Refused>,
}

#[derive(Debug, Default)]
struct Refused {
    /// Another process of this node's name is in the cluster: when that was said last.
    duplicate: Option<Duration>,
    /// This node and another one have no protocol in common, or that one and a third node: when that was said last, by either.
    protocol: Option<Duration>,
}

impl Admission {
    /// Two nodes did not come together. Returns whether this is the first time that this node's name is said to be taken.
    pub(super) fn refused(&self, reason: Reason, by_us: bool, now: Duration) -> bool {
        let mut refused = self.refused.lock();
        match reason {
            Reason::DuplicateName if !by_us => refused.duplicate.replace(now).is_none(),
            Reason::Protocol => {
                refused.protocol = Some(now);
                false
            }
            _ => false,
        }
    }

    /// Whether another process of this node's name is part of the cluster.
    pub(super) fn is_duplicate(&self, now: Duration) -> bool {
        self.refused.lock().duplicate.is_some_and(|at| now < at + LATELY)
    }

    /// Whether nodes that were there before this one speak no protocol that it speaks. Which of two nodes refused the other is chance;
    /// that the one that came later stays out is not, so that a wrong release takes no node away that serves.
    pub(super) fn is_of_another_protocol(&self, me: &Record, members: &Members, now: Duration) -> bool {
        let is_refused = self.refused.lock().protocol.is_some_and(|at| now < at + LATELY);
        let was_here = |record: &&Record| record.state != State::Leaving && (record.started, record.tag) < (me.started, me.tag);
        let differs = |record: &Record| me.release().common(record.release()).is_none();
        is_refused && members.values().filter(was_here).any(differs)
    }
}

#[cfg(test)]
mod tests {
    use super::super::membership::NodeName;
    use super::*;
    use crate::log::Tag;

    fn record(name: &str, started: u64, protocol: (u32, u32)) -> Record {
        Record {
            name: NodeName::new(name).unwrap(),
            tag: Tag::new(started).unwrap(),
            started,
            gossip: "127.0.0.1:1".parse().unwrap(),
            links: "127.0.0.1:1".into(),
            state: State::Active,
            protocol,
            features: 0,
            version: "test".into(),
        }
    }

    #[test]
    fn of_two_nodes_without_a_common_protocol_the_one_that_came_later_stays_out_whoever_refused() {
        let (old, new) = (record("old", 7, (1, 1)), record("new", 8, (2, 3)));
        let members = |record: &Record| Members::from([(record.name.clone(), record.clone())]);
        let now = Duration::from_secs(100);
        for by_us in [true, false] {
            let admission = Admission::default();
            assert!(!admission.is_of_another_protocol(&new, &members(&old), now), "nobody refused anybody");
            admission.refused(Reason::Protocol, by_us, now);
            assert!(admission.is_of_another_protocol(&new, &members(&old), now));
            assert!(!admission.is_of_another_protocol(&old, &members(&new), now), "it was there before");
            let left = Record { state: State::Leaving, ..old.clone() };
            assert!(!admission.is_of_another_protocol(&new, &members(&left), now), "it makes room");
            assert!(!admission.is_of_another_protocol(&new, &members(&old), now + LATELY), "it is refused no more");
        }
    }

    #[test]
    fn a_name_is_taken_while_others_say_so_and_not_because_this_node_says_it_of_another() {
        let (admission, now) = (Admission::default(), Duration::from_secs(100));
        assert!(!admission.refused(Reason::DuplicateName, true, now) && !admission.is_duplicate(now));
        assert!(admission.refused(Reason::DuplicateName, false, now), "the first time is news");
        assert!(!admission.refused(Reason::DuplicateName, false, now));
        assert!(admission.is_duplicate(now) && !admission.is_duplicate(now + LATELY));
    }
}
