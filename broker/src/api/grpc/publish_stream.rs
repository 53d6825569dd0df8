//! The pipelined publish: one task reads requests and appends them in order; the stream of acks waits for their commits.
//!
//! HTTP/2 makes it matter who waits where. A server that leaves a stream unread while it waits for room looks, to its own
//! HTTP/2 layer, like the victim of a flood of small frames, and the whole connection is cut. So the task goes on reading
//! while an append waits, keeps a bounded number of requests, and answers those past the bound with `overloaded`. It
//! stops reading only when the client leaves its acks unread: then the flow control of both directions meets.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_core::Stream as _;
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Incoming;
use prost::Message as _;
use tidings_proto::v1;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::codec::{DecodeBuf, Decoder};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status, Streaming};

use super::GrpcServices;
use super::ack;
use super::acks::{Acks, Handed, acks};
use super::incoming::Watched;
use super::plain::Plain;
use super::publish::{Appended, Begun, Known, Rest};
use super::requests::{Requests, bytes_of};
use super::service::Carried;
use super::standing::Standing;
use super::status::{draining, of_layer, status};
use super::unread::{Held, Share};
use crate::auth::Pass;
use crate::error::{Error, ErrorCode};
use crate::metrics::{Metrics, ProtocolError};

/// The path of the call. The generated service does not see it: it knows requests and acks as its own types only, and what is read and
/// written a million times a second is read where it lies and written once.
pub(super) const PATH: &str = "/tidings.v1.Broker/PublishStream";

/// Most requests of one stream that wait for an append: enough that an append which waits a moment refuses nobody.
const WAITING_MAX: usize = 1024;
/// Most bytes of them, where the connection has room for so many.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// Most requests that are read ahead in all, refused ones (a few bytes each) included.
const READ_AHEAD_MAX: usize = 64 * 1024;
/// Most requests of one stream that are published at a time, before others on the same thread have their turn: the deliveries of what was just
/// published among them.
const PUBLISHED_AT_A_TIME: usize = 64;
/// In such steps it counts what they take.
const AHEAD_STEP_BYTES: usize = 64 << 10;

/// Publishes what comes in until the client has no more, is gone, or the node drains.
pub(super) fn answer(services: &GrpcServices, mut request: Request<Watched<Incoming>>, drain: CancellationToken) -> Response<Body> {
    let (Some(pass), Some(Carried { unread, requests, standing })) =
        (request.extensions_mut().remove::<Pass>(), request.extensions_mut().remove())
    else {
        return status(&Error::new(ErrorCode::Internal, "the call came past the gate")).into_http();
    };
    if let Some(refused) = compressed(request.headers()) {
        return refused.into_http();
    }
    let said = Streaming::new_request(Raw, request.into_body(), None, Some(services.config.message_bytes));
    let inbound = Inbound::new(said, drain, services.config.message_bytes, services.metrics.clone());
    let (ahead, (acks, answers)) = (ReadAhead::new(unread.share()), acks(unread.share()));
    tokio::spawn(Reader { services: services.clone(), pass, inbound, ahead, requests, standing, acks }.read());
    let mut response = Response::new(Body::new(answers));
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// Says no to what is compressed, in the words of all other calls.
fn compressed(headers: &HeaderMap) -> Option<Status> {
    let encoding = headers.get("grpc-encoding").filter(|encoding| *encoding != "identity")?;
    let encoding = String::from_utf8_lossy(encoding.as_bytes());
    let mut refused = Status::unimplemented(format!("Content is compressed with `{encoding}` which isn't supported"));
    refused.metadata_mut().insert("grpc-accept-encoding", MetadataValue::from_static("identity"));
    Some(refused)
}

/// Leaves each message as it is.
struct Raw;

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        // Split off and shared, not copied.
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// The reading task.
struct Reader {
    services: GrpcServices,
    pass: Pass,
    inbound: Inbound,
    ahead: ReadAhead,
    /// Those of the connection that wait.
    requests: Arc<Requests>,
    /// Those of its streams that are not read.
    standing: Arc<Standing>,
    acks: Acks,
}

/// Why the reader cannot go on at once.
enum Halt {
    /// A request whose append waits for room.
    NoRoom { seq: u64, rest: Rest },
    /// The client has as many acks to take as it may have, or its connection has as much.
    Full,
    /// The requests have ended, or nobody takes acks any more.
    Over,
}

impl Reader {
    /// Reads and appends until nothing more comes.
    async fn read(mut self) {
        let mut at_a_time = 0;
        loop {
            if at_a_time >= PUBLISHED_AT_A_TIME {
                at_a_time = 0;
                tokio::task::yield_now().await;
            }
            at_a_time += 1;
            let mut held = match self.ahead.take() {
                Some(Kept::Waiting(request)) => self.publish(&request),
                Some(Kept::Refused { seq }) => self.answer(seq, Appended::overloaded()),
                None => Some(poll_fn(|context| self.poll_held(context)).await),
            };
            if let Some(Halt::NoRoom { seq, rest }) = held {
                let appended = self.wait(rest).await;
                held = self.answer(seq, appended);
            }
            let goes_on = match held {
                None => true,
                Some(Halt::Full) => self.standing.during(self.acks.hand_on_in_time()).await == Handed::On,
                Some(Halt::NoRoom { .. } | Halt::Over) => false,
            };
            if !goes_on {
                break;
            }
        }
        if self.hand_on().is_some() && self.standing.during(self.acks.hand_on_in_time()).await == Handed::ToNobody {
            return;
        }
        if let Some(End::Because(status)) = self.inbound.end {
            self.acks.end(status);
        }
    }

    /// Publishes what comes in for as long as that takes no wait, and then hands the acks on.
    fn poll_held(&mut self, context: &mut Context<'_>) -> Poll<Halt> {
        for _ in 0..PUBLISHED_AT_A_TIME {
            let request = match self.inbound.poll_next(context) {
                Poll::Ready(Some(request)) => request,
                Poll::Ready(None) => return Poll::Ready(Halt::Over),
                Poll::Pending => return self.hand_on().map_or(Poll::Pending, Poll::Ready),
            };
            if let Some(held) = self.publish_raw(&request) {
                return Poll::Ready(held);
            }
        }
        if let Some(held) = self.hand_on() {
            return Poll::Ready(held);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Appends a message, and adds its ack.
    fn publish_raw(&mut self, request: &Bytes) -> Option<Halt> {
        match Plain::read(request) {
            Some(Plain { seq, words }) => {
                let begun = self.services.begin_plain(&self.pass, &words);
                self.begun(seq, begun)
            }
            None => match self.inbound.decode(request) {
                Some(request) => self.publish(&request),
                None => Some(Halt::Over),
            },
        }
    }

    fn publish(&mut self, request: &v1::PublishStreamRequest) -> Option<Halt> {
        let begun = match &request.publish {
            Some(publish) => self.services.begin(&self.pass, publish),
            None => {
                let error = Error::invalid("the request holds no `publish`");
                self.services.publish_refused(&self.pass, None, &error);
                Begun::Appended(Appended::refused(error))
            }
        };
        self.begun(request.seq, begun)
    }

    fn begun(&mut self, seq: u64, begun: Begun) -> Option<Halt> {
        match begun {
            Begun::Appended(appended) => self.answer(seq, appended),
            Begun::Waits(rest) => Some(Halt::NoRoom { seq, rest }),
        }
    }

    /// Waits until it is appended, and goes on reading meanwhile. The acks of those before it go on as soon as there is room for them: they do
    /// not wait for what it waits for.
    async fn wait(&mut self, rest: Rest) -> Appended {
        let Self { services, pass, inbound, ahead, requests, standing, acks } = self;
        let channel = rest.channel().cloned();
        let whole = match requests.keep(rest.bytes()) {
            Ok(whole) => whole,
            Err(error) => {
                services.publish_refused(pass, channel.as_ref(), &error);
                return Appended::refused(error);
            }
        };
        let is_one = matches!(rest, Rest::One(_));
        let mut append = pin!(whole.during(async { Ok(services.finish(pass, rest).await) }));
        let mut stands = None;
        loop {
            if ahead.is_full() && inbound.is_open() && stands.is_none() {
                stands = Some(standing.begin());
            }
            tokio::select! {
                biased;
                appended = &mut append => return appended.unwrap_or_else(|gave_way| {
                    ahead.refuse_all();
                    services.publish_refused(pass, channel.as_ref(), &gave_way);
                    // One waits only before it is appended.
                    if is_one { Appended::overloaded() } else { Appended::refused(gave_way) }
                }),
                _ = acks.hand_on_in_time(), if acks.has_some() => {}
                Some(request) = poll_fn(|context| inbound.poll_next(context)), if inbound.is_open() && !ahead.is_full() => {
                    if let Some(request) = inbound.decode(&request) {
                        ahead.keep(request);
                    }
                }
            }
        }
    }

    /// Adds an ack, or the wait for it.
    fn answer(&mut self, seq: u64, appended: Appended) -> Option<Halt> {
        if appended.is_overloaded() {
            self.ahead.refuse_all();
        }
        let goes_now = match appended.known(&self.services.metrics) {
            Known::Answer(result) => self.acks.add(seq, result),
            Known::NotYet(appended) => {
                let (metrics, outcomes) = (self.services.metrics.clone(), appended.outcomes());
                let committed = async move {
                    let mut acks = Vec::new();
                    ack::write_result(&mut acks, seq, appended.committed(&metrics).await);
                    acks
                };
                self.acks.add_waiting(Box::pin(committed), outcomes);
                true
            }
        };
        if goes_now { self.hand_on() } else { None }
    }

    /// Hands the acks on, if that takes no wait.
    fn hand_on(&mut self) -> Option<Halt> {
        match self.acks.hand_on() {
            Handed::On => None,
            Handed::NoRoom => Some(Halt::Full),
            Handed::ToNobody => Some(Halt::Over),
        }
    }
}

/// The requests, until they end.
struct Inbound {
    requests: Streaming<Bytes>,
    drain: CancellationToken,
    /// Kept, since to begin and end a wait for each request costs more than to look.
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    message_bytes: usize,
    metrics: Arc<Metrics>,
    end: Option<End>,
}

enum End {
    /// The client has sent its last.
    Finished,
    Because(Status),
}

impl Inbound {
    fn new(requests: Streaming<Bytes>, drain: CancellationToken, message_bytes: usize, metrics: Arc<Metrics>) -> Self {
        let drained = Box::pin(drain.clone().cancelled_owned());
        Self { requests, drain, drained, message_bytes, metrics, end: None }
    }

    fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// The next request, as it came; `None` for ever after the last.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !self.is_open() {
            return Poll::Ready(None);
        }
        // What was read gets its ack; what was not, the client sends to the next node. Looked at first: requests that never
        // stop coming must not hold up the drain.
        let end = if self.drain.is_cancelled() {
            End::Because(draining())
        } else {
            match Pin::new(&mut self.requests).poll_next(context) {
                Poll::Ready(Some(Ok(request))) => return Poll::Ready(Some(request)),
                Poll::Ready(Some(Err(below))) => {
                    if below.code() == Code::OutOfRange {
                        self.metrics.protocol_error(ProtocolError::BodyTooLarge);
                    }
                    End::Because(of_layer(below, self.message_bytes))
                }
                Poll::Ready(None) => End::Finished,
                Poll::Pending => {
                    ready!(self.drained.as_mut().poll(context));
                    End::Because(draining())
                }
            }
        };
        self.end = Some(end);
        Poll::Ready(None)
    }

    /// What it says. With what is no message the requests end.
    fn decode(&mut self, request: &Bytes) -> Option<v1::PublishStreamRequest> {
        let decoded = v1::PublishStreamRequest::decode(request.clone());
        decoded.inspect_err(|error| self.end = Some(End::Because(of_layer(Status::internal(error.to_string()), self.message_bytes)))).ok()
    }
}

/// Requests that were read while an append waited, in their order.
struct ReadAhead {
    kept: VecDeque<Kept>,
    waiting: usize,
    bytes: usize,
    share: Share,
    /// What all of it counts for, in steps: whose acks are not taken may leave it here for long.
    held: Vec<Held>,
    counted: usize,
    /// There is no room even for the places of those that are refused.
    is_crowded: bool,
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
    fn new(share: Share) -> Self {
        Self { kept: VecDeque::new(), waiting: 0, bytes: 0, share, held: Vec::new(), counted: 0, is_crowded: false }
    }

    fn keep(&mut self, request: v1::PublishStreamRequest) {
        let bytes = bytes(&request);
        let is_too_much = self.waiting > 0 && (self.waiting >= WAITING_MAX || self.bytes + bytes > WAITING_BYTES_MAX);
        if is_too_much || !self.has_room(bytes) {
            self.kept.push_back(Kept::Refused { seq: request.seq });
            self.is_crowded = !self.has_room(0);
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
        if self.kept.is_empty() {
            // With what they took: a long row leaves a large buffer.
            (self.kept, self.held, self.counted, self.is_crowded) = (VecDeque::new(), Vec::new(), 0, false);
        }
        Some(next)
    }

    /// Whether the connection has room for so many bytes more; they count from now on.
    fn has_room(&mut self, bytes: usize) -> bool {
        let all = self.bytes + bytes + self.kept.len() * size_of::<Kept>();
        if all > self.counted {
            let step = (all - self.counted).max(AHEAD_STEP_BYTES);
            let Some(held) = self.share.hold_now(step) else { return false };
            self.held.push(held);
            self.counted += step;
        }
        true
    }

    /// After a refusal: those behind it would each wait as long for the same room, and none may overtake it.
    fn refuse_all(&mut self) {
        for kept in &mut self.kept {
            *kept = Kept::Refused { seq: kept.seq() };
        }
        (self.waiting, self.bytes) = (0, 0);
    }

    fn is_full(&self) -> bool {
        self.is_crowded || self.kept.len() >= READ_AHEAD_MAX
    }
}

fn bytes(request: &v1::PublishStreamRequest) -> usize {
    request.publish.as_ref().map_or(0, bytes_of)
}

#[cfg(test)]
mod tests {
    use super::super::unread::Unread;
    use super::*;
    use crate::limits::Crowd;

    fn request(seq: u64, bytes: usize) -> v1::PublishStreamRequest {
        let publish = v1::PublishRequest { data: vec![0; bytes].into(), ..Default::default() };
        v1::PublishStreamRequest { seq, publish: Some(publish) }
    }

    fn ahead() -> ReadAhead {
        ReadAhead::new(Unread::new(Crowd::new(256 << 20)).share())
    }

    fn drain(ahead: &mut ReadAhead) -> Vec<(u64, bool)> {
        std::iter::from_fn(|| ahead.take()).map(|kept| (kept.seq(), matches!(kept, Kept::Waiting(_)))).collect()
    }

    #[test]
    fn what_is_past_the_bound_keeps_its_place_and_is_refused() {
        let mut ahead = ahead();
        (0..WAITING_MAX as u64 + 2).for_each(|seq| ahead.keep(request(seq, 1)));
        let kept = drain(&mut ahead);
        assert!(kept.iter().enumerate().all(|(n, (seq, waits))| *seq == n as u64 && *waits == (n < WAITING_MAX)));
        assert_eq!((ahead.waiting, ahead.bytes), (0, 0));
    }

    #[test]
    fn bytes_are_bounded_but_one_large_message_always_passes() {
        let mut ahead = ahead();
        ahead.keep(request(1, WAITING_BYTES_MAX + 1));
        ahead.keep(request(2, 1));
        assert_eq!(drain(&mut ahead), [(1, true), (2, false)]);
    }

    #[test]
    fn many_small_names_count_for_what_they_take() {
        let mut ahead = ahead();
        let mut many = request(1, 0);
        many.publish.as_mut().unwrap().channels = vec![String::new(); WAITING_BYTES_MAX / 20];
        ahead.keep(many);
        ahead.keep(request(2, 1));
        assert_eq!(drain(&mut ahead), [(1, true), (2, false)]);
        assert_eq!((ahead.waiting, ahead.bytes), (0, 0));
    }

    #[test]
    fn what_is_read_ahead_counts_and_a_connection_without_room_reads_no_more() {
        let everyone = Crowd::new(1 << 20);
        let unread = Unread::new(everyone.clone());
        let mut ahead = ReadAhead::new(unread.share());
        ahead.keep(request(1, 50_000));
        assert_eq!((everyone.weight(), ahead.is_full()), (64 << 10, false));
        // There are 64 KiB for all streams beside those of each.
        (2..=3).for_each(|seq| ahead.keep(request(seq, 50_000)));
        assert_eq!(drain(&mut ahead), [(1, true), (2, true), (3, false)]);
        assert_eq!((everyone.weight(), ahead.is_full()), (0, false));
        let other = unread.share();
        let _all: Vec<Held> = std::iter::from_fn(|| other.hold_now(60_000)).collect();
        let mut seq = 0;
        while !ahead.is_full() {
            ahead.keep(request(seq, 5_000));
            seq += 1;
        }
        let kept = drain(&mut ahead);
        let waited = kept.iter().filter(|(_, waits)| *waits).count();
        assert!((10..14).contains(&waited) && kept.len() < 5_000, "{waited} of {}, and those that were refused take room, too", kept.len());
        assert!(!ahead.is_full());
    }

    #[test]
    fn after_a_refusal_nobody_behind_it_overtakes() {
        let mut ahead = ahead();
        (1..4).for_each(|seq| ahead.keep(request(seq, 1)));
        ahead.refuse_all();
        ahead.keep(request(4, 1));
        assert_eq!(drain(&mut ahead), [(1, false), (2, false), (3, false), (4, true)]);
    }
}
