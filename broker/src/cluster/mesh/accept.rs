//! Connections that other nodes make.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use super::super::link::GreetingError;
use super::Keeper;
use super::outbox::Letter;
use super::socket::Socket;
use crate::limits::Crowd;

/// Connections that have not greeted yet. Whoever reaches the port may open one, so they are few and short-lived; the oldest makes
/// room for one that comes, so that silence cannot keep nodes out, which greet at once.
const GREETINGS_MAX: usize = 64;
/// After a failed accept: without descriptors the next one fails at once, and again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is refused knocks several times a second; the same words are told to the log again after this time.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Refusals that are remembered; beyond them nothing is logged but counted all the same.
const TOLD_MAX: usize = 256;

/// What the log was told lately.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<String, Instant>>);

impl Refusals {
    fn is_news(&self, words: &str) -> bool {
        let now = Instant::now();
        let mut told = self.0.lock();
        told.retain(|_, at| now - *at < TELL_AGAIN);
        let is_news = told.len() < TOLD_MAX && !told.contains_key(words);
        if is_news {
            told.insert(words.to_owned(), now);
        }
        is_news
    }
}

/// Takes connections until the mesh stops.
pub(super) async fn run<L: Letter>(keeper: Arc<Keeper<L>>, listener: TcpListener) {
    let greetings = Crowd::new(GREETINGS_MAX);
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let (keeper, mut place) = (keeper.clone(), greetings.enter());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = greet(&keeper, stream) => {}
                            () = &mut place => tracing::debug!(event = "node_greetings_full", %from, "too many greet at once; closed"),
                        }
                    });
                }
                Err(why) => {
                    tracing::debug!(event = "node_accept_failed", %why, "the cluster's listener could not accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    let _: Option<()> = keeper.stop.run_until_cancelled(accepting).await;
}

async fn greet<L: Letter>(keeper: &Arc<Keeper<L>>, stream: TcpStream) {
    let from = stream.peer_addr().map_or_else(|_| "unknown".to_owned(), |from| from.to_string());
    let Ok(socket) = Socket::new(stream) else { return };
    let answered = keeper.greeter.answer(socket, |peer| keeper.judge(peer, false)).await;
    match answered {
        // Refused here now only when another one was faster in this very moment; the other end learns it by the close.
        Ok(link) => drop(keeper.enter(link, false)),
        Err(GreetingError::RefusedHere(refusal)) if refusal.reason == super::super::link::Reason::NotWanted => {
            tracing::debug!(event = "node_link_not_wanted", from, why = refusal.message, "a second connection was not taken");
        }
        Err(GreetingError::RefusedHere(refusal)) => {
            keeper.ear.refused(&refusal, true);
            if keeper.refusals.is_news(&refusal.message) {
                tracing::warn!(event = "node_refused", from, why = refusal.message, "a node is refused");
            }
        }
        Err(GreetingError::RefusedThere(refusal)) => {
            keeper.ear.refused(&refusal, false);
            if keeper.refusals.is_news(&refusal.message) {
                tracing::warn!(event = "node_refused_here", from, why = refusal.message, "a node does not want this one");
            }
        }
        Err(why) => tracing::debug!(event = "node_did_not_greet", from, %why, "a connection did not greet"),
    }
}
