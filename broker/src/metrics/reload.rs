//! Reloads of the configuration.

use std::time::SystemTime;

use super::Metrics;
use super::cell::{Cell, Writers};

/// What came of them.
#[derive(Debug, Default)]
pub(super) struct ReloadCells {
    pub(super) applied: Cell,
    pub(super) refused: Cell,
    /// 1 while the configuration that is wanted cannot be used.
    pub(super) is_refused: Cell,
    /// Keys that are wanted otherwise and need a restart.
    pub(super) waiting: Cell,
    /// Seconds since 1970.
    pub(super) applied_at: Cell,
}

impl Metrics {
    /// Another configuration is in effect, but for so many keys.
    pub fn reloaded(&self, waiting: usize) {
        let cells = &self.reloads;
        cells.applied.add(Writers::Many, 1);
        cells.is_refused.set(0);
        cells.waiting.set(waiting as u64);
        cells.applied_at.set(SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()));
    }

    /// A configuration could not be used; the one before is in effect.
    pub fn reload_refused(&self) {
        self.reloads.refused.add(Writers::Many, 1);
        self.reloads.is_refused.set(1);
    }
}
