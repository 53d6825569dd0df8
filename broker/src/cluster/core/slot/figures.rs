//! One slot's part in the cluster in figures, for who watches.

use std::time::Duration;

use super::{Replica, Role};
use crate::log::Tag;

/// What a node is for one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// Nothing that would have to be kept.
    #[default]
    None,
    /// It orders it.
    Home,
    /// It is about to order it, and asks the others what they hold.
    Claiming,
    /// It holds a whole copy of it.
    Copy,
    /// It follows single channels of it.
    Edge,
}

/// One slot at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// What this node is for it.
    pub part: Part,
    /// It is the home, and no other node holds what it commits.
    pub is_solo: bool,
    /// Since when a follower has owed an acknowledgement.
    pub owed_since: Option<Duration>,
    /// Messages of other branches that wait to be taken over.
    pub orphans: usize,
    /// Publishes of this node that are not answered.
    pub publishes: usize,
    /// Their bytes.
    pub publish_bytes: usize,
    /// Since when the oldest of them has waited.
    pub waiting_since: Option<Duration>,
    /// Bytes of publishes that wait at this home for a follower.
    pub deferred_bytes: usize,
}

impl Replica {
    /// Its figures.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let part = match &self.role {
            Role::Home(_) => Part::Home,
            Role::Claiming(_) => Part::Claiming,
            Role::Guest if self.holds() => Part::Copy,
            Role::Guest if self.is_needed() => Part::Edge,
            Role::Guest => Part::None,
        };
        let (publishes, publish_bytes, waiting_since) = self.publishes.figures();
        let mut figures =
            Figures { part, orphans: self.orphans.iter().count(), publishes, publish_bytes, waiting_since, ..Figures::default() };
        if let Role::Home(home) = &self.role {
            figures.deferred_bytes = home.deferred.bytes();
            figures.is_solo = home.counted().next().is_none();
            figures.owed_since = home.flows.iter().filter(|flow| flow.channels.is_none()).filter_map(|flow| flow.owes).min();
        }
        figures
    }

    /// The index behind which this home has what no other node acknowledged, if there may be something.
    #[must_use]
    pub fn alone_after(&self) -> Option<u64> {
        if let Role::Home(home) = &self.role { home.alone_after } else { None }
    }

    /// Nodes that hold a whole copy of what this home orders, or should, and the index up to which each has acknowledged it: 0 for one that
    /// has not asked for it yet.
    pub fn copies(&self) -> impl Iterator<Item = (Tag, u64)> {
        let home = if let Role::Home(home) = &self.role { Some(home) } else { None };
        let flows = || home.into_iter().flat_map(|home| &home.flows).filter(|flow| flow.channels.is_none());
        let wanted = self.place.filter(|place| home.is_some() && place.home == self.me).and_then(|place| place.follower);
        let missing = wanted.filter(|follower| !flows().any(|flow| flow.to == *follower));
        flows().map(|flow| (flow.to, flow.acked)).chain(missing.map(|follower| (follower, 0)))
    }
}
