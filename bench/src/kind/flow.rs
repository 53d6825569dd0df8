//! Messages flow to subscribers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;

use super::drive::{Driver, Pace};
use super::{Figures, Outcome, Round, channels, quantiles};
use crate::clock::micros;
use crate::crowd::{Crowd, Plan};
use crate::scenario::{Churn, Flow};

/// How long a fresh crowd is left alone before the first message.
const SETTLE: Duration = Duration::from_millis(300);
/// How often a wave of those who come and go begins.
const WAVE: Duration = Duration::from_millis(500);

pub(super) fn run(round: &mut Round<'_>, flow: &Flow) -> anyhow::Result<Outcome> {
    let channels = channels(flow.channels);
    let mut plan = round.plan(&channels, flow.subscribers, "")?;
    plan.stalled = (plan.connections() as f64 * flow.stalled).round() as usize;
    let stalled = plan.stalled as u64;
    let crowd = Crowd::open(plan.clone())?;
    let mut publisher = round.publisher(&channels)?;
    std::thread::sleep(SETTLE);
    let pace = match (flow.rate, flow.outstanding) {
        (Some(rate), _) => Pace::Rate(rate, flow.burst.max(1)),
        (None, outstanding) => Pace::Outstanding(outstanding.unwrap_or(1)),
    };
    let mut driver = Driver::new(flow.channels, round.payload);
    let subscribers = flow.subscribers as u64;
    driver.run(&mut *publisher, &crowd, pace, (Duration::from_secs_f64(flow.warmup_seconds), None)).context("warming up")?;
    crowd.wait_for(driver.sent * subscribers).context("warming up")?;

    let warm = driver.sent;
    let (received, bytes) = (crowd.received(), crowd.bytes());
    if stalled > 0 {
        crowd.stall(true);
        std::thread::sleep(SETTLE);
    }
    let meter = round.meter()?;
    crowd.time_from(micros());
    let ended = AtomicBool::new(false);
    let (began, churned) = std::thread::scope(|scope| {
        let churn = flow.churn.map(|churn| {
            let plan = Plan { first: 0, stalled: 0, ..plan.clone() };
            let ended = &ended;
            scope.spawn(move || come_and_go(&plan, churn, ended))
        });
        let driven = driver.run(&mut *publisher, &crowd, pace, (Duration::from_secs_f64(flow.seconds), flow.messages)).and_then(|began| {
            crowd.wait_for(driver.sent * subscribers - (driver.sent - warm) * stalled)?;
            Ok(began)
        });
        ended.store(true, Ordering::Release);
        let churned = churn.map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a wave panicked"))?);
        Ok::<_, anyhow::Error>((driven?, churned.transpose()?))
    })?;
    let used = round.used(&meter)?;
    let wall = crowd.last_at().saturating_sub(began) as f64 / 1e6;
    let deliveries = (crowd.received() - received) as f64;
    publisher.finish()?;

    let mut figures = Figures::new();
    figures.insert("deliveries_per_s".to_owned(), deliveries / wall);
    figures.insert("messages_per_s".to_owned(), (driver.sent - warm) as f64 / wall);
    figures.insert("bytes_per_delivery".to_owned(), (crowd.bytes() - bytes) as f64 / deliveries);
    used.each(&mut figures, deliveries, "delivery");
    let messages = (driver.sent - warm) as f64;
    if flow.channels > 1 {
        used.each(&mut figures, messages, "message");
    } else {
        used.count_each(&mut figures, messages, "message");
    }
    if let Some(churned) = churned {
        figures.insert("comings_per_s".to_owned(), churned as f64 / wall);
    }
    if stalled > 0 {
        crowd.time_from(u64::MAX);
        crowd.stall(false);
        crowd.wait_for(driver.sent * subscribers).context("the stalled ones going on")?;
    }
    let seen = crowd.close()?;
    anyhow::ensure!(seen.gapped as u64 <= stalled, "a subscriber that kept reading was told of a gap");
    if stalled > 0 {
        figures.insert("gapped_of_stalled".to_owned(), seen.gapped as f64 / stalled as f64);
    }
    quantiles(&mut figures, "", &seen.latency);
    Ok(Outcome { way: None, figures, foreign: used.foreign })
}

/// Waves of subscribers that come, see whatever is published meanwhile without a hole, and go. Returns how many came.
fn come_and_go(plan: &Plan, churn: Churn, ended: &AtomicBool) -> anyhow::Result<usize> {
    let each = ((churn.per_second * WAVE.as_secs_f64()) / plan.channels.len() as f64).ceil() as usize;
    let plan = Plan { per_channel: each.max(1), ..plan.clone() };
    let plan = &plan;
    std::thread::scope(|scope| {
        let mut waves = Vec::new();
        while !ended.load(Ordering::Acquire) {
            waves.push(scope.spawn(move || {
                let crowd = Crowd::open(plan.clone())?;
                std::thread::sleep(Duration::from_secs_f64(churn.stay_seconds));
                let came = plan.connections();
                crowd.close().map(|_| came)
            }));
            std::thread::sleep(WAVE);
        }
        waves.into_iter().map(|wave| wave.join().map_err(|_| anyhow::anyhow!("a wave panicked"))?).sum()
    })
}
