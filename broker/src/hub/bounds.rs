//! The bounds of the hub, which a reload may change while publishes look at them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The bounds of the hub.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Channels with state at one time.
    pub channels: usize,
    /// Of these, channels that somebody listens to and nobody ever published to.
    pub channels_silent: usize,
    /// Bytes of all histories together.
    pub history_bytes: u64,
    /// Publish ids remembered at one time.
    pub dedupe_ids: u64,
}

/// The bounds as of now. Each is a number by itself, since none depends on another one: every publish looks at two of them,
/// and a load costs nothing where a shared handle costs more than the rest of the look.
#[derive(Debug)]
pub(super) struct Current {
    channels: AtomicUsize,
    channels_silent: AtomicUsize,
    history_bytes: AtomicU64,
    dedupe_ids: AtomicU64,
}

impl Current {
    pub(super) fn new(bounds: Bounds) -> Self {
        let Bounds { channels, channels_silent, history_bytes, dedupe_ids } = bounds;
        Self {
            channels: channels.into(),
            channels_silent: channels_silent.into(),
            history_bytes: history_bytes.into(),
            dedupe_ids: dedupe_ids.into(),
        }
    }

    pub(super) fn set(&self, bounds: Bounds) {
        self.channels.store(bounds.channels, Ordering::Relaxed);
        self.channels_silent.store(bounds.channels_silent, Ordering::Relaxed);
        self.history_bytes.store(bounds.history_bytes, Ordering::Relaxed);
        self.dedupe_ids.store(bounds.dedupe_ids, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Bounds {
        Bounds {
            channels: self.channels.load(Ordering::Relaxed),
            channels_silent: self.channels_silent.load(Ordering::Relaxed),
            history_bytes: self.history_bytes.load(Ordering::Relaxed),
            dedupe_ids: self.dedupe_ids.load(Ordering::Relaxed),
        }
    }
}
