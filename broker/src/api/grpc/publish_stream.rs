//! The pipelined publish: one task reads requests and appends them in order; the stream of acks waits for their commits.
//!
//! HTTP/2 makes it matter who waits where. A server that leaves a stream unread while it waits for room looks, to its own
//! HTTP/2 layer, like the victim of a flood of small frames, and the whole connection is cut. So the task goes on reading
//! while an append waits, keeps a bounded number of requests, and answers those past the bound with `overloaded`. It
//! stops reading only when the client leaves its acks unread: then the flow control of both directions meets.

use std::collections::VecDeque;
use std::pin::{Pin, pin};

use futures_core::Stream;
use futures_util::StreamExt as _;
use tidings_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, Streaming};

use super::GrpcServices;
use super::publish::Appended;
use super::status::{draining, of_layer, publish_error};
use crate::auth::Pass;
use crate::error::Error;

/// Most requests of one stream that wait for an append: enough that an append which waits a moment refuses nobody.
const WAITING_MAX: usize = 1024;
/// Most bytes of their payloads: little enough that a hundred streams can wait at once.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// Most requests that are read ahead in all, refused ones (a few bytes each) included.
const READ_AHEAD_MAX: usize = 64 * 1024;
/// Most appended messages whose acks the client has not taken.
const ACKS_MAX: usize = 4096;

/// The acks, in the order of the requests.
pub(super) type Acks = Pin<Box<dyn Stream<Item = Result<v1::PublishAck, Status>> + Send>>;

/// What the reading task hands to the stream of acks.
enum Step {
    Appended {
        seq: u64,
        appended: Appended,
    },
    /// The last one: why the stream ends.
    End(Status),
}

/// Publishes what comes in until the client has no more, is gone, or the node drains.
///
/// What was appended gathers between the two while the connection is busy, and goes out many acks to a frame: a client that
/// is slow to read would be flooded by a frame for each.
pub(super) fn publish_stream(
    services: GrpcServices,
    pass: Pass,
    requests: Streaming<v1::PublishStreamRequest>,
    drain: CancellationToken,
) -> Acks {
    let (steps, appended) = mpsc::channel(ACKS_MAX);
    let metrics = services.metrics.clone();
    let inbound = Inbound::new(requests, drain, services.config.message_bytes);
    tokio::spawn(read(services, pass, inbound, steps));
    Box::pin(ReceiverStream::new(appended).then(move |step| {
        let metrics = metrics.clone();
        async move {
            match step {
                Step::Appended { seq, appended } => Ok(ack(seq, appended.committed(&metrics).await)),
                Step::End(status) => Err(status),
            }
        }
    }))
}

/// Reads and appends until nothing more comes.
async fn read(services: GrpcServices, pass: Pass, mut inbound: Inbound, steps: mpsc::Sender<Step>) {
    let mut ahead = ReadAhead::default();
    loop {
        let (seq, request) = match ahead.take() {
            Some(Kept::Waiting(request)) => (request.seq, Some(*request)),
            Some(Kept::Refused { seq }) => (seq, None),
            None => match inbound.next().await {
                Some(request) => (request.seq, Some(request)),
                None => break,
            },
        };
        let appended = match &request {
            None => Appended::overloaded(),
            Some(request) => {
                let mut append = pin!(append(&services, &pass, request));
                loop {
                    tokio::select! {
                        biased;
                        appended = &mut append => break appended,
                        Some(request) = inbound.next(), if inbound.is_open() && !ahead.is_full() => ahead.keep(request),
                    }
                }
            }
        };
        if appended.is_overloaded() {
            ahead.refuse_all();
        }
        if steps.send(Step::Appended { seq, appended }).await.is_err() {
            return;
        }
    }
    if let Some(End::Because(status)) = inbound.end {
        let _ = steps.send(Step::End(status)).await;
    }
}

async fn append(services: &GrpcServices, pass: &Pass, request: &v1::PublishStreamRequest) -> Appended {
    match &request.publish {
        Some(publish) => services.append(pass, publish).await,
        None => Appended::refused(Error::invalid("the request holds no `publish`")),
    }
}

fn ack(seq: u64, result: crate::error::Result<v1::PublishResult>) -> v1::PublishAck {
    use v1::publish_ack::Outcome;
    let outcome = match result {
        Ok(result) => Outcome::Result(result),
        Err(error) => Outcome::Error(publish_error(error)),
    };
    v1::PublishAck { seq, outcome: Some(outcome) }
}

/// The requests, until they end.
struct Inbound {
    requests: Streaming<v1::PublishStreamRequest>,
    drain: CancellationToken,
    /// Kept, since to begin and end a wait for each request costs more than to look.
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    message_bytes: usize,
    end: Option<End>,
}

enum End {
    /// The client has sent its last.
    Finished,
    Because(Status),
}

impl Inbound {
    fn new(requests: Streaming<v1::PublishStreamRequest>, drain: CancellationToken, message_bytes: usize) -> Self {
        let drained = Box::pin(drain.clone().cancelled_owned());
        Self { requests, drain, drained, message_bytes, end: None }
    }

    fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// The next request; `None` for ever after the last. May be dropped half-way without losing one.
    async fn next(&mut self) -> Option<v1::PublishStreamRequest> {
        if !self.is_open() {
            return None;
        }
        // What was read gets its ack; what was not, the client sends to the next node. Looked at first: requests that never
        // stop coming must not hold up the drain.
        let end = if self.drain.is_cancelled() {
            End::Because(draining())
        } else {
            tokio::select! {
                biased;
                request = self.requests.message() => match request {
                    Ok(Some(request)) => return Some(request),
                    Ok(None) => End::Finished,
                    Err(below) => End::Because(of_layer(below, self.message_bytes)),
                },
                () = &mut self.drained => End::Because(draining()),
            }
        };
        self.end = Some(end);
        None
    }
}

/// Requests that were read while an append waited, in their order.
#[derive(Default)]
struct ReadAhead {
    kept: VecDeque<Kept>,
    waiting: usize,
    bytes: usize,
}

enum Kept {
    /// Boxed: a long row of refused ones should not be as wide as requests are.
    Waiting(Box<v1::PublishStreamRequest>),
    /// There was no room for it; only its place in the order of acks is kept.
    Refused { seq: u64 },
}

impl Kept {
    fn seq(&self) -> u64 {
        match self {
            Self::Waiting(request) => request.seq,
            Self::Refused { seq } => *seq,
        }
    }
}

impl ReadAhead {
    fn keep(&mut self, request: v1::PublishStreamRequest) {
        let bytes = bytes(&request);
        if self.waiting > 0 && (self.waiting >= WAITING_MAX || self.bytes + bytes > WAITING_BYTES_MAX) {
            self.kept.push_back(Kept::Refused { seq: request.seq });
            return;
        }
        self.waiting += 1;
        self.bytes += bytes;
        self.kept.push_back(Kept::Waiting(Box::new(request)));
    }

    fn take(&mut self) -> Option<Kept> {
        let next = self.kept.pop_front()?;
        if let Kept::Waiting(request) = &next {
            self.waiting -= 1;
            self.bytes -= bytes(request);
        }
        Some(next)
    }

    /// After a refusal: those behind it would each wait as long for the same room, and none may overtake it.
    fn refuse_all(&mut self) {
        for kept in &mut self.kept {
            *kept = Kept::Refused { seq: kept.seq() };
        }
        (self.waiting, self.bytes) = (0, 0);
    }

    fn is_full(&self) -> bool {
        self.kept.len() >= READ_AHEAD_MAX
    }
}

fn bytes(request: &v1::PublishStreamRequest) -> usize {
    request.publish.as_ref().map_or(0, |publish| publish.data.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(seq: u64, bytes: usize) -> v1::PublishStreamRequest {
        let publish = v1::PublishRequest { data: vec![0; bytes].into(), ..Default::default() };
        v1::PublishStreamRequest { seq, publish: Some(publish) }
    }

    fn drain(ahead: &mut ReadAhead) -> Vec<(u64, bool)> {
        std::iter::from_fn(|| ahead.take()).map(|kept| (kept.seq(), matches!(kept, Kept::Waiting(_)))).collect()
    }

    #[test]
    fn what_is_past_the_bound_keeps_its_place_and_is_refused() {
        let mut ahead = ReadAhead::default();
        (0..WAITING_MAX as u64 + 2).for_each(|seq| ahead.keep(request(seq, 1)));
        let kept = drain(&mut ahead);
        assert!(kept.iter().enumerate().all(|(n, (seq, waits))| *seq == n as u64 && *waits == (n < WAITING_MAX)));
        assert_eq!((ahead.waiting, ahead.bytes), (0, 0));
    }

    #[test]
    fn bytes_are_bounded_but_one_large_message_always_passes() {
        let mut ahead = ReadAhead::default();
        ahead.keep(request(1, WAITING_BYTES_MAX + 1));
        ahead.keep(request(2, 1));
        assert_eq!(drain(&mut ahead), [(1, true), (2, false)]);
    }

    #[test]
    fn after_a_refusal_nobody_behind_it_overtakes() {
        let mut ahead = ReadAhead::default();
        (1..4).for_each(|seq| ahead.keep(request(seq, 1)));
        ahead.refuse_all();
        ahead.keep(request(4, 1));
        assert_eq!(drain(&mut ahead), [(1, false), (2, false), (3, false), (4, true)]);
    }
}
