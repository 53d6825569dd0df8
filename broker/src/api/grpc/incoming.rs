//! A request's body on its way in: what it holds of a message that is not whole yet counts among all that is half here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::status::status;
use crate::limits::{Arriving, Crowd};

/// Before each message stand a flag and its length.
const HEAD_BYTES: usize = 5;

/// A body that is watched.
pub(super) struct Watched<B> {
    body: B,
    arriving: Arriving,
    messages: Messages,
}

impl<B> Watched<B> {
    /// Among everyone, who are bounded in bytes.
    pub(super) fn new(body: B, everyone: Arc<Crowd>) -> Self {
        Self { body, arriving: Arriving::new(everyone), messages: Messages::default() }
    }
}

impl<B> Body for Watched<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Poll::Ready(refused) = this.arriving.poll_refused(context) {
            return Poll::Ready(Some(Err(status(&refused))));
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            let (ended, held) = this.messages.follow(data);
            if ended {
                this.arriving.is_whole();
            }
            this.arriving.holds(held);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|why| Status::from_error(why.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where one message ends and the next begins.
#[derive(Debug, Default)]
struct Messages {
    head: [u8; HEAD_BYTES],
    head_len: usize,
    /// Of the message whose head was read.
    left: usize,
    /// Of it, without its head.
    held: usize,
}

impl Messages {
    /// Goes on behind these bytes. Whether a message ended, and how much there is of the one that is not whole.
    fn follow(&mut self, mut bytes: &[u8]) -> (bool, usize) {
        let mut ended = false;
        while !bytes.is_empty() {
            if self.head_len < HEAD_BYTES {
                let (taken, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES - self.head_len));
                self.head[self.head_len..self.head_len + taken.len()].copy_from_slice(taken);
                (self.head_len, bytes) = (self.head_len + taken.len(), rest);
                if self.head_len < HEAD_BYTES {
                    break;
                }
                let [_, length @ ..] = self.head;
                (self.left, self.held) = (u32::from_be_bytes(length) as usize, 0);
            } else {
                let taken = bytes.len().min(self.left);
                (self.left, self.held, bytes) = (self.left - taken, self.held + taken, &bytes[taken..]);
            }
            if self.left == 0 {
                (self.head_len, self.held, ended) = (0, 0, true);
            }
        }
        (ended, self.held)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        [&[0][..], &(length as u32).to_be_bytes(), &vec![b'x'; length]].concat()
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let all = [message(0), message(10), message(1000), message(3)].concat();
        for piece in [1, 2, 5, 7, 100, all.len()] {
            let mut messages = Messages::default();
            let followed: Vec<(bool, usize)> = all.chunks(piece).map(|bytes| messages.follow(bytes)).collect();
            assert_eq!(followed.last(), Some(&(true, 0)), "{piece}");
            assert!(followed.iter().all(|(_, held)| *held < 1000), "{piece}: {followed:?}");
        }
        let mut messages = Messages::default();
        let pieces = [&all[..3], &all[3..9], &all[9..18], &all[18..30]];
        assert_eq!(pieces.map(|bytes| messages.follow(bytes)), [(false, 0), (true, 0), (false, 8), (true, 5)]);
    }

    #[tokio::test]
    async fn a_message_that_stands_still_is_refused_when_others_come() {
        let everyone = Crowd::new(64 << 10);
        let half = || {
            let begun = Bytes::from(message(60_000)[..40_000].to_vec());
            let begun = stream::iter([Ok::<_, Infallible>(Frame::data(begun))]);
            Watched::new(Box::pin(StreamBody::new(begun.chain(stream::pending()))), everyone.clone())
        };
        let (mut first, mut second) = (half(), half());
        assert!(first.frame().await.unwrap().is_ok());
        assert!(second.frame().await.unwrap().is_ok());
        let refused = first.frame().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused:?}");
        drop((first, second));
        assert_eq!(everyone.weight(), 0);
    }
}
