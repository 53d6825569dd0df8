//! What waits to be written to one connection: a bounded queue, emptied in as few writes as possible.

use std::collections::VecDeque;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Something to be said to another node.
pub trait Letter: Send + 'static {
    /// About what it takes while it waits and on the wire.
    fn bytes(&self) -> usize;
    /// Appends its encoding, which is at most [`super::super::link::FRAME_MAX`] bytes long.
    fn write(&self, to: &mut BytesMut);
}

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// It goes out unless the connection breaks first.
    Queued,
    /// It does, but too much waits: who is told so says nothing more that can be read from a log later, until there is room.
    Behind,
    /// There is no such connection (any more).
    Closed,
}

/// Where a queue is full, and where it has room again.
#[derive(Clone, Copy, Debug)]
pub struct OutboxBounds {
    /// Above this many bytes posters are told to hold back. Above twice as many the connection is given up.
    pub high: usize,
    /// Below this many, after it was full, there is room again.
    pub low: usize,
}

impl Default for OutboxBounds {
    fn default() -> Self {
        Self { high: 8 << 20, low: 1 << 20 }
    }
}

#[derive(Debug)]
struct Queue<L> {
    letters: VecDeque<L>,
    /// Of the letters in the queue and of those taken and not yet written.
    bytes: usize,
    /// Somebody was told to hold back since there was room last.
    is_full: bool,
    is_closed: bool,
}

/// The queue of one connection.
#[derive(Debug)]
pub(super) struct Outbox<L> {
    queue: Mutex<Queue<L>>,
    bounds: OutboxBounds,
    wake: Notify,
}

impl<L: Letter> Outbox<L> {
    pub(super) fn new(bounds: OutboxBounds) -> Self {
        let queue = Queue { letters: VecDeque::new(), bytes: 0, is_full: false, is_closed: false };
        Self { queue: Mutex::new(queue), bounds, wake: Notify::new() }
    }

    /// Puts a letter in, behind all others. Never waits.
    pub(super) fn post(&self, letter: L) -> Posted {
        let mut queue = self.queue.lock();
        if queue.is_closed {
            return Posted::Closed;
        }
        if queue.bytes > self.bounds.high * 2 {
            // The peer takes nothing and they go on all the same: it must begin anew.
            queue.is_closed = true;
            drop(queue);
            self.wake.notify_one();
            return Posted::Closed;
        }
        queue.bytes += letter.bytes();
        queue.is_full |= queue.bytes > self.bounds.high;
        let posted = if queue.is_full { Posted::Behind } else { Posted::Queued };
        let was_empty = queue.letters.is_empty();
        queue.letters.push_back(letter);
        drop(queue);
        if was_empty {
            self.wake.notify_one();
        }
        posted
    }

    /// Waits for letters and moves about `bytes` of them, one at least, into `taken`. Returns what they are booked with;
    /// `None` when the connection is to be given up.
    pub(super) async fn take(&self, taken: &mut Vec<L>, bytes: usize) -> Option<usize> {
        loop {
            {
                let mut queue = self.queue.lock();
                if queue.is_closed {
                    return None;
                }
                let mut booked = 0;
                while booked < bytes
                    && let Some(letter) = queue.letters.pop_front()
                {
                    booked += letter.bytes();
                    taken.push(letter);
                }
                if !taken.is_empty() {
                    if !queue.letters.is_empty() {
                        self.wake.notify_one();
                    }
                    return Some(booked);
                }
            }
            self.wake.notified().await;
        }
    }

    /// What was taken is written. `true` when there is room again after somebody was told to hold back.
    pub(super) fn written(&self, booked: usize) -> bool {
        let mut queue = self.queue.lock();
        queue.bytes = queue.bytes.saturating_sub(booked);
        let has_room_again = queue.is_full && queue.bytes < self.bounds.low;
        queue.is_full &= !has_room_again;
        has_room_again
    }

    /// Nothing more is taken, and what waits is let go.
    pub(super) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.is_closed = true;
        let let_go = std::mem::take(&mut queue.letters);
        queue.bytes = 0;
        drop(queue);
        drop(let_go);
        self.wake.notify_one();
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.queue.lock().bytes
    }

    /// Whether somebody was told to hold back and there is no room yet.
    pub(super) fn is_full(&self) -> bool {
        self.queue.lock().is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Note(usize);

    impl Letter for Note {
        fn bytes(&self) -> usize {
            self.0
        }

        fn write(&self, to: &mut BytesMut) {
            to.resize(to.len() + self.0, 0);
        }
    }

    fn outbox() -> Outbox<Note> {
        Outbox::new(OutboxBounds { high: 100, low: 20 })
    }

    async fn take(outbox: &Outbox<Note>, bytes: usize) -> Option<(Vec<usize>, usize)> {
        let mut taken = Vec::new();
        let booked = outbox.take(&mut taken, bytes).await?;
        Some((taken.into_iter().map(|note| note.0).collect(), booked))
    }

    #[tokio::test]
    async fn what_waits_goes_out_together_and_in_order() {
        let outbox = outbox();
        for bytes in [1, 2, 3, 4] {
            assert_eq!(outbox.post(Note(bytes)), Posted::Queued);
        }
        assert_eq!(take(&outbox, 3).await, Some((vec![1, 2], 3)));
        assert_eq!(take(&outbox, 100).await, Some((vec![3, 4], 7)));
        assert_eq!(outbox.bytes(), 10, "taken is not written");
        assert!(!outbox.written(10));
        assert_eq!(outbox.bytes(), 0);
    }

    #[tokio::test]
    async fn who_posts_to_a_full_queue_is_told_to_hold_back_and_once_that_there_is_room() {
        let outbox = outbox();
        assert_eq!(outbox.post(Note(100)), Posted::Queued);
        assert_eq!(outbox.post(Note(1)), Posted::Behind);
        let (_, booked) = take(&outbox, 101).await.unwrap();
        assert!(!outbox.written(80));
        assert_eq!(outbox.post(Note(1)), Posted::Behind, "until there is room, not until it is a little less");
        let (_, more) = take(&outbox, 1).await.unwrap();
        assert!(outbox.written(booked - 80 + more));
        assert!(!outbox.written(0));
        assert!(!outbox.is_full());
    }

    #[tokio::test]
    async fn who_takes_nothing_at_all_is_given_up_at_twice_the_bound() {
        let outbox = outbox();
        for _ in 0..4 {
            outbox.post(Note(60));
        }
        assert_eq!(outbox.post(Note(1)), Posted::Closed);
        assert_eq!(take(&outbox, 1).await, None);
        outbox.close();
        assert_eq!((outbox.bytes(), outbox.post(Note(1))), (0, Posted::Closed));
    }
}
