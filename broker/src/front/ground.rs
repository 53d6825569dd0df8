//! Where a front answers: on a shard, or as a guest in a program around us ([`super::guests`]). The fronts see only this.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::request::Parts;
use http::{Response, StatusCode, Version};

use super::stream::{self, Begun, Framing, Stream, StreamBody};
use crate::control::Register;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::journal::{Journal, Lacks, Seated, SessionId, Signs, Sitting, What};
use crate::log::Entry;
use crate::message::ChannelName;
use crate::metrics::{Front, ShardMetrics};
use crate::net::{Answer, Body, Peer, raw_head};
use crate::session::{Marks, Subscription};
use crate::shard::{Encoder, Opening, Shard, Watcher, Woken};

/// What a front needs of the place where it answers.
pub(crate) trait Ground: Clone + 'static {
    /// What a request is answered with.
    type Answer;
    /// Who waits for news.
    type Watcher: Watch + 'static;

    /// An answer in one piece.
    fn whole(response: Response<Bytes>) -> Self::Answer;
    /// The hub behind it.
    fn hub(&self) -> &Arc<Hub>;
    /// Where things are counted.
    fn metrics(&self) -> &ShardMetrics;
    /// Where it is told what happens to clients.
    fn journal(&self) -> &Journal;
    /// Where orders of backends find who is here.
    fn register(&self) -> &Register;
    /// The other end of the connection, if it is known here.
    fn address(&self) -> Option<SocketAddr>;
    /// Whether the node is leaving: nobody new is taken in.
    fn is_draining(&self) -> bool;
    /// How long a client should wait before it comes back: each draws its own.
    fn retry_hint(&self) -> Duration;
    /// How long a stream may be silent before its heartbeat: each draws its own.
    fn heartbeat_after(&self) -> Duration;
    /// A message in the encoder's form.
    fn encoded(&self, encoder: &'static dyn Encoder, entry: &Entry) -> Bytes;

    /// Tells what happened to a session.
    fn tell(&self, session: SessionId, front: Front, what: What) {
        self.journal().tell(session, front, what, self.hub().clock().now().unix_ms);
    }

    /// Somebody listens here without a socket of the shard's own, until what this gives is dropped. Who may fall behind marks how far
    /// it has come.
    fn sit(&self, session: SessionId, front: Front, subscription: &Subscription, marks: Option<&Arc<Marks>>) -> Seated {
        let channels = subscription.channels().map(|channel| channel.name.clone()).collect();
        let lacks = marks.map(|marks| -> Lacks {
            let (hub, marks) = (self.hub().clone(), marks.clone());
            Arc::new(move || marks.lacks(&hub))
        });
        self.journal().sit(Sitting { session, front, address: self.address(), channels }, Signs { has_news: None, lacks })
    }

    /// Tells that a client was not let in.
    fn refused(&self, session: SessionId, front: Front, error: &Error) {
        self.tell(session, front, What::refused(error, self.address()));
    }

    /// Listens to the channels of a subscription, for one answer or for a stream. From then on their handles cannot die.
    ///
    /// # Errors
    /// `overloaded` at a bound.
    fn watch(&self, subscription: &Subscription, stay: Stay) -> Result<Self::Watcher>;

    /// Begins a stream; `encoder` is asked for the framing this takes.
    ///
    /// # Errors
    /// What joining the channels refuses.
    fn begin(&self, stream: Stream, version: Version, encoder: impl FnOnce(Framing) -> &'static dyn Encoder) -> Result<Self::Answer>;

    /// Answers a handshake with 101 and these headers, and begins a session on the connection behind it, which speaks HTTP no
    /// more. The opening brings no head.
    ///
    /// # Errors
    /// When the connection cannot be had.
    fn converse(&self, parts: &Parts, headers: &HeaderMap, opening: impl FnOnce() -> Opening) -> Result<Self::Answer>;
}

/// For how long somebody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    /// For one answer: released first when the node leaves.
    Poll,
    /// Until one side ends it: released in the waves of a drain.
    Stream,
}

/// Waits for news; leaves its channels when dropped.
pub(crate) trait Watch {
    /// Ready once after each time something was committed. Read the log *after* this, never before: what comes later raises
    /// it again.
    fn poll_woken(&mut self, context: &mut Context<'_>) -> Poll<Woken>;

    /// Nothing of this channel is waited for any more.
    fn leave(&mut self, channel: &ChannelName);
}

/// A shard, for a request of the connection with this peer.
#[derive(Clone)]
pub(crate) struct OnShard {
    pub(crate) shard: Shard,
    pub(crate) peer: Peer,
}

impl Ground for OnShard {
    type Answer = Answer;
    type Watcher = Watcher;

    fn whole(response: Response<Bytes>) -> Answer {
        response.map(Body::full).into()
    }

    fn hub(&self) -> &Arc<Hub> {
        self.shard.hub()
    }

    fn metrics(&self) -> &ShardMetrics {
        self.shard.metrics()
    }

    fn journal(&self) -> &Journal {
        self.shard.journal()
    }

    fn register(&self) -> &Register {
        self.shard.register()
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(self.peer.address)
    }

    fn is_draining(&self) -> bool {
        self.shard.is_draining()
    }

    fn retry_hint(&self) -> Duration {
        self.shard.retry_hint()
    }

    fn heartbeat_after(&self) -> Duration {
        self.shard.heartbeat_after()
    }

    fn encoded(&self, encoder: &'static dyn Encoder, entry: &Entry) -> Bytes {
        self.shard.encoded(encoder, entry)
    }

    fn watch(&self, subscription: &Subscription, stay: Stay) -> Result<Watcher> {
        let names: Vec<ChannelName> = subscription.channels().map(|channel| channel.name.clone()).collect();
        match stay {
            Stay::Poll => self.shard.watch_poll(&names),
            Stay::Stream => self.shard.watch_stream(&names),
        }
    }

    fn begin(&self, stream: Stream, version: Version, encoder: impl FnOnce(Framing) -> &'static dyn Encoder) -> Result<Answer> {
        if !self.peer.may_take_over {
            let Begun { headers, body } = StreamBody::begin(self, encoder(Framing::Plain), stream)?;
            let mut response = Response::new(Body::Stream(Box::new(body)));
            *response.headers_mut() = headers;
            return Ok(response.into());
        }
        // HTTP/1.0 knows no chunks: there the end of the connection ends the stream.
        let framing = if version == Version::HTTP_10 { Framing::Plain } else { Framing::Chunked };
        let Stream { session, headers, greeting, subscription, starts, stay, tells_cluster, presence, user, identity } = stream;
        let head = stream::head(version, framing, headers, &greeting);
        let encoder = encoder(framing);
        let (inbound, early, visit) = (None, Bytes::new(), None);
        let opening =
            Opening { session, head, encoder, subscription, starts, stay, tells_cluster, inbound, early, visit, user, presence, identity };
        Ok(Answer::TakeOver(Box::new(opening)))
    }

    fn converse(&self, _: &Parts, headers: &HeaderMap, opening: impl FnOnce() -> Opening) -> Result<Answer> {
        if !self.peer.may_take_over {
            return Err(Error::invalid("a WebSocket handshake has no body"));
        }
        let head = raw_head(Version::HTTP_11, StatusCode::SWITCHING_PROTOCOLS, headers);
        Ok(Answer::TakeOver(Box::new(Opening { head, ..opening() })))
    }
}

impl Watch for Watcher {
    fn poll_woken(&mut self, context: &mut Context<'_>) -> Poll<Woken> {
        Self::poll_woken(self, context)
    }

    fn leave(&mut self, channel: &ChannelName) {
        Self::leave(self, channel);
    }
}
