//! One slot's part in the cluster in figures, for who watches.

use std::time::Duration;

use super::{Replica, Role};
use crate::log::SlotLog;

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
    /// Records that the home has and a follower has not acknowledged.
    pub lag: u64,
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
    pub fn figures(&self, log: &SlotLog) -> Figures {
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
            let held = home.counted().map(|flow| flow.acked).min();
            figures.lag = held.map_or(0, |held| log.head().idx.saturating_sub(held));
            figures.owed_since = home.flows.iter().filter(|flow| flow.channels.is_none()).filter_map(|flow| flow.owes).min();
        }
        figures
    }
}
