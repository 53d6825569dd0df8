//! The nodes of one run, and the hand that breaks and mends them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::chaos::client::guest;
use crate::chaos::fault::{Fault, Name};
use crate::chaos::history::Event;
use crate::chaos::homes;
use crate::chaos::lan::{Delay, End, Lan};
use crate::chaos::node::{Node, Seat};
use crate::chaos::world::World;

/// How long a node may take to be ready, or to leave.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nodes at work on a network of their own.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) world: Arc<World>,
    // Before the network, so that processes end first.
    nodes: Vec<Option<Node>>,
    lan: Lan,
    /// Nodes on their way out.
    departing: Vec<Departing>,
    /// What is broken now.
    broken: Vec<Fault>,
    seed: u64,
}

/// A node that was told to leave while the run goes on.
#[derive(Debug)]
struct Departing {
    node: usize,
    /// Whether another one could reach it before it ended.
    is_reached: Arc<AtomicBool>,
    ended: JoinHandle<anyhow::Result<()>>,
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Make {
    pub(crate) nodes: usize,
    pub(crate) program: PathBuf,
    /// What a node runs when it is started again.
    pub(crate) next: PathBuf,
    pub(crate) settings: Vec<String>,
    pub(crate) channels: usize,
    pub(crate) seed: u64,
}

impl Cluster {
    /// Starts all nodes and waits until they are ready. Their logs go to the folder.
    ///
    /// # Errors
    /// When the network cannot be made, or a node does not get ready.
    pub(crate) async fn start(make: &Make, folder: &Path) -> anyhow::Result<Self> {
        let lan = Lan::build(make.nodes)?;
        let seeds: Vec<String> = (0..make.nodes).map(|node| format!("{}:8003", lan.address(node))).collect();
        let seat = |node: usize| {
            let mut settings = settings(make, &Name(node).to_string(), &lan.address(node).to_string(), &seeds);
            settings.extend(make.settings.iter().cloned());
            Seat {
                name: Name(node).to_string(),
                namespace: lan.namespace(node),
                address: lan.address(node),
                program: make.program.clone(),
                next: make.next.clone(),
                settings,
                log: folder.join(format!("{}.log", Name(node))),
            }
        };
        let seats: Vec<Seat> = (0..make.nodes).map(seat).collect();
        let channels = homes::channels(make.nodes, make.channels)?;
        let world = Arc::new(World::new(seats, channels));
        let mut cluster = Self { nodes: Vec::new(), lan, world, departing: Vec::new(), broken: Vec::new(), seed: make.seed };
        for seat in &cluster.world.seats {
            cluster.nodes.push(Some(seat.start(&seat.program)?));
        }
        for seat in &cluster.world.seats {
            seat.ready(PATIENCE).await?;
        }
        homes::check(&cluster.world).await.context("whose channels are whose")?;
        Ok(cluster)
    }

    /// Breaks something, and writes it down.
    ///
    /// # Errors
    /// When the system does not let it.
    pub(crate) async fn break_it(&mut self, fault: &Fault) -> anyhow::Result<()> {
        let (fault_named, divides, excuses_after_ms) = (fault.to_string(), fault.divides(), fault.excuses_after_ms());
        self.world.record(Event::Broken { fault: fault_named, divides, excuses_after_ms });
        self.apply(fault).await.with_context(|| fault.to_string())?;
        self.broken.push(fault.clone());
        Ok(())
    }

    /// Mends what was broken, and writes it down.
    ///
    /// # Errors
    /// When the system does not let it, or a node does not come back.
    pub(crate) async fn mend(&mut self, fault: &Fault) -> anyhow::Result<()> {
        self.undo(fault).await.with_context(|| format!("mending: {fault}"))?;
        self.world.record(Event::Mended { fault: fault.to_string() });
        self.broken.retain(|broken| broken != fault);
        for departing in self.departing.iter().filter(|departing| !self.is_alone(departing.node)) {
            departing.is_reached.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn apply(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill { node } => {
                self.world.record(Event::Crashed { node: Name(*node).to_string() });
                self.nodes[*node].take().context("it does not run")?.kill().await
            }
            Fault::Leave { node } => {
                if self.is_alone(*node) {
                    // There is nobody to hand anything over to: what it has alone ends with it.
                    self.world.record(Event::Crashed { node: Name(*node).to_string() });
                }
                self.nodes[*node].take().context("it does not run")?.leave(PATIENCE).await
            }
            Fault::Depart { node } => {
                let process = self.nodes[*node].take().context("it does not run")?;
                let is_reached = Arc::new(AtomicBool::new(!self.is_alone(*node)));
                let (world, was_reached, name) = (Arc::clone(&self.world), Arc::clone(&is_reached), Name(*node).to_string());
                let leaving = async move {
                    process.leave(PATIENCE).await?;
                    if !was_reached.load(Ordering::Relaxed) {
                        // What it had alone ended with it.
                        world.record(Event::Crashed { node: name });
                    }
                    Ok(())
                };
                self.departing.push(Departing { node: *node, is_reached, ended: tokio::spawn(leaving) });
                Ok(())
            }
            Fault::Pause { node } => self.running(*node)?.signal(Signal::STOP),
            Fault::Unplug { node } => self.lan.plug(*node, false),
            Fault::Slow { node, kbit } => self.lan.throttle(*node, Some(*kbit)),
            Fault::Delay { node, least_ms, most_ms, reorders } => {
                let (least, most) = (Duration::from_millis(*least_ms), Duration::from_millis(*most_ms));
                self.lan.delay(*node, Some(Delay { least, most, reorders: *reorders, seed: self.seed }))
            }
            Fault::Cut { .. } | Fault::Split { .. } | Fault::Lose { .. } | Fault::Hide { .. } => {
                let (ways, percent) = self.ways(fault);
                self.lan.set_rules(|rules| ways.iter().for_each(|(from, to)| rules.lose(*from, *to, percent)))
            }
        }
    }

    async fn undo(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill { node } | Fault::Leave { node } | Fault::Depart { node } => {
                if let Some(at) = self.departing.iter().position(|departing| departing.node == *node) {
                    self.departing.swap_remove(at).ended.await??;
                }
                let seat = self.world.seat(*node).clone();
                self.world.record(Event::Started { node: Name(*node).to_string() });
                self.nodes[*node] = Some(seat.start(&seat.next)?);
                seat.ready(PATIENCE).await
            }
            Fault::Pause { node } => self.running(*node)?.signal(Signal::CONT),
            Fault::Unplug { node } => self.lan.plug(*node, true),
            Fault::Slow { node, .. } => self.lan.throttle(*node, None),
            Fault::Delay { node, .. } => self.lan.delay(*node, None),
            Fault::Cut { .. } | Fault::Split { .. } | Fault::Lose { .. } | Fault::Hide { .. } => {
                let (ways, _) = self.ways(fault);
                self.lan.set_rules(|rules| ways.iter().for_each(|(from, to)| rules.mend(*from, *to)))
            }
        }
    }

    /// Whether a node reaches no other one.
    fn is_alone(&self, node: usize) -> bool {
        (0..self.nodes.len()).filter(|other| *other != node).all(|other| self.broken.iter().any(|fault| fault.parts(node, other)))
    }

    fn running(&self, node: usize) -> anyhow::Result<&Node> {
        self.nodes[node].as_ref().context("it does not run")
    }

    /// Which ways through the bridge a fault closes, and to how many packets of a hundred.
    fn ways(&self, fault: &Fault) -> (Vec<(End, End)>, u32) {
        let all = || (0..self.nodes.len()).map(End::Node);
        match fault {
            Fault::Cut { from, to } => (from.iter().flat_map(|from| to.iter().map(|to| (End::Node(*from), End::Node(*to)))).collect(), 100),
            Fault::Split { groups } => {
                let other = |a: usize, b: usize| groups.iter().any(|group| group.contains(&a) != group.contains(&b));
                let pairs = groups.iter().flatten().flat_map(|a| groups.iter().flatten().map(move |b| (*a, *b)));
                (pairs.filter(|(a, b)| other(*a, *b)).map(|(a, b)| (End::Node(a), End::Node(b))).collect(), 100)
            }
            Fault::Lose { percent } => {
                let ends = || all().chain([End::Clients]);
                (ends().flat_map(|a| ends().map(move |b| (a, b))).filter(|(a, b)| a != b).collect(), *percent)
            }
            Fault::Hide { node } => (vec![(End::Clients, End::Node(*node)), (End::Node(*node), End::Clients)], 100),
            _ => (Vec::new(), 0),
        }
    }
}

/// The configuration of one node. What the checker must know by heart is set here: nothing leaves the history by itself.
fn settings(make: &Make, name: &str, address: &str, seeds: &[String]) -> Vec<String> {
    let mut settings: Vec<String> = [
        "dev=false",
        "insecure=true",
        "shards=1",
        "log.format=json",
        "namespaces.default.unlisted=true",
        "namespaces.default.allow={publish: anyone, subscribe: anyone, history: anyone}",
        "namespaces.default.history.size=1000000",
        "namespaces.default.history.bytes=1GiB",
        "namespaces.default.history.ttl=1h",
        "namespaces.guests={presence: true, allow: {subscribe: anyone, presence: anyone}}",
        guest::TOKENS,
        "presence.grace=2s",
        "drain.grace=6s",
        "drain.waves=2",
    ]
    .map(str::to_owned)
    .to_vec();
    if make.nodes > 1 {
        settings.push(format!("cluster.node={name}"));
        settings.push(format!("cluster.listen={address}:8003"));
        settings.push(format!("cluster.seeds=[{}]", seeds.iter().map(|seed| format!("\"{seed}\"")).collect::<Vec<_>>().join(", ")));
        settings.push("cluster.keys=[chaos-chaos-chaos-chaos]".to_owned());
    }
    settings
}
