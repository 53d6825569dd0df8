//! What connections cost that do nothing, and how long one message takes to reach them all.

use std::time::Duration;

use super::drive::Driver;
use super::{Figures, Outcome, Round, channels, quantiles};
use crate::clock::micros;
use crate::crowd::Crowd;
use crate::machine::kernel_memory;
use crate::process;
use crate::scenario::Idle;

/// How long a fresh server is left alone before its memory is read.
const SETTLE: Duration = Duration::from_millis(500);

pub(super) fn run(round: &mut Round<'_>, idle: &Idle) -> anyhow::Result<Outcome> {
    let channels = channels(1);
    std::thread::sleep(SETTLE);
    let before = process::memory(&process::tree(&round.running.pids()));
    let kernel = kernel_memory();
    let opening = round.meter()?;
    let crowd = Crowd::open(round.plan(&channels, idle.connections, "")?)?;
    let opened = round.used(&opening)?;
    let mut publisher = round.publisher(&channels)?;
    // What a connection costs shows once everything transient is gone.
    std::thread::sleep(Duration::from_secs_f64(idle.settle_seconds));
    let after = process::memory(&process::tree(&round.running.pids()));
    let count = idle.connections as f64;
    let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / count;
    let mut figures = Figures::from([
        ("connections".to_owned(), count),
        ("pss_bytes_per_connection".to_owned(), each(after.pss, before.pss)),
        ("rss_bytes_per_connection".to_owned(), each(after.rss, before.rss)),
        // Both ends are on this machine.
        ("kernel_bytes_per_connection_and_end".to_owned(), each(kernel_memory(), kernel) / 2.0),
        ("opened_in_s".to_owned(), crowd.opened_in.as_secs_f64()),
        ("server_us_per_opening".to_owned(), opened.server * 1e6 / count),
    ]);

    let meter = round.meter()?;
    let began = micros();
    crowd.time_from(began);
    Driver::new(1, round.payload).at_rate(&mut *publisher, (1.0, 1), 1, || Ok(()))?;
    crowd.wait_for(idle.connections as u64)?;
    let used = round.used(&meter)?;
    figures.insert("broadcast_ms".to_owned(), crowd.last_at().saturating_sub(began) as f64 / 1e3);
    used.each(&mut figures, count, "delivery");
    publisher.finish()?;
    quantiles(&mut figures, "", &crowd.close()?.latency);
    Ok(Outcome { way: None, figures, foreign: used.foreign })
}
