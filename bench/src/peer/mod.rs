//! The servers that are compared: how each is installed, started, listened to and published to, as data in `peers/`.
//!
//! A peer is a folder with a `peer.yaml` and the configuration files it names. In all of them `{name}` stands for a
//! value of the run: the ports it asks for, `{work}` (its own folder for this start), `{peer}` (its folder in the
//! tree), `{bench}` (this program) and `{program}`s given on the command line.

mod fill;
pub(crate) mod start;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Deserialize;

pub(crate) use fill::Values;
use wire::Front;

/// One folder under `peers/`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    /// Name of the folder.
    #[serde(skip)]
    pub(crate) name: String,
    /// The folder.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
    /// What it is and which choices its configuration makes, for the report.
    pub(crate) about: String,
    /// Programs to start, in this order.
    pub(crate) programs: Vec<Vec<String>>,
    /// Names of the ports to find; each becomes a `{name}`.
    pub(crate) ports: Vec<String>,
    /// Files to fill in and put into `{work}`.
    #[serde(default)]
    pub(crate) files: Vec<String>,
    /// How long it needs after its ports take connections, when that says too little.
    #[serde(default)]
    pub(crate) settle_seconds: f64,
    /// Connections that may be on their way to a stream at one time, when it takes fewer than usual.
    #[serde(default = "opening_usual")]
    pub(crate) opening: usize,
    /// Files that must exist, such as what `npm ci` brings.
    #[serde(default)]
    pub(crate) requires: Vec<String>,
    /// The command that prints its version.
    #[serde(default)]
    pub(crate) version: Vec<String>,
    /// What brings the programs.
    #[serde(default)]
    pub(crate) install: Install,
    /// How it is listened to, by name.
    pub(crate) fronts: BTreeMap<String, Front>,
    /// Fronts that only take part where a scenario names them.
    #[serde(default)]
    pub(crate) by_name: Vec<String>,
    /// How it is published to, by name.
    pub(crate) publish: BTreeMap<String, How>,
    /// The way that scenarios with subscribers use.
    pub(crate) publish_by: String,
    /// Ports of several nodes, over which subscribers take turns, by the name that stands for them in a front.
    #[serde(default)]
    pub(crate) turns: BTreeMap<String, Vec<String>>,
    /// Where it says that it is ready, when ports that take connections say too little.
    pub(crate) ready: Option<Ready>,
    /// What it counts itself and is to be seen for each delivery and message, by the name of the figure.
    #[serde(default)]
    pub(crate) counters: BTreeMap<String, Counter>,
}

/// What brings a peer's programs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Install {
    /// Debian packages.
    #[serde(default)]
    pub(crate) apt: Vec<String>,
    /// Whether `npm ci` in its folder is needed.
    #[serde(default)]
    pub(crate) npm: bool,
    /// What to do by hand.
    pub(crate) by_hand: Option<String>,
}

/// A way to publish.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, tag = "how", rename_all = "snake_case")]
pub(crate) enum How {
    /// `tidings.v1`, the pipelined stream.
    GrpcStream { port: String },
    /// `tidings.v1`, one call for each message.
    GrpcUnary { port: String },
    /// `tidings.v1`, batches.
    GrpcBatch { port: String, size: usize },
    /// One request for each message, pipelined on one connection; or, for servers that close after each, on a `fresh` one.
    /// `{channel}` and `{payload}` are filled in.
    Http {
        port: String,
        path: String,
        #[serde(default)]
        headers: Vec<String>,
        #[serde(default = "whole_payload")]
        body: String,
        #[serde(default)]
        fresh: bool,
    },
    /// Redis `PUBLISH`.
    Redis { port: String },
    /// NATS `PUB`.
    Nats { port: String },
    /// MQTT 3.1.1 `PUBLISH`, quality 0.
    Mqtt { port: String },
    /// Frames with a length, for the bare loops.
    Frames { port: String },
}

fn opening_usual() -> usize {
    256
}

fn whole_payload() -> String {
    "{payload}".to_owned()
}

/// Where a server answers with 200 once it is ready.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ready {
    pub(crate) ports: Vec<String>,
    pub(crate) path: String,
}

/// A counter in a server's metrics: the sum of the lines that begin so, over all its nodes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counter {
    pub(crate) ports: Vec<String>,
    pub(crate) path: String,
    pub(crate) line: String,
}

/// A peer and one of its fronts: what one row of a table stands for.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// `peer`, or `peer-front` when it has several.
    pub(crate) id: String,
    pub(crate) peer: Peer,
    pub(crate) front: Front,
    /// It takes part only where a scenario names it.
    pub(crate) by_name: bool,
}

impl Peer {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("peer.yaml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut peer: Self = serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
        peer.folder = folder.canonicalize()?;
        peer.name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        ensure!(peer.publish.contains_key(&peer.publish_by), "{}: `publish_by` names no way to publish", path.display());
        Ok(peer)
    }

    fn servers(&self) -> Vec<Server> {
        let id = |front: &str| if self.fronts.len() == 1 { self.name.clone() } else { format!("{}-{front}", self.name) };
        let server = |(name, front): (&String, &Front)| Server {
            id: id(name),
            peer: self.clone(),
            front: front.clone(),
            by_name: self.by_name.contains(name),
        };
        self.fronts.iter().map(server).collect()
    }

    /// Ports over which the subscribers of a front take turns.
    pub(crate) fn ports_of<'a>(&'a self, front: &'a Front) -> Vec<&'a str> {
        match self.turns.get(front.port()) {
            Some(ports) => ports.iter().map(String::as_str).collect(),
            None => vec![front.port()],
        }
    }

    /// The version it says it has, on one line.
    pub(crate) fn version(&self, values: &Values) -> String {
        let Some((program, arguments)) = self.version.split_first() else { return String::new() };
        let command = std::process::Command::new(values.fill(program)).args(arguments.iter().map(|text| values.fill(text))).output();
        let Ok(output) = command else { return String::new() };
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_owned()
    }
}

/// All peers under a folder, by name.
pub(crate) fn read_all(folder: &Path) -> anyhow::Result<Vec<Peer>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}: where are the peers?", folder.display()))?;
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.retain(|folder| folder.join("peer.yaml").exists());
    folders.sort();
    folders.iter().map(|folder| Peer::read(folder)).collect()
}

/// The servers of these names: a peer's name stands for all its fronts. None named: all.
pub(crate) fn choose(peers: &[Peer], names: &[String]) -> anyhow::Result<Vec<Server>> {
    let all: Vec<Server> = peers.iter().flat_map(Peer::servers).collect();
    if names.is_empty() {
        return Ok(all);
    }
    let mut chosen = Vec::new();
    for name in names {
        let before = chosen.len();
        chosen.extend(all.iter().filter(|server| server.id == *name || server.peer.name == *name).cloned());
        let known = || all.iter().map(|server| server.id.as_str()).collect::<Vec<_>>().join(", ");
        ensure!(chosen.len() > before, "there is no server `{name}`; there are: {}", known());
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_in_the_tree_is_read_and_brings_its_files() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let peers = read_all(&folder).unwrap();
        assert_eq!(peers.len(), std::fs::read_dir(&folder).unwrap().count(), "a folder without peer.yaml");
        for peer in &peers {
            for file in &peer.files {
                assert!(peer.folder.join(file).exists(), "{}: {file}", peer.name);
            }
            let ready = peer.ready.iter().flat_map(|ready| &ready.ports);
            let counted = peer.counters.values().flat_map(|counter| &counter.ports);
            let named = peer.turns.values().flatten().chain(ready).chain(counted).map(String::as_str);
            for port in named.chain(peer.fronts.values().flat_map(|front| peer.ports_of(front))) {
                assert!(peer.ports.iter().any(|known| known == port), "{}: port {port}", peer.name);
            }
        }
        assert!(choose(&peers, &["nchan-ws".to_owned(), "bare".to_owned()]).is_ok_and(|servers| servers.len() == 2));
        assert!(choose(&peers, &["nobody".to_owned()]).is_err());
    }
}
