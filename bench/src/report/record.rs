//! The JSON report: everything that was seen, nothing that was computed from it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

const FILE: &str = "report.json";

/// One run of the program.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub(crate) began_at: u64,
    /// Rounds that were asked for.
    pub(crate) rounds: usize,
    /// Processors others may use before a round counts as disturbed.
    pub(crate) foreign_limit: f64,
    pub(crate) servers: BTreeMap<String, ServerFacts>,
    /// Servers that could not run, and why.
    pub(crate) left_out: BTreeMap<String, String>,
    /// What each scenario is about.
    pub(crate) scenarios: BTreeMap<String, String>,
    pub(crate) records: Vec<Record>,
}

/// A server as it was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ServerFacts {
    pub(crate) peer: String,
    pub(crate) about: String,
    pub(crate) version: String,
}

/// One round of one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) scenario: String,
    pub(crate) payload: usize,
    pub(crate) server: String,
    pub(crate) round: usize,
    /// 1, or more when the one before was disturbed.
    pub(crate) attempt: usize,
    pub(crate) way: Option<String>,
    /// Why it was not complete; then there are no figures.
    pub(crate) failed: Option<String>,
    /// Others used the machine too much.
    pub(crate) disturbed: bool,
    pub(crate) figures: BTreeMap<String, f64>,
}

impl Report {
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Takes what another run saw of the same commit on the same machine.
    pub(crate) fn take(&mut self, other: Self) -> anyhow::Result<()> {
        ensure!(self.machine == other.machine, "of another machine or commit: {:?}", other.machine);
        self.rounds = self.rounds.max(other.rounds);
        self.servers.extend(other.servers);
        self.left_out.extend(other.left_out);
        self.scenarios.extend(other.scenarios);
        self.records.extend(other.records);
        Ok(())
    }

    pub(crate) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(FILE);
        std::fs::write(&path, serde_json::to_string_pretty(self)? + "\n").with_context(|| path.display().to_string())
    }
}

impl Record {
    /// One line on standard output.
    pub(crate) fn print(&self) {
        let way = self.way.as_deref().map(|way| format!(" {way}")).unwrap_or_default();
        let head = format!("{} {} B  round {}  {}{way}", self.scenario, self.payload, self.round + 1, self.server);
        match &self.failed {
            Some(why) => println!("{head}: NOT COMPLETE: {why}"),
            None => {
                let figures: Vec<String> = self.figures.iter().map(|(name, value)| format!("{name} {}", short(*value))).collect();
                let note = if self.disturbed { "  (disturbed by others)" } else { "" };
                println!("{head}: {}{note}", figures.join("  "));
            }
        }
    }
}

/// A number with as many digits as mean something.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 1e6 {
        format!("{:.2}M", value / 1e6)
    } else if size >= 1e4 {
        format!("{:.0}k", value / 1e3)
    } else if size >= 100.0 || value == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
