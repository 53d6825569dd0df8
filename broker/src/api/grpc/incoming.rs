//! A request's body on its way in: what it holds of a message that is not whole yet counts among all that is half here, and the rest of
//! it has its time.
//!
//! A call with one request is decoded when its body has ended, and not before: who does not end it would hold what it became, which is more
//! than its bytes and nowhere counted.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;

use super::fields::{self, Counting, Kind};
use super::status::status;
use crate::error::{Error, ErrorCode, Result};
use crate::limits::{Arriving, Crowd};
use crate::metrics::{Metrics, ProtocolError};

/// Before each message stand a flag and its length.
const HEAD_BYTES: usize = 5;

/// How long a sender may keep somebody waiting.
pub(super) struct Patience {
    /// For all of a call with one request, or for one message of a stream from its first byte on.
    pub(super) within: Duration,
    /// Who gave up is counted, and who sent too much.
    pub(super) metrics: Arc<Metrics>,
}

impl Patience {
    fn refuse(&self, error: &Error) -> Status {
        if error.code == ErrorCode::TooLarge {
            self.metrics.protocol_error(ProtocolError::BodyTooLarge);
        }
        status(error)
    }
}

/// A body that is watched.
pub(super) struct Watched<B> {
    body: B,
    arriving: Arriving,
    shape: Shape,
    patience: Patience,
    /// Runs while something is due that is not here. Most requests are whole when they are looked at, and never have one.
    timer: Option<Pin<Box<Sleep>>>,
}

/// How many messages there are in it.
enum Shape {
    /// Any number, each handed on as it comes.
    Stream(Messages),
    /// One, handed on when it is whole and nothing comes behind it.
    One(Whole),
    /// Everything was looked at that there is to look at.
    Passed,
}

impl<B> Watched<B> {
    /// Any number of messages within these bounds each, among everyone, who are bounded in bytes.
    pub(super) fn stream(body: B, everyone: Arc<Crowd>, bounds: Bounds, patience: Patience) -> Self {
        Self { body, arriving: Arriving::new(everyone), shape: Shape::Stream(Messages::new(bounds)), patience, timer: None }
    }

    /// One message within these bounds.
    pub(super) fn one(body: B, everyone: Arc<Crowd>, bounds: Bounds, patience: Patience) -> Self {
        let whole = Whole { bounds, bytes: BytesMut::new() };
        Self { body, arriving: Arriving::new(everyone), shape: Shape::One(whole), patience, timer: None }
    }

    /// Ready when what is due did not come in time.
    fn poll_too_slow(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        if let Shape::Stream(messages) = &self.shape
            && !messages.has_begun()
        {
            return Poll::Pending;
        }
        let within = self.patience.within;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(within)));
        timer.as_mut().poll(context).map(|()| {
            self.patience.metrics.protocol_error(ProtocolError::BodyTimeout);
            status(&Error::invalid(format!("the request did not arrive within {within:?}")))
        })
    }
}

/// What one message may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Of the message on the wire. What is larger is handed on as it comes: tonic refuses it at its head.
    pub(super) bytes: usize,
    /// Most messages of a batch.
    pub(super) batch_messages: usize,
    /// Which request it is.
    pub(super) kind: Kind,
}

/// What there is of the one message.
struct Whole {
    bounds: Bounds,
    bytes: BytesMut,
}

impl Whole {
    /// More of it. `true` when there is no use in waiting for the rest.
    fn add(&mut self, data: &[u8]) -> Result<bool> {
        self.bytes.extend_from_slice(data);
        let [_, length @ ..] = self.head().copied().unwrap_or_default();
        let length = u32::from_be_bytes(length) as usize;
        if length <= self.bounds.bytes && self.bytes.len() > HEAD_BYTES + length {
            return Err(Error::invalid("a call of this method has one request"));
        }
        Ok(length > self.bounds.bytes)
    }

    fn head(&self) -> Option<&[u8; HEAD_BYTES]> {
        self.bytes.first_chunk()
    }

    /// Everything, when it is all here. What is compressed tonic refuses.
    fn end(&mut self) -> Result<Bytes> {
        if self.head().is_some_and(|head| head[0] == 0) {
            fields::check(&self.bytes[HEAD_BYTES..], self.bounds.kind, self.bounds.batch_messages)?;
        }
        Ok(std::mem::take(&mut self.bytes).freeze())
    }
}

type Polled = Poll<Option<std::result::Result<Frame<Bytes>, Status>>>;

impl<B> Body for Watched<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        loop {
            if let Poll::Ready(refused) = this.arriving.poll_refused(context) {
                return Poll::Ready(Some(Err(status(&refused))));
            }
            let frame = match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(Some(Err(why))) => return Poll::Ready(Some(Err(Status::from_error(why.into())))),
                Poll::Ready(Some(Ok(frame))) => Some(frame),
                Poll::Ready(None) => None,
                Poll::Pending => return this.poll_too_slow(context).map(|too_slow| Some(Err(too_slow))),
            };
            let data = frame.as_ref().and_then(Frame::data_ref);
            let whole = match &mut this.shape {
                Shape::Stream(messages) => {
                    if let Some(data) = data {
                        let (ended, held) = match messages.follow(data) {
                            Ok(followed) => followed,
                            Err(error) => return Poll::Ready(Some(Err(this.patience.refuse(&error)))),
                        };
                        if ended {
                            this.arriving.is_whole();
                            // The next one has a time of its own.
                            this.timer = None;
                        }
                        this.arriving.holds(held);
                    }
                    return Poll::Ready(frame.map(Ok));
                }
                Shape::Passed => return Poll::Ready(frame.map(Ok)),
                Shape::One(whole) => whole,
            };
            let handed_on = match data.map(|data| whole.add(data)).transpose() {
                Ok(Some(true)) => Ok(std::mem::take(&mut whole.bytes).freeze()),
                // Metadata behind a request has no meaning here.
                Ok(_) if data.is_none() || this.body.is_end_stream() => whole.end(),
                Ok(_) => {
                    this.arriving.holds(whole.bytes.len());
                    continue;
                }
                Err(error) => Err(error),
            };
            this.shape = Shape::Passed;
            this.arriving.is_whole();
            return Poll::Ready(Some(handed_on.map(Frame::data).map_err(|error| this.patience.refuse(&error))));
        }
    }

    fn is_end_stream(&self) -> bool {
        !matches!(self.shape, Shape::One(_)) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where one message ends and the next begins.
#[derive(Debug)]
struct Messages {
    bounds: Bounds,
    head: [u8; HEAD_BYTES],
    head_len: usize,
    /// Of the message whose head was read.
    left: usize,
    /// Of it, without its head.
    held: usize,
    /// Its fields, if they can be too many: each is decoded as soon as it is whole. Most are so short that they need not be looked at.
    counting: Option<Counting>,
}

impl Messages {
    fn new(bounds: Bounds) -> Self {
        Self { bounds, head: [0; HEAD_BYTES], head_len: 0, left: 0, held: 0, counting: None }
    }

    /// Whether a part of a message is here, and not all of it.
    fn has_begun(&self) -> bool {
        self.head_len > 0
    }

    /// Goes on behind these bytes. Whether a message ended, and how much there is of the one that is not whole.
    fn follow(&mut self, mut bytes: &[u8]) -> Result<(bool, usize)> {
        let mut ended = false;
        while !bytes.is_empty() {
            if self.head_len < HEAD_BYTES {
                let (taken, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES - self.head_len));
                self.head[self.head_len..self.head_len + taken.len()].copy_from_slice(taken);
                (self.head_len, bytes) = (self.head_len + taken.len(), rest);
                if self.head_len < HEAD_BYTES {
                    break;
                }
                let [flag, length @ ..] = self.head;
                (self.left, self.held) = (u32::from_be_bytes(length) as usize, 0);
                let Bounds { bytes: bytes_max, batch_messages, kind } = self.bounds;
                // What is too large or compressed tonic refuses at this head.
                let is_decoded = flag == 0 && self.left <= bytes_max;
                self.counting =
                    (is_decoded && fields::could_be_too_many(self.left, batch_messages)).then(|| Counting::new(kind, batch_messages));
            } else {
                let (taken, rest) = bytes.split_at(bytes.len().min(self.left));
                if let Some(counting) = &mut self.counting {
                    counting.add(taken)?;
                }
                (self.left, self.held, bytes) = (self.left - taken.len(), self.held + taken.len(), rest);
            }
            if self.left == 0 {
                self.counting.take().map_or(Ok(()), |counting| counting.end())?;
                (self.head_len, self.held, ended) = (0, 0, true);
            }
        }
        Ok((ended, self.held))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};
    use prost::Message as _;
    use tidings_proto::v1;

    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Gauges;

    const WITHIN: Duration = Duration::from_secs(30);

    fn patience() -> (Patience, Arc<Metrics>) {
        let metrics = Metrics::new(0, Clock::start());
        (Patience { within: WITHIN, metrics: metrics.clone() }, metrics)
    }

    const BOUNDS: Bounds = Bounds { bytes: 1 << 20, batch_messages: 1000, kind: Kind::OfStream };

    fn message(length: usize) -> Vec<u8> {
        [&[0][..], &(length as u32).to_be_bytes(), &vec![b'x'; length]].concat()
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let all = [message(0), message(10), message(1000), message(3)].concat();
        for piece in [1, 2, 5, 7, 100, all.len()] {
            let mut messages = Messages::new(BOUNDS);
            let followed: Vec<(bool, usize)> = all.chunks(piece).map(|bytes| messages.follow(bytes).unwrap()).collect();
            assert_eq!(followed.last(), Some(&(true, 0)), "{piece}");
            assert!(followed.iter().all(|(_, held)| *held < 1000), "{piece}: {followed:?}");
        }
        let mut messages = Messages::new(BOUNDS);
        let pieces = [&all[..3], &all[3..9], &all[9..18], &all[18..30]];
        assert_eq!(pieces.map(|bytes| messages.follow(bytes).unwrap()), [(false, 0), (true, 0), (false, 8), (true, 5)]);
    }

    #[test]
    fn only_what_could_be_too_many_is_looked_at_and_refused_before_it_is_whole() {
        let framed = |encoded: &[u8]| [&[0][..], &(encoded.len() as u32).to_be_bytes(), encoded].concat();
        let publish = |channels: usize, bytes: usize| {
            let publish = v1::PublishRequest { channels: vec![String::new(); channels], data: vec![0; bytes].into(), ..Default::default() };
            framed(&v1::PublishStreamRequest { seq: 1, publish: Some(publish) }.encode_to_vec())
        };
        let mut messages = Messages::new(Bounds { batch_messages: 10, ..BOUNDS });
        let small = publish(5, 10_000);
        assert_eq!((messages.follow(&small[..1000]).unwrap().0, messages.counting.is_none()), (false, true));
        assert_eq!(messages.follow(&small[1000..]).unwrap(), (true, 0));
        let large = publish(5, 500_000);
        assert_eq!((messages.follow(&large[..1000]).unwrap().0, messages.counting.is_some()), (false, true));
        assert_eq!(messages.follow(&[&large[1000..], &small].concat()).unwrap(), (true, 0));
        let many = publish(100_000, 0);
        let refused = many.chunks(1000).find_map(|piece| messages.follow(piece).err()).unwrap();
        assert_eq!(refused.code, ErrorCode::TooLarge, "{refused}");
    }

    #[tokio::test]
    async fn a_message_that_stands_still_is_refused_when_others_come() {
        let everyone = Crowd::new(64 << 10);
        let half = || {
            let begun = Bytes::from(message(60_000)[..40_000].to_vec());
            let begun = stream::iter([Ok::<_, Infallible>(Frame::data(begun))]);
            Watched::stream(Box::pin(StreamBody::new(begun.chain(stream::pending()))), everyone.clone(), BOUNDS, patience().0)
        };
        let (mut first, mut second) = (half(), half());
        assert!(first.frame().await.unwrap().is_ok());
        assert!(second.frame().await.unwrap().is_ok());
        let refused = first.frame().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused:?}");
        drop((first, second));
        assert_eq!(everyone.weight(), 0);
    }

    /// Each piece that long after the one before, and then nothing.
    fn drip(pieces: Vec<Vec<u8>>, pause: Duration) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let pieces = stream::iter(pieces).then(move |piece| async move {
            sleep(pause).await;
            Ok::<_, Infallible>(Frame::data(Bytes::from(piece)))
        });
        Box::pin(StreamBody::new(pieces.chain(stream::pending())))
    }

    /// How long somebody is listened to who sends these pieces with these pauses, and how many gave up by the metrics.
    async fn heard_for(is_stream: bool, pieces: Vec<Vec<u8>>, pause: Duration) -> (Duration, bool) {
        let (patience, metrics) = patience();
        let (body, everyone) = (drip(pieces, pause), Crowd::new(1 << 20));
        let bounds = Bounds { bytes: 2000, kind: Kind::One, ..BOUNDS };
        let mut watched = match is_stream {
            true => Watched::stream(body, everyone, bounds, patience),
            false => Watched::one(body, everyone, bounds, patience),
        };
        let began = tokio::time::Instant::now();
        let refused = loop {
            match tokio::time::timeout(WITHIN * 100, watched.frame()).await {
                Ok(Some(Ok(_))) => {}
                Ok(refused) => break refused,
                Err(_) => return (began.elapsed(), false),
            }
        };
        let refused = refused.unwrap().unwrap_err();
        assert!(refused.code() == tonic::Code::InvalidArgument && refused.message().contains("30s"), "{refused:?}");
        let text = metrics.render(&Gauges::default());
        assert!(text.contains("tidings_protocol_errors_seen_total{kind=\"body_timeout\"} 1\n"), "{text}");
        (began.elapsed(), true)
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_its_time_whether_it_begins_or_drips_or_lacks_its_end() {
        let second = Duration::from_secs(1);
        assert_eq!(heard_for(false, vec![], second).await, (WITHIN, true));
        assert_eq!(heard_for(false, message(1000).chunks(1).map(<[u8]>::to_vec).collect(), second).await, (WITHIN, true));
        assert_eq!(heard_for(false, vec![message(3)], second).await, (WITHIN, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_may_be_silent_between_its_messages_and_not_within_one() {
        let hour = Duration::from_secs(600);
        let (_, is_given_up) = heard_for(true, vec![message(3); 3], hour).await;
        assert!(!is_given_up);
        // Its second message begins and stays behind: in the middle, or after one byte of its head.
        for begun in [7, 1] {
            let pieces = vec![message(3), message(9)[..begun].to_vec()];
            assert_eq!(heard_for(true, pieces, hour).await, (hour * 2 + WITHIN, true));
        }
        // The time of one is not taken from the next.
        let (whole, half) = (message(3), WITHIN * 2 / 3);
        let slow = (0..4).flat_map(|_| [whole[..4].to_vec(), whole[4..].to_vec()]).collect();
        assert!(!heard_for(true, slow, half).await.1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_is_handed_on_when_nothing_comes_behind_it_and_not_waited_for_too_long() {
        let everyone = Crowd::new(1 << 20);
        let bounds = Bounds { bytes: 1000, kind: Kind::One, ..BOUNDS };
        let of = |bytes: Vec<u8>| {
            let pieces: Vec<_> = bytes.chunks(7).map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(piece)))).collect();
            stream::iter(pieces)
        };
        let request = [&[0, 0, 0, 0, 12, 0x1a, 10][..], &[b'x'; 10]].concat();
        let mut ended = Watched::one(StreamBody::new(of(request.clone())), everyone.clone(), bounds, patience().0);
        assert_eq!(ended.frame().await.unwrap().unwrap().into_data().unwrap(), request);
        assert!(ended.frame().await.is_none());
        let began = tokio::time::Instant::now();
        let open = StreamBody::new(Box::pin(of(request.clone()).chain(stream::pending())));
        let told = Watched::one(open, everyone.clone(), bounds, patience().0).frame().await.unwrap().unwrap_err();
        assert_eq!((told.code(), began.elapsed()), (tonic::Code::InvalidArgument, WITHIN), "{told:?}");
        let two = Watched::one(StreamBody::new(of(request.repeat(2))), everyone.clone(), bounds, patience().0)
            .frame()
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(two.code(), tonic::Code::InvalidArgument, "{two:?}");
        // What is too large by its own word is tonic's to refuse.
        let large = StreamBody::new(Box::pin(of(vec![0, 1, 0, 0, 0, 1, 2]).chain(stream::pending())));
        assert_eq!(Watched::one(large, everyone, bounds, patience().0).frame().await.unwrap().unwrap().into_data().unwrap().len(), 7);
    }
}
