//! Bodies of responses: nothing, one piece, or a stream of frames.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::close::CloseReason;

/// What is handed to HTTP at a time of a body in one piece, so that it is known how much of it the peer has taken.
pub(super) const PIECE_BYTES: usize = 32 << 10;

/// A stream of frames; `None` ends it.
pub trait Frames {
    /// The next piece.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>>;

    /// Ready when it is over, whatever there is to send. Asked while the peer takes nothing, now and then and when the context is
    /// woken.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// It ends here, without a word to the peer, for this reason and at the bound that this key sets. Dropped next.
    fn cut(&mut self, reason: CloseReason, limit: &'static str);
}

/// The body of a response.
pub enum Body {
    /// Nothing.
    Empty,
    /// Everything there is, handed on in pieces.
    Full(Option<Bytes>),
    /// Piece by piece.
    Stream(Box<dyn Frames>),
}

impl Body {
    /// A body in one piece.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::Empty } else { Self::Full(Some(bytes)) }
    }

    /// As [`Frames::poll_over`]. What is whole is over when it is taken.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Stream(frames) => frames.poll_over(context),
            Self::Empty | Self::Full(_) => Poll::Pending,
        }
    }

    /// As [`Frames::cut`]. What is whole has no stay that could end.
    pub(super) fn cut(&mut self, reason: CloseReason, limit: &'static str) {
        if let Self::Stream(frames) = self {
            frames.cut(reason, limit);
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Full(_) => "Full",
            Self::Stream(_) => "Stream",
        })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let piece = match bytes {
                    Some(all) if all.len() > PIECE_BYTES => Some(all.split_to(PIECE_BYTES)),
                    rest => rest.take(),
                };
                Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
            }
            Self::Stream(frames) => frames.poll_next(context).map(|next| next.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty | Self::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Full(None) => SizeHint::with_exact(0),
            Self::Full(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
