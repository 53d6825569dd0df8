//! What can be broken.

use std::fmt;

/// Something that is broken for a while. Nodes count from 0 and are called n1, n2 …
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9`; mended by starting it again under its name.
    Kill { node: usize },
    /// SIGTERM; mended by starting it again under its name.
    Leave { node: usize },
    /// SIGTERM, and the run goes on while it leaves; mended as that.
    Depart { node: usize },
    /// SIGSTOP; mended by SIGCONT.
    Pause { node: usize },
    /// Its cable is out: nobody reaches it, and its own system knows.
    Unplug { node: usize },
    /// Packets from each of these to each of those vanish.
    Cut { from: Vec<usize>, to: Vec<usize> },
    /// Nobody in one of these groups reaches anybody in another.
    Split { groups: Vec<Vec<usize>> },
    /// Of all packets between nodes, and between them and their clients, so many of a hundred vanish.
    Lose { percent: u32 },
    /// It sends no more than this.
    Slow { node: usize, kbit: u32 },
    /// What it sends and gets takes so many milliseconds, and may overtake.
    Delay { node: usize, least_ms: u64, most_ms: u64, reorders: bool },
    /// Clients and publishers do not reach it; the other nodes do.
    Hide { node: usize },
}

impl Fault {
    /// Whether two nodes do not reach each other, one of the ways at least.
    pub(crate) fn parts(&self, a: usize, b: usize) -> bool {
        let is_one = |node: &usize| *node == a || *node == b;
        match self {
            Self::Kill { node } | Self::Leave { node } | Self::Pause { node } | Self::Unplug { node } => is_one(node),
            Self::Cut { from, to } => [(a, b), (b, a)].iter().any(|(a, b)| from.contains(a) && to.contains(b)),
            Self::Split { groups } => {
                let group = |node| groups.iter().position(|group| group.contains(&node));
                group(a).is_some() && group(b).is_some() && group(a) != group(b)
            }
            // Others reach it until it is gone.
            Self::Depart { .. } | Self::Lose { .. } | Self::Slow { .. } | Self::Delay { .. } | Self::Hide { .. } => false,
        }
    }

    /// How long it must last before it excuses that something took long, or that nodes took each other for dead; `None`: it never does.
    /// Two packets of a hundred, 50 ms and less than a second are what every network does now and then, and are no fault to be seen.
    pub(crate) fn excuses_after_ms(&self) -> Option<u64> {
        match self {
            Self::Lose { percent: ..=2 } | Self::Delay { most_ms: ..=50, .. } => None,
            Self::Pause { .. } => Some(1_000),
            _ => Some(0),
        }
    }

    /// Whether nodes may take each other for dead by it while both live.
    pub(crate) fn divides(&self) -> bool {
        !matches!(self, Self::Kill { .. } | Self::Leave { .. } | Self::Depart { .. } | Self::Hide { .. })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { node } => write!(f, "kill {}", Name(*node)),
            Self::Leave { node } => write!(f, "leave {}", Name(*node)),
            Self::Depart { node } => write!(f, "depart {}", Name(*node)),
            Self::Pause { node } => write!(f, "pause {}", Name(*node)),
            Self::Unplug { node } => write!(f, "unplug {}", Name(*node)),
            Self::Cut { from, to } => write!(f, "cut {} > {}", Names(from), Names(to)),
            Self::Split { groups } => {
                f.write_str("split")?;
                groups
                    .iter()
                    .enumerate()
                    .try_for_each(|(number, group)| write!(f, "{} {}", if number > 0 { " |" } else { "" }, Names(group)))
            }
            Self::Lose { percent } => write!(f, "lose {percent} %"),
            Self::Slow { node, kbit } => write!(f, "slow {} {kbit} kbit/s", Name(*node)),
            Self::Delay { node, least_ms, most_ms, reorders } => {
                write!(f, "delay {} {least_ms}-{most_ms} ms{}", Name(*node), if *reorders { ", out of order" } else { "" })
            }
            Self::Hide { node } => write!(f, "hide {}", Name(*node)),
        }
    }
}

/// What a node is called.
pub(crate) struct Name(pub(crate) usize);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0 + 1)
    }
}

struct Names<'a>(&'a [usize]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(number, node)| write!(f, "{}{}", if number > 0 { "," } else { "" }, Name(*node)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_parts_those_who_do_not_reach_each_other() {
        let split = Fault::Split { groups: vec![vec![0], vec![1]] };
        assert!(split.parts(0, 1) && split.parts(1, 0) && !split.parts(0, 2), "who is in no group reaches both");
        let cut = Fault::Cut { from: vec![0], to: vec![1, 2] };
        assert!(cut.parts(0, 2) && cut.parts(2, 0) && !cut.parts(1, 2));
        assert!(Fault::Unplug { node: 1 }.parts(0, 1) && !Fault::Unplug { node: 1 }.parts(0, 2));
        assert!(!Fault::Hide { node: 1 }.parts(0, 1) && !Fault::Lose { percent: 20 }.parts(0, 1));
    }

    #[test]
    fn what_every_network_does_excuses_nothing() {
        let delay = |most_ms| Fault::Delay { node: 0, least_ms: 1, most_ms, reorders: true };
        for (mild, strong) in [(Fault::Lose { percent: 2 }, Fault::Lose { percent: 3 }), (delay(50), delay(51))] {
            assert_eq!((mild.excuses_after_ms(), strong.excuses_after_ms()), (None, Some(0)));
        }
        assert_eq!(Fault::Pause { node: 0 }.excuses_after_ms(), Some(1_000));
    }
}
