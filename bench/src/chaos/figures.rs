//! How long things take: what stops when a node dies or leaves, how soon a split heals, what crossing nodes costs.
//!
//! Probes publish and listen on nodes that stay, one message after the other in each of several channels, so that whichever node
//! a channel lived on, somebody is hit. What is told is the worst silence of each trial.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use tidings_sdk::Client;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::chaos::client::news::News;
use crate::chaos::client::wire::{Way, Wire};
use crate::chaos::cluster::{Cluster, Make};
use crate::chaos::fault::Fault;

/// Between two publishes of a probe; silences are measured no finer.
const PACE: Duration = Duration::from_millis(10);
/// Until a cluster that lost or got a node is whole again.
const WHOLE: Duration = Duration::from_secs(6);
/// Longest wait for what should come.
const PATIENCE: Duration = Duration::from_secs(20);
/// Messages of one latency, for each channel.
const MESSAGES: u32 = 200;

/// Many trials of one thing.
struct Figure {
    name: String,
    taken: Vec<Duration>,
}

impl Figure {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), taken: Vec::new() }
    }

    fn print(mut self) {
        self.taken.sort_unstable();
        let at = |part: f64| {
            let last = self.taken.len().saturating_sub(1);
            self.taken.get((last as f64 * part).round() as usize).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        println!("| {} | {} | {:.1} | {:.1} | {:.1} |", self.name, self.taken.len(), at(0.5), at(0.99), at(1.0));
    }
}

/// Measures everything whose name holds the filter, and prints a table.
///
/// # Errors
/// When the cluster cannot be started or does not do what is measured.
pub(crate) async fn measure(make: &Make, filter: &str, trials: usize, folder: &Path) -> anyhow::Result<()> {
    ensure!(make.nodes > 1, "figures are about several nodes");
    let is_wanted = |name: &str| name.contains(filter);
    let mut cluster = Cluster::start(make, folder).await?;
    sleep(WHOLE).await;
    println!("| {} nodes | trials | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|", make.nodes);
    for (name, to) in [("publish to delivery, the same node", 0), ("publish to delivery, another node", 1)] {
        if is_wanted(name) {
            latency(&cluster, name, 0, to).await?.print();
        }
    }
    for (name, hold_ms) in [("kill -9", 3_000), ("lost host", 5_000), ("node leaves", 1_000), ("node comes back", 4_000)] {
        if !is_wanted(name) {
            continue;
        }
        let (mut acks, mut receipts) = (Figure::new(&format!("{name}: no ack for")), Figure::new(&format!("{name}: no delivery for")));
        for trial in 0..trials {
            let node = trial % make.nodes;
            let fault = match name {
                "lost host" => Fault::Unplug { node },
                "node leaves" => Fault::Leave { node },
                _ => Fault::Kill { node },
            };
            let is_return = name == "node comes back";
            let (ack, receipt) = silences(&mut cluster, &fault, Duration::from_millis(hold_ms), node, is_return).await?;
            acks.taken.push(ack);
            receipts.taken.push(receipt);
        }
        acks.print();
        receipts.print();
    }
    let name = "split healed: the other side has everything after";
    if is_wanted(name) {
        let mut heals = Figure::new(name);
        for trial in 0..trials {
            heals.taken.push(heal(&mut cluster, trial).await?);
        }
        heals.print();
    }
    Ok(())
}

/// From the publish until a listener has it, one message at a time.
async fn latency(cluster: &Cluster, name: &str, from: usize, to: usize) -> anyhow::Result<Figure> {
    let mut figure = Figure::new(name);
    let world = &cluster.world;
    let client = Client::connect(&world.seat(from).grpc().to_string()).await?;
    for channel in &world.channels {
        let channel = format!("latency-{channel}-{from}-{to}");
        let mut wire = Wire::open(Way::WebSocket, world.seat(to), &channel, "").await?;
        for number in 0..MESSAGES {
            let begun = Instant::now();
            client.publish(&channel, number.to_string()).await?;
            let deadline = begun + PATIENCE;
            while !matches!(timeout_at(deadline, wire.next()).await.context("a message does not come")??, News::Message { .. }) {}
            figure.taken.push(begun.elapsed());
        }
    }
    Ok(figure)
}

/// When things happened, in each channel.
type Times = Arc<Vec<Mutex<Vec<Instant>>>>;

/// Breaks a node under probes and gives the longest time without an ack and without a delivery, over all channels, that began with the
/// break, or with the mending when it is the return that counts.
async fn silences(
    cluster: &mut Cluster,
    fault: &Fault,
    hold: Duration,
    victim: usize,
    is_return: bool,
) -> anyhow::Result<(Duration, Duration)> {
    let world = Arc::clone(&cluster.world);
    let times = || -> Times { Arc::new(world.channels.iter().map(|_| Mutex::default()).collect()) };
    let (acks, receipts, ends) = (times(), times(), Arc::new(AtomicBool::new(false)));
    let mut probes = JoinSet::new();
    let staying: Vec<_> = (0..world.seats.len()).filter(|node| *node != victim).collect();
    for (number, channel) in world.channels.iter().enumerate() {
        let seat = |shift: usize| world.seat(staying[(number + shift) % staying.len()]).clone();
        let client = Client::connect(&seat(0).grpc().to_string()).await?;
        let (channel, acks, ends_here) = (channel.clone(), Arc::clone(&acks), Arc::clone(&ends));
        let mut wire = Wire::open(Way::WebSocket, &seat(1), &channel, "live").await?;
        probes.spawn(async move {
            while !ends_here.load(Ordering::Relaxed) {
                if client.publish(&channel, "probe").await.is_ok() {
                    note(&acks, number);
                }
                sleep(PACE).await;
            }
        });
        let (receipts, ends) = (Arc::clone(&receipts), Arc::clone(&ends));
        probes.spawn(async move {
            while !ends.load(Ordering::Relaxed) {
                match tokio::time::timeout(Duration::from_millis(200), wire.next()).await {
                    Ok(Ok(News::Message { .. })) => note(&receipts, number),
                    Ok(Err(_)) => return,
                    _ => {}
                }
            }
        });
    }
    sleep(Duration::from_secs(1)).await;
    let mut begun = Instant::now();
    cluster.break_it(fault).await?;
    sleep(hold).await;
    if is_return {
        begun = Instant::now();
        cluster.mend(fault).await?;
        sleep(WHOLE).await;
    }
    ends.store(true, Ordering::Relaxed);
    let over = Instant::now();
    let worst = |times: &Times| times.iter().map(|times| silence(&times.lock().unwrap_or_else(PoisonError::into_inner), begun, over)).max();
    let worst = (worst(&acks).unwrap_or_default(), worst(&receipts).unwrap_or_default());
    if !is_return {
        cluster.mend(fault).await?;
        sleep(WHOLE).await;
    }
    probes.abort_all();
    cluster.world.take()?;
    Ok(worst)
}

fn note(times: &Times, channel: usize) {
    times[channel].lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
}

/// The longest time without anything that reaches into this span.
fn silence(times: &[Instant], from: Instant, to: Instant) -> Duration {
    let before = times.iter().rev().find(|time| **time <= from).copied().unwrap_or(from);
    let within = times.iter().copied().filter(|time| *time > from && *time <= to);
    let mut last = before;
    let mut longest = Duration::ZERO;
    for time in within.chain([to]) {
        longest = longest.max(time - last);
        last = time;
    }
    longest
}

/// Publishes on the small side of a split, and takes the time from its end until listeners on the other side have everything.
async fn heal(cluster: &mut Cluster, trial: usize) -> anyhow::Result<Duration> {
    let world = Arc::clone(&cluster.world);
    let others: Vec<usize> = (1..world.seats.len()).collect();
    let fault = Fault::Split { groups: vec![vec![0], others] };
    let client = Client::connect(&world.seat(0).grpc().to_string()).await?;
    let mut wires = Vec::new();
    for channel in &world.channels {
        wires.push(Wire::open(Way::WebSocket, world.seat(1), channel, "live").await?);
    }
    cluster.break_it(&fault).await?;
    sleep(Duration::from_secs(4)).await;
    for channel in &world.channels {
        client.publish(channel, tidings_sdk::Message::new("marker").id(format!("marker-{trial}-{channel}"))).await?;
    }
    cluster.mend(&fault).await?;
    let healed = Instant::now();
    for (wire, channel) in wires.iter_mut().zip(&world.channels) {
        let marker = format!("marker-{trial}-{channel}");
        while !matches!(timeout_at(healed + PATIENCE, wire.next()).await.context("not healed")??, News::Message { id, .. } if id == marker)
        {
        }
    }
    let taken = healed.elapsed();
    sleep(WHOLE).await;
    cluster.world.take()?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_reaches_from_the_last_sign_of_life_to_the_next() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        assert_eq!(silence(&[at(90), at(130), at(400), at(410)], at(100), at(500)), Duration::from_millis(270));
        assert_eq!(silence(&[at(90)], at(100), at(500)), Duration::from_millis(410));
        assert_eq!(silence(&[], at(100), at(500)), Duration::from_millis(400));
    }
}
