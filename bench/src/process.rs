//! What a process costs, as the system counts it.

use std::fs;

/// Processor time and memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Seconds of processor time, user and kernel.
    pub(crate) cpu: f64,
    /// Proportional set size in bytes: shared pages counted by their share.
    pub(crate) pss: u64,
    /// Resident set size in bytes.
    pub(crate) rss: u64,
}

/// Ticks of the kernel's clock per second: 100 on every Linux of today (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

/// What the process has cost until now.
pub(crate) fn cost(pid: u32) -> anyhow::Result<Cost> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces: count fields after it.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
    };
    Ok(Cost { cpu: (ticks(11) + ticks(12)) / TICKS, pss: kib("Pss:") * 1024, rss: kib("Rss:") * 1024 })
}
