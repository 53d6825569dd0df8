//! Publish streams that stand: their acks are not taken or wait for late commits, or an append waits and enough is read ahead. What their client sends on meanwhile
//! HTTP/2 receives, up to its windows, and nobody here sees it. So each counts as if it were so much, among what is half here of all
//! requests of the node, and the connection that has stood longest is cut when that is too much.

use std::future::poll_fn;
use std::sync::Arc;

use futures_util::FutureExt as _;
use parking_lot::Mutex;

use super::seat::Seat;
use super::serve::STREAM_WINDOW;
use crate::limits::Crowd;

/// What a stream that stands counts for: all that its window lets in, and as much again for what HTTP/2 keeps of each frame.
const STREAM_BYTES: usize = 2 * STREAM_WINDOW as usize;
/// A connection counts for no more than such a part of what all may hold, so that one does not push out all others. With the bound as it is
/// unless it is set, that is what its own window lets in, and as much again.
const SHARE: usize = 4;

/// Those of one connection.
#[derive(Debug)]
pub(super) struct Standing {
    everyone: Arc<Crowd>,
    /// How many there are, and for what they count.
    streams: Mutex<(usize, Seat)>,
}

impl Standing {
    /// Of a new connection, among everyone, who are bounded in bytes.
    pub(super) fn new(everyone: Arc<Crowd>) -> Arc<Self> {
        Arc::new(Self { everyone, streams: Mutex::default() })
    }

    /// What comes of a wait in which nothing is read of a stream.
    pub(super) async fn during<T>(self: &Arc<Self>, wait: impl Future<Output = T>) -> T {
        let mut wait = std::pin::pin!(wait);
        // One that waits only for its turn does not stand: all others have theirs first.
        if let Some(done) = (&mut wait).now_or_never() {
            return done;
        }
        tokio::task::yield_now().await;
        if let Some(done) = (&mut wait).now_or_never() {
            return done;
        }
        let _stands = self.begin();
        wait.await
    }

    /// A stream stands until what this gives is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Stands {
        self.change(|streams| streams + 1);
        Stands(self.clone())
    }

    /// Resolves when it must make room for others.
    pub(super) async fn pushed_out(&self) {
        poll_fn(|context| self.streams.lock().1.poll_pushed_out(context)).await;
    }

    /// Whose streams begin to stand or go on is the last to go.
    fn change(&self, to: impl FnOnce(usize) -> usize) {
        let (streams, seat) = &mut *self.streams.lock();
        *streams = to(*streams);
        // Of who has to go nothing changes any more.
        let _ = seat.weigh(&self.everyone, (*streams * STREAM_BYTES).min(self.everyone.bound() / SHARE));
    }
}

/// A stream that stands.
#[derive(Debug)]
pub(super) struct Stands(Arc<Standing>);

impl Drop for Stands {
    fn drop(&mut self) {
        self.0.change(|streams| streams - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    /// Eight streams fit, two of one connection.
    fn everyone() -> Arc<Crowd> {
        Crowd::new(8 * STREAM_BYTES)
    }

    #[tokio::test]
    async fn who_stands_counts_until_it_goes_on_and_who_only_waits_for_its_turn_does_not() {
        let everyone = everyone();
        let standing = Standing::new(everyone.clone());
        assert_eq!(standing.during(ready(1)).await, 1);
        let in_turn = async { tokio::task::yield_now().await };
        standing.during(in_turn).await;
        assert_eq!(everyone.count(), 0);
        let stands = tokio::spawn({
            let standing = standing.clone();
            async move { standing.during(pending::<()>()).await }
        });
        while everyone.weight() < STREAM_BYTES {
            tokio::task::yield_now().await;
        }
        stands.abort();
        assert!(stands.await.is_err());
        assert_eq!((everyone.count(), everyone.weight()), (0, 0));
    }

    #[tokio::test]
    async fn one_connection_counts_for_a_part_and_the_one_that_has_stood_longest_goes() {
        let everyone = everyone();
        let all: Vec<_> = (0..5).map(|_| Standing::new(everyone.clone())).collect();
        let mut streams: Vec<Vec<Stands>> = all[..4].iter().map(|standing| (0..10).map(|_| standing.begin()).collect()).collect();
        assert_eq!(everyone.weight(), 8 * STREAM_BYTES, "forty streams on four connections");
        let goes = |standing: &Standing| standing.pushed_out().now_or_never().is_some();
        // It goes on, and stands again.
        drop(streams[0].pop());
        let _one_more = all[4].begin();
        assert_eq!(all.iter().map(|standing| goes(standing)).collect::<Vec<_>>(), [false, true, false, false, false]);
        let _another = all[1].begin();
        assert!(goes(&all[1]), "it cannot begin anew");
        drop(streams);
        assert_eq!(everyone.weight(), STREAM_BYTES);
    }

    #[tokio::test]
    async fn the_driver_hears_of_a_place_that_was_taken_after_it_looked() {
        let everyone = everyone();
        let first = Standing::new(everyone.clone());
        let goes = tokio::spawn({
            let first = first.clone();
            async move { first.pushed_out().await }
        });
        tokio::task::yield_now().await;
        let _stands = first.begin();
        let _others: Vec<_> = (0..8).map(|_| Standing::new(everyone.clone()).begin()).collect();
        goes.await.unwrap();
    }
}
