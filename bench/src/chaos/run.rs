//! One run: a cluster under load, a plan that breaks it, a history, a judgement.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::chaos::checker::{Judgement, WHOLE_AFTER_US, judge};
use crate::chaos::client::publisher::Door;
use crate::chaos::client::{guest, http, listener, publisher};
use crate::chaos::cluster::{Cluster, Make};
use crate::chaos::history::{self, Event, Record};
use crate::chaos::plan::{Plan, Step};
use crate::chaos::world::World;

/// How much is asked of the cluster meanwhile: enough to meet every race, little enough for a small machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) publishers: usize,
    pub(crate) pause: Duration,
    pub(crate) listeners_per_channel: usize,
    pub(crate) guests: usize,
}

impl Default for Load {
    fn default() -> Self {
        Self { publishers: 6, pause: Duration::from_millis(15), listeners_per_channel: 3, guests: 7 }
    }
}

/// Longest wait for publishers who do not give up yet, and for the nodes' logs.
const END_MAX: Duration = Duration::from_secs(30);

/// Makes a run and judges it. The history stays in the folder.
///
/// # Errors
/// When it could not be made as planned; a broken promise is no error but a finding.
pub(crate) async fn run(plan: &Plan, make: &Make, load: Load, folder: &Path) -> anyhow::Result<Judgement> {
    let records = play(plan, make, load, folder).await?;
    let file = std::fs::File::create(folder.join("history.jsonl"))?;
    history::write(&records, std::io::BufWriter::new(file))?;
    let judgement = judge(&records)?;
    let died = judgement.counts.died_with_holders;
    anyhow::ensure!(!plan.kills_holders || died > 0, "nothing that was acknowledged died with its holders: the run did not strike them");
    Ok(judgement)
}

async fn play(plan: &Plan, make: &Make, load: Load, folder: &Path) -> anyhow::Result<Vec<Record>> {
    let mut cluster = Cluster::start(make, folder).await.context("starting the cluster")?;
    let world = Arc::clone(&cluster.world);
    world.record(Event::Setup { seed: plan.seed, nodes: plan.nodes, replicas: 2 });
    let (mut everybody, mut guests) = (JoinSet::new(), JoinSet::new());
    for (number, channel) in world.channels.iter().enumerate() {
        for copy in 0..load.listeners_per_channel {
            let seed = plan.seed ^ ((number * 100 + copy) as u64) << 32;
            everybody.spawn(listener::run(Arc::clone(&world), format!("c{number}-{copy}"), channel.clone(), seed));
        }
    }
    for number in 0..load.guests {
        guests.spawn(guest::run(Arc::clone(&world), number, plan.seed ^ (number as u64) << 48));
    }
    let mut publishers = JoinSet::new();
    for number in 0..load.publishers {
        let door = if number % 2 == 0 { Door::Http } else { Door::Grpc };
        let seed = plan.seed ^ (number as u64) << 16;
        publishers.spawn(publisher::run(Arc::clone(&world), format!("p{number}"), door, load.pause, seed));
    }
    for step in &plan.steps {
        match step {
            Step::Break(fault) => cluster.break_it(fault).await?,
            Step::Mend(fault) => cluster.mend(fault).await?,
            Step::Wait(time) => sleep(*time).await,
        }
    }
    world.stop_publishing();
    tokio::time::timeout(END_MAX, publishers.join_all()).await.context("publishers do not end")?;
    // Everybody has time to get everything.
    sleep(Duration::from_micros(WHOLE_AFTER_US) + Duration::from_secs(2)).await;
    for seat in &world.seats {
        world.record(guest::present(seat).await?);
    }
    let logs = logs(&world).await?;
    world.stop_listening();
    tokio::time::timeout(END_MAX, everybody.join_all()).await.context("listeners do not end")?;
    let guests = tokio::time::timeout(END_MAX, guests.join_all()).await.context("guests do not end")?;
    guests.into_iter().collect::<anyhow::Result<()>>()?;
    logs.into_iter().for_each(|log| world.record(log));
    world.take()
}

/// What each node has of each channel.
async fn logs(world: &World) -> anyhow::Result<Vec<Event>> {
    let mut logs = Vec::new();
    for seat in &world.seats {
        for channel in &world.channels {
            let deadline = Instant::now() + END_MAX;
            let messages = loop {
                match http::history(seat.http(), channel).await {
                    Ok(messages) => break messages,
                    Err(why) if Instant::now() > deadline => {
                        return Err(why).with_context(|| format!("the log of {channel} on {}", seat.name));
                    }
                    Err(_) => sleep(Duration::from_millis(100)).await,
                }
            };
            logs.push(Event::Final { node: seat.name.clone(), channel: channel.clone(), messages });
        }
    }
    Ok(logs)
}
