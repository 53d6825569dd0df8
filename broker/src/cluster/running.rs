//! This node in its cluster, as it runs: gossip, connections, its view of the others, and the slots that follow from it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::core::{Member, Node, NodeId, NodeInput, NodeOutput, Settings, State, View};
use super::ear::{Ear, Inputs};
use super::info::Info;
use super::letter::Letter;
use super::link::{Greeter, Identity, Purpose};
use super::membership::{self, Members, Membership, NodeName, Record};
use super::mesh::{self, Mesh, OutboxBounds};
use super::slots::Slots;
use super::wires::{Happened, Wires};
use crate::clock::Clock;
use crate::hub::{Hub, Shared};
use crate::log::Tag;

/// The oldest and the newest protocol between nodes that this release speaks.
const PROTOCOL: (u32, u32) = (1, 1);
/// What this release can do beyond that, one bit each; none so far.
const FEATURES: u64 = 0;
/// Between two rounds of gossip.
const GOSSIP: Duration = Duration::from_millis(200);
/// How often the node's view is told the time.
const TICK: Duration = Duration::from_millis(50);
/// How often a drain looks whether everything is handed over.
const LOOK: Duration = Duration::from_millis(20);
/// What was said last before this node ends takes this long to leave.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Since another process of this name was met, this node counts as a duplicate for so long.
const DUPLICATE: Duration = Duration::from_secs(10);

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

/// This node in its cluster. Ends when dropped, without a word to the others.
#[derive(Debug)]
pub struct Cluster {
    me: NodeName,
    tag: Tag,
    address: SocketAddr,
    clock: Clock,
    hub: Arc<Hub>,
    wires: Arc<Wires>,
    inputs: Arc<Inputs>,
    slots: Arc<Slots>,
    seen: watch::Receiver<Seen>,
    duplicate: Arc<Mutex<Option<Duration>>>,
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
}

impl Prepared {
    /// For the process `tag`, as the configuration says.
    ///
    /// # Errors
    /// When the node has no name.
    pub fn new(config: &Config, tag: Tag, clock: Clock) -> Result<Self, StartError> {
        let name = config.node.clone().unwrap_or_else(host_name);
        let me = NodeName::new(&name).ok_or(StartError::Name(name))?;
        // Without anybody to ask there is nobody to wait for.
        let solo = if config.seeds.is_empty() { Duration::ZERO } else { Settings::default().solo };
        let settings = Settings { solo, ..Settings::default() };
        let wires = Arc::new(Wires { mesh: Mesh::default(), clock, happened: Happened::default() });
        Ok(Self { me, tag, clock, settings, wires })
    }

    /// What the hub needs.
    #[must_use]
    pub fn shared(&self) -> Shared {
        Shared::new(self.tag, self.settings.clone(), self.node().view().clone(), self.wires.clone())
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
    pub fn start(config: &Config, prepared: Prepared, hub: Arc<Hub>, data: Handle) -> Result<Self, StartError> {
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
            protocol: PROTOCOL,
            features: FEATURES,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let identity = Identity {
            cluster: config.id.clone(),
            name: prepared.me.clone(),
            tag: prepared.tag,
            started,
            protocol: PROTOCOL,
            features: FEATURES,
            version: record.version.clone(),
        };
        let greeter = Greeter::new(identity, &config.secrets())?;
        let gossiping =
            membership::Settings { cluster: config.id.clone(), keys: config.secrets(), seeds: config.seeds.clone(), interval: GOSSIP };
        let node = prepared.node();
        let Prepared { me, tag, clock, wires, .. } = prepared;
        tracing::info!(node = %me, cluster = config.id, listen = %address, advertise = record.links, "this node joins its cluster");

        let (inputs, slots) = (Arc::new(Inputs::default()), Arc::new(Slots::default()));
        let duplicate = Arc::new(Mutex::new(None));
        let stop = CancellationToken::new();
        let first = Seen { state: State::Joining, view: node.view().clone(), members: Members::new(), rtt: Vec::new(), up: Vec::new() };
        let (show, seen) = watch::channel(first);
        let ear = Arc::new(Ear {
            clock,
            hub: hub.clone(),
            inputs: inputs.clone(),
            slots: slots.clone(),
            heard: Mutex::default(),
            duplicate: duplicate.clone(),
        });
        let control =
            Control { me: me.clone(), clock, node, record, inputs: inputs.clone(), slots: slots.clone(), mesh: wires.mesh.clone(), show };
        let telling = {
            let (slots, hub) = (slots.clone(), hub.clone());
            let run = move || slots.run(&hub);
            std::thread::Builder::new().name("tidings-slots".to_owned()).spawn(run).map_err(StartError::Thread)?
        };
        let controlling = {
            let stop = stop.clone();
            let run = move || control.run(Sockets { listener, gossip }, gossiping, greeter, ear, data, &stop);
            std::thread::Builder::new().name("tidings-control".to_owned()).spawn(run).map_err(StartError::Thread)?
        };
        let threads = Mutex::new(vec![telling, controlling]);
        Ok(Self { me, tag, address, clock, hub, wires, inputs, slots, seen, duplicate, stop, threads })
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
        Info::new(&self.me, self.tag, &seen, &self.wires, self.hub.slot_counts(), self.is_duplicate())
    }

    /// Whether another process of this node's name is part of the cluster, so that this one is not.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        self.duplicate.lock().is_some_and(|at| self.clock.mono() < at + DUPLICATE)
    }

    /// Hands everything that this node owns over to the others, until `deadline` at most. Publishing goes on meanwhile.
    pub async fn hand_over(&self, deadline: Instant) {
        self.inputs.push(NodeInput::Drain);
        let others = |seen: &Seen| seen.view.members().iter().any(|member| member.tag != self.tag && member.state == State::Active);
        let began = Instant::now();
        let mut is_done = false;
        while others(&self.seen.borrow()) && Instant::now() < deadline {
            let is_draining = self.seen.borrow().state == State::Draining;
            if is_draining && !self.hub.holds_slots() {
                is_done = true;
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        match (is_done, self.hub.holds_slots()) {
            (true, _) => tracing::info!(took = ?began.elapsed(), "everything was handed over to the other nodes"),
            (false, true) => tracing::warn!("some slots could not be handed over; what only this node holds is lost when it ends"),
            (false, false) => {}
        }
        self.inputs.push(NodeInput::Leave);
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
    slots: Arc<Slots>,
    mesh: Mesh<Letter>,
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
            Err(why) => return tracing::error!(%why, "the cluster's control thread has no runtime; this node is alone"),
        };
        let ended = runtime.block_on(self.run_here(sockets, gossiping, greeter, ear, data, stop));
        if let Err(why) = ended {
            tracing::error!(%why, "this node left its cluster by a fault of its own");
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
        let listener = tokio::net::TcpListener::from_std(sockets.listener)?;
        let gossip = tokio::net::UdpSocket::from_std(sockets.gossip)?;
        let membership = Membership::start(gossiping, gossip, &self.record).await?;
        let setup = mesh::Setup {
            me: self.me.clone(),
            greeter,
            listener,
            members: membership.members(),
            bounds: OutboxBounds::default(),
            data,
            ear,
            mesh: self.mesh.clone(),
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
            for output in out.drain(..) {
                self.perform(output, membership).await;
            }
            self.show(&members.borrow());
        }
    }

    async fn perform(&mut self, output: NodeOutput, membership: &Membership) {
        match output {
            NodeOutput::Beat { to, beat } => drop(self.mesh.post(to, Purpose::Control, None, Letter::Beat(beat))),
            NodeOutput::View(view) => {
                let active = view.members().iter().filter(|member| member.state == State::Active).count();
                tracing::info!(nodes = view.members().len(), active, view = format!("{:x}", view.id()), "the cluster is seen in a new way");
                self.slots.view(view);
            }
            NodeOutput::State(state) => {
                tracing::info!(state = state.as_str(), "this node's state in the cluster");
                self.record.state = state;
                membership.update(&self.record).await;
            }
        }
    }

    fn show(&self, members: &Members) {
        let now = self.clock.mono();
        self.show.send_if_modified(|seen| {
            let up: Vec<Tag> = members.values().map(|member| member.tag).filter(|tag| self.node.is_up(*tag, now)).collect();
            let rtt: Vec<_> = up.iter().filter_map(|tag| Some((*tag, self.node.rtt(*tag)?))).collect();
            let is_same = seen.state == self.node.state()
                && Arc::ptr_eq(&seen.view, self.node.view())
                && seen.up == up
                && seen.rtt == rtt
                && seen.members == *members;
            if !is_same {
                *seen = Seen { state: self.node.state(), view: self.node.view().clone(), members: members.clone(), rtt, up };
            }
            !is_same
        });
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
