//! Connections that this node makes: to every node that gossip knows, again and again.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::super::link::{GreetingError, Purpose, Reason};
use super::super::membership::{Members, NodeName, Record};
use super::Keeper;
use super::outbox::Letter;
use super::renew;
use super::socket::Socket;
use crate::log::Tag;

/// Before the second attempt; twice as long before each one after that.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause. Short, because it is also how long a healed network may go unnoticed.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A host that answers at all does so within this time. Short for the same reason: what a cut swallowed is not said again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The node with the lesser name dials at once, the other one only when that has not helped for so long: it may be that
/// one of them cannot reach the other.
const COURTESY: Duration = Duration::from_secs(1);
/// The one that waits looks meanwhile whether the other one's process is there at all; twice as late each time.
const LOOK: Duration = Duration::from_millis(20);
/// Between two questions to another process of this node's name. Who asks counts as a duplicate for twice as long.
const NAMESAKE: Duration = Duration::from_secs(5);
/// A failure that stays the same is told again after this time.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Dials until the mesh stops.
pub(super) async fn run<L: Letter>(keeper: Arc<Keeper<L>>, mut members: watch::Receiver<Members>) {
    let mut dialling: HashMap<NodeName, [AbortHandle; Purpose::ALL.len()]> = HashMap::new();
    let following = async {
        loop {
            let known: Vec<NodeName> = members.borrow_and_update().keys().cloned().collect();
            dialling.retain(|name, tasks| {
                let stays = known.contains(name);
                if !stays {
                    tasks.iter().for_each(AbortHandle::abort);
                }
                stays
            });
            for name in known {
                dialling.entry(name.clone()).or_insert_with(|| {
                    Purpose::ALL.map(|purpose| {
                        let (keeper, members, name) = (keeper.clone(), members.clone(), name.clone());
                        tokio::spawn(async move { keep(&keeper, &members, &name, purpose).await }).abort_handle()
                    })
                });
            }
            if members.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let _: Option<()> = keeper.stop.run_until_cancelled(following).await;
    dialling.values().flatten().for_each(AbortHandle::abort);
}

/// Asks a process that had this node's name before whether it is still there. With a third node that one refuses whoever comes
/// second; two alone have only each other to tell them.
pub(super) async fn ask_namesake<L: Letter>(keeper: Arc<Keeper<L>>, mut namesake: watch::Receiver<Option<Record>>) {
    let asking = async {
        loop {
            let record = namesake.borrow_and_update().clone();
            let Some(record) = record else {
                if namesake.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let asked = attempt(&keeper, &record, Purpose::Control).await;
            if let Err(GreetingError::RefusedThere(refusal)) = &asked {
                keeper.ear.refused(refusal, false);
            }
            // Somebody else who has that address now is not to be bothered again.
            let is_other = matches!(asked, Ok(()) | Err(GreetingError::Nonsense(_)));
            if is_other && namesake.changed().await.is_err() {
                return;
            }
            sleep(NAMESAKE).await;
        }
    };
    let _: Option<()> = keeper.stop.run_until_cancelled(asking).await;
}

/// Keeps one connection to one node.
async fn keep<L: Letter>(keeper: &Arc<Keeper<L>>, members: &watch::Receiver<Members>, name: &NodeName, purpose: Purpose) {
    let mut changed = keeper.changed.subscribe();
    let mut pause = PAUSE_MIN;
    let mut told: Option<(String, Instant)> = None;
    let mut was_cut = false;
    loop {
        changed.mark_unchanged();
        if let Some(standing) = keeper.standing(name, purpose) {
            (pause, told) = (PAUSE_MIN, None);
            tokio::select! {
                outcome = changed.changed() => if outcome.is_err() {
                    return;
                },
                stream = renew::is_due(keeper, members, (name, purpose), standing, &mut was_cut) => {
                    was_cut = !renew(keeper, members, (name, purpose), standing.tag, stream).await;
                    sleep(PAUSE_MIN.mul_f64(rand::random_range(0.5..1.0))).await;
                    continue;
                }
            }
            // The one that was cut off and the one that cut it off must not both come at once.
            if *name < keeper.me && !keeper.holds(name, purpose) {
                let record = members.borrow().get(name).cloned();
                be_courteous(keeper, name, record.as_ref().filter(|_| purpose == Purpose::Control)).await;
            }
            continue;
        }
        let Some(record) = members.borrow().get(name).cloned() else { return };
        let before = keeper.count(name);
        match attempt(keeper, &record, purpose).await {
            Ok(()) => continue,
            Err(GreetingError::RefusedThere(refusal) | GreetingError::RefusedHere(refusal)) if refusal.reason == Reason::NotWanted => {}
            Err(why) => {
                match &why {
                    GreetingError::RefusedThere(refusal) => keeper.ear.refused(refusal, false),
                    GreetingError::RefusedHere(refusal) => keeper.ear.refused(refusal, true),
                    _ => {}
                }
                let is_gone = matches!(&why, GreetingError::Broken(why) if why.kind() == io::ErrorKind::ConnectionRefused);
                if is_gone && purpose == Purpose::Control {
                    keeper.ear.gone(name, record.tag);
                }
                let words = why.to_string();
                let is_news = told.as_ref().is_none_or(|(before, at)| *before != words || at.elapsed() > TELL_AGAIN);
                if is_news && purpose == Purpose::Control {
                    tracing::warn!(
                        event = "node_unreachable",
                        node = %name, address = record.links, why = words, "cannot connect to a node; trying again for as long as it is known"
                    );
                    told = Some((words, Instant::now()));
                }
            }
        }
        // Each draws its own, so that nodes do not knock in step.
        let rested = timeout(pause.mul_f64(rand::random_range(0.5..1.0)), reached(keeper, name, before, &mut changed)).await;
        // Where one connection stands the others have a way too, and nodes that have only some of theirs are of no use.
        pause = if rested.is_ok() { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
    }
}

/// Leaves the first word to the other node. Whether its process is gone must be known at once all the same, by everybody who
/// lost it: so whoever has its record looks.
async fn be_courteous<L: Letter>(keeper: &Arc<Keeper<L>>, name: &NodeName, record: Option<&Record>) {
    let looking = async {
        let Some(record) = record else { return std::future::pending().await };
        let mut pause = LOOK;
        while !keeper.holds(name, Purpose::Control) {
            // Whoever answers is not greeted: it is there, and will come.
            let answer = timeout(CONNECT_TIMEOUT, TcpStream::connect(&record.links)).await;
            if let Ok(Err(why)) = answer
                && why.kind() == io::ErrorKind::ConnectionRefused
            {
                return keeper.ear.gone(name, record.tag);
            }
            sleep(pause).await;
            pause *= 2;
        }
    };
    let _ = timeout(COURTESY, looking).await;
}

/// Waits until there are more connections to this node than before.
async fn reached<L: Letter>(keeper: &Arc<Keeper<L>>, name: &NodeName, before: usize, changed: &mut watch::Receiver<()>) {
    while keeper.count(name) <= before {
        if changed.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Makes a connection anew. The one that stands stays until that has succeeded.
async fn renew<L: Letter>(
    keeper: &Arc<Keeper<L>>,
    members: &watch::Receiver<Members>,
    (name, purpose): (&NodeName, Purpose),
    tag: Tag,
    stream: Option<TcpStream>,
) -> bool {
    let Some(record) = members.borrow().get(name).filter(|record| record.tag == tag).cloned() else { return false };
    let made = match stream {
        Some(stream) => greet(keeper, stream, &record, purpose).await,
        None => attempt(keeper, &record, purpose).await,
    };
    if made.is_ok() {
        tracing::info!(event = "node_link_renewed", node = %name, purpose = purpose.as_str(), "a connection was made anew after a cut of the network");
    }
    made.is_ok()
}

async fn attempt<L: Letter>(keeper: &Arc<Keeper<L>>, record: &Record, purpose: Purpose) -> Result<(), GreetingError> {
    keeper.judge_known(record).map_err(GreetingError::RefusedHere)?;
    let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(&record.links));
    let stream = connecting.await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer"))??;
    greet(keeper, stream, record, purpose).await
}

async fn greet<L: Letter>(keeper: &Arc<Keeper<L>>, stream: TcpStream, record: &Record, purpose: Purpose) -> Result<(), GreetingError> {
    let link = keeper.greeter.dial(Socket::new(stream)?, purpose, &record.name).await?;
    if link.peer.name != record.name {
        let message = format!("at the address of {} answers {}", record.name, link.peer.name);
        return Err(GreetingError::Nonsense(message));
    }
    keeper.judge(&link.peer, true).and_then(|()| keeper.enter(link, true)).map_err(GreetingError::RefusedHere)
}
