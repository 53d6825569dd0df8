//! What one slice of work delivered, booked at once: one clock read and a few additions per slice, not per delivery.

use std::time::Duration;

use crate::metrics::{Front, ShardMetrics};

#[derive(Debug, Default)]
pub(super) struct Tally {
    /// When messages were asked for, and how many sessions got each.
    latency: Vec<(Front, Duration, u64)>,
    delivered: Vec<(Front, u64, u64)>,
    writes: u64,
}

impl Tally {
    /// One system call.
    pub(super) fn wrote(&mut self) {
        self.writes += 1;
    }

    /// `messages` in `bytes` reached a socket.
    pub(super) fn delivered(&mut self, front: Front, messages: u64, bytes: u64) {
        match self.delivered.last_mut() {
            Some((known, sum, size)) if *known == front => {
                *sum += messages;
                *size += bytes;
            }
            _ => self.delivered.push((front, messages, bytes)),
        }
    }

    /// A message asked for at `asked` reached `sessions` sockets.
    pub(super) fn latency(&mut self, front: Front, asked: Duration, sessions: u64) {
        self.latency.push((front, asked, sessions));
    }

    /// Books everything as of `now`.
    pub(super) fn book(&mut self, metrics: &ShardMetrics, now: Duration) {
        for (front, asked, sessions) in self.latency.drain(..) {
            metrics.latency(front, now.saturating_sub(asked), sessions);
        }
        for (front, messages, bytes) in self.delivered.drain(..) {
            metrics.delivered(front, messages, bytes);
        }
        metrics.wrote(std::mem::take(&mut self.writes));
    }
}
