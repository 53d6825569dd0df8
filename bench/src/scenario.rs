//! Scenarios: what load, on how many subscribers, for how long. Data in `scenarios/`, one file each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::peer::Server;

/// One file under `scenarios/`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Name of the file.
    #[serde(skip)]
    pub(crate) name: String,
    /// What it shows, for the report.
    pub(crate) about: String,
    /// Bytes of each message; every size is a run of its own.
    #[serde(default = "small")]
    pub(crate) payload: Vec<usize>,
    /// Peers or servers that can do this, or are worth it; empty: all.
    #[serde(default)]
    pub(crate) only: Vec<String>,
    /// Servers that come in addition: those whose front waits to be named.
    #[serde(default)]
    pub(crate) with: Vec<String>,
    /// Most rounds, where more would show nothing more.
    pub(crate) rounds_max: Option<usize>,
    /// More arguments for a peer's last program, by peer.
    #[serde(default)]
    pub(crate) arguments: BTreeMap<String, Vec<String>>,
    /// Longest silence before the run counts as incomplete.
    #[serde(default = "patience")]
    patience_seconds: f64,
    /// What happens.
    pub(crate) load: Load,
}

/// The kinds of load.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Load {
    /// Messages flow to subscribers.
    Flow(Flow),
    /// Connections that do nothing, then one message for all.
    Idle(Idle),
    /// Everyone connects at once.
    Storm(Storm),
    /// Publishing alone.
    Publish(Publish),
    /// Many clients resume at once.
    Replay(Replay),
}

/// Messages to subscribers, at a pace that one of `rate` and `outstanding` gives.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Flow {
    #[serde(default = "one")]
    pub(crate) channels: usize,
    /// Subscribers of each channel.
    pub(crate) subscribers: usize,
    /// Messages per second, over all channels, whatever becomes of them: open loop.
    pub(crate) rate: Option<f64>,
    /// Messages that become due together, at the same rate: as from backends that send in blocks.
    #[serde(default = "one_message")]
    pub(crate) burst: u64,
    /// Messages that not everyone has yet: the next is sent when one has reached all.
    pub(crate) outstanding: Option<u64>,
    pub(crate) seconds: f64,
    /// It ends when so many messages are out, if that is sooner.
    pub(crate) messages: Option<u64>,
    /// The same load before anything is measured.
    #[serde(default = "second")]
    pub(crate) warmup_seconds: f64,
    /// Part of the subscribers that stop reading while the messages flow.
    #[serde(default)]
    pub(crate) stalled: f64,
    /// Others that come and go meanwhile.
    pub(crate) churn: Option<Churn>,
    /// Fronts of the peer over which the subscribers take turns, instead of the server's own.
    #[serde(default)]
    pub(crate) together: Vec<String>,
}

/// Subscribers that come and go.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Churn {
    pub(crate) per_second: f64,
    pub(crate) stay_seconds: f64,
}

/// Idle connections.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Idle {
    pub(crate) connections: usize,
    /// How long they are left alone before memory is read.
    #[serde(default = "second")]
    pub(crate) settle_seconds: f64,
}

/// Everyone connects.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Storm {
    pub(crate) connections: usize,
    /// Connections on their way to a stream at one time: below the length of every server's accept queue, because past
    /// it the kernel's retry after a second would be measured.
    pub(crate) opening: usize,
    /// Whether the server is killed and started first, with everyone connected before; they come back with a cursor.
    #[serde(default)]
    pub(crate) restart: bool,
}

/// Publishing without subscribers.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Publish {
    /// Messages without an answer at one time.
    pub(crate) window: usize,
    pub(crate) seconds: f64,
}

/// Clients that missed messages come back.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replay {
    pub(crate) connections: usize,
    /// What each has missed.
    pub(crate) messages: u64,
    pub(crate) opening: usize,
    /// Publishes per second into another channel meanwhile, whose answers are timed.
    pub(crate) beside: f64,
}

fn small() -> Vec<usize> {
    vec![128]
}

fn one() -> usize {
    1
}

fn one_message() -> u64 {
    1
}

fn second() -> f64 {
    1.0
}

fn patience() -> f64 {
    15.0
}

impl Scenario {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut scenario: Self = serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
        scenario.name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Load::Flow(flow) = &scenario.load {
            ensure!(flow.rate.is_some() != flow.outstanding.is_some(), "{}: give `rate` or `outstanding`", path.display());
            ensure!(flow.outstanding.is_none() || flow.channels == 1, "{}: `outstanding` counts in one channel", path.display());
            let may_stall = flow.outstanding.is_none() && flow.channels == 1;
            ensure!(flow.stalled == 0.0 || may_stall, "{}: subscribers stall on one channel with a `rate`", path.display());
        }
        Ok(scenario)
    }

    /// Fronts that are used together.
    pub(crate) fn together(&self) -> &[String] {
        if let Load::Flow(flow) = &self.load { &flow.together } else { &[] }
    }

    /// Whether this server takes part.
    pub(crate) fn takes(&self, server: &Server) -> bool {
        let named = |names: &[String]| names.contains(&server.peer.name) || names.contains(&server.id);
        if server.by_name && !self.with.contains(&server.id) && !self.only.contains(&server.id) {
            return false;
        }
        self.only.is_empty() || named(&self.only) || named(&self.with)
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.patience_seconds)
    }

    /// Makes everything that lasts shorter or longer.
    pub(crate) fn set_seconds(&mut self, seconds: f64) {
        match &mut self.load {
            Load::Flow(flow) => flow.seconds = seconds,
            Load::Publish(publish) => publish.seconds = seconds,
            Load::Idle(_) | Load::Storm(_) | Load::Replay(_) => {}
        }
    }
}

/// The scenarios of these names, or else those that begin so, in the order of the files; none named: those without a `large-`.
pub(crate) fn choose(folder: &Path, names: &[String]) -> anyhow::Result<Vec<Scenario>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}: where are the scenarios?", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    paths.sort();
    let all = paths.iter().map(|path| Scenario::read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    for name in names {
        let known = all.iter().map(|scenario| scenario.name.as_str()).collect::<Vec<_>>().join(", ");
        ensure!(all.iter().any(|scenario| scenario.name.starts_with(name.as_str())), "there is no scenario `{name}`; there are: {known}");
    }
    let exact: Vec<bool> = names.iter().map(|name| all.iter().any(|scenario| scenario.name == *name)).collect();
    let is_chosen = |scenario: &Scenario| match names {
        [] => !scenario.name.starts_with("large-"),
        names => names.iter().zip(&exact).any(|(name, exact)| match exact {
            true => scenario.name == *name,
            false => scenario.name.starts_with(name.as_str()),
        }),
    };
    Ok(all.into_iter().filter(is_chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_in_the_tree_is_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let files = std::fs::read_dir(&folder).unwrap().count();
        let named = [String::new()];
        assert_eq!(choose(&folder, &named).unwrap().len(), files);
        let count = |name: &str| choose(&folder, &[name.to_owned()]).unwrap().len();
        assert_eq!((count("paced"), count("backlog")), (1, 3), "a whole name is that one, the beginning of names all of them");
    }
}
