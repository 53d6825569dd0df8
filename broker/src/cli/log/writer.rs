//! The one who writes: a thread of its own, so that no shard ever waits for a full pipe. What does not fit is left out and
//! counted.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tidings::metrics::LogFigures;

use super::fields::{Fields, Value};
use super::form::Form;
use super::sample::{LeftOut, Sampler};

/// Lines that may wait to be written.
const LINES_MAX: usize = 4096;
/// Bytes that are written at once, but for the last line.
const BATCH_BYTES: usize = 64 << 10;
/// How often it is told what was left out.
const TELL: Duration = Duration::from_secs(1);
/// Longest wait for the last lines when the process ends.
const FLUSH: Duration = Duration::from_secs(1);

enum Job {
    Line(Vec<u8>),
    /// Answered once everything before it is written.
    Flush(SyncSender<()>),
}

/// Takes lines and never waits.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: SyncSender<Job>,
    counts: Arc<Counts>,
}

/// What becomes of lines.
#[derive(Debug, Default)]
struct Counts {
    /// In the queue now.
    waiting: AtomicU64,
    /// Left out since the start: too many of their kind in a second, or no room in the queue.
    of_floods: AtomicU64,
    at_full: AtomicU64,
}

impl Writer {
    /// Starts the thread. Without one (the system has none to give) everything is left out.
    pub(super) fn start(form: Form, sampler: Arc<Mutex<Sampler>>) -> Self {
        let (jobs, queue) = sync_channel(LINES_MAX);
        let counts = Arc::<Counts>::default();
        let work = Work { form, sampler, counts: counts.clone(), told_at_full: 0 };
        if let Err(why) = std::thread::Builder::new().name("tidings-log".to_owned()).spawn(move || work.run(&queue)) {
            eprintln!("there will be no log: {why}");
        }
        Self { jobs, counts }
    }

    /// Leaves a line to be written.
    pub(super) fn write(&self, line: Vec<u8>) {
        // Before the thread can take it, so that the count is never below zero.
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.jobs.try_send(Job::Line(line)) {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counts.at_full.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A line was one too many of its kind in this second.
    pub(super) fn leave_out(&self) {
        self.counts.of_floods.fetch_add(1, Ordering::Relaxed);
    }

    /// What became of the lines so far.
    pub(super) fn figures(&self) -> LogFigures {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        LogFigures {
            waiting: read(&self.counts.waiting),
            waiting_max: LINES_MAX as u64,
            left_out_of_floods: read(&self.counts.of_floods),
            left_out_at_full: read(&self.counts.at_full),
        }
    }

    /// Waits until what was left so far is written, a second at most.
    pub(super) fn flush(&self) {
        let (done, written) = sync_channel(1);
        // With a queue that is full nobody reads: then the last lines are lost as well.
        if self.jobs.try_send(Job::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH);
        }
    }
}

struct Work {
    form: Form,
    sampler: Arc<Mutex<Sampler>>,
    counts: Arc<Counts>,
    /// How many of those left out for want of room the log was told of.
    told_at_full: u64,
}

impl Work {
    fn run(mut self, queue: &Receiver<Job>) {
        let mut batch = Vec::new();
        let mut flushed: Vec<SyncSender<()>> = Vec::new();
        let mut told_at = 0;
        loop {
            match queue.recv_timeout(TELL) {
                Ok(job) => self.take(job, &mut batch, &mut flushed),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while batch.len() < BATCH_BYTES
                && flushed.is_empty()
                && let Ok(job) = queue.try_recv()
            {
                self.take(job, &mut batch, &mut flushed);
            }
            let now_ms = now_ms();
            if now_ms / 1000 != told_at || !flushed.is_empty() {
                told_at = now_ms / 1000;
                self.tell(now_ms, &mut batch);
            }
            // Nobody reads: there is no other place to say so.
            let _ = std::io::stderr().lock().write_all(&batch);
            batch.clear();
            for done in flushed.drain(..) {
                // Who asked may not wait any more.
                let _ = done.try_send(());
            }
        }
    }

    /// What was left out since the last time.
    fn tell(&mut self, now_ms: u64, out: &mut Vec<u8>) {
        let flood = self.sampler.lock().left_out(now_ms);
        let at_full = self.counts.at_full.load(Ordering::Relaxed);
        let full = LeftOut { of: "any".to_owned(), count: at_full - self.told_at_full };
        self.told_at_full = at_full;
        for (left, why) in flood.into_iter().map(|left| (left, "flood")).chain(Some((full, "nobody reads the log fast enough"))) {
            if left.count > 0 {
                let rest = vec![
                    ("of", Value::Text(left.of)),
                    ("count", Value::Plain(left.count.to_string())),
                    ("why", Value::Text(why.to_owned())),
                ];
                self.form.write(&Fields::own("lines_left_out", "lines were left out", rest), now_ms, out);
            }
        }
    }

    fn take(&self, job: Job, batch: &mut Vec<u8>, flushed: &mut Vec<SyncSender<()>>) {
        match job {
            Job::Line(line) => {
                self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
                batch.extend_from_slice(&line);
            }
            Job::Flush(done) => flushed.push(done),
        }
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
