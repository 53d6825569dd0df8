//! What processes cost, as the system counts it.

use std::fs;

/// Ticks of the kernel's clock per second: 100 on every Linux of today (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

/// Memory of a server, all its processes together, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Proportional set size: shared pages counted by their share.
    pub(crate) pss: u64,
    /// Resident set size.
    pub(crate) rss: u64,
}

/// The processes that these started, and themselves.
pub(crate) fn tree(roots: &[u32]) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return roots.to_vec() };
    let all: Vec<(u32, u32)> = entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((pid, fields(pid)?.get(1)?.parse().ok()?))
        })
        .collect();
    let mut found = roots.to_vec();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        let children = all.iter().filter(|(pid, of)| *of == parent && !found.contains(pid)).map(|(pid, _)| *pid);
        let children: Vec<u32> = children.collect();
        found.extend(children);
    }
    found
}

/// Seconds of processor time, user and kernel, of all of them. One that is gone counts nothing.
pub(crate) fn cpu(pids: &[u32]) -> f64 {
    pids.iter().map(|pid| cpu_of(*pid)).sum()
}

/// To the nanosecond by its threads; but those that have ended are only in the process's own account, which is kept in ticks: a server
/// with little to do uses a few of them in a whole round.
fn cpu_of(pid: u32) -> f64 {
    let ticks = |fields: &[String], at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    let coarse = fields(pid).map_or(0.0, |fields| (ticks(&fields, 11) + ticks(&fields, 12)) / TICKS);
    let exact = cpu_of_threads(pid);
    // User and kernel time are rounded down, each.
    if exact + 2.0 / TICKS >= coarse { exact } else { coarse }
}

/// Of the threads it has now, as the scheduler counts it (`proc_pid_schedstat`, the first field, in nanoseconds).
fn cpu_of_threads(pid: u32) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0.0 };
    let nanoseconds = threads.filter_map(|thread| {
        let schedstat = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        schedstat.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}

/// Memory of all of them.
pub(crate) fn memory(pids: &[u32]) -> Memory {
    pids.iter().fold(Memory::default(), |sum, pid| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        Memory { pss: sum.pss + kib(&rollup, "Pss:") * 1024, rss: sum.rss + kib(&rollup, "Rss:") * 1024 }
    })
}

/// The number behind a name in one of the system's tables.
pub(crate) fn kib(table: &str, name: &str) -> u64 {
    let line = table.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Fields of `/proc/PID/stat` after the name: state, parent, …
fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces: count fields after it.
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_used_counts_to_less_than_a_tick() {
        let me = std::process::id();
        let (done, wait) = std::sync::mpsc::channel();
        let (stay, end) = std::sync::mpsc::channel::<()>();
        let before = cpu_of_threads(me);
        let worker = std::thread::spawn(move || {
            let own = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            while own().tv_nsec < 3_000_000 && own().tv_sec == 0 {}
            done.send(()).unwrap();
            let _ = end.recv();
        });
        wait.recv().unwrap();
        // Counted when it has left the processor.
        std::thread::yield_now();
        let used = loop {
            let used = cpu_of_threads(me) - before;
            if used >= 0.003 {
                break used;
            }
            std::thread::yield_now();
        };
        assert!(cpu(&[me]) >= used);
        drop(stay);
        worker.join().unwrap();
    }

    #[test]
    fn a_tree_holds_children_and_their_cost() {
        let me = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(tree(&[me]).contains(&child.id()));
        assert!(memory(&[me]).pss > 0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
