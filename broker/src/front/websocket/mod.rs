//! WebSocket: `GET /ws` (RFC 6455). A client says what it wants in objects of JSON and is answered the same way, between the
//! messages of the channels it listens to.
//!
//! The codec of the frames stands by itself; the front joins it to the shard, which reads and writes the socket.

mod client;
pub mod codec;
mod encoder;
mod ending;
mod handshake;
mod rates;
mod request;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;

use super::config::WebSocketConfig;
use super::ground::Ground;
use super::request::{Request, fresh_session, session as session_of, tell_session};
use crate::auth::{Gate, Pass};
use crate::error::Result;
use crate::message::ChannelName;
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

/// What one connection may ask for besides listening. Made from its handshake by whoever knows the HTTP API, so that both
/// allow the same and answer the same.
pub trait Calls: Send {
    /// Publishes what the body of `POST /v1/publish` would.
    fn publish(&self, pass: &Pass, body: &str) -> Call;

    /// Reads a page of history, as `GET /v1/channels/{channel}/messages`.
    fn history(&self, pass: &Pass, query: &str) -> Call;
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
}

/// What the handshake's query asks to listen to.
#[derive(Debug)]
struct Wanted {
    channels: Vec<ChannelName>,
    starts: Starts,
}

impl WebSocket {
    /// The front with these keys; `bounds` is how much one client may listen to, and the gate lets in who shows a token later.
    #[must_use]
    pub fn new(config: WebSocketConfig, bounds: Bounds, gate: Gate) -> Self {
        let compressing = (config.compress_bytes > 0).then(|| Objects::compressing(config.compress_bytes));
        Self { shared: Arc::new(Shared { config, bounds, gate }), compressing }
    }

    /// Answers `GET /ws`. What is no handshake is answered as HTTP; whatever else is wrong is told over the connection,
    /// because that is all a browser's page gets to see.
    pub(crate) fn answer<G: Ground>(&self, ground: &G, parts: &Parts, pass: Result<Pass>, calls: Box<dyn Calls>) -> G::Answer {
        let upgrade = match Upgrade::read(parts, self.compressing.map(|_| WINDOW_BITS_MAX)) {
            Ok(upgrade) => upgrade,
            Err(refusal) => return G::whole(refusal.response(parts.version)),
        };
        let session = match session_of(parts) {
            Ok(session) => session,
            Err(error) => {
                ground.refused(fresh_session(), Front::WebSocket, &error);
                return G::whole(super::error_response(&error));
            }
        };
        let mut headers = upgrade.headers();
        tell_session(session, &mut headers);
        let objects = self.compressing.filter(|_| upgrade.deflate.is_some()).unwrap_or(&encoder::PLAIN);
        let (pass, wanted) = match pass {
            Ok(pass) => (pass, wanted(parts)),
            Err(error) => (self.shared.gate.anyone(), Err(error)),
        };
        let stay = pass.left();
        let begun = ground.converse(parts, &headers, || Opening {
            session,
            head: Vec::new(),
            encoder: objects,
            subscription: Subscription::none(),
            starts: crate::session::Since::Live.into(),
            stay,
            inbound: Some(Box::new(Client::new(self.shared.clone(), objects, upgrade.deflate.is_some(), wanted, pass, calls))),
            early: Bytes::new(),
            visit: None,
        });
        begun.unwrap_or_else(|error| G::whole(super::error_response(&error)))
    }
}

/// Channels of the query, if there are any; each is subscribed to at once.
fn wanted(parts: &Parts) -> Result<Wanted> {
    let request = Request::parse(parts.uri.query().unwrap_or_default())?;
    let starts = request.starts(None)?;
    let mut channels: Vec<ChannelName> = Vec::with_capacity(request.channels.len());
    for channel in request.channels {
        if !channels.contains(&channel) {
            channels.push(channel);
        }
    }
    Ok(Wanted { channels, starts })
}
