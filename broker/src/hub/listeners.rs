//! Who listens to one channel on this node: shards, each with any number of sessions, and pulls outside the shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use smallvec::SmallVec;

/// A shard that has sessions on the channel.
#[derive(Debug)]
pub(super) struct ShardListener {
    pub(super) shard: usize,
    /// The shard's own number for the channel.
    pub(super) local: u32,
    /// The inbox was full: nothing is pushed until the shard has read the log.
    pub(super) missed: bool,
}

/// The listeners of one channel, kept under its slot's lock.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    pub(super) shards: SmallVec<[ShardListener; 2]>,
    pub(super) signals: Vec<Arc<Signal>>,
}

impl Listeners {
    pub(super) fn is_empty(&self) -> bool {
        self.shards.is_empty() && self.signals.is_empty()
    }
}

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
