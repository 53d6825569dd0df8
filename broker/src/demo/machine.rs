//! What `/proc` tells about this machine. Pure: texts and times come in, figures go out. Lines that cannot be read give no
//! figure; they never stop the program.

use std::time::Duration;

use serde::Serialize;

/// More cores than this are not shown one by one: a sample must stay a small message.
const CORES_SHOWN_MAX: usize = 256;

/// The files as they were read at one time. What could not be read is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// `/proc/stat`
    pub(super) stat: String,
    /// `/proc/meminfo`
    pub(super) meminfo: String,
    /// `/proc/loadavg`
    pub(super) loadavg: String,
    /// `/proc/net/dev`
    pub(super) net_dev: String,
}

/// The machine at one time, rates over the time since the previous sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) cpu_percent: f64,
    pub(super) cores_percent: Vec<f64>,
    pub(super) memory_total_bytes: u64,
    pub(super) memory_used_bytes: u64,
    pub(super) load: [f64; 3],
    pub(super) net_in_bytes_per_s: f64,
    pub(super) net_out_bytes_per_s: f64,
}

impl Figures {
    /// Used memory as a share of all.
    pub(super) fn memory_percent(&self) -> f64 {
        if self.memory_total_bytes == 0 { 0.0 } else { 100.0 * self.memory_used_bytes as f64 / self.memory_total_bytes as f64 }
    }
}

/// Turns counts that only grow into rates: remembers the previous reading.
#[derive(Debug, Default)]
pub(super) struct Machine {
    before: Option<(Duration, Cpu, Net)>,
}

impl Machine {
    /// The figures of this reading; `None` for the first one, which has nothing to be compared with.
    pub(super) fn see(&mut self, files: &Files, now: Duration) -> Option<Figures> {
        let (cpu, net) = (parse_stat(&files.stat), parse_net_dev(&files.net_dev));
        let (then, cpu_before, net_before) = self.before.replace((now, cpu.clone(), net))?;
        let (memory_total_bytes, memory_used_bytes) = parse_meminfo(&files.meminfo);
        let core = |(number, ticks): &(u32, Ticks)| {
            let before = cpu_before.cores.iter().find(|(other, _)| other == number);
            before.map_or(0.0, |(_, before)| ticks.busy_percent_since(*before))
        };
        Some(Figures {
            cpu_percent: cpu.all.busy_percent_since(cpu_before.all),
            cores_percent: cpu.cores.iter().take(CORES_SHOWN_MAX).map(core).collect(),
            memory_total_bytes,
            memory_used_bytes,
            load: parse_loadavg(&files.loadavg),
            net_in_bytes_per_s: per_second(net_before.received, net.received, now.saturating_sub(then)),
            net_out_bytes_per_s: per_second(net_before.sent, net.sent, now.saturating_sub(then)),
        })
    }
}

/// Growth per second. A count that went back (an interface that is gone, a process started anew) has grown by nothing.
fn per_second(before: u64, after: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { tenth(after.saturating_sub(before) as f64 / time.as_secs_f64()) }
}

/// Rounded for the eye, and for the size of the message.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl Ticks {
    fn busy_percent_since(self, before: Self) -> f64 {
        // The kernel's idle counts may run back a little; nothing may come out as below 0 or above 100.
        let all = self.all.saturating_sub(before.all);
        let busy = self.busy.saturating_sub(before.busy).min(all);
        if all == 0 { 0.0 } else { tenth(100.0 * busy as f64 / all as f64) }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Cpu {
    all: Ticks,
    cores: Vec<(u32, Ticks)>,
}

fn parse_stat(text: &str) -> Cpu {
    let mut cpu = Cpu::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(which) = words.next().and_then(|name| name.strip_prefix("cpu")) else { continue };
        // user nice system idle iowait irq softirq steal; what follows (guest time) is contained in user and nice.
        let ticks = words.take(8).map(|word| word.parse().unwrap_or(0)).collect::<Vec<u64>>();
        let idle = ticks.iter().skip(3).take(2).fold(0u64, |sum, ticks| sum.saturating_add(*ticks));
        let all = ticks.iter().fold(0u64, |sum, ticks| sum.saturating_add(*ticks));
        let ticks = Ticks { busy: all.saturating_sub(idle), all };
        match which.parse() {
            Ok(number) => cpu.cores.push((number, ticks)),
            Err(_) if which.is_empty() => cpu.all = ticks,
            Err(_) => {}
        }
    }
    cpu
}

/// Total and used bytes. Used is what programs cannot get back by squeezing caches: total less available.
fn parse_meminfo(text: &str) -> (u64, u64) {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok()).map(|kib| kib.saturating_mul(1024))
    };
    let total = bytes("MemTotal").unwrap_or(0);
    // Kernels before 3.14 do not say what is available.
    let available = bytes("MemAvailable").or_else(|| bytes("MemFree")).unwrap_or(total);
    (total, total.saturating_sub(available))
}

fn parse_loadavg(text: &str) -> [f64; 3] {
    let mut words = text.split_ascii_whitespace().map(|word| word.parse::<f64>().ok().filter(|load| load.is_finite()).unwrap_or(0.0));
    std::array::from_fn(|_| words.next().unwrap_or(0.0))
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Net {
    received: u64,
    sent: u64,
}

/// Bytes over all interfaces but the loopback, which would only show the monitor itself.
fn parse_net_dev(text: &str) -> Net {
    let mut net = Net::default();
    for line in text.lines() {
        let Some((name, counts)) = line.split_once(':') else { continue };
        let counts = counts.split_ascii_whitespace().collect::<Vec<_>>();
        let count = |at: usize| counts.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        if name.trim() != "lo" {
            net.received = net.received.saturating_add(count(0));
            net.sent = net.sent.saturating_add(count(8));
        }
    }
    net
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn files(busy: u64, idle: u64, received: u64) -> Files {
        Files {
            stat: format!("cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 {busy} 0 0 {idle} 0 0 0 0 0 0\nintr 1 2 3\n"),
            meminfo: "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\n".into(),
            loadavg: "0.50 0.25 0.10 2/345 678\n".into(),
            net_dev: format!(
                "Inter-|   Receive\n face |bytes\n    lo: 999 0 0 0 0 0 0 0 999 0\n  eth0:{received} 1 0 0 0 0 0 0 50 2 0 0 0 0 0 0\n"
            ),
        }
    }

    #[test]
    fn rates_come_from_two_readings() {
        let mut machine = Machine::default();
        assert_eq!(machine.see(&files(100, 100, 1000), Duration::from_secs(1)), None);
        let figures = machine.see(&files(175, 125, 5000), Duration::from_secs(3)).expect("the second reading has figures");
        assert_eq!(figures.cpu_percent, 75.0);
        assert_eq!(figures.cores_percent, [75.0]);
        assert_eq!((figures.memory_total_bytes, figures.memory_used_bytes), (1_024_000, 614_400));
        assert_eq!(figures.memory_percent(), 60.0);
        assert_eq!(figures.load, [0.5, 0.25, 0.1]);
        assert_eq!((figures.net_in_bytes_per_s, figures.net_out_bytes_per_s), (2000.0, 0.0));
    }

    #[test]
    fn counts_that_run_back_and_missing_files_give_zeros() {
        let mut machine = Machine::default();
        machine.see(&files(500, 500, 5000), Duration::from_secs(1));
        let figures = machine.see(&files(10, 10, 10), Duration::from_secs(1)).expect("figures");
        assert_eq!((figures.cpu_percent, figures.net_in_bytes_per_s), (0.0, 0.0));
        assert_eq!(machine.see(&Files::default(), Duration::ZERO), Some(Figures::default()));
    }

    #[test]
    fn a_core_that_appears_later_starts_at_zero() {
        let mut machine = Machine::default();
        let mut grown = files(100, 100, 0);
        machine.see(&grown, Duration::from_secs(1));
        grown.stat += "cpu7 5 0 0 5 0 0 0 0 0 0\n";
        assert_eq!(machine.see(&grown, Duration::from_secs(2)).expect("figures").cores_percent, [0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_leave_the_scale(texts in proptest::collection::vec("(cpu[0-9]{0,12}|eth0:|MemTotal:|-?[0-9]{1,25}|[ \t\n]|.){0,60}", 8)) {
            let mut machine = Machine::default();
            for (at, four) in texts.chunks(4).enumerate() {
                let [stat, meminfo, loadavg, net_dev] = std::array::from_fn(|n| four[n].clone());
                let figures = machine.see(&Files { stat, meminfo, loadavg, net_dev }, Duration::from_secs(at as u64));
                if let Some(figures) = figures {
                    prop_assert!((0.0..=100.0).contains(&figures.cpu_percent));
                    prop_assert!(figures.memory_used_bytes <= figures.memory_total_bytes);
                    prop_assert!(serde_json::to_string(&figures).is_ok());
                }
            }
        }
    }
}
