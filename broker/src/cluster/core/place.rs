//! Which nodes own which slot: rendezvous hashing, so that a node that comes or goes moves only its own slots.

use std::sync::atomic::{AtomicU16, Ordering};

use crate::log::{SLOTS, Slot};

/// No such place.
pub(super) const NOBODY: u8 = u8::MAX;
/// Nobody has asked yet. No home has this number.
const UNKNOWN: u16 = u16::MAX;

/// Who owns the slots among some nodes. A row is found when it is asked for first: a view is made at once, however often views change.
#[derive(Debug)]
pub(super) struct Table {
    /// Each node's number and id.
    active: Vec<(u8, u64)>,
    replicas: u32,
    /// Numbers of the two owners, the home's above. Whoever finds one finds the same, so nothing has to be ordered.
    rows: Box<[AtomicU16]>,
}

impl Table {
    /// Among these nodes, of whom no number is [`NOBODY`].
    pub(super) fn new(active: Vec<(u8, u64)>, replicas: u32) -> Self {
        let rows = (0..if active.is_empty() { 0 } else { SLOTS }).map(|_| AtomicU16::new(UNKNOWN)).collect();
        Self { active, replicas, rows }
    }

    /// The numbers of home and follower; the second is [`NOBODY`] when one copy is wanted or one node is there. `None` without a node.
    pub(super) fn row(&self, slot: Slot) -> Option<[u8; 2]> {
        let row = self.rows.get(usize::from(slot.number()))?;
        match row.load(Ordering::Relaxed) {
            UNKNOWN => {
                let found = highest(&self.active, slot.number(), self.replicas);
                row.store(u16::from_be_bytes(found), Ordering::Relaxed);
                Some(found)
            }
            known => Some(known.to_be_bytes()),
        }
    }
}

/// The two nodes with the highest scores for a slot.
fn highest(active: &[(u8, u64)], slot: u16, replicas: u32) -> [u8; 2] {
    let (mut first, mut second) = ((0, NOBODY), (0, NOBODY));
    for &(number, id) in active {
        // The top bit keeps every score above the empty place.
        let score = score(id, slot) | 1 << 63;
        if score > first.0 {
            (first, second) = ((score, number), first);
        } else if score > second.0 {
            second = (score, number);
        }
    }
    [first.1, if replicas > 1 { second.1 } else { NOBODY }]
}

/// How much this node wants this slot. Part of the protocol: nodes of all releases must agree.
fn score(id: u64, slot: u16) -> u64 {
    // The finaliser of splitmix64: every bit of node and slot moves every bit of the score.
    let mut mixed = id ^ (u64::from(slot) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> Vec<(u8, u64)> {
        names.iter().enumerate().map(|(at, name)| (at as u8, super::super::NodeId::of(name).0)).collect()
    }

    fn table(active: &[(u8, u64)], replicas: u32) -> Vec<[u8; 2]> {
        let table = Table::new(active.to_vec(), replicas);
        let row = |slot| table.row(Slot::new(slot).unwrap()).unwrap();
        let rows: Vec<[u8; 2]> = (0..SLOTS).map(row).collect();
        assert_eq!((0..SLOTS).map(row).collect::<Vec<_>>(), rows, "asked again, the same is answered");
        rows
    }

    const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

    #[test]
    fn a_node_that_leaves_moves_only_its_own_slots_and_its_followers_take_them() {
        let all = table(&nodes(&NAMES), 2);
        let nine = table(&nodes(&NAMES)[..9], 2);
        for (before, after) in all.iter().zip(nine) {
            match before {
                [9, follower] => assert_eq!(after[0], *follower),
                [home, 9] => assert_eq!(after[0], *home),
                _ => assert_eq!(*before, after),
            }
        }
    }

    #[test]
    fn slots_are_spread_evenly() {
        let mut homes = [0; 10];
        table(&nodes(&NAMES), 2).iter().for_each(|row| homes[usize::from(row[0])] += 1);
        let fair = f64::from(SLOTS) / 10.0;
        assert!(homes.iter().all(|count| (f64::from(*count) / fair - 1.0).abs() < 0.1), "{homes:?}");
    }

    #[test]
    fn one_node_owns_all_and_one_copy_needs_no_follower() {
        assert!(table(&nodes(&["a"]), 2).iter().all(|row| *row == [0, 255]));
        assert!(table(&nodes(&NAMES), 1).iter().all(|row| row[1] == 255));
    }

    #[test]
    fn placement_does_not_change_between_releases() {
        let mut sum = 0_u64;
        table(&nodes(&["a", "b", "c"]), 2).iter().for_each(|row| sum = sum.wrapping_mul(31) + u64::from(row[0]) * 4 + u64::from(row[1]));
        assert_eq!(sum, PLACED, "nodes of different releases would place slots differently");
    }

    const PLACED: u64 = 18_275_836_542_951_663_097;
}
