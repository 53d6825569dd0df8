//! Requests to publish that are whole. One that waits (for room in the log, for another node, for room for its answer) holds all its bytes
//! meanwhile, and its sender may have many at once. So of one connection there may be so many bytes of them, and those that wait count with
//! what is half here of all requests of the node.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidings_proto::v1;

use super::unread::{Room, Unread};
use crate::error::{Error, ErrorCode, Result};
use crate::limits::{Crowd, counted, gave_way};

/// Most bytes of a connection. One larger request may stand alone.
const BYTES_MAX: usize = 16 << 20;
/// And at most such a part of what all may hold, so that one connection does not push out all others.
const SHARE: usize = 8;

/// Those of one connection.
#[derive(Debug)]
pub(super) struct Requests {
    everyone: Arc<Crowd>,
    bytes: AtomicUsize,
}

impl Requests {
    /// Of a new connection, among everyone, who are bounded in bytes.
    pub(super) fn new(everyone: Arc<Crowd>) -> Arc<Self> {
        Arc::new(Self { everyone, bytes: AtomicUsize::new(0) })
    }

    /// One more, of so many bytes, until what this gives is dropped.
    ///
    /// # Errors
    /// `overloaded` when those before it leave it no room.
    pub(super) fn keep(self: &Arc<Self>, bytes: usize) -> Result<Whole> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let whole = Whole { requests: self.clone(), bytes };
        let most = (self.everyone.bound() / SHARE).min(BYTES_MAX);
        if before > 0 && before + bytes > most {
            let what = format!(
                "requests of this connection that wait have {before} bytes, of {most} (a part of limits.incoming_bytes): await some"
            );
            return Err(Error::new(ErrorCode::Overloaded, what));
        }
        Ok(whole)
    }
}

/// A request that is whole.
#[derive(Debug)]
pub(super) struct Whole {
    requests: Arc<Requests>,
    bytes: usize,
}

impl Whole {
    /// Does what it asks for.
    ///
    /// # Errors
    /// What the work says; `unconfirmed` when it waited longest and others needed the room.
    pub(super) async fn during<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        counted(&self.requests.everyone, self.bytes, work).await.unwrap_or_else(|| Err(gave_way()))
    }

    /// Room for an answer of so many bytes, before anything is done.
    ///
    /// # Errors
    /// `overloaded` when it waited longest and others needed the room.
    pub(super) async fn room(&self, unread: &Arc<Unread>, bytes: usize) -> Result<Room> {
        let what = "too many requests wait until answers before theirs are read, and this one has waited longest (limits.incoming_bytes)";
        let room = counted(&self.requests.everyone, self.bytes, unread.room(bytes)).await;
        room.ok_or_else(|| Error::new(ErrorCode::Overloaded, what))
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.requests.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a publish takes, about: names and headers may be many and small.
pub(super) fn bytes_of(publish: &v1::PublishRequest) -> usize {
    let text = size_of::<String>();
    let channels: usize = publish.channels.iter().map(|name| text + name.len()).sum();
    let headers: usize = publish.headers.iter().map(|(name, value)| 4 * text + name.len() + value.len()).sum();
    publish.data.len() + channels + headers
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_connection_has_so_much_under_way_and_one_larger_request_stands_alone() {
        let everyone = Crowd::new(SHARE * 100_000);
        let requests = Requests::new(everyone.clone());
        let large = requests.keep(1_000_000).unwrap();
        let refused = requests.keep(1).unwrap_err();
        assert!(refused.code == ErrorCode::Overloaded && refused.message.contains("limits.incoming_bytes"), "{refused}");
        drop(large);
        let (_first, _second) = (requests.keep(50_000).unwrap(), requests.keep(50_000).unwrap());
        assert!(requests.keep(1).is_err() && Requests::new(everyone.clone()).keep(100_000).is_ok(), "another connection has its own");
        assert_eq!(everyone.weight(), 0, "who does not wait does not count");
    }

    #[tokio::test]
    async fn who_waits_counts_among_all_and_the_one_that_has_waited_longest_gives_way() {
        let everyone = Crowd::new(100 << 10);
        let [first, second] = [(); 2].map(|()| Requests::new(everyone.clone()).keep(60_000).unwrap());
        assert_eq!(first.during(ready(Ok(1))).await, Ok(1));
        let mut waits = Box::pin(first.during(pending::<Result<()>>()));
        assert!((&mut waits).now_or_never().is_none());
        assert_eq!(everyone.weight(), 64 << 10);
        let unread = Unread::new(Crowd::new(1 << 20));
        let _all = unread.room(1 << 20).await;
        let mut waits_too = Box::pin(second.room(&unread, 1));
        assert!((&mut waits_too).now_or_never().is_none());
        assert_eq!(waits.await.unwrap_err().code, ErrorCode::Unconfirmed, "nobody knows how far it came");
        let third = Requests::new(everyone.clone()).keep(60_000).unwrap();
        let mut newest = Box::pin(third.during(pending::<Result<()>>()));
        assert!((&mut newest).now_or_never().is_none());
        assert_eq!(waits_too.await.unwrap_err().code, ErrorCode::Overloaded, "nothing was begun");
        drop(newest);
        assert_eq!(everyone.weight(), 0);
    }
}
