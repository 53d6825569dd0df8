//! What all parts of one run share: the nodes, and one history on one clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::chaos::history::{Event, Record};
use crate::chaos::node::Seat;

/// Most events of one run: what does not fit would not be judged, so the run fails.
const RECORDS_MAX: usize = 4_000_000;

/// Shared by publishers, clients and whoever breaks things.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seats: Vec<Seat>,
    pub(crate) channels: Vec<String>,
    began: Instant,
    records: Mutex<Vec<Record>>,
    publishing: AtomicBool,
    listening: AtomicBool,
}

impl World {
    pub(crate) fn new(seats: Vec<Seat>, channels: Vec<String>) -> Self {
        let (publishing, listening) = (AtomicBool::new(true), AtomicBool::new(true));
        Self { seats, channels, began: Instant::now(), records: Mutex::default(), publishing, listening }
    }

    /// Writes down that something happens now.
    pub(crate) fn record(&self, event: Event) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the order of the list is the order of time.
        let at = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        if records.len() < RECORDS_MAX {
            records.push(Record { at, event });
        }
    }

    /// Everything so far, after which the history is empty.
    pub(crate) fn take(&self) -> anyhow::Result<Vec<Record>> {
        let records = std::mem::take(&mut *self.records.lock().unwrap_or_else(PoisonError::into_inner));
        anyhow::ensure!(records.len() < RECORDS_MAX, "more than {RECORDS_MAX} events: make the run shorter");
        Ok(records)
    }

    pub(crate) fn seat(&self, node: usize) -> &Seat {
        &self.seats[node]
    }

    pub(crate) fn is_publishing(&self) -> bool {
        self.publishing.load(Ordering::Relaxed)
    }

    pub(crate) fn stop_publishing(&self) {
        self.publishing.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }

    pub(crate) fn stop_listening(&self) {
        self.listening.store(false, Ordering::Relaxed);
    }
}
