//! All slots in figures: one walk, for a scrape. Each slot is locked for as long as it takes to read a few numbers.

use std::time::Duration;

use super::Hub;
use crate::cluster::core::Part;
use crate::log::{Lack, Tag};

/// What this node is for its slots, and what waits in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotSums {
    /// Slots that it orders.
    pub home: u64,
    /// Slots that it is about to order.
    pub claiming: u64,
    /// Slots of which it holds a whole copy.
    pub copy: u64,
    /// Slots of which it follows single channels.
    pub edge: u64,
    /// Slots that it orders and no other node holds.
    pub solo: u64,
    /// Records that a copy lacks, of the slot that lacks most.
    pub lag: u64,
    /// How far the copies of each node that holds some, or should, are behind what this node orders.
    pub lags: Vec<(Tag, Lag)>,
    /// For how long a follower has owed an acknowledgement.
    pub owed_for: Duration,
    /// Messages of other branches that wait to be taken over.
    pub orphans: u64,
    /// Publishes of this node that are not answered.
    pub publishes: u64,
    /// Their bytes.
    pub publish_bytes: u64,
    /// For how long the oldest of them has waited.
    pub waiting_for: Duration,
}

impl SlotSums {
    fn lag_of(&mut self, holder: Tag) -> &mut Lag {
        let at = self.lags.iter().position(|(known, _)| *known == holder).unwrap_or(self.lags.len());
        if at == self.lags.len() {
            self.lags.push((holder, Lag::default()));
        }
        &mut self.lags[at].1
    }
}

/// How far one node's copies are behind those who order what they copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records that it has not acknowledged, of all slots together: no more than are kept.
    pub records: u64,
    /// Slots in which there are such.
    pub slots: u64,
    /// How long ago the oldest message among them got its place.
    pub oldest: Duration,
}

impl Lag {
    fn add(&mut self, lack: Lack, now: Duration) {
        self.records += lack.records;
        self.slots += 1;
        self.oldest = self.oldest.max(lack.oldest.map_or(Duration::ZERO, |at| now.saturating_sub(at)));
    }
}

impl Hub {
    /// The sums over all slots in use. All zero on a node that is alone.
    #[must_use]
    pub fn slot_sums(&self) -> SlotSums {
        let mut sums = SlotSums::default();
        if !self.is_shared() {
            return sums;
        }
        let now = self.clock.mono();
        let since = |at: Option<Duration>| at.map_or(Duration::ZERO, |at| now.saturating_sub(at));
        for place in &self.slots {
            let place = place.lock();
            let Some((part, log)) = place.as_ref().and_then(|state| Some((state.part.as_ref()?, &state.log))) else { continue };
            let figures = part.figures();
            for (holder, held) in part.copies() {
                let lag = sums.lag_of(holder);
                if let Some(lack) = log.lack(held) {
                    lag.add(lack, now);
                    sums.lag = sums.lag.max(lack.records);
                }
            }
            drop(place);
            match figures.part {
                Part::Home => sums.home += 1,
                Part::Claiming => sums.claiming += 1,
                Part::Copy => sums.copy += 1,
                Part::Edge => sums.edge += 1,
                Part::None => {}
            }
            sums.solo += u64::from(figures.is_solo);
            sums.owed_for = sums.owed_for.max(since(figures.owed_since));
            sums.orphans += figures.orphans as u64;
            sums.publishes += figures.publishes as u64;
            sums.publish_bytes += figures.publish_bytes as u64;
            sums.waiting_for = sums.waiting_for.max(since(figures.waiting_since));
        }
        sums
    }
}
