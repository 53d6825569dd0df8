//! The gRPC skin: `tidings.v1` over the calls of the one door, beside health and reflection.
//!
//! It turns wire messages into the broker's values and back, asks the gate, and owns its connections. What a publish
//! or a subscribe means, it does not know. tonic and the generated code appear nowhere else.

mod ack;
mod acks;
mod calls;
mod carriers;
mod control;
mod convert;
mod fields;
mod health;
mod incoming;
mod outgoing;
mod plain;
mod preface;
mod publish;
mod publish_stream;
mod query;
mod requests;
mod route;
mod seat;
mod serve;
mod service;
mod session;
mod standing;
mod status;
mod subscribe;
mod unread;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::api::config::GrpcConfig;
use crate::auth::Gate;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::control::Control;
use crate::journal::Journal;
use crate::limits::{Crowd, Visitors};
use crate::metrics::Metrics;

pub use carriers::{Carriers, IsAlive};
pub use serve::{Accept, Caller, TlsListener, serve};
pub use status::grpc_code;

/// Everything the gRPC services stand on. Cheap to clone: a node may serve them on several listeners.
#[derive(Clone)]
pub struct GrpcServices {
    /// The one door.
    pub broker: Broker,
    /// Lets callers in. Health and reflection are open to all: they tell nothing about channels, and probes hold no keys.
    pub gate: Gate,
    /// Limits of the listener.
    pub config: GrpcConfig,
    /// Threads for connections.
    pub carriers: Carriers,
    /// Places for connections, those of all listeners together.
    pub connections: Arc<Semaphore>,
    /// Those of this listener that have called nothing yet; no other listener's push them out.
    pub newcomers: Arc<Crowd>,
    /// Messages that are half here, and requests that wait, in bytes.
    pub incoming: Arc<Crowd>,
    /// Answers that are not all read yet, in bytes.
    pub unread: Arc<Crowd>,
    /// How long a request may take, and a message of a publish stream that has begun.
    pub body_timeout: Duration,
    /// How many connections each address has, here and on the public listener, and the proxies whose word on where a call comes from is good.
    pub visitors: Arc<Visitors>,
    /// Most messages in one batch, and in one page of history or channels.
    pub batch_messages: usize,
    /// When a subscriber is told to come back after a drain; each gets its own moment in between.
    pub retry_after: RangeInclusive<Duration>,
    /// Heartbeats come after this much silence; each stream draws its own, so that they do not come all at once.
    pub heartbeat: RangeInclusive<Duration>,
    /// Whether the node should get traffic; the health service says so.
    pub ready: watch::Receiver<bool>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// Where it is told what happens to listeners.
    pub journal: Journal,
    /// The clock whose moments messages carry.
    pub clock: Clock,
    /// Where orders about clients are given.
    pub control: Control,
    /// Looks at the cluster.
    pub cluster: crate::api::cluster::Look,
}
