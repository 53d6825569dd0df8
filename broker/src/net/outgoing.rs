//! What an answer over HTTP/2 has handed over and its peer has not taken. HTTP/2 keeps that for as long as the peer keeps its window
//! closed, and asks the body for nothing meanwhile. So it is counted until it is written, a stream of which nothing is taken for too
//! long is given up, and one that is over need not be asked to end.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::Body;
use super::pace::{InFlight, Pace};
use crate::close::CloseReason;

/// The last piece of an answer is not waited for when it is no larger: it would take a frame and a wake-up more.
const LAST_BYTES: usize = 1 << 10;
/// How often it is looked whether a stream of which nothing is taken is over.
const LOOK: Duration = Duration::from_secs(1);

/// One answer over HTTP/2: seen by the body that HTTP asks, by the pieces it has, and by the task that drives both.
#[derive(Debug)]
pub(super) struct Outgoing {
    pace: Rc<Pace>,
    body: RefCell<Body>,
    /// The body has no more.
    is_done: Cell<bool>,
    /// The body was not asked for more since it gave some: there is no room for that in the window. It is asked once before HTTP/2 looks for room,
    /// so that also of a peer whose window was never open something is held.
    stands: Cell<bool>,
    /// Bytes that are handed over and not written.
    held: Cell<usize>,
    /// When some of them were written last, or handed over if there were none before.
    moved: Cell<Instant>,
    /// Waits until all are.
    waits: RefCell<Option<Waker>>,
}

impl Outgoing {
    /// For a request that came on this connection.
    pub(super) fn new(pace: Rc<Pace>) -> Rc<Self> {
        Rc::new(Self {
            pace,
            body: RefCell::new(Body::Empty),
            is_done: Cell::new(false),
            stands: Cell::new(false),
            held: Cell::new(0),
            moved: Cell::new(Instant::now()),
            waits: RefCell::default(),
        })
    }

    fn poll_frame(self: &Rc<Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.stands.set(false);
        if !self.is_done.get() {
            let frame = std::task::ready!(Pin::new(&mut *self.body.borrow_mut()).poll_frame(context));
            if let Some(bytes) = frame.and_then(|Ok(frame)| frame.into_data().ok()) {
                self.stands.set(true);
                return Poll::Ready(Some(bytes));
            }
            self.is_done.set(true);
        }
        // Not before the last piece is written: with its end handed over, nobody could take it back.
        if self.held.get() == 0 {
            return Poll::Ready(None);
        }
        *self.waits.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }

    fn hold(self: &Rc<Self>, bytes: usize) -> Held {
        if self.held.get() == 0 {
            self.moved.set(Instant::now());
        }
        self.held.set(self.held.get() + bytes);
        self.pace.hold(bytes);
        Held { outgoing: self.clone(), bytes }
    }

    /// Ready when nothing was taken for so long, or for a moment and it is over.
    fn poll_over(&self, patience: Duration, context: &mut Context<'_>) -> Poll<()> {
        let still = self.moved.get().elapsed();
        if still >= patience {
            self.body.borrow_mut().cut(CloseReason::ClientGone, "http.write_timeout");
            return Poll::Ready(());
        }
        if self.stands.get() && still >= LOOK { self.body.borrow_mut().poll_over(context) } else { Poll::Pending }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if self.pace.is_unread() {
            self.body.get_mut().cut(CloseReason::TooSlow, "limits.unsent_bytes");
        }
    }
}

/// A part of an answer.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    held: Option<Held>,
}

/// Bytes that are handed over; given back when they are written, or thrown away.
#[derive(Debug)]
struct Held {
    outgoing: Rc<Outgoing>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        let outgoing = &self.outgoing;
        outgoing.held.set(outgoing.held.get() - self.bytes);
        outgoing.pace.release(self.bytes);
        if outgoing.held.get() == 0
            && let Some(waker) = outgoing.waits.take()
        {
            waker.wake();
        }
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
        if let Some(held) = &self.held {
            held.outgoing.moved.set(Instant::now());
        }
    }
}

/// A response's body that keeps its request in flight until the last byte is handed over, and over HTTP/2 until it is written.
pub(super) struct Tracked {
    body: Kind,
    _in_flight: InFlight,
}

enum Kind {
    /// HTTP/1: what is handed over waits in one place for the whole connection, whose socket says when it is written.
    Alone(Body),
    Watched(Rc<Outgoing>),
}

impl Tracked {
    pub(super) fn new(body: Body, in_flight: InFlight, outgoing: Option<Rc<Outgoing>>) -> Self {
        let body = match outgoing {
            None => Kind::Alone(body),
            Some(outgoing) => {
                outgoing.body.replace(body);
                Kind::Watched(outgoing)
            }
        };
        Self { body, _in_flight: in_flight }
    }
}

impl http_body::Body for Tracked {
    type Data = Piece;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, Self::Error>>> {
        match &mut self.body {
            Kind::Alone(body) => Pin::new(body).poll_frame(context).map(|frame| {
                let whole = |bytes| Piece { bytes, held: None };
                frame.map(|Ok(frame)| Ok(frame.map_data(whole)))
            }),
            Kind::Watched(outgoing) => outgoing.poll_frame(context).map(|bytes| {
                let counted = |bytes: Bytes| Piece { held: Some(outgoing.hold(bytes.len())), bytes };
                bytes.map(|bytes| Ok(Frame::data(counted(bytes))))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Kind::Alone(body) => body.is_end_stream(),
            Kind::Watched(outgoing) => outgoing.held.get() <= LAST_BYTES && outgoing.body.borrow().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Kind::Alone(body) => body.size_hint(),
            Kind::Watched(outgoing) => outgoing.body.borrow().size_hint(),
        }
    }
}

/// Runs the streams of one HTTP/2 connection on the shard's own thread.
#[derive(Clone)]
pub(super) struct Streams {
    /// Of the request that was handed to the service last: its task comes next.
    next: Rc<Cell<Option<Rc<Outgoing>>>>,
    patience: Duration,
}

impl Streams {
    /// With so much patience for a stream of which nothing is taken.
    pub(super) fn new(patience: Duration) -> Self {
        Self { next: Rc::default(), patience }
    }

    /// The next task is that of this answer.
    pub(super) fn begin(&self, pace: Rc<Pace>) -> Rc<Outgoing> {
        let outgoing = Outgoing::new(pace);
        self.next.set(Some(outgoing.clone()));
        outgoing
    }
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, future: F) {
        match self.next.take() {
            Some(outgoing) => {
                tokio::task::spawn_local(Driven { stream: Box::pin(future), outgoing, patience: self.patience, look: None });
            }
            None => {
                tokio::task::spawn_local(future);
            }
        }
    }
}

/// The task of one answer. Dropping it resets the stream, and HTTP/2 throws away what it holds of it.
struct Driven<F> {
    stream: Pin<Box<F>>,
    outgoing: Rc<Outgoing>,
    patience: Duration,
    look: Option<Pin<Box<Sleep>>>,
}

impl<F: Future<Output = ()>> Future for Driven<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        if this.outgoing.held.get() == 0 {
            return Poll::Pending;
        }
        let pause = this.patience.min(LOOK);
        let look = this.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        while look.as_mut().poll(context).is_ready() {
            if this.outgoing.poll_over(this.patience, context).is_ready() {
                return Poll::Ready(());
            }
            look.as_mut().reset(Instant::now() + pause);
        }
        Poll::Pending
    }
}
