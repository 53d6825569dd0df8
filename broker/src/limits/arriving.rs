//! What has begun to arrive and is not whole yet: bodies of requests, messages of gRPC calls and of WebSocket clients. Its sender decides how
//! long that takes, and holds memory here meanwhile. So does a request that is whole while it waits for what it asks for.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Crowd, Place};
use crate::error::{Error, ErrorCode};

/// What comes of work that keeps so many bytes of a request until it is done: while it waits they count among `everyone`'s, as those of a
/// request that is half here do. `None` when it had to make room; it is thrown away then, however far it came.
pub async fn counted<T>(everyone: &Arc<Crowd>, bytes: usize, work: impl Future<Output = T>) -> Option<T> {
    Arriving::new(everyone.clone()).hold_until_done(bytes, work).await
}

/// What the sender of a publish hears that had to make room after it was begun.
#[must_use]
pub fn gave_way() -> Error {
    let what = "too many requests wait, and this one has waited longest (limits.incoming_bytes); whether it is published is unknown: publish it again with the same id";
    Error::new(ErrorCode::Unconfirmed, what)
}

/// What is not larger is part of what every connection costs.
pub const FREE_BYTES: usize = 4 << 10;

/// One of them, among all that are half here. The one that has not grown for longest goes first, so that whoever sends without a
/// pause is not touched by those who begin and stop.
#[derive(Debug)]
pub struct Arriving {
    everyone: Arc<Crowd>,
    place: Option<Place>,
    weight: usize,
}

impl Arriving {
    /// Something that begins; the crowd is bounded in bytes.
    #[must_use]
    pub fn new(everyone: Arc<Crowd>) -> Self {
        Self { everyone, place: None, weight: 0 }
    }

    /// So many bytes are held of it now.
    pub fn holds(&mut self, bytes: usize) {
        if bytes <= FREE_BYTES || bytes <= self.weight {
            return;
        }
        // As buffers grow, so that most pieces change nothing.
        self.weight = bytes.next_power_of_two();
        // First, or it could push out itself.
        self.place = None;
        self.place = Some(self.everyone.enter_with(self.weight));
    }

    /// As [`counted`], of something that may be counted already.
    pub async fn hold_until_done<T>(&mut self, bytes: usize, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            // Most work never comes here: it needs no wait.
            self.holds(bytes);
            self.poll_refused(context).map(|_| None)
        })
        .await
    }

    /// It is whole, or what comes next begins anew.
    pub fn is_whole(&mut self) {
        (self.place, self.weight) = (None, 0);
    }

    /// Ready when it must go.
    pub fn poll_refused(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        match &mut self.place {
            Some(place) => Pin::new(place).poll(context).map(|()| {
                let what = "too many requests are here in part, and this one has waited longest for its rest (limits.incoming_bytes)";
                Error::new(ErrorCode::Overloaded, what)
            }),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(arriving: &mut Arriving) -> bool {
        arriving.poll_refused(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn who_stands_still_makes_room_for_who_goes_on() {
        let everyone = Crowd::new(64 << 10);
        let [mut first, mut second, mut third] = [(); 3].map(|()| Arriving::new(everyone.clone()));
        first.holds(30 << 10);
        second.holds(20 << 10);
        first.holds(32 << 10);
        assert_eq!(everyone.weight(), 64 << 10, "as much as buffers take");
        third.holds(5 << 10);
        assert_eq!([&mut first, &mut second, &mut third].map(is_refused), [true, false, false]);
        second.holds(33 << 10);
        assert_eq!([&mut second, &mut third].map(is_refused), [false, true], "it grew, and is now the last to go");
        drop((first, second, third));
        assert_eq!(everyone.weight(), 0);
    }

    #[test]
    fn what_is_small_counts_for_nothing_and_alone_anything_has_room() {
        let everyone = Crowd::new(1);
        let [mut small, mut large] = [(); 2].map(|()| Arriving::new(everyone.clone()));
        small.holds(FREE_BYTES);
        large.holds(1 << 20);
        assert_eq!((everyone.count(), is_refused(&mut small), is_refused(&mut large)), (1, false, false));
    }
}
