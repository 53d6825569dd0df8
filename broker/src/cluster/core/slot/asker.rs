//! Who is owed an answer to a publish.

use crate::log::Tag;

/// Somebody who waits for a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A publish of this node, by its number.
    Here(u64),
    /// A forward.
    There { peer: Tag, rid: u64, flight: u32 },
}

impl Asker {
    /// Whether both want the answer to the same publish, which its node sent twice.
    pub(super) fn is_again(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::There { peer, rid, .. }, Self::There { peer: of, rid: other, .. }) => (peer, rid) == (of, other),
            _ => self == other,
        }
    }

    /// Whether both came from one node, and this was asked for first.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Here(number), Self::Here(other)) => number < other,
            (Self::There { peer, rid, .. }, Self::There { peer: of, rid: other, .. }) => peer == of && rid < other,
            _ => false,
        }
    }
}
