//! This node in its cluster, as it runs: gossip, connections, its view of the others, and the slots that follow from it.

mod hand_over;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::admission::Admission;
use super::certificate;
use super::condition::Condition;
use super::config::Config;
use super::core::{Member, Node, NodeId, NodeInput, NodeOutput, Settings, State, View};
use super::ear::{self, Ear, Inputs};
use super::info::Info;
use super::letter::Letter;
use super::link::{Greeter, Identity, Purpose};
use super::membership::{self, Members, Membership, NodeName, Record};
use super::mesh::{self, OutboxBounds};
use super::release::Common;
use super::slots::Slots;
use super::wires::Wires;
use super::{orders, questions};
use crate::clock::Clock;
use crate::control::{self, Elsewhere};
use crate::hub::{ASKED_BYTES_MAX, Hub, Shared};
use crate::log::Tag;
use crate::metrics::{Bound, Metrics};

/// Between two rounds of gossip.
const GOSSIP: Duration = Duration::from_millis(200);
/// How often the node's view is told the time.
const TICK: Duration = Duration::from_millis(50);
/// What was said last before this node ends takes this long to leave.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Nodes that know this one dial it twice a second, so they have found it by then if they are there.
const SOLO_UNASKED: Duration = Duration::from_millis(1500);

/// Why a node did not become part of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be bound.
    #[error("cannot listen on {address} (cluster.listen): {why}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        why: io::Error,
    },
    /// The address for others is not known.
    #[error("cannot tell by which address other nodes reach this one: {0}; name it in cluster.advertise")]
    Advertise(String),
    /// The host's name is no name for a node.
    #[error("the host's name {0:?} cannot be this node's name; set cluster.node")]
    Name(String),
    /// A key cannot be used.
    #[error(transparent)]
    Link(#[from] super::link::SetupError),
    /// A certificate cannot be used.
    #[error("cluster.tls: {0}")]
    Certificate(#[from] crate::tls::Unusable),
    /// A thread could not be started.
    #[error("cannot start a thread for the cluster: {0}")]
    Thread(io::Error),
}

/// What of a cluster exists before its hub does.
#[derive(Debug)]
pub struct Prepared {
    me: NodeName,
    tag: Tag,
    clock: Clock,
    settings: Settings,
    wires: Arc<Wires>,
}

/// What of the node a cluster reaches.
#[derive(Debug)]
pub struct Rooms {
    /// Its slots.
    pub hub: Arc<Hub>,
    /// Its clients.
    pub control: control::Control,
}

/// This node in its cluster. Ends when dropped, without a word to the others.
#[derive(Debug)]
pub struct Cluster {
    /// As this node described itself when it started.
    me: Record,
    address: SocketAddr,
    clock: Clock,
    hub: Arc<Hub>,
    wires: Arc<Wires>,
    inputs: Arc<Inputs>,
    slots: Arc<Slots>,
    seen: watch::Receiver<Seen>,
    admission: Arc<Admission>,
    stop: CancellationToken,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the control thread shows of what it knows.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) state: State,
    pub(super) view: Arc<View>,
    pub(super) members: Members,
    /// Round trips to those that answer, by process.
    pub(super) rtt: Vec<(Tag, Duration)>,
    /// Those heard by this node itself.
    pub(super) up: Vec<Tag>,
    /// Those that left without a word.
    pub(super) silent: Vec<Tag>,
    /// How many of those heard place slots otherwise.
    pub(super) differing: usize,
    /// Datagrams of gossip that were thrown away.
    pub(super) gossip_refused: u64,
    /// What this node and all others that are there, or may come back, have in common.
    pub(super) common: Common,
}

impl Prepared {
    /// For the process `tag`, as the configuration says.
    ///
    /// # Errors
    /// When the node has no name.
    pub fn new(config: &Config, tag: Tag, clock: Clock) -> Result<Self, StartError> {
        let name = config.node.clone().unwrap_or_else(host_name);
        let me = NodeName::new(&name).ok_or(StartError::Name(name))?;
        // Without anybody to ask there is nobody to wait for but those who knew this node before it was started again.
        let solo = if config.seeds.is_empty() { SOLO_UNASKED } else { Settings::default().solo };
        let settings = Settings { solo, ..Settings::default() };
        let wires = Arc::new(Wires::new(clock));
        Ok(Self { me, tag, clock, settings, wires })
    }

    /// What the hub needs.
    #[must_use]
    pub fn shared(&self) -> Shared {
        Shared::new(self.tag, self.settings.clone(), self.node().view().clone(), self.wires.clone())
    }

    /// This node's name, and the others for orders about clients.
    #[must_use]
    pub fn elsewhere(&self) -> (String, Arc<dyn Elsewhere>) {
        (self.me.to_string(), self.wires.clone())
    }

    fn node(&self) -> Node {
        Node::new(NodeId::of(self.me.as_str()), self.tag, self.settings.clone(), self.clock.mono())
    }
}

impl Cluster {
    /// Begins to gossip and to connect. Connections that carry messages run on `data`.
    ///
    /// # Errors
    /// When the address cannot be bound, or it is not known how others reach it.
    pub fn start(config: &Config, prepared: Prepared, rooms: Rooms, metrics: &Arc<Metrics>, data: Handle) -> Result<Self, StartError> {
        let Rooms { hub, control } = rooms;
        let (listener, gossip) = bind(config.listen)?;
        let address = listener.local_addr().map_err(|why| StartError::Listen { address: config.listen, why })?;
        let (gossip_at, links) = advertised(config, address)?;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let record = Record {
            name: prepared.me.clone(),
            tag: prepared.tag,
            started,
            gossip: gossip_at,
            links,
            state: State::Joining,
            protocol: config.release.protocol,
            features: config.release.features,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let identity = Identity {
            cluster: config.id.clone(),
            name: prepared.me.clone(),
            tag: prepared.tag,
            started,
            release: config.release,
            version: record.version.clone(),
        };
        let greeter = Greeter::new(identity, &config.secrets(), certificate::read(&config.tls, metrics)?)?;
        let gossiping =
            membership::Settings { cluster: config.id.clone(), keys: config.secrets(), seeds: config.seeds.clone(), interval: GOSSIP };
        let node = prepared.node();
        metrics.bound(Bound::ClusterLink, OutboxBounds::default().high as u64);
        metrics.bound(Bound::ClusterPublishes, ASKED_BYTES_MAX);
        metrics.bound(Bound::ClusterNodes, membership::NODES_MAX as u64);
        metrics.bound(Bound::ClusterGreetings, mesh::GREETINGS_MAX as u64);
        metrics.bound(Bound::ClusterQuestions, questions::OPEN_MAX as u64);
        metrics.bound(Bound::ClusterOrders, orders::ORDERS_MAX as u64);
        metrics.bound(Bound::ClusterInputs, ear::INPUTS_MAX as u64);
        let Prepared { me: name, clock, wires, .. } = prepared;
        let me = record.clone();
        tracing::info!(event = "cluster_joining", node = %name, cluster = config.id, listen = %address, advertise = record.links, "this node joins its cluster");

        let (inputs, slots) = (Arc::new(Inputs::default()), Arc::new(Slots::default()));
        let admission = Arc::new(Admission::default());
        let stop = CancellationToken::new();
        let first = Seen {
            state: State::Joining,
            view: node.view().clone(),
            members: Members::new(),
            rtt: Vec::new(),
            up: Vec::new(),
            silent: Vec::new(),
            differing: 0,
            gossip_refused: 0,
            common: config.release.common_of_all(std::iter::empty()),
        };
        let (show, seen) = watch::channel(first);
        let ear = Arc::new(Ear {
            clock,
            hub: hub.clone(),
            inputs: inputs.clone(),
            slots: slots.clone(),
            heard: Mutex::default(),
            admission: admission.clone(),
            wires: wires.clone(),
            control,
            data: data.clone(),
        });
        let control = Control {
            me: name,
            clock,
            node,
            record,
            inputs: inputs.clone(),
            hub: hub.clone(),
            slots: slots.clone(),
            wires: wires.clone(),
            metrics: metrics.clone(),
            show,
        };
        let telling = {
            let (slots, hub) = (slots.clone(), hub.clone());
            let run = move || slots.run(&hub);
            std::thread::Builder::new().name("tidings-slots".to_owned()).spawn(run).map_err(StartError::Thread)?
        };
        let watching = certificate::watch(config.tls.clone(), greeter.clone(), metrics.clone());
        data.spawn(stop.clone().run_until_cancelled_owned(watching));
        let controlling = {
            let stop = stop.clone();
            let run = move || control.run(Sockets { listener, gossip }, gossiping, greeter, ear, data, &stop);
            std::thread::Builder::new().name("tidings-control".to_owned()).spawn(run).map_err(StartError::Thread)?
        };
        let threads = Mutex::new(vec![telling, controlling]);
        Ok(Self { me, address, clock, hub, wires, inputs, slots, seen, admission, stop, threads })
    }

    /// Where it listens for other nodes.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// This node, the others, and what goes on between them, as of now.
    #[must_use]
    pub fn info(&self) -> Info {
        let seen = self.seen.borrow().clone();
        Info::new(&self.me, &seen, (&self.wires, &self.inputs), self.hub.slot_sums(), self.condition(), self.is_duplicate())
    }

    /// How this node stands in the cluster, as of now.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let seen = self.seen.borrow();
        match seen.state {
            _ if self.is_duplicate() => Condition::NotAdmitted,
            _ if self.admission.is_of_another_protocol(&self.me, &seen.members, self.clock.mono()) => Condition::NotAdmitted,
            State::Joining => Condition::Joining,
            State::Draining | State::Leaving => Condition::Leaving,
            State::Active | State::Impaired if seen.silent.is_empty() && seen.view.may_act() => Condition::Whole,
            State::Active | State::Impaired => Condition::Degraded,
        }
    }

    /// Whether another process of this node's name is part of the cluster, so that this one is not.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        self.admission.is_duplicate(self.clock.mono())
    }

    /// Ends, after a moment for the last words.
    pub async fn stop(&self) {
        tokio::time::sleep(LAST_WORDS).await;
        self.end();
        let threads = std::mem::take(&mut *self.threads.lock());
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        let _ = tokio::time::timeout(Duration::from_secs(1), joined).await;
    }

    fn end(&self) {
        self.stop.cancel();
        self.slots.stop();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
    }
}

struct Sockets {
    listener: std::net::TcpListener,
    gossip: UdpSocket,
}

/// The control thread's own.
struct Control {
    me: NodeName,
    clock: Clock,
    node: Node,
    record: Record,
    inputs: Arc<Inputs>,
    hub: Arc<Hub>,
    slots: Arc<Slots>,
    wires: Arc<Wires>,
    metrics: Arc<Metrics>,
    show: watch::Sender<Seen>,
}

impl Control {
    fn run(
        self,
        sockets: Sockets,
        gossiping: membership::Settings,
        greeter: Greeter,
        ear: Arc<Ear>,
        data: Handle,
        stop: &CancellationToken,
    ) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(why) => {
                return tracing::error!(event = "cluster_left", %why, "the cluster's control thread has no runtime; this node is alone");
            }
        };
        let ended = runtime.block_on(self.run_here(sockets, gossiping, greeter, ear, data, stop));
        if let Err(why) = ended {
            tracing::error!(event = "cluster_left", %why, "this node left its cluster by a fault of its own");
        }
    }

    async fn run_here(
        mut self,
        sockets: Sockets,
        gossiping: membership::Settings,
        greeter: Greeter,
        ear: Arc<Ear>,
        data: Handle,
        stop: &CancellationToken,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let listener = {
            let _watched_there = data.enter();
            tokio::net::TcpListener::from_std(sockets.listener)?
        };
        let gossip = tokio::net::UdpSocket::from_std(sockets.gossip)?;
        let seen = self.show.subscribe();
        let is_up = move |tag| seen.borrow().up.contains(&tag);
        let membership = Membership::start(gossiping, gossip, &self.record, is_up).await?;
        let setup = mesh::Setup {
            me: self.me.clone(),
            greeter,
            listener,
            members: membership.members(),
            namesake: membership.namesake(),
            bounds: OutboxBounds::default(),
            data,
            ear,
            metrics: self.metrics.clone(),
            mesh: self.wires.mesh.clone(),
        };
        tokio::join!(mesh::run(setup, stop.clone()), stop.run_until_cancelled(self.control(&membership)));
        Ok(())
    }

    async fn control(&mut self, membership: &Membership) {
        let mut members = membership.members();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut out = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = self.inputs.wake.notified() => {
                    for input in self.inputs.take() {
                        self.node.handle(self.clock.mono(), input, &mut out);
                    }
                }
                _ = ticks.tick() => self.node.handle(self.clock.mono(), NodeInput::Tick, &mut out),
                changed = members.changed() => {
                    if changed.is_err() {
                        std::future::pending::<()>().await;
                    }
                    let known: Vec<Member> = members.borrow_and_update().values().map(member).collect();
                    for member in known {
                        self.node.handle(self.clock.mono(), NodeInput::Known(member), &mut out);
                    }
                }
            }
            // The hub has the view before others hear of it; telling the gossip may take a moment, so that comes last.
            out.sort_by_key(|output| matches!(output, NodeOutput::State(_)));
            for output in out.drain(..) {
                self.perform(output, membership).await;
            }
            self.show(&members.borrow(), membership.refused());
        }
    }

    async fn perform(&mut self, output: NodeOutput, membership: &Membership) {
        match output {
            NodeOutput::Beat { to, beat } => drop(self.wires.mesh.post(to, Purpose::Control, None, Letter::Beat(beat))),
            NodeOutput::View(view) => {
                let active = view.members().iter().filter(|member| member.state == State::Active).count();
                self.wires.happened.views.fetch_add(1, Ordering::Relaxed);
                tracing::info!(
                    event = "cluster_view",
                    nodes = view.members().len(),
                    active,
                    view = format!("{:x}", view.id()),
                    "the cluster is seen in a new way"
                );
                self.hub.see(view);
                self.slots.seen();
            }
            NodeOutput::State(state) => {
                tracing::info!(event = "cluster_state", state = state.as_str(), "this node's state in the cluster");
                self.record.state = state;
                membership.update(&self.record).await;
            }
        }
    }

    fn show(&self, members: &Members, gossip_refused: u64) {
        let now = self.clock.mono();
        self.show.send_if_modified(|seen| {
            let up = self.node.heard(now);
            let rtt: Vec<_> = up.iter().filter_map(|tag| Some((*tag, self.node.rtt(*tag)?))).collect();
            let silent = self.node.silent(now);
            let differing = up.iter().filter(|tag| self.node.view_of(**tag).is_some_and(|view| view != self.node.view().id())).count();
            let is_same = seen.state == self.node.state()
                && Arc::ptr_eq(&seen.view, self.node.view())
                && seen.up == up
                && seen.rtt == rtt
                && seen.silent == silent
                && (seen.differing, seen.gossip_refused) == (differing, gossip_refused)
                && seen.members == *members;
            if !is_same {
                // Those who ended or left hold nothing any more, and are not missed.
                let may_hold = |record: &&Record| self.node.view().is_present(record.tag) || silent.contains(&record.tag);
                let common = self.common(members, &silent);
                self.wires.questions.know(members.values().filter(may_hold).map(|record| (record.tag, record.name.clone())).collect());
                let (state, view) = (self.node.state(), self.node.view().clone());
                *seen = Seen { state, view, members: members.clone(), rtt, up, silent, differing, gossip_refused, common };
            }
            !is_same
        });
    }

    /// What this node has in common with all those that are there, or may come back.
    fn common(&self, members: &Members, silent: &[Tag]) -> Common {
        let known = |tag: Tag| members.values().find(|record| record.tag == tag).map(Record::release);
        let present = self.node.view().members().iter().map(|member| member.tag).filter(|tag| *tag != self.record.tag);
        self.record.release().common_of_all(present.chain(silent.iter().copied()).map(known))
    }
}

fn member(record: &Record) -> Member {
    Member { id: NodeId::of(record.name.as_str()), tag: record.tag, state: record.state }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Both sockets on one port.
fn bind(address: SocketAddr) -> Result<(std::net::TcpListener, UdpSocket), StartError> {
    let both = || {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        // A restart must not wait for the last one's connections to be forgotten.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(128)?;
        let listener = std::net::TcpListener::from(socket);
        let gossip = UdpSocket::bind(listener.local_addr()?)?;
        gossip.set_nonblocking(true)?;
        Ok((listener, gossip))
    };
    let mut bound = both();
    // A free port for one protocol may be taken for the other.
    for _ in 0..8 {
        if address.port() == 0 && bound.is_err() {
            bound = both();
        }
    }
    bound.map_err(|why| StartError::Listen { address, why })
}

/// Where others reach this node: by gossip, which needs an address, and by links, which may have a name.
fn advertised(config: &Config, listen: SocketAddr) -> Result<(SocketAddr, String), StartError> {
    if let Some(advertise) = &config.advertise {
        let resolved = advertise.to_socket_addrs().map_err(|why| StartError::Advertise(why.to_string()))?;
        let mut resolved: Vec<SocketAddr> = resolved.collect();
        resolved.sort_by_key(|address| address.is_ipv4() != listen.is_ipv4());
        let gossip = resolved.first().copied().ok_or_else(|| StartError::Advertise(format!("{advertise} has no address")))?;
        return Ok((gossip, advertise.clone()));
    }
    if !listen.ip().is_unspecified() {
        return Ok((listen, listen.to_string()));
    }
    // Nothing is sent: the system only says which address it would send from.
    let towards =
        config.seeds.iter().filter_map(|seed| seed.to_socket_addrs().ok()).flatten().find(|seed| seed.is_ipv4() == listen.is_ipv4());
    let towards = towards.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9)));
    let own = || -> io::Result<IpAddr> {
        let socket = UdpSocket::bind(SocketAddr::new(listen.ip(), 0))?;
        socket.connect(towards)?;
        Ok(socket.local_addr()?.ip())
    };
    let own = own().map_err(|why| StartError::Advertise(why.to_string()))?;
    let address = SocketAddr::new(own, listen.port());
    Ok((address, address.to_string()))
}
