//! Many clients that missed the same messages come back at once, while others publish.

use std::sync::atomic::{AtomicBool, Ordering};

use super::drive::Driver;
use super::{Figures, Outcome, Round, channels, quantiles, resume};
use crate::crowd::{Crowd, Plan};
use crate::publish::Publisher;
use crate::scenario::Replay;

pub(super) fn run(round: &mut Round<'_>, replay: &Replay) -> anyhow::Result<Outcome> {
    let channels = channels(2);
    let missed = &channels[..1];
    let cursor = round.cursor(&missed[0])?;
    let query = resume(&round.server.front, &cursor)?;
    let mut publisher = round.publisher(missed)?;
    Driver::new(1, round.payload).at_rate(&mut *publisher, (1e6, 1), replay.messages, || Ok(()))?;
    publisher.finish()?;

    let mut beside = round.publisher(&channels[1..])?;
    let plan = Plan { opening_max: replay.opening, ..round.plan(missed, replay.connections, &query)? };
    let meter = round.meter()?;
    let ended = AtomicBool::new(false);
    let (crowd, took, used) = std::thread::scope(|scope| {
        let others = scope.spawn(|| publish_until(&mut *beside, round.payload, replay.beside, &ended));
        let resumed = (|| {
            let began = crate::clock::micros();
            let crowd = Crowd::open(plan)?;
            crowd.wait_for(replay.connections as u64 * replay.messages)?;
            let took = crowd.last_at().saturating_sub(began) as f64 / 1e6;
            Ok::<_, anyhow::Error>((crowd, took, round.used(&meter)?))
        })();
        ended.store(true, Ordering::Release);
        others.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
        resumed
    })?;
    let mut figures = Figures::new();
    let deliveries = crowd.received() as f64;
    figures.insert("resumed_in_s".to_owned(), took);
    figures.insert("deliveries_per_s".to_owned(), deliveries / took);
    used.each(&mut figures, deliveries, "delivery");
    quantiles(&mut figures, "ack_", &beside.acks()?);
    anyhow::ensure!(crowd.close()?.gapped == 0, "a client was told of a gap although everything is kept");
    Ok(Outcome { way: None, figures, foreign: used.foreign })
}

fn publish_until(publisher: &mut dyn Publisher, payload: usize, rate: f64, ended: &AtomicBool) -> anyhow::Result<()> {
    let mut driver = Driver::new(1, payload);
    while !ended.load(Ordering::Acquire) {
        driver.at_rate(publisher, (rate, 1), (rate / 20.0).ceil() as u64, || Ok(()))?;
    }
    publisher.finish()
}
