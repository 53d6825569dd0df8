//! What is broken when: named cases, and random ones from a seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::chaos::fault::Fault;

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Break(Fault),
    Mend(Fault),
    Wait(Duration),
}

/// A run to be made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) nodes: usize,
    pub(crate) seed: u64,
    pub(crate) steps: Vec<Step>,
    /// Whether it kills all that hold something: then something must have died with them, or it was no such run.
    pub(crate) kills_holders: bool,
}

/// Long enough for a cluster to be whole again.
const WHOLE: Duration = Duration::from_millis(5_500);

/// n1 and n2 hold the first channel, see [`crate::chaos::homes`].
const HOLDERS_KILLED: &str = "two nodes killed at once";

/// Breaks one thing for so long, then leaves the cluster alone for that long.
fn strike(fault: Fault, hold_ms: u64, rest: Duration) -> Vec<Step> {
    vec![Step::Break(fault.clone()), Step::Wait(Duration::from_millis(hold_ms)), Step::Mend(fault), Step::Wait(rest)]
}

fn both_ways(a: &[usize], b: &[usize]) -> Fault {
    Fault::Split { groups: vec![a.to_vec(), b.to_vec()] }
}

/// The cases that have a name, for clusters of this size. One node alone is a cluster too.
pub(crate) fn named(nodes: usize) -> Vec<Plan> {
    let all: Vec<usize> = (0..nodes).collect();
    let mut cases: Vec<(&str, Vec<Step>)> = vec![
        ("calm", vec![Step::Wait(Duration::from_secs(3))]),
        ("each node killed in turn", all.iter().flat_map(|node| strike(Fault::Kill { node: *node }, 2_500, WHOLE)).collect()),
        ("a node killed and back at once", strike(Fault::Kill { node: 0 }, 0, WHOLE)),
        ("paused 0.5 s", strike(Fault::Pause { node: 0 }, 500, WHOLE)),
        ("paused 2 s", strike(Fault::Pause { node: 0 }, 2_000, WHOLE)),
        ("paused 10 s", strike(Fault::Pause { node: 0 }, 10_000, WHOLE)),
        ("unplugged", strike(Fault::Unplug { node: 0 }, 4_000, WHOLE)),
        ("hidden from clients", strike(Fault::Hide { node: 0 }, 3_000, WHOLE)),
        ("2 % loss", strike(Fault::Lose { percent: 2 }, 6_000, WHOLE)),
        ("20 % loss", strike(Fault::Lose { percent: 20 }, 8_000, WHOLE)),
        ("slow node", strike(Fault::Slow { node: nodes - 1, kbit: 1_000 }, 8_000, WHOLE)),
        ("50 ms delay", strike(Fault::Delay { node: 0, least_ms: 20, most_ms: 50, reorders: false }, 6_000, WHOLE)),
        ("200 ms delay, out of order", strike(Fault::Delay { node: 0, least_ms: 1, most_ms: 200, reorders: true }, 8_000, WHOLE)),
        (
            "flapping link",
            (0..6).flat_map(|_| strike(Fault::Unplug { node: 0 }, 500, Duration::from_millis(500))).chain([Step::Wait(WHOLE)]).collect(),
        ),
    ];
    if nodes > 1 {
        let (low, high) = all.split_at(nodes / 2);
        cases.push(("halves", strike(both_ways(low, high), 5_000, WHOLE)));
        cases.push(("one way cut", strike(Fault::Cut { from: vec![0], to: vec![1] }, 5_000, WHOLE)));
        cases.push(("one node hears nobody", strike(Fault::Cut { from: all[1..].to_vec(), to: vec![0] }, 5_000, WHOLE)));
        cases.push(("rolling restart", all.iter().flat_map(|node| strike(Fault::Leave { node: *node }, 500, WHOLE)).collect()));
        let (cut, gone) = (both_ways(&[0], &all[1..]), Fault::Leave { node: nodes - 1 });
        let seconds = |seconds| Step::Wait(Duration::from_secs(seconds));
        let during = |first: &Fault, second: &Fault| {
            vec![Step::Break(first.clone()), seconds(3), Step::Break(second.clone()), seconds(3), Step::Mend(first.clone()), seconds(3)]
        };
        let drain = during(&cut, &gone).into_iter().chain([Step::Mend(gone.clone()), Step::Wait(WHOLE)]).collect();
        cases.push(("drain during a split", drain));
        // It is cut off from all when it is told to leave, and not any more before its grace is over.
        let departs = Fault::Depart { node: 0 };
        let heals = vec![
            Step::Break(cut.clone()),
            seconds(3),
            Step::Break(departs.clone()),
            seconds(4),
            Step::Mend(cut.clone()),
            seconds(4),
            Step::Mend(departs),
            Step::Wait(WHOLE),
        ];
        cases.push(("drain while a split heals", heals));
        let join = vec![
            Step::Break(gone.clone()),
            seconds(2),
            Step::Break(cut.clone()),
            seconds(2),
            Step::Mend(gone),
            seconds(2),
            Step::Mend(cut),
            Step::Wait(WHOLE),
        ];
        cases.push(("join during a split", join));
        let holders = [Fault::Kill { node: 0 }, Fault::Kill { node: 1 }];
        let mut both: Vec<Step> = holders.iter().cloned().map(Step::Break).collect();
        both.push(Step::Wait(Duration::from_secs(3)));
        both.extend(holders.into_iter().map(Step::Mend));
        both.push(Step::Wait(WHOLE));
        cases.push((HOLDERS_KILLED, both));
    }
    if nodes > 2 {
        // Each other node still reaches both.
        cases.push(("bridge", strike(both_ways(&[0], &[1]), 5_000, WHOLE)));
        cases.push(("split in three", strike(Fault::Split { groups: vec![vec![0], vec![1], all[2..].to_vec()] }, 5_000, WHOLE)));
    }
    let begun = |steps| [vec![Step::Wait(Duration::from_secs(2))], steps].concat();
    let plan = |(name, steps): (&str, _)| Plan {
        name: name.to_owned(),
        nodes,
        seed: 1,
        steps: begun(steps),
        kills_holders: name == HOLDERS_KILLED,
    };
    cases.into_iter().map(plan).collect()
}

/// Two nodes side by side that nobody told of each other.
pub(crate) fn strangers() -> Plan {
    let steps = vec![Step::Wait(Duration::from_secs(3))];
    Plan { name: "two nodes that do not know each other".to_owned(), nodes: 2, seed: 1, steps, kills_holders: false }
}

/// A random run of about this long.
pub(crate) fn random(seed: u64, nodes: usize, length: Duration) -> Plan {
    let mut random = StdRng::seed_from_u64(seed);
    let mut steps = vec![Step::Wait(Duration::from_secs(2))];
    let mut left = length;
    while left > Duration::ZERO {
        let fault = fault(&mut random, nodes);
        let hold_ms = random.random_range(200..5_000);
        // Deaths are some time apart, so that holders live; all else may follow at once.
        let may_kill = matches!(fault, Fault::Kill { .. });
        let rest = if may_kill || random.random_bool(0.4) { WHOLE } else { Duration::from_millis(random.random_range(0..3_000)) };
        steps.extend(strike(fault, hold_ms, rest));
        left = left.saturating_sub(Duration::from_millis(hold_ms) + rest);
    }
    Plan { name: format!("random {seed}"), nodes, seed, steps, kills_holders: false }
}

fn fault(random: &mut StdRng, nodes: usize) -> Fault {
    let node = random.random_range(0..nodes);
    let mut shuffled: Vec<usize> = (0..nodes).collect();
    shuffled.shuffle(random);
    let (some, others) = shuffled.split_at(nodes.div_ceil(2).min(nodes - 1));
    let kinds = if nodes > 1 { 14 } else { 8 };
    match random.random_range(0..kinds) {
        0 | 1 => Fault::Kill { node },
        2 => Fault::Pause { node },
        3 => Fault::Unplug { node },
        4 => Fault::Lose { percent: random.random_range(1..=20) },
        5 => Fault::Slow { node, kbit: 1_000 },
        6 => Fault::Delay { node, least_ms: 1, most_ms: random.random_range(2..=200), reorders: random.random_bool(0.5) },
        7 => Fault::Hide { node },
        8 => Fault::Leave { node },
        9 | 10 => both_ways(some, others),
        11 => Fault::Cut { from: some.to_vec(), to: others.to_vec() },
        12 => both_ways(&shuffled[..1], &shuffled[1..2]),
        _ => Fault::Split { groups: shuffled.iter().map(|node| vec![*node]).collect() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan_and_every_break_is_mended() {
        let plans =
            (1..=5).flat_map(|nodes| (0..50).map(move |seed| random(seed, nodes, Duration::from_secs(60)))).chain((1..=5).flat_map(named));
        for plan in plans {
            let mut open = Vec::new();
            for step in &plan.steps {
                match step {
                    Step::Break(fault) => {
                        assert!(!open.contains(fault), "{}: {fault} twice", plan.name);
                        open.push(fault.clone());
                    }
                    Step::Mend(fault) => {
                        let at = open.iter().position(|open| open == fault);
                        open.remove(at.unwrap_or_else(|| panic!("{}: {fault} was whole", plan.name)));
                    }
                    Step::Wait(_) => {}
                }
            }
            assert!(open.is_empty(), "{}: {open:?}", plan.name);
        }
        assert_eq!(random(7, 3, Duration::from_secs(60)).steps, random(7, 3, Duration::from_secs(60)).steps);
    }
}
