//! Which nodes own which slot: rendezvous hashing, so that a node that comes or goes moves only its own slots.

use crate::log::SLOTS;

/// The two highest scores for each slot. `active` holds each node's number and id; `nobody` fills the second place when one
/// copy is wanted or one node is there.
pub(super) fn table(active: &[(u8, u64)], replicas: u32, nobody: u8) -> Vec<[u8; 2]> {
    let row = |slot: u16| {
        let (mut first, mut second) = ((0, nobody), (0, nobody));
        for &(number, id) in active {
            // The top bit keeps every score above the empty place.
            let score = score(id, slot) | 1 << 63;
            if score > first.0 {
                (first, second) = ((score, number), first);
            } else if score > second.0 {
                second = (score, number);
            }
        }
        [first.1, if replicas > 1 { second.1 } else { nobody }]
    };
    (0..SLOTS).map(row).collect()
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

    const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

    #[test]
    fn a_node_that_leaves_moves_only_its_own_slots_and_its_followers_take_them() {
        let all = table(&nodes(&NAMES), 2, 255);
        let nine = table(&nodes(&NAMES)[..9], 2, 255);
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
        table(&nodes(&NAMES), 2, 255).iter().for_each(|row| homes[usize::from(row[0])] += 1);
        let fair = f64::from(SLOTS) / 10.0;
        assert!(homes.iter().all(|count| (f64::from(*count) / fair - 1.0).abs() < 0.1), "{homes:?}");
    }

    #[test]
    fn one_node_owns_all_and_one_copy_needs_no_follower() {
        assert!(table(&nodes(&["a"]), 2, 255).iter().all(|row| *row == [0, 255]));
        assert!(table(&nodes(&NAMES), 1, 255).iter().all(|row| row[1] == 255));
    }

    #[test]
    fn placement_does_not_change_between_releases() {
        let mut sum = 0_u64;
        table(&nodes(&["a", "b", "c"]), 2, 255)
            .iter()
            .for_each(|row| sum = sum.wrapping_mul(31) + u64::from(row[0]) * 4 + u64::from(row[1]));
        assert_eq!(sum, PLACED, "nodes of different releases would place slots differently");
    }

    const PLACED: u64 = 18_275_836_542_951_663_097;
}
