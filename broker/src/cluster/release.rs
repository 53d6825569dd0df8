//! What a release speaks with other nodes, and what all nodes of a cluster have in common.
//!
//! While a cluster is upgraded, releases work together. What goes between them only grows; two numbers say how far.
//! - The *protocol* changes when something must be understood: a record of the log, say. A link speaks the newest one that both
//!   ends know, and a node that has none in common with any node of the cluster is refused.
//! - A *feature* is what a node may do without: whoever lacks it loses nothing. It is used towards a node that has it too, or, when it
//!   concerns all of them, once every node has it. Bits that are not known here are of a later release.

/// The oldest and the newest protocol between nodes that this release speaks.
const PROTOCOL: (u32, u32) = (1, 1);
/// What this release can do beyond that, one bit each; none so far.
const FEATURES: u64 = 0;

/// What a release speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The oldest and the newest protocol.
    pub protocol: (u32, u32),
    /// What it can do beyond that, one bit each.
    pub features: u64,
}

impl Default for Release {
    /// This one.
    fn default() -> Self {
        Self { protocol: PROTOCOL, features: FEATURES }
    }
}

/// What several releases have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// The newest protocol that all of them speak.
    pub protocol: u32,
    /// What all of them can do.
    pub features: u64,
}

impl Release {
    /// What two releases have in common; `None` when they do not understand each other.
    ///
    /// Where every two of several understand each other, there is a protocol that all of them speak: ranges that overlap in pairs have
    /// a point in common.
    #[must_use]
    pub fn common(self, other: Self) -> Option<Common> {
        let protocol = self.protocol.1.min(other.protocol.1);
        let is_spoken = |of: Self| (of.protocol.0..=of.protocol.1).contains(&protocol);
        (is_spoken(self) && is_spoken(other)).then_some(Common { protocol, features: self.features & other.features })
    }

    /// What this node and all others have in common. Of one whose release is not known yet nothing is expected.
    #[must_use]
    pub fn common_of_all(self, others: impl Iterator<Item = Option<Self>>) -> Common {
        let me = Common { protocol: self.protocol.1, features: self.features };
        others.fold(me, |common, other| {
            let other = other.unwrap_or(Self { protocol: (0, self.protocol.0), features: 0 });
            // Never below what this node speaks: whoever is so far away is not let in.
            let protocol = common.protocol.min(other.protocol.1).max(self.protocol.0);
            Common { protocol, features: common.features & other.features }
        })
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.protocol.0, self.protocol.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(oldest: u32, newest: u32, features: u64) -> Release {
        Release { protocol: (oldest, newest), features }
    }

    #[test]
    fn two_releases_speak_the_newest_protocol_that_both_know_and_use_what_both_can() {
        let cases = [
            (release(1, 1, 0), release(1, 2, 0b11), Some((1, 0))),
            (release(2, 4, 0b110), release(3, 9, 0b011), Some((4, 0b010))),
            (release(1, 3, u64::MAX), release(2, 2, 1 << 63), Some((2, 1 << 63))),
            (release(1, 1, 1), release(2, 3, 1), None),
            // Nonsense from outside.
            (release(1, 3, 0), release(3, 2, 0), None),
        ];
        for (a, b, expected) in cases {
            let expected = expected.map(|(protocol, features)| Common { protocol, features });
            assert_eq!((a.common(b), b.common(a)), (expected, expected), "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_cluster_uses_only_what_every_node_of_it_announced() {
        let me = release(1, 3, 0b111);
        let all = |others: &[Option<Release>]| {
            let Common { protocol, features } = me.common_of_all(others.iter().copied());
            (protocol, features)
        };
        assert_eq!(all(&[]), (3, 0b111));
        assert_eq!(all(&[Some(release(2, 4, 0b1110)), Some(release(1, 3, 0b011))]), (3, 0b010));
        assert_eq!(all(&[Some(release(1, 2, 0b111)), Some(release(2, 3, 0b111))]), (2, 0b111));
        assert_eq!(all(&[Some(release(1, 3, 0b111)), None]), (1, 0), "who has not said what it can is asked for nothing");
    }
}
