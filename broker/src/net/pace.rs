//! How long a connection may take for what it is doing: sending a head, being idle between two requests.
//!
//! hyper's own header timer also ends idle connections, and begins before the first byte of a head; these are two
//! different patiences, so both are kept here.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::time::{Instant, Sleep};

use crate::limits::{Crowd, Place, Visit};

/// Answers of one connection that its peer has not read, in bytes; one larger answer may stand alone. HTTP/2 lets it ask for
/// many at once.
const UNREAD_BYTES_MAX: usize = 4 << 20;

/// Handed over and not taken: what is not more is part of what every connection costs.
const HELD_BYTES_FREE: usize = 4 << 10;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// The peer sends a request's head.
    Asking,
    /// Requests are being answered.
    Answering,
    /// Neither.
    Resting,
}

/// One connection's state as far as its patience goes, shared by its driver, its wire and its service.
#[derive(Debug)]
pub(super) struct Pace {
    doing: Cell<Doing>,
    since: Cell<Instant>,
    in_flight: Cell<u32>,
    /// Among those who have not asked for anything yet.
    place: RefCell<Option<Place>>,
    /// Large answers that are not all taken yet, among those of the whole node, and their bytes.
    unread: RefCell<Slab<Place>>,
    unread_bytes: Cell<usize>,
    /// What is handed over and not taken, in bytes; what it counts for, and where.
    held: Cell<usize>,
    held_weight: Cell<usize>,
    held_place: RefCell<Option<Place>>,
    everyone: Arc<Crowd>,
    /// The connection must end, because of what its peer has not read.
    is_unread: Cell<bool>,
    /// Whoever drives the connection.
    driver: RefCell<Option<Waker>>,
    /// Who waits until everything is answered.
    waits: RefCell<Option<Waker>>,
}

impl Pace {
    /// A connection accepted at `since`, whose first request is on its way. What its peer does not read counts among `everyone`'s.
    pub(super) fn new(place: Place, since: Instant, everyone: Arc<Crowd>) -> Rc<Self> {
        Rc::new(Self {
            doing: Cell::new(Doing::Asking),
            since: Cell::new(since),
            in_flight: Cell::new(0),
            place: RefCell::new(Some(place)),
            unread: RefCell::default(),
            unread_bytes: Cell::new(0),
            held: Cell::new(0),
            held_weight: Cell::new(0),
            held_place: RefCell::default(),
            everyone,
            is_unread: Cell::new(false),
            driver: RefCell::default(),
            waits: RefCell::default(),
        })
    }

    /// Bytes came in.
    pub(super) fn heard(&self) {
        if self.doing.get() == Doing::Resting {
            self.set(Doing::Asking);
        }
    }

    /// Bytes went out: the end of a large answer may still be on its way to a slow reader.
    pub(super) fn said(&self) {
        if self.doing.get() == Doing::Resting {
            self.set(Doing::Resting);
        }
    }

    /// A whole head is here. It is being answered until the guard is dropped.
    pub(super) fn asked(self: &Rc<Self>) -> InFlight {
        // No longer one of those who only connect.
        self.place.take();
        self.in_flight.set(self.in_flight.get() + 1);
        self.set(Doing::Answering);
        InFlight { pace: self.clone(), unread: None, visit: None }
    }

    /// Ready when no request is being answered.
    pub(super) fn poll_answered(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.doing.get() != Doing::Answering {
            return Poll::Ready(());
        }
        *self.waits.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }

    /// So many bytes more are handed over and not taken.
    pub(super) fn hold(&self, bytes: usize) {
        self.held.set(self.held.get() + bytes);
        if self.held.get() > HELD_BYTES_FREE.max(self.held_weight.get()) {
            self.weigh();
        }
    }

    /// They are taken, or thrown away.
    pub(super) fn release(&self, bytes: usize) {
        let held = self.held.get() - bytes;
        self.held.set(held);
        if held == 0 {
            self.held_weight.set(0);
            self.held_place.take();
        } else if held < self.held_weight.get() / 4 {
            self.weigh();
        }
    }

    /// In steps, so that most pieces change nothing. Who grows or shrinks is the last to go: he has begun, or goes on.
    fn weigh(&self) {
        let weight = self.held.get().next_power_of_two();
        self.held_weight.set(weight);
        // First, or it could push out itself.
        self.held_place.take();
        *self.held_place.borrow_mut() = Some(self.everyone.enter_with(weight));
        self.wake_driver();
    }

    /// Whether its connection must end, because of what its peer has not read.
    pub(super) fn is_unread(&self) -> bool {
        self.is_unread.get()
    }

    /// It has to learn when something of its connection is pushed out.
    fn wake_driver(&self) {
        if let Some(driver) = self.driver.borrow().as_ref() {
            driver.wake_by_ref();
        }
    }

    fn set(&self, doing: Doing) {
        self.doing.set(doing);
        self.since.set(Instant::now());
    }

    fn poll_pushed_out(&self, context: &mut Context<'_>) -> Poll<Over> {
        if self.place.borrow_mut().as_mut().is_some_and(|place| Pin::new(place).poll(context).is_ready()) {
            return Poll::Ready(Over::PushedOut);
        }
        let is_held_too_long = self.held_place.borrow_mut().as_mut().is_some_and(|place| Pin::new(place).poll(context).is_ready());
        if is_held_too_long || self.unread.borrow_mut().iter_mut().any(|(_, place)| Pin::new(place).poll(context).is_ready()) {
            self.is_unread.set(true);
            return Poll::Ready(Over::Unread);
        }
        match &mut *self.driver.borrow_mut() {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct InFlight {
    pace: Rc<Pace>,
    unread: Option<(usize, usize)>,
    visit: Option<Arc<Visit>>,
}

impl InFlight {
    /// Keeps the visit of the one who asked until everything is taken.
    pub(super) fn keep(&mut self, visit: Option<Arc<Visit>>) {
        self.visit = visit;
    }

    /// The answer is here, and takes so many bytes until the peer has it all. `false` when the peer has too much to read
    /// already.
    #[must_use]
    pub(super) fn answered(&mut self, bytes: usize) -> bool {
        let before = self.pace.unread_bytes.get();
        if before > 0 && before + bytes > UNREAD_BYTES_MAX {
            return false;
        }
        self.pace.unread_bytes.set(before + bytes);
        let key = self.pace.unread.borrow_mut().insert(self.pace.everyone.enter_with(bytes));
        self.unread = Some((key, bytes));
        self.pace.wake_driver();
        true
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some((key, bytes)) = self.unread {
            self.pace.unread.borrow_mut().remove(key);
            self.pace.unread_bytes.set(self.pace.unread_bytes.get() - bytes);
        }
        let left = self.pace.in_flight.get() - 1;
        self.pace.in_flight.set(left);
        if left == 0 {
            self.pace.set(Doing::Resting);
            if let Some(waker) = self.pace.waits.take() {
                waker.wake();
            }
        }
    }
}

/// Why a connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// A head did not arrive in time.
    HeadTooSlow,
    /// Nothing was asked for too long.
    Idle,
    /// Too many connections have not asked for anything, and this one has been waiting longest.
    PushedOut,
    /// Too much waits to be read on the whole node, and an answer of this one has done so longest.
    Unread,
}

/// The one timer of a connection.
pub(super) struct Patience {
    pace: Rc<Pace>,
    head: Duration,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Patience {
    pub(super) fn new(pace: Rc<Pace>, config: &super::config::Config) -> Self {
        let (head, idle) = (config.header_timeout, config.idle_timeout);
        let timer = Box::pin(tokio::time::sleep_until(pace.since.get() + head));
        Self { pace, head, idle, timer }
    }

    /// Ready when the connection must end.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<Over> {
        if let Poll::Ready(over) = self.pace.poll_pushed_out(context) {
            return Poll::Ready(over);
        }
        let (patience, over) = match self.pace.doing.get() {
            Doing::Asking => (self.head, Over::HeadTooSlow),
            Doing::Resting => (self.idle, Over::Idle),
            // Nothing to wait for; whoever changes that does so while the connection is polled, and so are we then.
            Doing::Answering => return Poll::Pending,
        };
        let deadline = self.pace.since.get() + patience;
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(context).map(|()| over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Crowd;

    fn config() -> super::super::config::Config {
        super::super::config::Config {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            ..Default::default()
        }
    }

    async fn over(patience: &mut Patience) -> Over {
        std::future::poll_fn(|context| patience.poll_over(context)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_and_so_has_an_idle_connection() {
        let began = Instant::now();
        let pace = Pace::new(Crowd::new(1).enter(), began, Crowd::new(1));
        let mut patience = Patience::new(pace.clone(), &config());
        assert_eq!(over(&mut patience).await, Over::HeadTooSlow);
        assert_eq!(began.elapsed(), Duration::from_secs(10));

        drop(pace.asked());
        let began = Instant::now();
        assert_eq!(over(&mut patience).await, Over::Idle);
        assert_eq!(began.elapsed(), Duration::from_secs(60));

        pace.heard();
        let began = Instant::now();
        assert_eq!(over(&mut patience).await, Over::HeadTooSlow);
        assert_eq!(began.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_takes_as_long_as_it_takes() {
        let pace = Pace::new(Crowd::new(1).enter(), Instant::now(), Crowd::new(1));
        let mut patience = Patience::new(pace.clone(), &config());
        let (first, second) = (pace.asked(), pace.asked());
        drop(first);
        assert!(tokio::time::timeout(Duration::from_secs(3600), over(&mut patience)).await.is_err());
        drop(second);
        assert_eq!(over(&mut patience).await, Over::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_asked_is_not_pushed_out() {
        let crowd = Crowd::new(1);
        let began = Instant::now();
        let pace = Pace::new(crowd.enter(), began, Crowd::new(1));
        let mut patience = Patience::new(pace.clone(), &config());
        drop(pace.asked());
        let other = Pace::new(crowd.enter(), began, Crowd::new(1));
        let _newest = crowd.enter();
        assert_eq!(over(&mut Patience::new(other, &config())).await, Over::PushedOut);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(over(&mut patience).await, Over::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_handed_over_counts_until_it_is_taken_and_the_one_that_stands_goes_first() {
        let everyone = Crowd::new(64 << 10);
        let connection = || Pace::new(Crowd::new(1).enter(), Instant::now(), everyone.clone());
        let (first, second) = (connection(), connection());
        first.hold(HELD_BYTES_FREE);
        assert_eq!(everyone.weight(), 0, "a little is free");
        first.hold(20 << 10);
        assert_eq!(everyone.weight(), 32 << 10);
        first.release(20 << 10);
        first.hold(20 << 10);
        second.hold(40 << 10);
        assert_eq!(over(&mut Patience::new(first.clone(), &config())).await, Over::Unread);
        second.release(30 << 10);
        assert_eq!(everyone.weight(), 16 << 10);
        second.release(10 << 10);
        assert_eq!(everyone.weight(), 0);
    }
}
