//! Builds every room from its own part of the configuration, in order, and takes them down again. The only room that
//! knows all others.

mod addresses;
mod calls;
mod drain;
mod embedded;
mod in_cluster;
mod inspect;
mod key_set;
mod reload;
mod routes;
#[cfg(feature = "cluster")]
mod seen_cluster;
mod service;
mod tables;
mod tasks;
#[cfg(test)]
mod tests;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use addresses::Addresses;
pub use embedded::Embedded;
pub use service::{Answering, HttpService};

use crate::admin::{self, Access, Admin, Log};
use crate::api;
use crate::api::grpc::{Carriers, IsAlive};
use crate::auth;
use crate::broker::Broker;
use crate::config::Config;
use crate::limits::{self, Crowd};
use crate::metrics::{Bound, Gauges};
use crate::net;
use crate::tls::Unusable;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be bound.
    #[error("cannot listen on {address} ({key}): {why}")]
    Listen {
        /// The address.
        address: String,
        /// The key that names it.
        key: &'static str,
        /// What the system said.
        why: std::io::Error,
    },
    /// Keys or tokens cannot be used as they are configured.
    #[error("{0}")]
    Auth(#[from] auth::Problem),
    /// A listener has nothing to prove itself with.
    #[error("{key}.tls: {why}")]
    Tls {
        /// Which listener.
        key: &'static str,
        /// What is wrong with its files.
        why: Unusable,
    },
    /// A thread could not be started.
    #[error("cannot start a shard: {0}")]
    Shard(#[from] std::io::Error),
    /// It would break its cluster.
    #[error("{0}")]
    Config(String),
    /// It could not become part of its cluster.
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Cluster(#[from] crate::cluster::StartError),
}

/// A running broker with its listeners.
#[derive(Debug)]
pub struct Node {
    embedded: Embedded,
    addresses: Addresses,
    grpc: TaskTracker,
    unix: Option<PathBuf>,
}

impl Node {
    /// Starts everything on the current runtime and on one thread per shard.
    ///
    /// # Errors
    /// When an address cannot be bound or a thread cannot be started.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, None).await
    }

    /// As [`Node::start`], in a process whose log counts what it leaves out, and may be changed over the admin API.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_with(config: Config, log: Option<Arc<dyn Log>>) -> Result<Self, StartError> {
        let embedded = Embedded::build(config)?;
        let (config, metrics) = (&*embedded.config.load_full(), &embedded.metrics);
        // Before any listener: a copy of one in a shard's table would keep it open after it was closed.
        if config.own_file_tables {
            tables::unshare(&embedded.shards).await?;
        }
        let http = if config.own_file_tables {
            tables::listen(config.http.listen, &embedded.acceptor, embedded.open_files, &embedded.draining).await?
        } else {
            listen(config.http.listen, &embedded).await?
        };
        let admin_listener = bind("admin.listen", config.admin.listen)?;
        let grpc_listener = config.grpc.listen.map(|address| bind("grpc.listen", address)).transpose()?;
        let unix_listener = config.grpc.unix.as_deref().map(addresses::bind_unix).transpose()?;
        let mut addresses = Addresses::of(http, grpc_listener.as_ref(), config.grpc.unix.clone(), &admin_listener)?;
        addresses.cluster = embedded.cluster.address();

        let grpc = TaskTracker::new();
        let newcomers =
            [(); 2].map(|()| Crowd::new(limits::grpc_connections_pending(config.limits.connections_pending, embedded.open_files) as usize));
        let services = api::grpc::GrpcServices {
            broker: embedded.broker.clone(),
            gate: embedded.gate.clone(),
            config: config.grpc.clone(),
            carriers: carriers(&embedded),
            connections: Arc::new(Semaphore::new(limits::grpc_connections_max(embedded.open_files) as usize)),
            newcomers: newcomers[0].clone(),
            incoming: embedded.watched.incoming.clone(),
            unread: embedded.watched.unread.clone(),
            body_timeout: embedded::BODY_TIMEOUT,
            visitors: embedded.watched.visitors.clone(),
            batch_messages: config.limits.batch_messages,
            retry_after: config.drain.retry_min..=config.drain.retry_max.max(config.drain.retry_min),
            heartbeat: config.shard.heartbeat_min..=config.shard.heartbeat_max,
            ready: embedded.readiness.subscribe(),
            metrics: metrics.clone(),
            journal: embedded.journal.clone(),
            clock: embedded.clock,
            control: embedded.control.clone(),
            cluster: embedded.cluster.look(),
        };
        match (grpc_listener, embedded.tls.grpc()) {
            (Some(listener), Some(entrance)) => {
                spawn_grpc(&grpc, &embedded, api::grpc::TlsListener { listener, entrance }, services.clone());
            }
            (Some(listener), None) => spawn_grpc(&grpc, &embedded, listener, services.clone()),
            (None, _) => {}
        }
        if let Some(listener) = unix_listener {
            spawn_grpc(&grpc, &embedded, listener, api::grpc::GrpcServices { newcomers: newcomers[1].clone(), ..services });
        }
        grpc.close();

        let connections = admin::connections();
        metrics.bound(Bound::AdminConnections, connections.bound() as u64);
        metrics.bound(Bound::LogLines, log.as_ref().map_or(0, |log| log.figures().waiting_max));
        let gauges = {
            let (watched, connections, log) = (embedded.watched.clone(), connections.clone(), log.clone());
            move || Gauges {
                grpc_connections_pending: newcomers.iter().map(|crowd| crowd.count() as u64).max().unwrap_or(0),
                admin_connections: connections.count() as u64,
                log: log.as_ref().map(|log| log.figures()).unwrap_or_default(),
                ..watched.gauges()
            }
        };
        let is_local = config.admin.listen.ip().to_canonical().is_loopback();
        let admin = Admin {
            metrics: metrics.clone(),
            gauges: Arc::new(gauges),
            readiness: embedded.readiness.clone(),
            cluster: embedded.cluster.shown(),
            entrance: embedded.tls.admin(),
            only_local: is_local,
            access: Access::new(&config.admin.keys, config.dev && is_local),
            broker: embedded.broker.clone(),
            journal: embedded.journal.clone(),
            inside: Arc::new(inspect::Shards {
                shards: embedded.shards.clone(),
                address: addresses.http.to_string(),
                cluster: embedded.cluster.clone(),
                journal: embedded.journal.clone(),
            }),
            log,
            connections,
            clock: embedded.clock,
            trend: Arc::default(),
        };
        tokio::spawn(admin::serve(admin_listener, admin, embedded.stopped.clone()));
        let watching = crate::tls::watch(embedded.tls.all());
        tokio::spawn(embedded.stopped.clone().run_until_cancelled_owned(watching));
        let unix = config.grpc.unix.clone();
        Ok(Self { embedded, addresses, grpc, unix })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The broker behind the listeners, as another program holds it.
    #[must_use]
    pub fn embedded(&self) -> &Embedded {
        &self.embedded
    }

    /// The door, for publishing and subscribing in process.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        self.embedded.broker()
    }

    /// As [`Embedded::failed`].
    pub fn failed(&self) -> impl Future<Output = ()> + use<> {
        self.embedded.failed()
    }

    /// Leaves within `drain.grace`. Publishing goes on until the gRPC calls in flight are answered.
    pub async fn drain(self) {
        self.embedded.leave(self.grpc.wait()).await;
    }

    /// Ends at once: every connection is cut. Takes two seconds at most.
    pub async fn stop(&self) {
        self.embedded.stop().await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(path) = &self.unix {
            // A socket file left behind would only make the next start remove it.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Accepts on the public listener. A shard that is alone does it itself: what it accepts is where it stays.
async fn listen(asked: SocketAddr, embedded: &Embedded) -> Result<SocketAddr, StartError> {
    let (acceptor, draining) = (embedded.acceptor.clone(), embedded.draining.clone());
    let begin = move || {
        let listener = addresses::bind_public(asked, false, &acceptor.config)?;
        let address = listener.local_addr()?;
        tokio::spawn(net::accept(listener, acceptor, draining));
        Ok(address)
    };
    let bound = match &embedded.shards[..] {
        [alone] => alone.perform(|_| begin()).await,
        _ => Some(begin()),
    };
    let bound = bound.unwrap_or_else(|| Err(tables::stopped()));
    bound.map_err(|why| StartError::Listen { address: asked.to_string(), key: "http.listen", why })
}

/// The shards; but a socket cannot leave its file table, and the listeners of gRPC are in this runtime's.
fn carriers(embedded: &Embedded) -> Carriers {
    if embedded.config.load().own_file_tables {
        let always: IsAlive = Box::new(|| true);
        return Carriers::new([(tokio::runtime::Handle::current(), always)]);
    }
    Carriers::new(embedded.shards.iter().map(|shard| {
        let load = shard.load.clone();
        (shard.runtime.clone(), Box::new(move || load.is_alive()) as IsAlive)
    }))
}

fn spawn_grpc<A>(tasks: &TaskTracker, embedded: &Embedded, listener: A, services: api::grpc::GrpcServices)
where
    A: api::grpc::Accept + Sync + 'static,
{
    let serving = api::grpc::serve(listener, services, embedded.draining.clone());
    tasks.spawn(embedded.stopped.clone().run_until_cancelled_owned(serving));
}

fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    addresses::bind(address).map_err(|why| StartError::Listen { address: address.to_string(), key, why })
}
