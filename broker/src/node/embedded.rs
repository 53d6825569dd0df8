//! A broker without listeners of its own, inside another program: every room that carries messages, and what that program
//! holds of them. The daemon's node is this, with listeners in front.

use std::future::Future;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::in_cluster::{InCluster, Joining};
use super::routes::{Routes, Table};
use super::service::HttpService;
use super::tasks::Watched;
use super::tls::Tls;
use super::{StartError, tasks};
use crate::admin::{self, NotReady, Readiness};
use crate::api;
use crate::auth::origin::Origins;
use crate::auth::{Book, Gate, Rates, Revocations};
use crate::broker::{self, Broker};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{Control, Register};
use crate::error::Result;
use crate::front;
use crate::front::cors::Cors;
use crate::front::guests::Guests;
use crate::front::http_stream::HttpStream;
use crate::front::long_poll::LongPoll;
use crate::front::sse::Sse;
use crate::front::websocket::WebSocket;
use crate::hub::{self, CommitRule, Hub, Inbox, RuleBook};
use crate::journal::Journal;
use crate::limits::{self, Callers, Crowd, Users, Visitors};
use crate::log::{Epoch, Tag};
use crate::metrics::{Bound, Metrics};
use crate::net;
use crate::shard;

/// A request body that takes longer is given up.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A broker inside another program. It listens nowhere: connections come by [`Embedded::http_service`] and
/// [`Embedded::adopt`]. Dropping it cuts them all; [`Embedded::drain`] lets them go gently.
///
/// It starts one thread per shard and a few small tasks on the runtime that starts it, and installs nothing global: no
/// logger, no allocator, no signal handler, no metrics recorder. Any number of them live side by side.
#[derive(Debug)]
pub struct Embedded {
    pub(super) broker: Broker,
    /// What is in effect.
    pub(super) config: ArcSwap<Config>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) journal: Journal,
    pub(super) gate: Gate,
    pub(super) control: Control,
    pub(super) hub: Arc<Hub>,
    pub(super) shards: Arc<Vec<Arc<shard::Handle>>>,
    pub(super) acceptor: net::Acceptor,
    pub(super) guests: Guests,
    pub(super) watched: Watched,
    pub(super) tls: Tls,
    pub(super) cluster: InCluster,
    pub(super) readiness: Readiness,
    /// No new connections, no new sessions.
    pub(super) draining: CancellationToken,
    /// Everything ends.
    pub(super) stopped: CancellationToken,
    /// How many files the process may have open.
    pub(super) open_files: u64,
    pub(super) routes: Routes,
    /// A shard died.
    failed: CancellationToken,
}

impl Embedded {
    /// Starts a broker on the current runtime, which must be tokio's with time and I/O, and on one thread per shard. The
    /// listeners in the configuration stay closed.
    ///
    /// # Errors
    /// When a thread cannot be started, or a key cannot be read.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn start(config: Config) -> Result<Self, StartError> {
        // A connection that this program accepted could not be handed to a shard with a table of its own.
        let mut config = Config { own_file_tables: false, ..config };
        for tls in [&mut config.http.tls, &mut config.grpc.tls, &mut config.admin.tls] {
            *tls = Default::default();
        }
        Self::build(config)
    }

    pub(super) fn build(config: Config) -> Result<Self, StartError> {
        if let Some(why) = config.breaks_cluster() {
            return Err(StartError::Config(why));
        }
        let clock = Clock::start();
        let shard_count = config.shard_count();
        let metrics = Metrics::new(shard_count, clock);
        let open_files = open_files();
        let connections_max = config.connections_max(open_files);
        metrics.open_files(open_files);
        metrics.bound(Bound::Connections, connections_max);
        metrics.bound(Bound::Guests, connections_max);
        show_bounds(&config, open_files, &metrics);
        // Random and never zero, so that cursors of an earlier process are recognised as such.
        let tag = Tag::new(rand::random_range(1..1 << 40)).expect("the range holds exactly the valid tags");
        let joining = Joining::prepare(&config, tag, clock)?;
        let revocations = Revocations::new(&config.tokens);
        let register = Register::new(revocations.clone(), clock);
        let control = Control::new(register.clone(), revocations.clone(), clock, metrics.clone(), joining.elsewhere());
        let hub = Arc::new(build_hub(&config, tag, shard_count, clock, metrics.clone(), &joining));
        hub.set_presence(&config.presence);
        let cluster = joining.start(&config, &hub, &control, &metrics)?;
        let broker = Broker::new(hub.clone(), door_limits(&config), metrics.clone());
        let limits = &config.limits;
        let callers = |rate| Callers::new(rate, limits.rate_callers as usize);
        let users = Users::new(limits.connections_per_user);
        let rates = Rates {
            publishes: callers(limits.publish_rate.into()),
            subscribes: callers(limits.subscribe_rate.into()),
            bytes: callers(limits.byte_rate),
            failures: callers(limits.failure_rate.into()),
            connections: users.clone(),
        };
        let gate = Gate::with_bounds(Book::read(&config.auth())?, clock, metrics.clone(), rates, revocations);
        let visitors = Visitors::new(config.limits.connections_per_address, config.http.trusted_proxies.clone(), config.http.client_header);
        let readiness = Readiness::new(clock, admin::probe_window(config.admin.probe_interval));
        let (draining, stopped, failed) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let incoming = Crowd::new(config.limits.incoming_bytes as usize);
        let journal = Journal::new(config.admin.journal as usize);
        let routes = Routes::new(table(&config, (&broker, &gate, &control), (&metrics, &journal), (&visitors, &incoming)));
        let bounds = shard_bounds(&config);
        let rooms =
            shard::Rooms { hub: hub.clone(), metrics: metrics.clone(), journal: journal.clone(), register, draining: draining.clone() };
        let newcomers = Crowd::new(config.limits.connections_pending as usize);
        let tls = Tls::load(&config, &metrics)?;
        let unread = Crowd::new(config.limits.unsent_bytes as usize);
        let http = |entrance| net::Http {
            config: Arc::new(config.http.clone()),
            door: Arc::new(routes.clone()),
            newcomers: newcomers.clone(),
            unread: unread.clone(),
            visitors: visitors.clone(),
            entrance,
        };
        let on_death = on_death(metrics.clone(), readiness.clone(), failed.clone());
        let start_shard = |number| shard::spawn(number, rooms.clone(), bounds, net::on_connection(http(tls.http())), on_death.clone());
        let shards = (0..shard_count).map(|number| start_shard(number).map(Arc::new)).collect::<std::io::Result<Vec<_>>>()?;
        let shards = Arc::new(shards);
        control.reach_nameless(Arc::new(super::inspect::Nameless(shards.clone())));
        let acceptor = net::Acceptor {
            shards: shards.to_vec(),
            everyone: shards.clone(),
            connections_max: Arc::new(AtomicUsize::new(connections_max as usize)),
            shard_connections_max: usize::MAX,
            speaks_tls: tls.http.is_some(),
            config: config.http.clone(),
            metrics: metrics.clone(),
            journal: journal.clone(),
            clock,
        };
        let guests = Guests::new(rooms, bounds, acceptor.clone(), stopped.clone());
        let watched = Watched {
            hub: hub.clone(),
            newcomers: newcomers.clone(),
            unread: unread.clone(),
            incoming,
            cluster: cluster.clone(),
            control: control.clone(),
            journal: journal.clone(),
            visitors,
            users,
            guests: guests.clone(),
            gate: gate.clone(),
            shards: shards.clone(),
        };

        tokio::spawn(stopped.clone().run_until_cancelled_owned(super::key_set::keep(gate.clone(), clock)));
        let interval = config.admin.probe_interval;
        let probe = admin::run_probe(broker.clone(), all_listen(shards.clone()), readiness.clone(), metrics.clone(), interval);
        tokio::spawn(stopped.clone().run_until_cancelled_owned(probe));
        let sweep = tasks::sweep(hub.clone(), control.clone(), metrics.clone(), journal.clone());
        tokio::spawn(stopped.clone().run_until_cancelled_owned(sweep));
        if config.cluster.is_on() {
            readiness.stands(Some(admin::NotReady::Joining));
            tokio::spawn(stopped.clone().run_until_cancelled_owned(cluster.clone().keep_told(readiness.clone(), hub.clone())));
        }
        tokio::spawn(stopped.clone().run_until_cancelled_owned(tasks::presence(hub.clone())));
        if let Some(delay) = config.commit_delay {
            tokio::spawn(stopped.clone().run_until_cancelled_owned(tasks::commit_late(hub.clone(), delay)));
        }
        Ok(Self {
            cluster,
            broker,
            config: ArcSwap::from_pointee(config),
            clock,
            metrics,
            journal,
            gate,
            control,
            hub,
            shards,
            acceptor,
            guests,
            watched,
            tls,
            readiness,
            draining,
            stopped,
            open_files,
            routes,
            failed,
        })
    }

    /// The door: publish, subscribe, history, from any thread and any runtime.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The cluster that this node is part of.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub fn cluster(&self) -> Option<&crate::cluster::Cluster> {
        self.cluster.cluster.as_deref()
    }

    /// Everything the public listener would answer but the demo, as a service for any hyper or axum server on this program's
    /// own runtime: `/ws`, `/sse`, `/stream`, `/poll` and `/v1/…`. Cheap to clone.
    ///
    /// A stream it answers is a body that reads the log as the server asks for more. On a socket of its own
    /// ([`Embedded::adopt`]) the same stream costs a twentieth of the memory and less of the CPU.
    #[must_use]
    pub fn http_service(&self) -> HttpService {
        HttpService::new(self.routes.clone(), self.guests.clone(), self.stopped.clone())
    }

    /// Hands a connection to a shard, as if the broker had accepted it itself: it speaks HTTP/1 or HTTP/2 without TLS, and
    /// streams take the bare socket over. `already_read` is what this program has read of it to see whose it is.
    ///
    /// At a bound of connections, and when this broker is leaving, the peer is told so and the connection closed.
    ///
    /// # Errors
    /// When the socket cannot be used any more, or is no TCP socket; `InvalidInput` when more was read than
    /// `http.header_bytes`, `Unsupported` on a node with `own_file_tables`, where no socket leaves its table.
    pub fn adopt(&self, socket: TcpStream, already_read: impl Into<Bytes>) -> std::io::Result<()> {
        if self.config.load().own_file_tables {
            return Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "own_file_tables: a socket cannot leave its table"));
        }
        self.acceptor.adopt(socket, already_read.into())
    }

    /// Lets in who calls, by keys, tokens and namespaces; [`Gate::exchange`] takes others without a restart.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Orders about clients: disconnect, unsubscribe, revoke.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Whether this broker should get traffic now, for a health check of the program's own.
    ///
    /// # Errors
    /// The reason when it should not.
    pub fn ready(&self) -> Result<(), NotReady> {
        self.readiness.check()
    }

    /// Everything it counts, in the Prometheus text format, version 0.0.4.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut gauges = self.watched.gauges();
        gauges.ready = self.ready().is_ok();
        gauges.draining = self.readiness.is_draining();
        self.metrics.render(&gauges)
    }

    /// Resolves when a shard died by a fault of the broker: its connections are gone, those of the others go on, and new ones
    /// go to them. The state is not trusted any more: drain and start anew.
    pub fn failed(&self) -> impl Future<Output = ()> + use<> {
        self.failed.clone().cancelled_owned()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.end();
    }
}

/// How many files this process may have open.
fn open_files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::from(u32::MAX))
}

fn build_hub(config: &Config, tag: Tag, shards: usize, clock: Clock, metrics: Arc<Metrics>, joining: &Joining) -> Hub {
    let inboxes = (0..shards).map(|_| Arc::new(Inbox::new(config.shard.inbox))).collect();
    let bounds = hub_bounds(config);
    let (rule, term) = match joining.shared() {
        Some(shared) => (CommitRule::Shared(Box::new(shared)), 0),
        None if config.commit_delay.is_some() => (CommitRule::Later(Default::default()), 1),
        None => (CommitRule::AtOnce, 1),
    };
    Hub::new(RuleBook::new(&config.namespaces), inboxes, bounds, Epoch::new(term, tag), rule, clock, metrics)
}

pub(super) fn hub_bounds(config: &Config) -> hub::Bounds {
    hub::Bounds {
        channels: config.limits.channels as usize,
        channels_silent: config.limits.channels_silent as usize,
        history_bytes: config.limits.history_bytes,
        dedupe_ids: u64::from(config.limits.dedupe_ids),
    }
}

pub(super) fn door_limits(config: &Config) -> broker::Limits {
    broker::Limits {
        publish_wait: config.limits.publish_wait,
        subscribe: broker::Bounds { channels: config.limits.subscribe_channels, slots: config.limits.subscribe_slots },
        page_messages: config.limits.batch_messages,
    }
}

/// Visitors, and what is half here, are those of before when the configuration changes.
pub(super) fn table(
    config: &Config,
    (broker, gate, control): (&Broker, &Gate, &Control),
    (metrics, journal): (&Arc<Metrics>, &Journal),
    (visitors, incoming): (&Arc<Visitors>, &Arc<Crowd>),
) -> Table {
    let cors = Cors::new(&config.cors);
    let bounds = front::Bounds { channels: config.limits.subscribe_channels, slots: config.limits.subscribe_slots };
    Table {
        sse: Sse { config: config.sse.clone(), bounds, cors: cors.clone() },
        http_stream: HttpStream { bounds, cors: cors.clone() },
        long_poll: LongPoll { config: config.poll.clone(), bounds, cors: cors.clone() },
        websocket: WebSocket::new(config.websocket.clone(), bounds, gate.clone(), incoming.clone()),
        api: Arc::new(api::http::HttpApi {
            broker: broker.clone(),
            gate: gate.clone(),
            control: control.clone(),
            metrics: metrics.clone(),
            journal: journal.clone(),
            origins: Origins::new(&config.cors.origins, config.http.tls.is_on()),
            incoming: incoming.clone(),
            limits: api::http::Limits {
                payload_bytes_max: config.namespaces.iter().map(|(_, rules)| rules.payload_bytes).max().unwrap_or(0),
                batch_channels_max: config.limits.batch_messages,
                body_timeout: BODY_TIMEOUT,
            },
        }),
        cors,
        visitors: visitors.clone(),
        serves_demo: config.dev,
        only_local: config.dev,
    }
}

/// Tells the metrics where the bounds are that the configuration sets; that of the connections is known elsewhere.
pub(super) fn show_bounds(config: &Config, open_files: u64, metrics: &Metrics) {
    metrics.bound(Bound::GrpcConnections, limits::grpc_connections_max(open_files));
    metrics.bound(Bound::GrpcConnectionsPending, limits::grpc_connections_pending(config.limits.connections_pending, open_files));
    metrics.bound(Bound::ConnectionsPending, config.limits.connections_pending.into());
    metrics.bound(Bound::ConnectionsPerAddress, config.limits.connections_per_address.into());
    metrics.bound(Bound::ConnectionsPerUser, config.limits.connections_per_user.into());
    metrics.bound(Bound::Channels, config.limits.channels.into());
    metrics.bound(Bound::ChannelsSilent, config.limits.channels_silent.into());
    metrics.bound(Bound::HistoryBytes, config.limits.history_bytes);
    metrics.bound(Bound::DedupeIds, config.limits.dedupe_ids.into());
    metrics.bound(Bound::PresenceMembers, config.presence.members_of_node.into());
    metrics.bound(Bound::PresenceHeld, config.presence.members_held.into());
    metrics.bound(Bound::Revocations, config.tokens.revocations.into());
    metrics.bound(Bound::RateCallers, config.limits.rate_callers.into());
    metrics.bound(Bound::Journal, config.admin.journal.into());
    metrics.bound(Bound::ShardInbox, config.shard.inbox as u64);
    metrics.bound(Bound::ShardCommands, shard::COMMANDS_MAX as u64);
    metrics.bound(Bound::ShardRing, config.shard.ring_bytes as u64);
    metrics.bound(Bound::UnsentBytes, config.limits.unsent_bytes / config.shard_count() as u64);
    metrics.bound(Bound::UnreadBytes, config.limits.unsent_bytes);
    metrics.bound(Bound::IncomingBytes, config.limits.incoming_bytes);
}

fn shard_bounds(config: &Config) -> shard::Bounds {
    shard::Bounds {
        page_bytes: config.shard.page_bytes,
        ring_bytes: config.shard.ring_bytes,
        unsent_bytes: (config.limits.unsent_bytes / config.shard_count() as u64) as usize,
        heartbeat_min: config.shard.heartbeat_min,
        heartbeat_max: config.shard.heartbeat_max,
        retry_min: config.drain.retry_min,
        retry_max: config.drain.retry_max,
    }
}

/// What a dead shard is to the rest: everyone is told, and whoever runs this decides.
fn on_death(metrics: Arc<Metrics>, readiness: Readiness, failed: CancellationToken) -> shard::OnDeath {
    Arc::new(move |shard| {
        tracing::error!(event = "shard_died", shard, "a shard died by a fault of the broker; its connections are closed");
        metrics.shard_died();
        readiness.shard_died();
        failed.cancel();
    })
}

/// Lets the self-probe pass through every shard.
fn all_listen(shards: Arc<Vec<Arc<shard::Handle>>>) -> admin::Listen {
    Arc::new(move |channel| {
        let shards = shards.clone();
        Box::pin(async move {
            let mut hears = Vec::with_capacity(shards.len());
            for shard in shards.iter() {
                hears.push(shard.listen(&channel).await?);
            }
            let all: BoxFuture<'static, bool> =
                Box::pin(async move { futures_util::future::join_all(hears).await.iter().all(std::result::Result::is_ok) });
            Some(all)
        })
    })
}
