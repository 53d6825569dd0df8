//! The acks of a publish stream, in the order of its requests, on their way from the task that appends to the one that answers.
//!
//! What is known with its append, as nearly all is on one node, is written once and handed on as bytes, many acks at a time. They gather in between
//! while the connection is busy and go out many to a frame: a client that is slow to read would be flooded by a frame for each.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use parking_lot::Mutex;
use tonic::Status;

use super::ack;
use super::unread::{Held, Share};
use crate::broker::Published;
use crate::error::Result;

/// Most appended messages whose acks the client has not taken.
const ACKS_MAX: usize = 4096;
/// Bytes of acks of a stream that do not count: no more than what every stream costs.
const UNCOUNTED_BYTES_MAX: usize = 4 << 10;
/// What the ack of one outcome takes that is not known, about.
const ACK_BYTES: usize = 384;
/// Bytes of acks that go to HTTP/2 in one piece, about.
const PIECE_BYTES: usize = 32 << 10;

/// An ack whose commit is waited for, as a message of the stream.
pub(super) type Waiting = Pin<Box<dyn Future<Output = Vec<u8>> + Send>>;

/// Both ends. The client may leave so much of them unread.
pub(super) fn acks(share: Share) -> (Acks, Answers) {
    let queue = Arc::<Queue>::default();
    let acks = Acks { queue: queue.clone(), share, known: Vec::new(), count: 0, waiting: None, uncounted: 0 };
    (acks, Answers { queue, waiting: None, ready: Vec::new(), end: Status::ok(""), is_over: false })
}

/// The end of the task that appends.
pub(super) struct Acks {
    queue: Arc<Queue>,
    share: Share,
    /// Those that are not handed on yet, and how many there are, with the one that is waited for behind them.
    known: Vec<u8>,
    count: usize,
    waiting: Option<Waiting>,
    /// What those take that do not count yet.
    uncounted: usize,
}

/// What became of acks that were to be handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// They are, or there were none.
    On,
    /// The client has as many acks to take as it may have, or its connection has as much.
    NoRoom,
    /// Nobody takes any more.
    ToNobody,
}

impl Acks {
    /// One more, which goes on with the next [`Acks::hand_on`]. `true` when that should not wait for company.
    pub(super) fn add(&mut self, seq: u64, result: Result<Published>) -> bool {
        let before = self.known.len();
        ack::write(&mut self.known, seq, result);
        self.uncounted += self.known.len() - before;
        self.count += 1;
        // Many at once: it costs more to count than an ack does.
        self.uncounted >= UNCOUNTED_BYTES_MAX
    }

    /// One more, of so many outcomes, whose commit is waited for: nothing may be added before it is handed on.
    pub(super) fn add_waiting(&mut self, waiting: Waiting, outcomes: usize) {
        self.uncounted += ACK_BYTES * outcomes;
        self.count += 1;
        self.waiting = Some(waiting);
    }

    /// Hands on what there is. A wait that is not needed is not begun.
    pub(super) fn hand_on(&mut self) -> Handed {
        if self.count == 0 {
            return Handed::On;
        }
        if !self.queue.0.lock().has_room(self.count) {
            return Handed::NoRoom;
        }
        let held = match self.uncounted {
            0..UNCOUNTED_BYTES_MAX => None,
            bytes => match self.share.hold_now(bytes) {
                None => return Handed::NoRoom,
                held => held,
            },
        };
        self.put(held)
    }

    /// Whether there is something to hand on.
    pub(super) fn has_some(&self) -> bool {
        self.count > 0
    }

    /// The same when there is room for it. Nothing is lost when this is not awaited to its end.
    pub(super) async fn hand_on_in_time(&mut self) -> Handed {
        let held = if self.uncounted < UNCOUNTED_BYTES_MAX {
            None
        } else {
            tokio::select! {
                held = self.share.hold(self.uncounted) => Some(held),
                () = poll_fn(|context| self.queue.poll_closed(context)) => return Handed::ToNobody,
            }
        };
        poll_fn(|context| self.queue.poll_room(self.count, context)).await;
        self.put(held)
    }

    /// Why the stream ends, behind all that was handed on.
    pub(super) fn end(self, why: Status) {
        self.queue.0.lock().parts.push_back(Part::End(why));
    }

    fn put(&mut self, held: Option<Held>) -> Handed {
        if held.is_some() {
            self.uncounted = 0;
        }
        let (known, waiting, count) = (std::mem::take(&mut self.known), self.waiting.take(), std::mem::take(&mut self.count));
        let taker = {
            let mut line = self.queue.0.lock();
            if line.is_closed {
                return Handed::ToNobody;
            }
            line.count += count;
            match waiting {
                Some(waiting) => {
                    line.add(known, count - 1, None);
                    line.parts.push_back(Part::Waiting(waiting, held));
                }
                None => line.add(known, count, held),
            }
            line.taker.take()
        };
        taker.into_iter().for_each(Waker::wake);
        Handed::On
    }
}

impl Drop for Acks {
    fn drop(&mut self) {
        let taker = {
            let mut line = self.queue.0.lock();
            line.is_ended = true;
            line.taker.take()
        };
        taker.into_iter().for_each(Waker::wake);
    }
}

/// What is between the two ends.
#[derive(Default)]
struct Queue(Mutex<Line>);

#[derive(Default)]
struct Line {
    parts: VecDeque<Part>,
    /// Acks in them.
    count: usize,
    /// Nobody takes any more.
    is_closed: bool,
    /// Nothing comes any more.
    is_ended: bool,
    /// Who waits for more of them, and who waits for room.
    taker: Option<Waker>,
    giver: Option<Waker>,
}

enum Part {
    /// So many, and what they and those right before them take of what the connection may leave unread.
    Known(Vec<u8>, usize, Vec<Held>),
    /// One whose commit is waited for.
    Waiting(Waiting, Option<Held>),
    /// The last one: why the stream ends.
    End(Status),
}

impl Line {
    fn has_room(&self, count: usize) -> bool {
        self.count + count <= ACKS_MAX || self.is_closed
    }

    /// Behind those that still wait to be taken, if one piece can hold them.
    fn add(&mut self, known: Vec<u8>, count: usize, held: Option<Held>) {
        match self.parts.back_mut() {
            Some(Part::Known(bytes, before, all)) if bytes.len() + known.len() <= PIECE_BYTES => {
                bytes.extend_from_slice(&known);
                *before += count;
                all.extend(held);
            }
            _ if count > 0 => self.parts.push_back(Part::Known(known, count, held.into_iter().collect())),
            _ => {}
        }
    }
}

impl Queue {
    fn poll_room(&self, count: usize, context: &mut Context<'_>) -> Poll<()> {
        let mut line = self.0.lock();
        // More than there is room for at all goes alone.
        if line.has_room(count) || line.count == 0 {
            return Poll::Ready(());
        }
        line.giver = Some(context.waker().clone());
        Poll::Pending
    }

    fn poll_closed(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut line = self.0.lock();
        if line.is_closed {
            return Poll::Ready(());
        }
        line.giver = Some(context.waker().clone());
        Poll::Pending
    }

    /// The next of them; `None` behind the last.
    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Part>> {
        let (part, giver) = {
            let mut line = self.0.lock();
            let Some(part) = line.parts.pop_front() else {
                if line.is_ended {
                    return Poll::Ready(None);
                }
                line.taker = Some(context.waker().clone());
                return Poll::Pending;
            };
            line.count -= match &part {
                Part::Known(_, count, _) => *count,
                Part::Waiting(..) => 1,
                Part::End(_) => 0,
            };
            (part, line.giver.take())
        };
        giver.into_iter().for_each(Waker::wake);
        Poll::Ready(Some(part))
    }
}

/// The other end: the body of the answer, with each ack when its commit is known.
pub(super) struct Answers {
    queue: Arc<Queue>,
    /// The one whose commit is waited for.
    waiting: Option<(Waiting, Option<Held>)>,
    /// Acks that wait for company.
    ready: Vec<u8>,
    /// What is said behind the last ack.
    end: Status,
    is_over: bool,
}

impl Answers {
    /// As many acks as there are, or as many as go in one piece; `None` behind the last.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let is_ended = loop {
            if self.ready.len() >= PIECE_BYTES {
                break false;
            }
            if let Some((commit, _)) = &mut self.waiting {
                match commit.as_mut().poll(context) {
                    Poll::Ready(ack) => self.add(ack),
                    Poll::Pending => break false,
                }
                self.waiting = None;
                continue;
            }
            match self.queue.poll_next(context) {
                Poll::Ready(Some(Part::Known(known, ..))) => self.add(known),
                Poll::Ready(Some(Part::Waiting(commit, held))) => self.waiting = Some((commit, held)),
                Poll::Ready(Some(Part::End(why))) => self.end = why,
                Poll::Ready(None) => break true,
                Poll::Pending => break false,
            }
        };
        match (self.ready.is_empty(), is_ended) {
            (false, _) => Poll::Ready(Some(std::mem::take(&mut self.ready).into())),
            (true, true) => Poll::Ready(None),
            (true, false) => Poll::Pending,
        }
    }

    fn add(&mut self, acks: Vec<u8>) {
        if self.ready.is_empty() {
            self.ready = acks;
        } else {
            self.ready.extend_from_slice(&acks);
        }
    }
}

impl Body for Answers {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<std::result::Result<Frame<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match ready!(self.poll_piece(context)) {
            Some(piece) => Ok(Frame::data(piece)),
            None => {
                self.is_over = true;
                let mut trailers = HeaderMap::new();
                self.end.add_header(&mut trailers).map(|()| Frame::trailers(trailers))
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        let (parts, giver) = {
            let mut line = self.queue.0.lock();
            line.is_closed = true;
            (std::mem::take(&mut line.parts), line.giver.take())
        };
        drop(parts);
        giver.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;
    use prost::Message as _;
    use tidings_proto::v1;
    use tokio::sync::oneshot;

    use super::super::unread::{SHARE_BYTES, Unread};
    use super::*;
    use crate::error::Error;
    use crate::limits::Crowd;

    /// Both ends on a connection that may leave so many bytes unread beside what each stream has for itself.
    fn ends() -> (Acks, Answers, Arc<Unread>) {
        let unread = Unread::new(Crowd::new(16 << 20));
        let (acks, answers) = acks(unread.share());
        (acks, answers, unread)
    }

    fn refused() -> Result<Published> {
        Err(Error::invalid("no"))
    }

    /// An ack that is waited for, and what makes it known.
    fn waiting(seq: u64) -> (Waiting, oneshot::Sender<()>) {
        let (known, commit) = oneshot::channel::<()>();
        let waiting = Box::pin(async move {
            let _ = commit.await;
            let mut out = Vec::new();
            ack::write(&mut out, seq, refused());
            out
        });
        (waiting, known)
    }

    fn numbers(mut bytes: &[u8]) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let [0, a, b, c, d, rest @ ..] = bytes {
            let (ack, rest) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
            numbers.push(v1::PublishAck::decode(ack).unwrap().seq);
            bytes = rest;
        }
        assert!(bytes.is_empty(), "{bytes:?}");
        numbers
    }

    /// The next piece of the answer, if there is one now.
    fn piece(answers: &mut Answers) -> Option<Vec<u64>> {
        let frame = answers.frame().now_or_never()?.unwrap().unwrap();
        Some(numbers(&frame.into_data().expect("an ack")))
    }

    fn trailers(answers: &mut Answers) -> (String, bool) {
        let frame = answers.frame().now_or_never().expect("the end").unwrap().unwrap();
        let status = frame.into_trailers().expect("the end")["grpc-status"].to_str().unwrap().to_owned();
        (status, answers.frame().now_or_never().expect("nothing behind it").is_none())
    }

    #[test]
    fn what_is_known_goes_out_together_and_in_order_with_what_was_waited_for() {
        let (mut acks, mut answers, _unread) = ends();
        assert_eq!((acks.hand_on(), piece(&mut answers)), (Handed::On, None));
        (1..=3).for_each(|seq| assert!(!acks.add(seq, refused())));
        assert_eq!(piece(&mut answers), None, "not handed on yet");
        assert_eq!(acks.hand_on(), Handed::On);
        acks.add(4, refused());
        assert_eq!(acks.hand_on(), Handed::On);
        assert_eq!(piece(&mut answers), Some(vec![1, 2, 3, 4]));

        let (wait, known) = waiting(6);
        acks.add(5, refused());
        acks.add_waiting(wait, 1);
        assert_eq!(acks.hand_on(), Handed::On);
        acks.add(7, refused());
        assert_eq!(acks.hand_on(), Handed::On);
        assert_eq!((piece(&mut answers), piece(&mut answers)), (Some(vec![5]), None), "none overtakes");
        known.send(()).unwrap();
        assert_eq!(piece(&mut answers), Some(vec![6, 7]));
        acks.end(Status::unavailable("leaving"));
        assert_eq!(trailers(&mut answers), ("14".to_owned(), true));
    }

    #[test]
    fn a_stream_whose_requests_have_ended_ends_well_behind_its_last_ack() {
        let (mut acks, mut answers, _unread) = ends();
        acks.add(1, refused());
        assert_eq!(acks.hand_on(), Handed::On);
        drop(acks);
        assert_eq!(piece(&mut answers), Some(vec![1]));
        assert_eq!(trailers(&mut answers), ("0".to_owned(), true));
    }

    #[tokio::test]
    async fn acks_that_are_not_taken_are_bounded_in_bytes_and_in_number() {
        let (mut acks, mut answers, unread) = ends();
        // Others have what all streams have together.
        let other = unread.share();
        let others: Vec<Held> = std::iter::from_fn(|| other.hold_of_all(1 << 10)).collect();
        let (mut added, mut bytes) = (0, 0);
        loop {
            let before = acks.known.len();
            let is_enough = acks.add(added, refused());
            (added, bytes) = (added + 1, bytes + acks.known.len() - before);
            if is_enough && acks.hand_on() == Handed::NoRoom {
                break;
            }
        }
        assert!((SHARE_BYTES / 2..=SHARE_BYTES + UNCOUNTED_BYTES_MAX).contains(&bytes), "{bytes}");
        let mut later = Box::pin(acks.hand_on_in_time());
        assert!((&mut later).now_or_never().is_none());
        let first = piece(&mut answers).unwrap();
        assert_eq!(later.await, Handed::On);
        let taken: Vec<u64> = first.into_iter().chain(std::iter::from_fn(|| piece(&mut answers)).flatten()).collect();
        assert_eq!(taken, (0..added).collect::<Vec<_>>());
        drop(others);

        let mut handed = 0;
        while handed <= ACKS_MAX as u64 {
            acks.add(handed, refused());
            handed += 1;
            if acks.hand_on() == Handed::NoRoom {
                break;
            }
        }
        assert_eq!(handed, ACKS_MAX as u64 + 1);
        let mut later = Box::pin(acks.hand_on_in_time());
        assert!((&mut later).now_or_never().is_none());
        piece(&mut answers).unwrap();
        assert_eq!(later.await, Handed::On);
    }

    #[tokio::test]
    async fn who_hands_on_hears_that_nobody_takes_any_more() {
        let (mut acks, answers, _unread) = ends();
        for seq in 0..ACKS_MAX as u64 {
            acks.add(seq, refused());
            assert_eq!(acks.hand_on(), Handed::On);
        }
        acks.add(0, refused());
        let mut waits = Box::pin(acks.hand_on_in_time());
        assert!((&mut waits).now_or_never().is_none());
        drop(answers);
        assert_eq!(waits.await, Handed::ToNobody);
        acks.add(0, refused());
        assert_eq!(acks.hand_on(), Handed::ToNobody);
    }
}
