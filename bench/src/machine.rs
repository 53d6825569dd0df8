//! The machine: what it is, and whether somebody else used it during a round.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use crate::process;

/// What stands in a report about the machine.
pub(crate) fn describe() -> BTreeMap<String, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).map(|rest| rest.trim_start_matches([' ', '\t', ':']));
    let memory = process::kib(&read("/proc/meminfo"), "MemTotal:") / 1024;
    BTreeMap::from([
        ("processor".to_owned(), model.unwrap_or("unknown").to_owned()),
        ("cores".to_owned(), std::thread::available_parallelism().map_or(0, usize::from).to_string()),
        ("memory_mib".to_owned(), memory.to_string()),
        ("kernel".to_owned(), read("/proc/sys/kernel/osrelease")),
        ("commit".to_owned(), commit()),
    ])
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let id = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_default();
    let is_clean = git(&["status", "--porcelain"]).is_some_and(|text| text.is_empty());
    if is_clean { id } else { format!("{id} with changes") }
}

/// Processor time of everybody, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy {
    at: Instant,
    busy: f64,
    /// Taken by other machines on the same iron.
    stolen: f64,
    known: f64,
}

impl Busy {
    /// Now, with the processes of the round given.
    pub(crate) fn now(server: &[u32]) -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks: Vec<f64> =
            stat.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|text| text.parse().ok()).collect();
        let seconds = |places: &[usize]| places.iter().filter_map(|at| ticks.get(*at)).sum::<f64>() / 100.0;
        // user, nice, system, idle, iowait, irq, softirq, steal
        let own = process::cpu(&[std::process::id()]);
        Self { at: Instant::now(), busy: seconds(&[0, 1, 2, 5, 6]), stolen: seconds(&[7]), known: process::cpu(server) + own }
    }

    /// Processors (1.0: one whole core) that neither the server nor this program used since, stolen time included.
    pub(crate) fn foreign_since(&self, before: &Self) -> f64 {
        let wall = (self.at - before.at).as_secs_f64().max(0.01);
        let others = (self.busy - before.busy) - (self.known - before.known);
        (others.max(0.0) + (self.stolen - before.stolen)) / wall
    }
}

/// Kernel memory that connections take, in bytes: slabs and socket buffers.
pub(crate) fn kernel_memory() -> u64 {
    let slab = process::kib(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "Slab:") * 1024;
    let sockets = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    let pages = tcp.split_whitespace().skip_while(|word| *word != "mem").nth(1).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    slab + pages * 4096
}
