//! Reading a request's body within bounds.

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::error::{Error, ErrorCode, Result};
use crate::metrics::{Metrics, ProtocolError};

/// Most bytes set aside at once: more is only taken as it arrives, so that a promised length costs nothing.
const FIRST_ALLOCATION_MAX: usize = 64 * 1024;
/// Most bytes of an unwanted body that are read for the sake of its sender.
const DISCARDED_BYTES_MAX: u64 = 1024 * 1024;
/// Longest pause of a sender whose body is unwanted.
const DISCARD_PAUSE_MAX: Duration = Duration::from_millis(250);

/// The whole body, at most `bytes_max` long.
///
/// # Errors
/// `too_large` as soon as it is known, from the announced length or while reading; `invalid_request` when it does not
/// arrive in time or breaks off.
pub(super) async fn read<B>(body: B, bytes_max: usize, within: Duration, metrics: &Metrics) -> Result<Vec<u8>>
where
    B: Body<Data = Bytes>,
{
    let outcome = timeout(within, collect(body, bytes_max)).await;
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

async fn collect<B: Body<Data = Bytes>>(body: B, bytes_max: usize) -> Result<Vec<u8>> {
    let mut body = pin!(body);
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > bytes_max {
        return Err(too_large(bytes_max));
    }
    let mut bytes = Vec::with_capacity(announced.min(FIRST_ALLOCATION_MAX));
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(Error::invalid("the body broke off before its end"));
        };
        // Trailers say nothing to us.
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > bytes_max - bytes.len() {
            return Err(too_large(bytes_max));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Reads on a little after a refusal. Many clients look at the answer only once they have sent everything, and closing
/// a socket with unread bytes resets it, which can take the answer away from them.
pub(super) async fn discard<B: Body<Data = Bytes>>(mut body: Pin<&mut B>) {
    let mut left = DISCARDED_BYTES_MAX;
    // What is far too long is not worth waiting for; a client that asked first (Expect) has not even begun.
    if body.size_hint().lower() > left {
        return;
    }
    while let Ok(Some(Ok(frame))) = timeout(DISCARD_PAUSE_MAX, body.frame()).await {
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        if bytes > left {
            return;
        }
        left -= bytes;
    }
}

fn too_large(bytes_max: usize) -> Error {
    Error::new(ErrorCode::TooLarge, format!("the body may have at most {bytes_max} bytes"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;
    use crate::clock::Clock;

    const WITHIN: Duration = Duration::from_secs(10);

    fn chunks(chunks: &'static [&'static [u8]]) -> impl Body<Data = Bytes> {
        StreamBody::new(stream::iter(chunks.iter().map(|chunk| Ok::<_, Infallible>(Frame::data(Bytes::from_static(chunk))))))
    }

    #[tokio::test]
    async fn a_body_may_be_exactly_as_large_as_the_limit() {
        let metrics = Metrics::new(0, Clock::start());
        assert_eq!(read(chunks(&[b"ab", b"", b"cd"]), 4, WITHIN, &metrics).await.unwrap(), b"abcd");
        assert_eq!(read(Full::from("abcd"), 4, WITHIN, &metrics).await.unwrap(), b"abcd");
        assert_eq!(read(chunks(&[]), 0, WITHIN, &metrics).await.unwrap(), b"");
    }

    #[tokio::test]
    async fn one_byte_more_is_too_large_announced_or_not() {
        let metrics = Metrics::new(0, Clock::start());
        assert_eq!(read(chunks(&[b"ab", b"cde"]), 4, WITHIN, &metrics).await.unwrap_err().code, ErrorCode::TooLarge);
        assert_eq!(read(Full::from("abcde"), 4, WITHIN, &metrics).await.unwrap_err().code, ErrorCode::TooLarge);
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
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let metrics = Metrics::new(0, Clock::start());
        let endless = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let error = read(endless, 4, WITHIN, &metrics).await.unwrap_err();
        assert!(error.message.contains("10s"), "{error}");
    }
}
