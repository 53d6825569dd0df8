//! The calls of one connection: whether any was made yet, and since when none is under way.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tonic::body::Body;

use super::outgoing::Outgoing;
use super::standing::Stands;
use super::unread::{Held, Piece, Unread};
use crate::limits::Visit;

/// The calls of one connection.
#[derive(Debug)]
pub(super) struct Calls {
    was_made: AtomicBool,
    made: Notify,
    under_way: Mutex<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    count: usize,
    /// Of the last change.
    since: Instant,
}

impl Default for Calls {
    fn default() -> Self {
        let under_way = UnderWay { count: 0, since: Instant::now() };
        Self { was_made: AtomicBool::default(), made: Notify::new(), under_way: Mutex::new(under_way) }
    }
}

impl Calls {
    /// Resolves when somebody who may has called something. What is refused, health and reflection do not count: they are for
    /// everybody, and a crowd of strangers would keep its places by them.
    pub(super) async fn made(&self) {
        self.made.notified().await;
    }

    /// Somebody who may calls something.
    pub(super) fn make(&self) {
        // Looked at first: it is made once, and calls are many.
        if !self.was_made.load(Ordering::Relaxed) && !self.was_made.swap(true, Ordering::Relaxed) {
            self.made.notify_one();
        }
    }

    /// A call, until what this gives is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Call {
        self.change(|count| count + 1);
        Call(self.clone())
    }

    /// Resolves when none was under way for so long.
    pub(super) async fn rest(&self, patience: Duration) {
        loop {
            let until = {
                let under_way = self.under_way.lock();
                let since = if under_way.count > 0 { Instant::now() } else { under_way.since };
                since + patience
            };
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    fn change(&self, to: impl FnOnce(usize) -> usize) {
        let mut under_way = self.under_way.lock();
        *under_way = UnderWay { count: to(under_way.count), since: Instant::now() };
    }
}

/// A call that is under way.
#[derive(Debug)]
pub(super) struct Call(Arc<Calls>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.change(|count| count - 1);
    }
}

/// The answer to a call, which is under way until all of it is handed over.
pub(super) struct Answered {
    body: Body,
    /// What ends it, while that waits for what comes before it to be taken.
    trailers: Option<HeaderMap>,
    outgoing: Arc<Outgoing>,
    unread: Arc<Unread>,
    /// All of it, if it was counted before it was made.
    whole: Option<Arc<Held>>,
    _call: Call,
    _visit: Option<Visit>,
    _asks: Option<Stands>,
}

impl Answered {
    /// What is handed over of it counts on this connection until it is written; the visit is that of a client behind a proxy, and what
    /// it asks may not be read.
    pub(super) fn new(
        response: Response<Body>,
        (outgoing, unread): (Arc<Outgoing>, Arc<Unread>),
        (call, visit, asks): (Call, Option<Visit>, Option<Stands>),
    ) -> Response<Self> {
        let (mut head, body) = response.into_parts();
        let whole = head.extensions.remove();
        outgoing.begins();
        Response::from_parts(head, Self { body, trailers: None, outgoing, unread, whole, _call: call, _visit: visit, _asks: asks })
    }
}

impl http_body::Body for Answered {
    type Data = Piece;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, Status>>> {
        let Self { body, trailers, outgoing, unread, whole, .. } = &mut *self;
        outgoing.asked();
        if trailers.is_none() {
            let frame = match ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            };
            match frame.into_trailers() {
                Ok(last) => *trailers = Some(last),
                Err(frame) => {
                    let piece = |bytes| Piece::new(bytes, outgoing, unread, whole.as_ref());
                    return Poll::Ready(Some(Ok(frame.map_data(piece))));
                }
            }
        }
        ready!(outgoing.poll_nearly_taken(context));
        Poll::Ready(trailers.take().map(|last| Ok(Frame::trailers(last))))
    }

    fn is_end_stream(&self) -> bool {
        self.trailers.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_rests_when_its_last_call_is_over_and_not_before() {
        let (calls, began, patience) = (Arc::new(Calls::default()), Instant::now(), Duration::from_secs(60));
        let (first, second) = (calls.begin(), calls.begin());
        let mut rest = Box::pin(calls.rest(patience));
        tokio::time::sleep(Duration::from_secs(200)).await;
        drop(first);
        assert!((&mut rest).now_or_never().is_none());
        drop(second);
        rest.await;
        assert!(began.elapsed() >= Duration::from_secs(260), "{:?}", began.elapsed());
        assert!(began.elapsed() <= Duration::from_secs(321), "{:?}", began.elapsed());
    }
}
