//! What tells a pull that there is something to read, and the many of one channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use foldhash::HashMap;
use futures_util::task::AtomicWaker;

/// Tells a pull outside the shards (gRPC, in-process, guests) that there is something to read. Saying it twice is saying it
/// once, and one task waits for it.
#[derive(Debug, Default)]
pub struct Signal {
    raised: AtomicBool,
    waker: AtomicWaker,
}

impl Signal {
    /// Says so.
    pub fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Takes the signal down. Read the log after this, never before: what is appended later raises it again.
    pub fn lower(&self) {
        self.raised.store(false, Ordering::Release);
    }

    /// Whether it is raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Waits until it is raised.
    pub async fn raised(&self) {
        std::future::poll_fn(|context| self.poll_raised(context)).await;
    }

    /// Ready when it is raised.
    pub fn poll_raised(&self, context: &mut Context<'_>) -> Poll<()> {
        // First the waker, then the look: what is raised in between wakes it.
        self.waker.register(context.waker());
        if self.raised.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Signals that are raised together. They are found by where they lie: a crowd that leaves one by one costs each of them the same,
/// however many there are.
#[derive(Debug, Default)]
pub(super) struct Signals(HashMap<usize, Arc<Signal>>);

impl Signals {
    pub(super) fn insert(&mut self, signal: &Arc<Signal>) {
        self.0.insert(place(signal), signal.clone());
    }

    pub(super) fn remove(&mut self, signal: &Arc<Signal>) {
        self.0.remove(&place(signal));
        // Raising goes through all of the table, so that it must not stay as large as the crowd once was.
        if self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to(self.0.len() * 2);
        }
    }

    pub(super) fn raise(&self) {
        self.0.values().for_each(|signal| signal.raise());
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Nothing else can lie there while it is kept.
fn place(signal: &Arc<Signal>) -> usize {
    Arc::as_ptr(signal).addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_that_left_is_not_walked_over_for_the_few_who_stayed() {
        let crowd: Vec<Arc<Signal>> = (0..10_000).map(|_| Arc::default()).collect();
        let mut signals = Signals::default();
        crowd.iter().for_each(|signal| signals.insert(signal));
        assert_eq!(signals.len(), crowd.len());
        for left in &crowd[1..] {
            signals.remove(left);
        }
        assert!(signals.len() == 1 && signals.0.capacity() < 32, "{}", signals.0.capacity());
        signals.raise();
        let raised = |signal: &Signal| signal.raised.load(Ordering::Acquire);
        assert!(raised(&crowd[0]) && !raised(&crowd[1]));
        signals.remove(&crowd[0]);
        assert!(signals.is_empty() && signals.0.capacity() == 0);
    }
}
