//! What a connection was given and its peer has not taken. HTTP/2 keeps that for as long as the peer keeps its windows closed and answers
//! pings, and what nobody asks for waits before it. So all of it counts, among the unread answers of the whole node, until it is
//! written; and of what is made before it is asked for a connection has only so much.
//!
//! Calls wait for room of their own, and streams never for that of others: each has a little for itself. So who reads one stream gets on
//! with it, whatever else he leaves unread.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, ready};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::outgoing::{HandedOver, Outgoing};
use super::seat::Seat;
use crate::limits::Crowd;

/// Held and not more is part of what every connection costs.
const FREE_BYTES: usize = 16 << 10;
/// Most bytes of a connection for what is made before it is asked for, in calls and in streams each: some of the largest pages.
const ROOM_BYTES_MAX: usize = 16 << 20;
/// And at most such a part of what all may hold, so that one connection does not push out all others.
const ROOM_SHARE: usize = 16;
/// What a stream has for itself.
pub(super) const SHARE_BYTES: usize = 64 << 10;
/// What room is given in.
const PERMIT_BYTES: usize = 1 << 10;

/// What the peer of one connection has not taken.
#[derive(Debug)]
pub(super) struct Unread {
    everyone: Arc<Crowd>,
    /// In bytes; and what it counts for. Who changes one looks at the other then, in one order for all.
    held: AtomicUsize,
    weight: AtomicUsize,
    /// Among all that is unread; none while it is little.
    seat: Mutex<Seat>,
    /// It had to make room for others, and is over.
    is_pushed_out: AtomicBool,
    calls: Pool,
    streams: Pool,
}

/// Room that is given away and comes back.
#[derive(Clone, Debug)]
struct Pool {
    left: Arc<Semaphore>,
    /// All of it.
    permits: usize,
}

impl Pool {
    fn new(bytes: usize) -> Self {
        let permits = bytes.div_ceil(PERMIT_BYTES).max(1);
        Self { left: Arc::new(Semaphore::new(permits)), permits }
    }

    /// One thing that is larger than all of it may have it all.
    fn permits(&self, bytes: usize) -> u32 {
        bytes.div_ceil(PERMIT_BYTES).clamp(1, self.permits) as u32
    }

    /// `None` of a pool that is closed, which nobody does.
    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.left.clone().acquire_many_owned(self.permits(bytes)).await.ok()
    }

    fn take_now(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.left.clone().try_acquire_many_owned(self.permits(bytes)).ok()
    }
}

impl Unread {
    /// Of a new connection, among everyone, who are bounded in bytes.
    pub(super) fn new(everyone: Arc<Crowd>) -> Arc<Self> {
        let [calls, streams] = [(); 2].map(|()| Pool::new((everyone.bound() / ROOM_SHARE).min(ROOM_BYTES_MAX)));
        let (held, weight, seat, is_pushed_out) = Default::default();
        Arc::new(Self { everyone, held, weight, seat, is_pushed_out, calls, streams })
    }

    /// So many bytes more, until what this gives is dropped.
    pub(super) fn hold(self: &Arc<Self>, bytes: usize) -> Held {
        self.hold_in(None, bytes)
    }

    fn hold_in(self: &Arc<Self>, room: Option<OwnedSemaphorePermit>, bytes: usize) -> Held {
        let held = self.held.fetch_add(bytes, Ordering::SeqCst) + bytes;
        if held > FREE_BYTES.max(self.weight.load(Ordering::SeqCst)) {
            self.weigh();
        }
        Held { unread: self.clone(), bytes, _room: room }
    }

    /// Room for an answer of at most so many bytes; waits until the peer has taken enough of those before. One larger answer may stand
    /// alone.
    pub(super) async fn room(self: &Arc<Self>, bytes: usize) -> Room {
        Room { unread: self.clone(), permit: self.calls.take(bytes).await }
    }

    /// What one of its streams may have.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { unread: self.clone(), own: Pool::new(SHARE_BYTES) }
    }

    /// Resolves when it must make room for others.
    pub(super) async fn pushed_out(&self) {
        poll_fn(|context| {
            ready!(self.seat.lock().poll_pushed_out(context));
            self.is_pushed_out.store(true, Ordering::Relaxed);
            Poll::Ready(())
        })
        .await;
    }

    /// Whether that is why it is over.
    pub(super) fn is_pushed_out(&self) -> bool {
        self.is_pushed_out.load(Ordering::Relaxed)
    }

    fn release(&self, bytes: usize) {
        let held = self.held.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        if held < self.weight.load(Ordering::SeqCst) / 4 {
            self.weigh();
        }
    }

    /// In steps, so that most pieces change nothing. Who grows or shrinks is the last to go: he has begun, or goes on.
    fn weigh(&self) {
        let mut seat = self.seat.lock();
        // What changes meanwhile does not wait for the lock, and may have looked at the weight of before.
        while let Some(weight) = self.other_weight() {
            if !seat.weigh(&self.everyone, weight) {
                return;
            }
            self.weight.store(weight, Ordering::SeqCst);
        }
    }

    /// What it should count for, if that is not what it does.
    fn other_weight(&self) -> Option<usize> {
        let (held, weight) = (self.held.load(Ordering::SeqCst), self.weight.load(Ordering::SeqCst));
        let fits = held <= weight.max(FREE_BYTES) && held >= weight / 4;
        (!fits).then(|| if held > FREE_BYTES { held.next_power_of_two() } else { 0 })
    }
}

/// What one stream may have: a little for itself, and of the room of the connection what others leave.
#[derive(Debug)]
pub(super) struct Share {
    unread: Arc<Unread>,
    own: Pool,
}

impl Share {
    /// So many bytes more, when there is room for them.
    pub(super) async fn hold(&self, bytes: usize) -> Held {
        let permit = tokio::select! {
            biased;
            own = self.own.take(bytes) => own,
            others = self.unread.streams.take(bytes) => others,
        };
        self.unread.hold_in(permit, bytes)
    }

    /// The same at once, or not at all.
    pub(super) fn hold_now(&self, bytes: usize) -> Option<Held> {
        let permit = self.own.take_now(bytes).or_else(|| self.unread.streams.take_now(bytes))?;
        Some(self.unread.hold_in(Some(permit), bytes))
    }

    /// Whether there is room or not.
    pub(super) fn hold_beside(&self, bytes: usize) -> Held {
        self.unread.hold(bytes)
    }

    /// Of what the connection has for all of them, or not at all.
    pub(super) fn hold_of_all(&self, bytes: usize) -> Option<Held> {
        let permit = self.unread.streams.take_now(bytes)?;
        Some(self.unread.hold_in(Some(permit), bytes))
    }
}

/// Room for an answer that is not made yet.
#[derive(Debug)]
pub(super) struct Room {
    unread: Arc<Unread>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// The answer has so many bytes; the rest of the room is for others.
    pub(super) fn hold(self, bytes: usize) -> Held {
        let Self { unread, mut permit } = self;
        let needed = unread.calls.permits(bytes) as usize;
        if let Some(permit) = &mut permit {
            drop(permit.split(permit.num_permits().saturating_sub(needed)));
        }
        unread.hold_in(permit, bytes)
    }
}

/// Bytes that are held; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    unread: Arc<Unread>,
    bytes: usize,
    _room: Option<OwnedSemaphorePermit>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.unread.release(self.bytes);
    }
}

/// A part of an answer, held until it is written or thrown away.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    /// Of an answer that was counted as a whole.
    _whole: Option<Arc<Held>>,
    /// Of one that goes on.
    _own: Option<Held>,
    /// Of the answer itself.
    handed_over: HandedOver,
}

impl Piece {
    /// Of this answer on this connection, which may be held as a whole already.
    pub(super) fn new(bytes: Bytes, outgoing: &Arc<Outgoing>, unread: &Arc<Unread>, whole: Option<&Arc<Held>>) -> Self {
        let own = whole.is_none().then(|| unread.hold(bytes.len()));
        Self { handed_over: outgoing.hold(bytes.len()), bytes, _whole: whole.cloned(), _own: own }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.handed_over.moved();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const KIB: usize = 1 << 10;

    #[test]
    fn what_is_held_counts_until_it_is_taken_and_a_little_is_free() {
        let everyone = Crowd::new(1 << 20);
        let unread = Unread::new(everyone.clone());
        let free = unread.hold(FREE_BYTES);
        assert_eq!(everyone.weight(), 0, "a little is free");
        let more = unread.hold(20 * KIB);
        assert_eq!(everyone.weight(), 64 * KIB);
        let within = unread.hold(20 * KIB);
        assert_eq!((everyone.count(), everyone.weight()), (1, 64 * KIB), "most pieces change nothing");
        drop((more, within));
        assert_eq!(everyone.weight(), 64 * KIB);
        drop(free);
        assert_eq!((everyone.count(), everyone.weight()), (0, 0));
    }

    #[tokio::test]
    async fn the_connection_that_stands_longest_goes_first_and_growing_does_not_save_it() {
        let everyone = Crowd::new(256 * KIB);
        let [first, second] = [(); 2].map(|()| Unread::new(everyone.clone()));
        let stands = first.hold(100 * KIB);
        let mut first_goes = Box::pin(first.pushed_out());
        assert!((&mut first_goes).now_or_never().is_none());
        let _grows = (second.hold(100 * KIB), second.hold(100 * KIB));
        let _later = first.hold(200 * KIB);
        first_goes.await;
        assert!(second.pushed_out().now_or_never().is_none());
        drop(stands);
    }

    #[tokio::test]
    async fn the_driver_hears_of_a_place_that_was_taken_after_it_looked() {
        let everyone = Crowd::new(256 * KIB);
        let [first, second] = [(); 2].map(|()| Unread::new(everyone.clone()));
        let goes = tokio::spawn({
            let first = first.clone();
            async move { first.pushed_out().await }
        });
        tokio::task::yield_now().await;
        let _held = (first.hold(200 * KIB), second.hold(200 * KIB));
        goes.await.unwrap();
    }

    #[tokio::test]
    async fn calls_wait_for_room_and_one_larger_than_all_of_it_stands_alone() {
        let everyone = Crowd::new(1600 * KIB);
        let unread = Unread::new(everyone.clone());
        let page = unread.room(60 * KIB).await.hold(50 * KIB);
        let second = unread.room(50 * KIB).await.hold(10 * KIB);
        let mut third = Box::pin(unread.room(1000 * KIB));
        assert!((&mut third).now_or_never().is_none());
        drop(page);
        assert!((&mut third).now_or_never().is_none(), "what it needs is all there is");
        drop(second);
        let third = third.await.hold(1000 * KIB);
        assert!(unread.room(1).now_or_never().is_none());
        drop(third);
        assert!(unread.room(100 * KIB).now_or_never().is_some());
        assert_eq!(everyone.weight(), 0);
    }

    #[tokio::test]
    async fn who_reads_one_stream_gets_on_with_it_whatever_he_leaves_of_others() {
        let everyone = Crowd::new(1600 * KIB);
        let unread = Unread::new(everyone.clone());
        let (left, read) = (unread.share(), unread.share());
        let mut held: Vec<Held> = std::iter::from_fn(|| left.hold_now(10 * KIB)).collect();
        assert_eq!(held.len(), 6 + 10, "its own, and all that the connection has");
        assert!(unread.room(100 * KIB).now_or_never().is_some(), "calls have their own");
        for _ in 0..100 {
            drop(read.hold(60 * KIB).now_or_never().expect("it holds nothing else"));
        }
        let _own = read.hold_now(60 * KIB).unwrap();
        assert!(read.hold_now(10 * KIB).is_none() && read.hold_of_all(1).is_none());
        let mut waits = Box::pin(read.hold(10 * KIB));
        assert!((&mut waits).now_or_never().is_none());
        drop(held.pop());
        waits.await;
        drop(held);
        assert!(read.hold_of_all(100 * KIB).is_some());
    }

    #[test]
    fn from_many_threads_at_once_nothing_is_left() {
        let everyone = Crowd::new(1 << 30);
        let unread = Unread::new(everyone.clone());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let unread = &unread;
                scope.spawn(move || {
                    for round in 0..2_000 {
                        drop((unread.hold((thread * 7 + round) % 50 * KIB), unread.hold(20 * KIB)));
                    }
                });
            }
        });
        assert_eq!((everyone.count(), everyone.weight()), (0, 0));
    }
}
