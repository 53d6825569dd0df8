//! Publishing alone, in every way the server offers.

use std::time::{Duration, Instant};

use super::{Figures, Outcome, Round, channels, quantiles};
use crate::clock::micros;
use crate::payload::{Batch, Said};
use crate::publish::open;
use crate::scenario::Publish;

/// Messages handed over at once.
const BATCH: u64 = 64;

pub(super) fn run(round: &mut Round<'_>, load: &Publish) -> anyhow::Result<Vec<Outcome>> {
    let ways = round.server.peer.publish.clone();
    let channels = channels(1);
    let mut outcomes = Vec::new();
    for (way, how) in ways {
        let mut publisher = open(&how, &round.running, &channels, load.window)?;
        let mut batch = Batch::new(round.payload)?;
        let meter = round.meter()?;
        let began = Instant::now();
        let mut sent = 0;
        while began.elapsed() < Duration::from_secs_f64(load.seconds) {
            batch.clear();
            for _ in 0..BATCH {
                sent += 1;
                batch.push(Said { channel: 0, number: sent, due: micros() });
            }
            publisher.publish(&batch)?;
        }
        publisher.finish()?;
        let wall = began.elapsed().as_secs_f64();
        let used = round.used(&meter)?;
        let mut figures = Figures::new();
        figures.insert("messages_per_s".to_owned(), sent as f64 / wall);
        used.each(&mut figures, sent as f64, "message");
        let acks = publisher.acks()?;
        if !acks.is_empty() {
            quantiles(&mut figures, "ack_", &acks);
        }
        outcomes.push(Outcome { way: Some(way), figures, foreign: used.foreign });
    }
    Ok(outcomes)
}
