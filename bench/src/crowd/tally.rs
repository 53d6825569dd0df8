//! What one thread of a crowd has seen, and how it tells the others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hdrhistogram::Histogram;

use super::{Shared, histogram};
use crate::check::{Checker, Fault, Rules};
use crate::clock::micros;
use crate::payload::Said;

pub(super) struct Tally {
    shared: Arc<Shared>,
    number: usize,
    /// Whether everyone must see every message from the first, so that it can be told which have reached all.
    from_the_first: bool,
    pub(super) latency: Histogram<u64>,
    complete: Complete,
    /// Of the current turn.
    turn: Turn,
}

#[derive(Default)]
struct Turn {
    bytes: u64,
    received: u64,
    progress: u64,
    completed: bool,
}

/// Which messages all subscribers of this thread have.
struct Complete {
    /// Counts of the messages after `upto`.
    counts: VecDeque<u32>,
    upto: u64,
    needed: u32,
}

impl Complete {
    /// One more has this message. `true` when `upto` moved.
    fn count(&mut self, number: u64) -> bool {
        let at = number.saturating_sub(self.upto + 1) as usize;
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
        let before = self.upto;
        while self.counts.front() == Some(&self.needed) {
            self.counts.pop_front();
            self.upto += 1;
        }
        self.upto > before
    }
}

impl Tally {
    /// For the thread of this number, which holds so many connections.
    pub(super) fn new(shared: &Arc<Shared>, number: usize, connections: usize, from_the_first: bool) -> anyhow::Result<Self> {
        let complete = Complete { counts: VecDeque::new(), upto: 0, needed: connections as u32 };
        Ok(Self { shared: shared.clone(), number, from_the_first, latency: histogram()?, complete, turn: Turn::default() })
    }

    /// A connection listens from now on.
    pub(super) fn opened(&self) {
        let gauge = &self.shared.gauges[self.number];
        gauge.opened.fetch_add(1, Ordering::Release);
        gauge.last_at.store(micros(), Ordering::Relaxed);
    }

    /// So many bytes were read.
    pub(super) fn read(&mut self, bytes: usize) {
        self.turn.bytes += bytes as u64;
    }

    /// Checks what one connection was told, and counts it.
    pub(super) fn take(&mut self, checker: &mut Checker, rules: &Rules, news: &[u8]) -> Result<(), Fault> {
        let now = micros();
        let timed_from = self.shared.timed_from.load(Ordering::Relaxed);
        let Self { from_the_first, latency, complete, turn, .. } = self;
        checker.take(rules, news, |said: Said, moved: u64| {
            turn.received += 1;
            turn.progress += moved;
            turn.completed |= *from_the_first && complete.count(said.number);
            if said.due >= timed_from {
                latency.saturating_record(now.saturating_sub(said.due));
            }
        })
    }

    /// Tells what the turn brought.
    pub(super) fn tell(&mut self) {
        let Turn { bytes, received, progress, completed } = std::mem::take(&mut self.turn);
        let gauge = &self.shared.gauges[self.number];
        gauge.bytes.fetch_add(bytes, Ordering::Relaxed);
        if received > 0 {
            gauge.last_at.store(micros(), Ordering::Relaxed);
            gauge.received.fetch_add(received, Ordering::Release);
            gauge.progress.fetch_add(progress, Ordering::Release);
        }
        if completed {
            gauge.completed.store(self.complete.upto, Ordering::Release);
            if let Some(publisher) = &*self.shared.publisher() {
                publisher.unpark();
            }
        }
    }
}
