//! The way from the slots into one shard: a bounded queue of entries, one wake-up however many are put in.
//!
//! Pushes happen under a slot's lock, so the order of one slot's entries here is their order in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::log::Entry;

/// One committed entry for one channel of the shard.
#[derive(Debug)]
pub struct Item {
    /// The shard's own number for the channel.
    pub local: u32,
    /// What was committed.
    pub entry: Arc<Entry>,
}

#[derive(Debug, Default)]
struct Queue {
    items: Vec<Item>,
    /// Channels of which an entry found the queue full. Each is here at most once, so this is bounded by the channels.
    missed: Vec<u32>,
    /// The shard is gone.
    closed: bool,
}

/// One shard's inbox.
#[derive(Debug)]
pub struct Inbox {
    queue: Mutex<Queue>,
    /// Entries that may wait; one more is a miss.
    capacity: usize,
    /// Length of the queue plus what the shard took but has not delivered to everyone yet.
    depth: AtomicUsize,
    /// As in the queue, for those who only ask whether there is room.
    closed: AtomicBool,
    /// The shard has been told and has not looked yet.
    told: AtomicBool,
    wake: Notify,
    room: Notify,
}

impl Inbox {
    /// An inbox for at most `capacity` entries.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            queue: Mutex::default(),
            capacity,
            depth: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            told: AtomicBool::new(false),
            wake: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Puts an entry in. `false` when it is full: the shard is told to read the log for this channel instead, and the
    /// caller must push nothing more for the channel until the shard did.
    pub(super) fn push(&self, local: u32, entry: Arc<Entry>) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed {
            return true;
        }
        if queue.items.len() >= self.capacity {
            queue.missed.push(local);
            return false;
        }
        queue.items.push(Item { local, entry });
        // Before the lock is given back: a shard that took and finished the entry first would count below zero, and
        // publishers would wait for room that nobody tells them of.
        self.depth.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Tells the shard to read the log for this channel, as if an entry had not fitted.
    pub(super) fn miss(&self, local: u32) {
        let mut queue = self.queue.lock();
        if !queue.closed {
            queue.missed.push(local);
        }
    }

    /// Wakes the shard, once for any number of pushes.
    pub(super) fn tell(&self) {
        if !self.told.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// Wakes the shard for work of its own: a session that may go on reading the log.
    pub fn rouse(&self) {
        self.tell();
    }

    /// Whether something was put in since the last look. For the shard.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    /// Waits until something was put in. For the shard.
    pub async fn told(&self) {
        self.wake.notified().await;
    }

    /// Takes everything: appends the entries to `items` and the channels with misses to `missed`. For the shard.
    pub fn drain(&self, items: &mut Vec<Item>, missed: &mut Vec<u32>) {
        self.told.store(false, Ordering::Release);
        let mut queue = self.queue.lock();
        if items.is_empty() {
            std::mem::swap(items, &mut queue.items);
        } else {
            items.append(&mut queue.items);
        }
        missed.append(&mut queue.missed);
    }

    /// The shard has done with `count` entries that it took.
    pub fn done(&self, count: usize) {
        let before = self.depth.fetch_sub(count, Ordering::AcqRel);
        if before > self.high_mark() && before - count <= self.high_mark() {
            self.room.notify_waiters();
        }
    }

    /// The shard is gone: what was for it is let go, and nobody waits for it any more.
    pub fn close(&self) {
        let let_go = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.items)
        };
        // Not under the lock: freeing is work.
        drop(let_go);
        self.closed.store(true, Ordering::Release);
        self.room.notify_waiters();
    }

    /// Entries waiting here or taken and not yet delivered to everyone.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// Above this, publishers wait before they append. The rest of the capacity is for those already past the check.
    fn high_mark(&self) -> usize {
        self.capacity / 2
    }

    pub(super) fn has_room(&self) -> bool {
        self.depth() <= self.high_mark() || self.closed.load(Ordering::Acquire)
    }

    /// Waits for room. The caller bounds the wait.
    pub(super) async fn room(&self) {
        loop {
            let freed = self.room.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.has_room() {
                return;
            }
            freed.await;
        }
    }
}
