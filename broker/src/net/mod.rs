//! Sockets of the public listener: accepting them, spreading them over the shards, telling HTTP/1 from HTTP/2, and
//! taking a socket away from HTTP when a front wants it for itself. Knows no front and no route: a [`Door`] answers.

mod accept;
mod body;
pub mod config;
mod connection;
mod first_bytes;
mod handover;
mod head;
mod linger;
mod listener;
mod outgoing;
mod pace;
mod refusal;
mod rewound;
mod socket;

use std::future::Future;
use std::pin::Pin;

use http::{Request, Response};
use hyper::body::Incoming;

pub use accept::{Acceptor, accept};
pub use body::{Body, Frames};
pub use connection::{Http, on_connection};
pub use handover::Handover;
pub use head::raw_head;
pub use listener::{Listener, tune};

use crate::shard::{Opening, Shard};

/// What a request is answered with.
#[derive(Debug)]
pub enum Answer {
    /// An ordinary response.
    Response(Response<Body>),
    /// The socket itself, for a stream that the shard writes from now on. Only for requests whose socket can be had
    /// ([`Peer::may_take_over`]).
    TakeOver(Box<Opening>),
}

impl From<Response<Body>> for Answer {
    fn from(response: Response<Body>) -> Self {
        Self::Response(response)
    }
}

/// What is known of the other side of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address.
    pub address: std::net::SocketAddr,
    /// Whether this request may take the socket over: HTTP/1 without a body.
    pub may_take_over: bool,
}

/// Whoever knows the routes.
pub trait Door: Send + Sync {
    /// Answers one request, on the shard's thread.
    fn answer(&self, shard: &Shard, peer: Peer, request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Answer>>>;
}
