//! A connection as HTTP/1 sees it, with two additions: it tells the connection's pace what moves, and it keeps the end of the
//! peer's side to itself for a moment while a request is being answered.

use std::future::Future as _;
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::pace::Pace;
use super::rewound::Rewound;
use crate::shard::Pipe;

/// How long an answer may still take after the peer closed its side. A peer that says all it has to say and closes (RFC
/// 9112, section 9.6) wants the answer; one that hung up does not, and looks the same. hyper gives up at once on both.
const HALF_CLOSE_GRACE: Duration = Duration::from_secs(1);

/// The socket of one HTTP/1 connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Rewound,
    pace: Rc<Pace>,
    /// Runs since the peer closed its side.
    grace: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(super) fn new(stream: Rewound, pace: Rc<Pace>) -> Self {
        Self { stream, pace, grace: None }
    }

    /// As [`Rewound::into_parts`].
    pub(super) fn into_parts(self) -> (Pipe, Bytes) {
        self.stream.into_parts()
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        if this.grace.is_none() {
            let before = buffer.filled().len();
            std::task::ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
            if buffer.filled().len() > before || buffer.remaining() == 0 {
                this.pace.heard();
                return Poll::Ready(Ok(()));
            }
        }
        let grace = this.grace.get_or_insert_with(|| Box::pin(tokio::time::sleep(HALF_CLOSE_GRACE)));
        if this.pace.poll_answered(context).is_ready() { Poll::Ready(Ok(())) } else { grace.as_mut().poll(context).map(Ok) }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let wrote = std::task::ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.pace.said();
        Poll::Ready(Ok(wrote))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        let wrote = std::task::ready!(Pin::new(&mut self.stream).poll_write_vectored(context, bytes))?;
        self.pace.said();
        Poll::Ready(Ok(wrote))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
