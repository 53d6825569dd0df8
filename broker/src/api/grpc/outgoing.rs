//! Whether an answer is taken. HTTP/2 keeps what a body has given for as long as the peer's window is closed, and the peer may keep it
//! closed for ever and answer pings. So an answer of which nothing is taken for too long is given up: its stream is reset, and HTTP/2
//! throws away what it holds of it.
//!
//! Nothing can be said to such a peer: what ends a call comes behind what it does not take. So a subscription that is over, by an order of a
//! backend or because its token does not count any longer, need not be asked to end either.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};

use crate::limits::Caller;
use crate::metrics::{Metrics, RefusedConnection};

/// The end of an answer is not waited for behind what is no more: most answers are so small, and it would take one wake-up more.
const LAST_BYTES: usize = 1 << 10;
/// In so many parts of the patience it is looked whether something was taken,
const LOOKS: u32 = 8;
/// and as often as that, since it may be over.
const LOOK: Duration = Duration::from_secs(1);

/// The key that sets how long.
pub(super) const LIMIT: &str = "grpc.write_timeout";

/// An answer that may be over before all of it is taken.
pub(super) trait Endless: Send {
    /// Ready when it is: whoever drives it may throw away what it has not handed over. It does what backends ordered.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()>;
}

/// One answer: seen by the body that HTTP/2 asks, by the pieces it has, and by the task that drives both.
#[derive(Default)]
pub(super) struct Outgoing {
    /// Who gives it, if it goes on for as long as it likes.
    endless: OnceLock<Weak<Mutex<dyn Endless>>>,
    /// The body is there and was not asked for anything, or for no more since it gave some: there is no room for that in the window.
    stands: AtomicBool,
    was_asked: AtomicBool,
    /// Bytes that are handed over and not written.
    held: AtomicUsize,
    /// Counts how often some of them were written, or more was asked for.
    moves: AtomicU64,
    /// Waits until the last few are.
    waits: Mutex<Option<Waker>>,
    is_given_up: AtomicBool,
}

impl Outgoing {
    /// It goes on until this one is over.
    pub(super) fn is_of(&self, endless: Weak<Mutex<dyn Endless>>) {
        // One call has one listener.
        let _ = self.endless.set(endless);
    }

    /// There is a body that can be asked.
    pub(super) fn begins(&self) {
        self.stands.store(true, Ordering::Relaxed);
    }

    /// It was, since there is room for more, and gave nothing yet.
    pub(super) fn asked(&self) {
        // It may be asked again and again while it waits with its end.
        if self.stands.swap(false, Ordering::Relaxed) {
            self.moves.fetch_add(1, Ordering::Relaxed);
        }
        self.was_asked.store(true, Ordering::Relaxed);
    }

    /// Whether its peer has anything to take. One that has taken all it was given may leave its window closed.
    fn is_untaken(&self) -> bool {
        self.held.load(Ordering::Relaxed) > 0 || self.stands.load(Ordering::Relaxed) && !self.was_asked.load(Ordering::Relaxed)
    }

    /// Ready when nothing more is asked for, and it is over.
    fn poll_over(&self, context: &mut Context<'_>) -> Poll<()> {
        if !self.stands.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        match self.endless.get().and_then(Weak::upgrade) {
            Some(endless) => endless.lock().poll_over(context),
            None => Poll::Pending,
        }
    }

    /// So many bytes more, until what this gives is dropped.
    pub(super) fn hold(self: &Arc<Self>, bytes: usize) -> HandedOver {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.stands.store(true, Ordering::Relaxed);
        HandedOver { outgoing: self.clone(), bytes }
    }

    /// Ready when its end may be handed over: with that gone too, nobody could take the stream back.
    pub(super) fn poll_nearly_taken(&self, context: &mut Context<'_>) -> Poll<()> {
        // The lock is held while it is looked, and by who wakes: so none of the two misses the other.
        let mut waits = self.waits.lock();
        if self.held.load(Ordering::SeqCst) <= LAST_BYTES {
            return Poll::Ready(());
        }
        *waits = Some(context.waker().clone());
        Poll::Pending
    }

    /// Whether it was given up because its peer took nothing of it.
    pub(super) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").field("held", &self.held).field("stands", &self.stands).finish_non_exhaustive()
    }
}

/// Bytes of an answer that are handed over; given back when they are written, or thrown away.
#[derive(Debug)]
pub(super) struct HandedOver {
    outgoing: Arc<Outgoing>,
    bytes: usize,
}

impl HandedOver {
    /// Some of them are written.
    pub(super) fn moved(&self) {
        self.outgoing.moves.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for HandedOver {
    fn drop(&mut self) {
        let before = self.outgoing.held.fetch_sub(self.bytes, Ordering::SeqCst);
        if before > LAST_BYTES
            && before - self.bytes <= LAST_BYTES
            && let Some(waker) = self.outgoing.waits.lock().take()
        {
            waker.wake();
        }
    }
}

/// Runs the calls of one connection, on the thread that carries it.
#[derive(Clone)]
pub(super) struct Streams {
    /// Of the call that was handed to the services last: its task comes next.
    next: Arc<Mutex<Option<Arc<Outgoing>>>>,
    patience: Duration,
    metrics: Arc<Metrics>,
    /// Whose connection it is, for the log.
    whose: Option<Caller<'static>>,
}

impl Streams {
    /// With so much patience for an answer of which nothing is taken.
    pub(super) fn new(patience: Duration, metrics: Arc<Metrics>, whose: Option<Caller<'static>>) -> Self {
        Self { next: Arc::default(), patience, metrics, whose }
    }

    /// The next task is that of this answer.
    pub(super) fn begin(&self) -> Arc<Outgoing> {
        let outgoing = Arc::<Outgoing>::default();
        *self.next.lock() = Some(outgoing.clone());
        outgoing
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, future: F) {
        let next = self.next.lock().take();
        match next {
            Some(outgoing) => {
                tokio::spawn(Driven { stream: Box::pin(future), outgoing, streams: self.clone(), watch: None });
            }
            None => {
                tokio::spawn(future);
            }
        }
    }
}

/// The task of one answer. Dropping it resets the stream.
struct Driven<F> {
    stream: Pin<Box<F>>,
    outgoing: Arc<Outgoing>,
    streams: Streams,
    /// From the first time on that something was not taken at once.
    watch: Option<Watch>,
}

/// When something of an answer was taken last.
struct Watch {
    timer: Pin<Box<Sleep>>,
    moves: u64,
    since: Instant,
    /// Nothing was, for a moment.
    is_still: bool,
}

impl Watch {
    fn begin(outgoing: &Outgoing, pause: Duration) -> Self {
        Self {
            timer: Box::pin(tokio::time::sleep(pause)),
            moves: outgoing.moves.load(Ordering::Relaxed),
            since: Instant::now(),
            is_still: false,
        }
    }

    /// For how long nothing was taken.
    fn still(&mut self, outgoing: &Outgoing) -> Duration {
        let moves = outgoing.moves.load(Ordering::Relaxed);
        if moves != self.moves {
            (self.moves, self.since) = (moves, Instant::now());
        }
        let still = self.since.elapsed();
        self.is_still = still >= LOOK;
        still
    }
}

impl<F: Future<Output = ()>> Future for Driven<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { stream, outgoing, streams, watch } = &mut *self;
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        // Who has taken everything may wait for more as long as it likes, and is told when it is over.
        if !outgoing.stands.load(Ordering::Relaxed) && !outgoing.is_untaken() {
            return Poll::Pending;
        }
        let pause = (streams.patience / LOOKS).min(LOOK);
        let watch = watch.get_or_insert_with(|| Watch::begin(outgoing, pause));
        // One of which nothing was taken for a moment is looked at whenever it is woken: what ends it wakes it.
        let mut looks = watch.is_still;
        while watch.timer.as_mut().poll(context).is_ready() {
            looks = true;
            watch.timer.as_mut().reset(Instant::now() + pause);
        }
        if looks {
            let still = watch.still(outgoing);
            if still >= streams.patience && outgoing.is_untaken() {
                outgoing.is_given_up.store(true, Ordering::Relaxed);
                streams.metrics.turned_away(RefusedConnection::Unread, LIMIT, streams.whose);
                return Poll::Ready(());
            }
            if watch.is_still {
                return outgoing.poll_over(context);
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use hyper::rt::Executor as _;

    use super::*;
    use crate::clock::Clock;

    const PATIENCE: Duration = Duration::from_secs(80);

    struct Ended;

    impl Endless for Ended {
        fn poll_over(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }

    /// One that is over.
    fn over() -> (Arc<Mutex<dyn Endless>>, Arc<Outgoing>, tokio::sync::oneshot::Receiver<()>) {
        let (ended, (outgoing, reset, _)): (Arc<Mutex<dyn Endless>>, _) = (Arc::new(Mutex::new(Ended)), endless());
        outgoing.is_of(Arc::downgrade(&ended));
        outgoing.begins();
        (ended, outgoing, reset)
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_over_is_reset_a_moment_after_the_last_of_it_was_taken() {
        let (_ended, outgoing, mut reset) = over();
        outgoing.asked();
        let held = outgoing.hold(10);
        for _ in 0..20 {
            held.moved();
            tokio::time::sleep(LOOK / 2).await;
        }
        assert!((&mut reset).now_or_never().is_none());
        let began = Instant::now();
        assert!(reset.await.is_err());
        assert!(began.elapsed() <= LOOK * 3 && !outgoing.is_given_up(), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_for_more_is_told_and_whose_window_was_never_open_is_not() {
        let (_ended, asks, mut reset) = over();
        asks.asked();
        tokio::time::sleep(PATIENCE * 2).await;
        assert!((&mut reset).now_or_never().is_none());
        let (_ended, _never_asked, reset) = over();
        let began = Instant::now();
        assert!(reset.await.is_err());
        assert!(began.elapsed() <= LOOK * 3, "{:?}", began.elapsed());
    }

    /// An answer that never ends, and the one who is told when it is given up.
    fn endless() -> (Arc<Outgoing>, tokio::sync::oneshot::Receiver<()>, Arc<Metrics>) {
        let metrics = Metrics::new(0, Clock::start());
        let streams = Streams::new(PATIENCE, metrics.clone(), None);
        let outgoing = streams.begin();
        let (alive, ended) = tokio::sync::oneshot::channel();
        streams.execute(async move {
            let _alive = alive;
            // As one that HTTP/2 drives: it is woken now and then.
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        (outgoing, ended, metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_which_nothing_is_taken_is_given_up_and_not_before_its_time() {
        let (outgoing, mut ended, _metrics) = endless();
        let held = outgoing.hold(10);
        tokio::time::sleep(PATIENCE - Duration::from_secs(2)).await;
        assert!((&mut ended).now_or_never().is_none());
        held.moved();
        tokio::time::sleep(PATIENCE - Duration::from_secs(2)).await;
        assert!((&mut ended).now_or_never().is_none(), "a little of it was taken");
        let began = Instant::now();
        assert!(ended.await.is_err());
        assert!(began.elapsed() <= PATIENCE / 4 && outgoing.is_given_up(), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_taken_everything_may_wait_for_ever_and_has_all_its_time_again_then() {
        let (outgoing, mut ended, _metrics) = endless();
        outgoing.asked();
        let held = outgoing.hold(10);
        tokio::time::sleep(PATIENCE / 2).await;
        held.moved();
        drop(held);
        tokio::time::sleep(PATIENCE * 10).await;
        outgoing.asked();
        let _held = outgoing.hold(10);
        tokio::time::sleep(PATIENCE - Duration::from_secs(2)).await;
        assert!((&mut ended).now_or_never().is_none() && !outgoing.is_given_up());
    }

    #[tokio::test]
    async fn the_end_of_an_answer_waits_for_all_but_its_last_bytes() {
        let outgoing = Arc::<Outgoing>::default();
        let (first, _last) = (outgoing.hold(10_000), outgoing.hold(LAST_BYTES));
        let mut taken = Box::pin(std::future::poll_fn(|context| outgoing.poll_nearly_taken(context)));
        assert!((&mut taken).now_or_never().is_none());
        drop(first);
        taken.await;
    }
}
