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
use super::socket::Socket;

/// Before the second attempt; twice as long before each one after that.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause. Short, because it is also how long a healed network may go unnoticed.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A host that answers at all does so within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The node with the lesser name dials at once, the other one only when that has not helped for so long: it may be that
/// one of them cannot reach the other.
const COURTESY: Duration = Duration::from_secs(1);
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

/// Keeps one connection to one node.
async fn keep<L: Letter>(keeper: &Arc<Keeper<L>>, members: &watch::Receiver<Members>, name: &NodeName, purpose: Purpose) {
    let mut changed = keeper.changed.subscribe();
    let mut pause = PAUSE_MIN;
    let mut told: Option<(String, Instant)> = None;
    loop {
        changed.mark_unchanged();
        if keeper.holds(name, purpose) {
            (pause, told) = (PAUSE_MIN, None);
            if changed.changed().await.is_err() {
                return;
            }
            // The one that was cut off and the one that cut it off must not both come at once.
            if *name < keeper.me && !keeper.holds(name, purpose) {
                sleep(COURTESY).await;
            }
            continue;
        }
        let Some(record) = members.borrow().get(name).cloned() else { return };
        match attempt(keeper, &record, purpose).await {
            Ok(()) => continue,
            Err(GreetingError::RefusedThere(refusal) | GreetingError::RefusedHere(refusal)) if refusal.reason == Reason::NotWanted => {}
            Err(why) => {
                if let GreetingError::RefusedThere(refusal) = &why {
                    keeper.ear.refused(refusal, false);
                }
                let is_gone = matches!(&why, GreetingError::Broken(why) if why.kind() == io::ErrorKind::ConnectionRefused);
                if is_gone && purpose == Purpose::Control {
                    keeper.ear.gone(name, record.tag);
                }
                let words = why.to_string();
                let is_news = told.as_ref().is_none_or(|(before, at)| *before != words || at.elapsed() > TELL_AGAIN);
                if is_news && purpose == Purpose::Control {
                    tracing::warn!(node = %name, address = record.links, why = words, "cannot connect to a node; trying again for as long as it is known");
                    told = Some((words, Instant::now()));
                }
            }
        }
        // Each draws its own, so that nodes do not knock in step.
        sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn attempt<L: Letter>(keeper: &Arc<Keeper<L>>, record: &Record, purpose: Purpose) -> Result<(), GreetingError> {
    let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(&record.links));
    let stream = connecting.await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer"))??;
    let link = keeper.greeter.dial(Socket::new(stream)?, purpose).await?;
    if link.peer.name != record.name {
        let message = format!("at the address of {} answers {}", record.name, link.peer.name);
        return Err(GreetingError::Nonsense(message));
    }
    keeper.judge(&link.peer, true).and_then(|()| keeper.enter(link, true)).map_err(GreetingError::RefusedHere)
}
