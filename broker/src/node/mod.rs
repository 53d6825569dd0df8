//! Builds every room from its own part of the configuration, in order, and takes them down again. The only room that
//! knows all others.

mod addresses;
mod calls;
mod drain;
mod host;
mod routes;
mod tables;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use addresses::Addresses;

use crate::admin::{self, Admin, Readiness};
use crate::api;
use crate::auth::Keyring;
use crate::broker::{self, Broker};
use crate::clock::Clock;
use crate::config::Config;
use crate::front;
use crate::front::cors::Cors;
use crate::front::http_stream::HttpStream;
use crate::front::long_poll::LongPoll;
use crate::front::sse::Sse;
use crate::front::websocket::WebSocket;
use crate::hub::{self, CommitRule, Hub, Inbox, RuleBook};
use crate::limits::{self, Crowd};
use crate::log::{Epoch, SLOTS, Tag};
use crate::metrics::{Bound, Gauges, Metrics};
use crate::net;
use crate::shard;
use routes::Routes;

/// Every slot is swept once in this time.
const SWEEP_ROUND: Duration = Duration::from_secs(10);
const SWEEP_STEPS: u16 = 64;
/// How often the metrics library tidies up after itself.
const UPKEEP: Duration = Duration::from_secs(5);
/// A request body that takes longer is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

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
    /// A thread could not be started.
    #[error("cannot start a shard: {0}")]
    Shard(#[from] std::io::Error),
}

/// A running broker.
#[derive(Debug)]
pub struct Node {
    broker: Broker,
    addresses: Addresses,
    config: Config,
    shards: Arc<Vec<Arc<shard::Handle>>>,
    readiness: Readiness,
    /// No new connections, no new sessions.
    draining: CancellationToken,
    /// Everything ends.
    stopped: CancellationToken,
    grpc: TaskTracker,
    unix: Option<PathBuf>,
}

impl Node {
    /// Starts everything on the current runtime and on one thread per shard.
    ///
    /// # Errors
    /// When an address cannot be bound or a thread cannot be started.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let clock = Clock::start();
        let shard_count = config.shard_count();
        let metrics = Metrics::new(shard_count, clock);
        let open_files = open_files();
        let connections_max = config.connections_max(open_files);
        metrics.open_files(open_files);
        metrics.bound(Bound::Connections, connections_max);
        show_bounds(&config, open_files, &metrics);

        let hub = Arc::new(build_hub(&config, shard_count, clock, metrics.clone()));
        let broker = Broker::new(
            hub.clone(),
            broker::Limits {
                publish_wait: config.limits.publish_wait,
                subscribe: broker::Bounds { channels: config.limits.subscribe_channels, slots: config.limits.subscribe_slots },
                page_messages: config.limits.batch_messages,
            },
            metrics.clone(),
        );
        let keyring = Keyring::new(&config.auth());
        let readiness = Readiness::new(clock, admin::probe_window(config.admin.probe_interval));
        let draining = CancellationToken::new();
        let stopped = CancellationToken::new();

        let newcomers = Crowd::new(config.limits.connections_pending as usize);
        let shards = start_shards(&config, shard_count, &hub, &metrics, &draining, (&broker, &keyring, &newcomers))?;
        let shards: Arc<Vec<Arc<shard::Handle>>> = Arc::new(shards.into_iter().map(Arc::new).collect());
        // Before any listener: a copy of one in a shard's table would keep it open after it was closed.
        if config.own_file_tables {
            tables::unshare(&shards).await?;
        }
        let acceptor = net::Acceptor {
            shards: shards.to_vec(),
            everyone: shards.clone(),
            connections_max: connections_max as usize,
            shard_connections_max: usize::MAX,
            config: config.http.clone(),
            metrics: metrics.clone(),
        };
        let http = if config.own_file_tables {
            tables::listen(config.http.listen, &acceptor, open_files, &draining).await?
        } else {
            let listener = bind("http.listen", config.http.listen)?;
            let address = listener.local_addr()?;
            tokio::spawn(net::accept(listener, acceptor, draining.clone()));
            address
        };
        let admin_listener = bind("admin.listen", config.admin.listen)?;
        let grpc_listener = match config.grpc.listen {
            Some(address) => Some(bind("grpc.listen", address)?),
            None => None,
        };
        let unix_listener = config.grpc.unix.as_deref().map(addresses::bind_unix).transpose()?;
        let addresses = Addresses::of(http, grpc_listener.as_ref(), config.grpc.unix.clone(), &admin_listener)?;

        let grpc = TaskTracker::new();
        let services = api::grpc::GrpcServices {
            broker: broker.clone(),
            keyring: Arc::new(keyring),
            config: config.grpc.clone(),
            connections: Arc::new(Semaphore::new(limits::grpc_connections_max(open_files) as usize)),
            batch_messages: config.limits.batch_messages,
            retry_after: config.drain.retry_min..=config.drain.retry_max.max(config.drain.retry_min),
            ready: readiness.subscribe(),
            metrics: metrics.clone(),
            clock,
        };
        if let Some(listener) = grpc_listener {
            let serving = api::grpc::serve(listener, services.clone(), draining.clone());
            grpc.spawn(stopped.clone().run_until_cancelled_owned(serving));
        }
        if let Some(listener) = unix_listener {
            let serving = api::grpc::serve(listener, services, draining.clone());
            grpc.spawn(stopped.clone().run_until_cancelled_owned(serving));
        }
        grpc.close();

        let gauges = gauges_of(hub.clone(), newcomers);
        let admin = Admin { metrics: metrics.clone(), gauges: Arc::new(gauges), readiness: readiness.clone() };
        tokio::spawn(admin::serve(admin_listener, admin, stopped.clone()));
        tokio::spawn(admin::run_probe(broker.clone(), readiness.clone(), metrics.clone(), config.admin.probe_interval, stopped.clone()));
        tokio::spawn(sweep(hub.clone(), metrics, stopped.clone()));
        if let Some(delay) = config.commit_delay {
            tokio::spawn(commit_late(hub, delay, stopped.clone()));
        }
        let unix = config.grpc.unix.clone();
        Ok(Self { broker, addresses, config, shards, readiness, draining, stopped, grpc, unix })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The door, for publishing and subscribing in process.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.draining.cancel();
        self.stopped.cancel();
        if let Some(path) = &self.unix {
            // A socket file left behind would only make the next start remove it.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind(key: &'static str, address: std::net::SocketAddr) -> Result<TcpListener, StartError> {
    addresses::bind(address).map_err(|why| StartError::Listen { address: address.to_string(), key, why })
}

/// How many files this process may have open.
fn open_files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::from(u32::MAX))
}

fn build_hub(config: &Config, shards: usize, clock: Clock, metrics: Arc<Metrics>) -> Hub {
    // Random and never zero, so that cursors of an earlier process are recognised as such.
    let tag = Tag::new(rand::random_range(1..1 << 40)).expect("the range holds exactly the valid tags");
    let inboxes = (0..shards).map(|_| Arc::new(Inbox::new(config.shard.inbox))).collect();
    let bounds = hub::Bounds {
        channels: config.limits.channels as usize,
        history_bytes: config.limits.history_bytes,
        dedupe_ids: u64::from(config.limits.dedupe_ids),
    };
    let rule = if config.commit_delay.is_some() { CommitRule::Later(Default::default()) } else { CommitRule::AtOnce };
    Hub::new(RuleBook::new(&config.namespaces), inboxes, bounds, Epoch::new(1, tag), rule, clock, metrics)
}

fn start_shards(
    config: &Config,
    count: usize,
    hub: &Arc<Hub>,
    metrics: &Arc<Metrics>,
    draining: &CancellationToken,
    (broker, keyring, newcomers): (&Broker, &Keyring, &Arc<Crowd>),
) -> Result<Vec<shard::Handle>, StartError> {
    let cors = Cors::new(&config.cors);
    let bounds = front::Bounds { channels: config.limits.subscribe_channels, slots: config.limits.subscribe_slots };
    let routes = Routes {
        sse: Sse { config: config.sse.clone(), bounds, cors: cors.clone() },
        http_stream: HttpStream { bounds, cors: cors.clone() },
        long_poll: LongPoll { config: config.poll.clone(), bounds, cors: cors.clone() },
        websocket: WebSocket::new(config.websocket.clone(), bounds),
        api: Arc::new(api::http::HttpApi {
            broker: broker.clone(),
            keyring: Arc::new(keyring.clone()),
            metrics: metrics.clone(),
            origins: config.cors.origins.clone().into(),
            limits: api::http::Limits {
                payload_bytes_max: config.namespaces.iter().map(|(_, rules)| rules.payload_bytes).max().unwrap_or(0),
                batch_channels_max: config.limits.batch_messages,
                body_timeout: BODY_TIMEOUT,
            },
        }),
        cors,
        serves_demo: config.dev,
        only_local: config.dev,
    };
    let newcomers = newcomers.clone();
    let http = net::Http { config: Arc::new(config.http.clone()), door: Arc::new(routes), newcomers };
    let bounds = shard::Bounds {
        page_bytes: config.shard.page_bytes,
        ring_bytes: config.shard.ring_bytes,
        heartbeat_min: config.shard.heartbeat_min,
        heartbeat_max: config.shard.heartbeat_max,
        retry_min: config.drain.retry_min,
        retry_max: config.drain.retry_max,
    };
    (0..count)
        .map(|number| {
            let on_connection = net::on_connection(http.clone());
            shard::spawn(number, hub.clone(), metrics.clone(), bounds, draining.clone(), on_connection).map_err(StartError::from)
        })
        .collect()
}

/// Tells the metrics where the bounds are that the configuration sets; that of the connections is known elsewhere.
fn show_bounds(config: &Config, open_files: u64, metrics: &Metrics) {
    metrics.bound(Bound::GrpcConnections, limits::grpc_connections_max(open_files));
    metrics.bound(Bound::ConnectionsPending, config.limits.connections_pending.into());
    metrics.bound(Bound::Channels, config.limits.channels.into());
    metrics.bound(Bound::HistoryBytes, config.limits.history_bytes);
    metrics.bound(Bound::DedupeIds, config.limits.dedupe_ids.into());
    metrics.bound(Bound::ShardInbox, config.shard.inbox as u64);
    metrics.bound(Bound::ShardRing, config.shard.ring_bytes as u64);
}

fn gauges_of(hub: Arc<Hub>, newcomers: Arc<Crowd>) -> impl Fn() -> Gauges + Send + Sync {
    move || {
        let totals = hub.totals();
        Gauges {
            connections_pending: newcomers.count() as u64,
            inbox_depths: hub.inboxes().map(|inbox| inbox.depth() as u64).collect(),
            channels: totals.channels as u64,
            history_messages: totals.history_messages,
            history_bytes: totals.history_bytes,
            dedupe_ids: totals.dedupe_ids,
            dedupe_shortened: totals.dedupe_shortened,
            ..Gauges::default()
        }
    }
}

/// Lets go of what is too old, a few slots at a time.
async fn sweep(hub: Arc<Hub>, metrics: Arc<Metrics>, stopped: CancellationToken) {
    let mut steps = tokio::time::interval(SWEEP_ROUND / u32::from(SWEEP_STEPS));
    let mut upkeep = tokio::time::interval(UPKEEP);
    let count = SLOTS / SWEEP_STEPS;
    let mut first = 0;
    loop {
        tokio::select! {
            () = stopped.cancelled() => return,
            _ = steps.tick() => {
                hub.sweep(first, count);
                first = (first + count) % SLOTS;
            }
            _ = upkeep.tick() => metrics.upkeep(),
        }
    }
}

/// Commits each record a random time after it was appended, as a follower's answer would. For tests.
async fn commit_late(hub: Arc<Hub>, delay_max: Duration, stopped: CancellationToken) {
    while !stopped.is_cancelled() {
        if !hub.commit_next() {
            tokio::time::sleep(Duration::from_micros(200)).await;
        } else if rand::random_bool(0.3) {
            tokio::time::sleep(rand::random_range(Duration::ZERO..=delay_max)).await;
        }
    }
}
