//! WebSocket: `GET /ws` (RFC 6455). A client says what it wants in objects of JSON and is answered the same way, between the
//! messages of the channels it listens to.
//!
//! The codec of the frames stands by itself; the front joins it to the shard, which reads and writes the socket.

mod client;
pub mod codec;
pub(super) mod encoder;
mod ending;
mod handshake;
mod rates;
pub(super) mod request;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;

use super::config::WebSocketConfig;
use super::ground::Ground;
use super::presence;
use super::request::{Request, fresh_session, session as session_of, tell_session};
use crate::auth::{Gate, Pass};
use crate::error::{Error, Result};
use crate::limits::Crowd;
use crate::message::{ChannelName, MessageId};
use crate::metrics::Front;
use crate::session::{Bounds, Starts, Subscription};
use crate::shard::Opening;
use client::Client;
use codec::WINDOW_BITS_MAX;
use encoder::Objects;

pub use handshake::{PROTOCOL, Refusal, Upgrade};

/// A call under way, in two steps. Calls are made one after the other, and a call is made once its first step is ready;
/// then the next one may begin while this one is still to be answered.
pub type Call = Pin<Box<dyn Future<Output = Outcome>>>;
/// The second step: the answer, as JSON.
pub struct Outcome(Pin<Box<dyn Future<Output = Result<Vec<u8>>>>>);

impl Outcome {
    /// This step.
    pub fn new(step: impl Future<Output = Result<Vec<u8>>> + 'static) -> Self {
        Self(Box::pin(step))
    }
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outcome")
    }
}

/// A publish that is about to be made.
pub struct Publish {
    /// Makes it.
    pub call: Call,
    /// What of it its sender is not to hear, where it listens.
    pub unechoed: Vec<(ChannelName, MessageId)>,
}

impl std::fmt::Debug for Publish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publish").field("unechoed", &self.unechoed).finish_non_exhaustive()
    }
}

/// What one connection may ask for besides listening. Made from its handshake by whoever knows the HTTP API, so that both
/// allow the same and answer the same.
pub trait Calls: Send {
    /// Publishes what the body of `POST /v1/publish` would.
    fn publish(&self, pass: &Pass, body: &str) -> Publish;

    /// Reads a page of history, as `GET /v1/channels/{channel}/messages`.
    fn history(&self, pass: &Pass, query: &str) -> Call;

    /// Reads a page of who is on a channel, as `GET /v1/channels/{channel}/presence`.
    fn presence(&self, pass: &Pass, query: &str) -> Call;
}

/// The front of one node.
#[derive(Clone, Debug)]
pub struct WebSocket {
    shared: Arc<Shared>,
    compressing: Option<&'static Objects>,
}

/// What all its clients need.
#[derive(Debug)]
struct Shared {
    config: WebSocketConfig,
    bounds: Bounds,
    gate: Gate,
    /// Messages that are half here, in bytes.
    incoming: Arc<Crowd>,
}

/// What the handshake's query asks to listen to.
#[derive(Debug)]
struct Wanted {
    channels: Vec<ChannelName>,
    starts: Starts,
    /// Whether to tell who comes and goes on them.
    presence: bool,
}

impl WebSocket {
    /// The front with these keys; `bounds` is how much one client may listen to, the gate lets in who shows a token later, and among
    /// what is `incoming` are messages that are half here.
    #[must_use]
    pub fn new(config: WebSocketConfig, bounds: Bounds, gate: Gate, incoming: Arc<Crowd>) -> Self {
        let compressing = (config.compress_bytes > 0).then(|| Objects::compressing(config.compress_bytes));
        Self { shared: Arc::new(Shared { config, bounds, gate, incoming }), compressing }
    }

    /// Answers `GET /ws`. What is no handshake is answered as HTTP; whatever else is wrong is told over the connection,
    /// because that is all a browser's page gets to see.
    pub(crate) fn answer<G: Ground>(&self, ground: &G, parts: &Parts, pass: Result<Pass>, calls: Box<dyn Calls>) -> G::Answer {
        let upgrade = match Upgrade::read(parts, self.compressing.map(|_| WINDOW_BITS_MAX)) {
            Ok(upgrade) => upgrade,
            Err(refusal) => return G::whole(refusal.response(parts.version)),
        };
        let refuse = |session, error: &Error| {
            ground.refused(session, Front::WebSocket, error);
            let mut response = super::error_response(error);
            tell_session(session, response.headers_mut());
            G::whole(response)
        };
        let session = match session_of(parts) {
            Ok(session) => session,
            Err(error) => return refuse(fresh_session(), &error),
        };
        let mut headers = upgrade.headers();
        tell_session(session, &mut headers);
        let objects = self.compressing.filter(|_| upgrade.deflate.is_some()).unwrap_or(&encoder::PLAIN);
        let admitted = pass.and_then(|pass| Ok((pass.take_place()?, pass)));
        let (place, pass, wanted) = match admitted {
            Ok((place, pass)) => (place, pass, wanted(parts)),
            Err(error) => (None, self.shared.gate.anyone(), Err(error)),
        };
        let (stay, identity) = (pass.left(), pass.identity());
        let begun = ground.converse(parts, &headers, || Opening {
            session,
            head: Vec::new(),
            encoder: objects,
            subscription: Subscription::none(),
            starts: crate::session::Since::Live.into(),
            stay,
            tells_cluster: is_told_of_cluster(parts),
            inbound: Some(Box::new(Client::new(
                self.shared.clone(),
                objects,
                upgrade.deflate.is_some(),
                wanted,
                (pass, place, session),
                calls,
            ))),
            early: Bytes::new(),
            visit: None,
            user: None,
            presence: None,
            identity,
        });
        begun.unwrap_or_else(|error| refuse(session, &error))
    }
}

/// Whether the query asks to be told how the cluster is. What else is wrong with it is told over the connection.
fn is_told_of_cluster(parts: &Parts) -> bool {
    Request::parse(parts.uri.query().unwrap_or_default()).is_ok_and(|request| request.is_set("cluster"))
}

/// Channels of the query, if there are any; each is subscribed to at once.
fn wanted(parts: &Parts) -> Result<Wanted> {
    let request = Request::parse(parts.uri.query().unwrap_or_default())?;
    let starts = request.starts(None)?;
    let presence = presence::is_wanted(&request)?;
    let mut channels: Vec<ChannelName> = Vec::with_capacity(request.channels.len());
    for channel in request.channels {
        if !channels.contains(&channel) {
            channels.push(channel);
        }
    }
    Ok(Wanted { channels, starts, presence })
}
