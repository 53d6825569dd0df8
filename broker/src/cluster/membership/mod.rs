//! Who else is there. Nodes find each other by gossip (scuttlebutt, by the library chitchat) through seeds, and each tells
//! the others its [`Record`]. Every datagram is sealed with the cluster key. This room alone knows the library.
//!
//! The library's verdict on who is alive decides nothing here: it only cleans up. Records of nodes that died stay listed for
//! [`FORGOTTEN_AFTER`] at most; whether a node can be reached is for the links to say.

mod record;
mod seal;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::{Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

pub use super::config::{KEYS_MAX, SECRET_MIN};
pub use super::core::State;
pub use super::name::NodeName;
use crate::log::Tag;
pub use record::{BadRecord, Record};
pub use seal::{BadKeys, OVERHEAD, Refused, Seal};

/// A dead node's record leaves after this long. Short, since every restart leaves one behind.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);
/// Nodes of one cluster. Their digests still fit into one datagram, dead ones included.
pub const NODES_MAX: usize = 128;
/// How often seeds that are given by name are looked up while nobody is known, and after that.
const ASK_ALONE: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Refusals are told to the log once in this time for each address.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Addresses whose refusals are remembered; beyond them nothing is logged but counted all the same.
const TOLD_MAX: usize = 256;

/// What it takes to find the others.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Clusters of other names are not heard.
    pub cluster: String,
    /// The cluster key, and the one before or after it while it is changed.
    pub keys: Vec<String>,
    /// Nodes to ask first, `host:port` each; names are looked up again and again. This node may be among them.
    pub seeds: Vec<String>,
    /// Between two rounds of gossip.
    pub interval: Duration,
}

/// Why gossip did not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A key cannot be used.
    #[error("cluster.keys: {0}")]
    Keys(#[from] BadKeys),
    /// A socket did not open.
    #[error("gossip cannot begin: {0}")]
    Gossip(String),
}

/// The other nodes, by name.
pub type Members = BTreeMap<NodeName, Record>;

/// Gossip as it runs. Ends when dropped, without a word to the others.
pub struct Membership {
    handle: Arc<ChitchatHandle>,
    members: watch::Receiver<Members>,
    namesake: watch::Receiver<Option<Record>>,
    refused: Arc<Refusals>,
    tasks: [AbortHandle; 2],
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("members", &self.members.borrow().len()).finish_non_exhaustive()
    }
}

impl Membership {
    /// Begins to gossip over `socket`. `me.gossip` is the address the others shall use, which need not be the one bound. `is_up` says
    /// of a process whether this node hears it itself: as long as it does, no other process takes its name.
    ///
    /// # Errors
    /// When a key cannot be used or loopback sockets cannot be opened.
    pub async fn start(
        settings: Settings,
        socket: UdpSocket,
        me: &Record,
        is_up: impl Fn(Tag) -> bool + Send + 'static,
    ) -> Result<Self, StartError> {
        let seal = Seal::new(&settings.keys, &settings.cluster, me.tag.get())?;
        let refused = Arc::new(Refusals::default());
        let told = refused.clone();
        let transport =
            socket::Sealed { parts: Mutex::new(Some((socket, seal))), on_refused: Arc::new(move |from, why| told.note(from, why)) };
        // The library looks names up once a minute, and a name may not be known yet when everything starts at once.
        let (addresses, names): (Vec<String>, Vec<String>) =
            settings.seeds.into_iter().partition(|seed| seed.parse::<SocketAddr>().is_ok());
        let config = ChitchatConfig {
            chitchat_id: ChitchatId::new(me.name.as_str(), me.started, me.gossip),
            cluster_id: settings.cluster,
            gossip_interval: settings.interval,
            listen_addr: me.gossip,
            seed_nodes: addresses,
            failure_detector_config: FailureDetectorConfig { dead_node_grace_period: FORGOTTEN_AFTER, ..FailureDetectorConfig::default() },
            marked_for_deletion_grace_period: FORGOTTEN_AFTER,
            catchup_callback: None,
            extra_liveness_predicate: None,
            // What a node sends must be understood by every release that may be in the cluster with it.
            protocol_version: ProtocolVersion::V0,
        };
        let pairs = me.pairs().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let handle = spawn_chitchat(config, pairs, &transport).await.map_err(|why| StartError::Gossip(format!("{why:#}")))?;
        let handle = Arc::new(handle);
        let (tell, members) = watch::channel(Members::new());
        let (tell_namesake, namesake) = watch::channel(None);
        let (library, me_there) = (handle.chitchat(), me.clone());
        let looking = tokio::spawn(async move {
            let mut tick = tokio::time::interval(settings.interval);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut bad = HashMap::new();
            loop {
                tick.tick().await;
                let (now, first) = {
                    let library = library.lock().await;
                    (read_members(&library, &me_there.name, &is_up, &mut bad), read_namesake(&library, &me_there))
                };
                tell_namesake.send_if_modified(|known| {
                    let differs = *known != first;
                    if differs {
                        *known = first;
                    }
                    differs
                });
                tell.send_if_modified(|members| {
                    let differs = *members != now;
                    if differs {
                        *members = now;
                    }
                    differs
                });
            }
        })
        .abort_handle();
        let asking = tokio::spawn(ask_by_name(handle.clone(), names, members.clone(), me.gossip)).abort_handle();
        Ok(Self { handle, members, namesake, refused, tasks: [looking, asking] })
    }

    /// The other nodes as they are known now, dead ones included for a while; marked as changed whenever they change.
    #[must_use]
    pub fn members(&self) -> watch::Receiver<Members> {
        self.members.clone()
    }

    /// The process of this node's own name that gossip knows and that started before this one, somewhere else: it may have ended, or
    /// two processes have one name by mistake.
    #[must_use]
    pub fn namesake(&self) -> watch::Receiver<Option<Record>> {
        self.namesake.clone()
    }

    /// Tells the others what changed about this node. Name, start and gossip address are fixed.
    pub async fn update(&self, me: &Record) {
        let pairs = me.pairs();
        self.handle
            .with_chitchat(|library| {
                let state = library.self_node_state();
                for (key, value) in &pairs {
                    if state.get(key) != Some(value) {
                        state.set(key, value);
                    }
                }
            })
            .await;
    }

    /// Datagrams that were thrown away, since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        *self.refused.count.lock()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.handle.abort();
    }
}

/// Speaks to seeds that are given by name: often while nobody is known, and now and then for ever, so that halves of a cluster
/// that lost each other meet again.
async fn ask_by_name(handle: Arc<ChitchatHandle>, names: Vec<String>, members: watch::Receiver<Members>, me: SocketAddr) {
    let mut told = None;
    while !names.is_empty() {
        for name in &names {
            match tokio::net::lookup_host(name).await {
                Ok(found) => {
                    for address in found.filter(|address| *address != me) {
                        // Fails when gossip has ended, and then this ends too.
                        let _ = handle.gossip(address);
                    }
                }
                Err(why) if told.as_ref() != Some(&why.to_string()) => {
                    tracing::warn!(event = "seed_not_found", seed = name, %why, "a seed's name is not found; looking again");
                    told = Some(why.to_string());
                }
                Err(_) => {}
            }
        }
        let is_alone = members.borrow().is_empty();
        tokio::time::sleep(if is_alone { ASK_ALONE } else { ASK_AGAIN }).await;
    }
}

/// Of the processes of one name the one that started last is meant: the others are its dead predecessors. Unless one of them is heard:
/// then the later one has its name by mistake, and is not let in.
fn read_members(library: &Chitchat, me: &NodeName, is_up: &dyn Fn(Tag) -> bool, bad: &mut HashMap<String, BadRecord>) -> Members {
    let mut members = Members::new();
    for (id, state) in library.node_states() {
        // Known by address only so far; its key-values come with a later datagram.
        if &*id.node_id == me.as_str() || state.num_key_values() == 0 {
            continue;
        }
        match Record::read(&id.node_id, id.generation_id, id.gossip_advertise_addr, |key| state.get(key)) {
            Ok(record) => {
                bad.remove(&*id.node_id);
                let rank = |record: &Record| (is_up(record.tag), record.started);
                let is_meant = members.get(&record.name).is_none_or(|known| rank(known) < rank(&record));
                if is_meant && (members.len() < NODES_MAX || members.contains_key(&record.name)) {
                    members.insert(record.name.clone(), record);
                }
            }
            Err(why) => {
                if bad.len() < NODES_MAX && bad.insert(id.node_id.to_string(), why) != Some(why) {
                    tracing::warn!(
                        event = "node_record_refused",
                        node = %id.node_id.escape_debug(), gossip = %id.gossip_advertise_addr, %why, "a node's record is not taken"
                    );
                }
            }
        }
    }
    members
}

/// Of several predecessors the one that started last.
fn read_namesake(library: &Chitchat, me: &Record) -> Option<Record> {
    let of_name = library.node_states().iter().filter(|(id, state)| &*id.node_id == me.name.as_str() && state.num_key_values() > 0);
    let read =
        of_name.filter_map(|(id, state)| Record::read(&id.node_id, id.generation_id, id.gossip_advertise_addr, |key| state.get(key)).ok());
    let older = |record: &Record| (record.started, record.tag) < (me.started, me.tag) && record.links != me.links;
    read.filter(older).max_by_key(|record| record.started)
}

/// What was thrown away, counted, and told now and then.
#[derive(Default)]
struct Refusals {
    count: Mutex<u64>,
    told: Mutex<HashMap<std::net::IpAddr, tokio::time::Instant>>,
}

impl Refusals {
    fn note(&self, from: SocketAddr, why: Refused) {
        *self.count.lock() += 1;
        let now = tokio::time::Instant::now();
        let mut told = self.told.lock();
        told.retain(|_, at| now - *at < TELL_AGAIN);
        if told.len() < TOLD_MAX && !told.contains_key(&from.ip()) {
            told.insert(from.ip(), now);
            tracing::warn!(event = "gossip_refused", %from, %why, "gossip is thrown away");
        }
    }
}
