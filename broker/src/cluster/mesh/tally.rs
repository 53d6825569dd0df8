//! What went over the links, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::link::Purpose;

/// Frames and bytes of one purpose, in one direction, since the start.
#[derive(Debug, Default)]
struct Count {
    frames: AtomicU64,
    bytes: AtomicU64,
}

/// The counts of all links of a node.
#[derive(Debug, Default)]
pub struct Tally {
    said: [Count; Purpose::ALL.len()],
    heard: [Count; Purpose::ALL.len()],
    writes: AtomicU64,
}

/// One purpose's counts at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames written.
    pub frames_said: u64,
    /// Their bytes, lengths included, before TLS.
    pub bytes_said: u64,
    /// Frames read.
    pub frames_heard: u64,
    /// Their bytes.
    pub bytes_heard: u64,
}

/// What a node cost that did not take what was said to it, over all its connections since the start.
#[derive(Debug, Default)]
pub(super) struct Strain {
    filled: AtomicU64,
    given_up: AtomicU64,
}

impl Strain {
    pub(super) fn filled(&self) {
        self.filled.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn gave_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a queue was full, and how often a connection was given up.
    pub(super) fn read(&self) -> (u64, u64) {
        (self.filled.load(Ordering::Relaxed), self.given_up.load(Ordering::Relaxed))
    }
}

/// The connections to one node, counted since the start however often it came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Made.
    pub made: u64,
    /// Times so much waited for one of them that publishers and states did, too.
    pub filled: u64,
    /// Given up because the node took nothing of what was said to it.
    pub given_up: u64,
}

impl Tally {
    pub(super) fn said(&self, purpose: Purpose, frames: usize, bytes: usize) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        add(&self.said[purpose.index()], frames, bytes);
    }

    pub(super) fn heard(&self, purpose: Purpose, bytes: usize) {
        add(&self.heard[purpose.index()], 1, bytes);
    }

    /// The counts of one purpose.
    #[must_use]
    pub fn of(&self, purpose: Purpose) -> Traffic {
        let (said, heard) = (&self.said[purpose.index()], &self.heard[purpose.index()]);
        Traffic {
            frames_said: said.frames.load(Ordering::Relaxed),
            bytes_said: said.bytes.load(Ordering::Relaxed),
            frames_heard: heard.frames.load(Ordering::Relaxed),
            bytes_heard: heard.bytes.load(Ordering::Relaxed),
        }
    }

    /// Writes to all links: fewer than frames, since what waits goes out together.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }
}

fn add(count: &Count, frames: usize, bytes: usize) {
    count.frames.fetch_add(frames as u64, Ordering::Relaxed);
    count.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
}
