//! Reading a request's body within bounds.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::HttpApi;
use crate::error::{Error, ErrorCode, Result};
use crate::limits::{Arriving, Crowd};
use crate::metrics::{Metrics, ProtocolError};

/// Most bytes set aside at once: more is only taken as it arrives, so that a promised length costs nothing.
const FIRST_ALLOCATION_MAX: usize = 64 * 1024;
/// Most bytes of an unwanted body that are read for the sake of its sender.
const DISCARDED_BYTES_MAX: u64 = 1024 * 1024;
/// Longest pause of a sender whose body is unwanted.
const DISCARD_PAUSE_MAX: Duration = Duration::from_millis(250);
/// And longest time for all of it: byte by byte with such pauses it would be days, and nothing else ends a connection meanwhile.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(10);

/// The whole body, at most `bytes_max` long.
///
/// # Errors
/// `too_large` as soon as it is known, from the announced length or while reading; `invalid_request` when it does not
/// arrive in time or breaks off; `overloaded` when it stands still while others come.
pub(super) async fn read<B>(body: B, bytes_max: usize, api: &HttpApi) -> Result<Vec<u8>>
where
    B: Body<Data = Bytes>,
{
    read_within(body, bytes_max, api.limits.body_timeout, (&api.incoming, &api.metrics)).await
}

async fn read_within<B>(body: B, bytes_max: usize, within: Duration, (incoming, metrics): (&Arc<Crowd>, &Metrics)) -> Result<Vec<u8>>
where
    B: Body<Data = Bytes>,
{
    let outcome = timeout(within, collect(body, bytes_max, Arriving::new(incoming.clone()))).await;
    let problem = match outcome {
        Ok(Ok(bytes)) => return Ok(bytes),
        Ok(Err(error)) => error,
        Err(_) => {
            metrics.protocol_error(ProtocolError::BodyTimeout);
            Error::invalid(format!("the body did not arrive within {within:?}"))
        }
    };
    if problem.code == ErrorCode::TooLarge {
        metrics.protocol_error(ProtocolError::BodyTooLarge);
    }
    Err(problem)
}

async fn collect<B: Body<Data = Bytes>>(body: B, bytes_max: usize, mut arriving: Arriving) -> Result<Vec<u8>> {
    let mut body = pin!(body);
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > bytes_max {
        return Err(too_large(bytes_max));
    }
    let mut bytes = Vec::with_capacity(announced.min(FIRST_ALLOCATION_MAX));
    loop {
        let frame = poll_fn(|context| match arriving.poll_refused(context) {
            Poll::Ready(refused) => Poll::Ready(Err(refused)),
            Poll::Pending => body.as_mut().poll_frame(context).map(Ok),
        });
        let Some(frame) = frame.await? else { return Ok(bytes) };
        let frame = frame.map_err(|_| Error::invalid("the body broke off before its end"))?;
        // Trailers say nothing to us.
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > bytes_max - bytes.len() {
            return Err(too_large(bytes_max));
        }
        bytes.extend_from_slice(&data);
        if !body.is_end_stream() {
            arriving.holds(bytes.len());
        }
    }
}

/// Reads on a little after a refusal. Many clients look at the answer only once they have sent everything, and closing
/// a socket with unread bytes resets it, which can take the answer away from them.
pub(super) async fn discard<B: Body<Data = Bytes>>(mut body: Pin<&mut B>) {
    let mut left = DISCARDED_BYTES_MAX;
    // What is far too long is not worth waiting for; a client that asked first (Expect) has not even begun.
    if body.size_hint().lower() > left {
        return;
    }
    let all = async {
        while let Ok(Some(Ok(frame))) = timeout(DISCARD_PAUSE_MAX, body.frame()).await {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            if bytes > left {
                return;
            }
            left -= bytes;
        }
    };
    // Whichever end it came to, the answer follows.
    let _ = timeout(DISCARD_TIME_MAX, all).await;
}

fn too_large(bytes_max: usize) -> Error {
    Error::new(ErrorCode::TooLarge, format!("the body may have at most {bytes_max} bytes"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream::{self, StreamExt as _};
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;
    use crate::clock::Clock;

    const WITHIN: Duration = Duration::from_secs(10);

    fn chunks(chunks: &'static [&'static [u8]]) -> impl Body<Data = Bytes> {
        StreamBody::new(stream::iter(chunks.iter().map(|chunk| Ok::<_, Infallible>(Frame::data(Bytes::from_static(chunk))))))
    }

    async fn read(body: impl Body<Data = Bytes>, bytes_max: usize) -> Result<Vec<u8>> {
        read_within(body, bytes_max, WITHIN, (&Crowd::new(1 << 20), &Metrics::new(0, Clock::start()))).await
    }

    #[tokio::test]
    async fn a_body_may_be_exactly_as_large_as_the_limit() {
        assert_eq!(read(chunks(&[b"ab", b"", b"cd"]), 4).await.unwrap(), b"abcd");
        assert_eq!(read(Full::from("abcd"), 4).await.unwrap(), b"abcd");
        assert_eq!(read(chunks(&[]), 0).await.unwrap(), b"");
    }

    #[tokio::test]
    async fn one_byte_more_is_too_large_announced_or_not() {
        assert_eq!(read(chunks(&[b"ab", b"cde"]), 4).await.unwrap_err().code, ErrorCode::TooLarge);
        assert_eq!(read(Full::from("abcde"), 4).await.unwrap_err().code, ErrorCode::TooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unwanted_body_is_read_only_so_far() {
        let mut polled = 0_u32;
        let endless = stream::repeat_with(|| {
            polled += 1;
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 65_536])))
        });
        discard(pin!(StreamBody::new(endless))).await;
        assert_eq!(polled, 17);
        discard(pin!(StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>()))).await;
        let drip = stream::unfold((), |()| async {
            tokio::time::sleep(DISCARD_PAUSE_MAX / 2).await;
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x"))), ()))
        });
        let began = tokio::time::Instant::now();
        discard(pin!(StreamBody::new(drip))).await;
        assert_eq!(began.elapsed(), DISCARD_TIME_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let endless = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let error = read(endless, 4).await.unwrap_err();
        assert!(error.message.contains("10s"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_stand_still_make_room_for_those_that_come() {
        let (incoming, metrics) = (Crowd::new(100 << 10), Metrics::new(0, Clock::start()));
        let half = || {
            let begun = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b'x'; 30 << 10])))]);
            StreamBody::new(begun.chain(stream::pending()))
        };
        let read = |body| read_within(body, 1 << 20, WITHIN, (&incoming, &metrics));
        let all = futures_util::future::join_all((0..10).map(|_| read(half()))).await;
        let refused = all.iter().filter(|outcome| outcome.as_ref().unwrap_err().code == ErrorCode::Overloaded).count();
        assert_eq!((refused, incoming.weight()), (7, 0), "three fit, and have run out of time");
    }
}
