//! Connections that other nodes make.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::super::link::GreetingError;
use super::Keeper;
use super::outbox::Letter;
use super::socket::Socket;
use crate::limits::network_of;
use crate::metrics::Complaints;

/// Connections that have not greeted yet. Whoever reaches the port may open one, so they are few and short-lived, and make room for
/// one that comes, so that silence cannot keep nodes out, which greet at once.
pub const GREETINGS_MAX: usize = 64;
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

/// Connections that greet, the oldest first, and from which network each is.
#[derive(Default)]
struct Greetings(Vec<(IpAddr, AbortHandle)>);

impl Greetings {
    /// Another one comes. Whether one had to go for it.
    fn enter(&mut self, from: SocketAddr, greeting: AbortHandle) -> bool {
        self.0.retain(|(_, greeting)| !greeting.is_finished());
        let is_full = self.0.len() >= GREETINGS_MAX;
        if is_full {
            let networks: Vec<IpAddr> = self.0.iter().map(|(network, _)| *network).collect();
            self.0.remove(who_goes(&networks)).1.abort();
        }
        self.0.push((network_of(from.ip()), greeting));
        is_full
    }
}

/// One that is counted among those that greet, until it is dropped: when its greeting came to an end, or was ended.
struct Greeting(Arc<AtomicU64>);

impl Greeting {
    fn begin(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Greeting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Which of them, oldest first, makes room: the oldest of the network that has most, so that one stranger, however often it comes, pushes
/// out its own.
fn who_goes(networks: &[IpAddr]) -> usize {
    let count = |of: &IpAddr| networks.iter().filter(|network| *network == of).count();
    (0..networks.len()).max_by_key(|at| (count(&networks[*at]), Reverse(*at))).unwrap_or(0)
}

/// Takes connections until the mesh stops. On the threads of those that carry messages: who comes may be a stranger, and heartbeats must
/// not wait for its handshakes.
pub(super) async fn run<L: Letter>(keeper: Arc<Keeper<L>>, listener: TcpListener) {
    let taking = keeper.data.clone().spawn(async move {
        let stop = keeper.stop.clone();
        let _: Option<()> = stop.run_until_cancelled(take(&keeper, listener)).await;
    });
    // Its end is the mesh's, or that of its runtime.
    let _ = AbortOnDropHandle::new(taking).await;
}

async fn take<L: Letter>(keeper: &Arc<Keeper<L>>, listener: TcpListener) {
    let mut greetings = Greetings::default();
    let mut complaints = Complaints::default();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let greeting = tokio::spawn({
                    let (keeper, greeting) = (keeper.clone(), Greeting::begin(&keeper.mesh.0.greetings));
                    async move {
                        let _greeting = greeting;
                        let stop = keeper.stop.clone();
                        stop.run_until_cancelled(greet(&keeper, stream, from)).await
                    }
                });
                if greetings.enter(from, greeting.abort_handle()) {
                    keeper.ear.late();
                    tracing::debug!(event = "node_greetings_full", %from, "too many greet at once; one of them was closed");
                }
            }
            Err(error) => {
                if keeper.metrics.accept_failed("cluster", &error, &mut complaints) {
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn greet<L: Letter>(keeper: &Arc<Keeper<L>>, stream: TcpStream, from: SocketAddr) {
    let Ok(socket) = Socket::new(stream) else { return };
    let answered = keeper.greeter.answer(socket, |peer| keeper.judge(peer, false)).await;
    match answered {
        // Refused here now only when another one was faster in this very moment; the other end learns it by the close.
        Ok(link) => drop(keeper.enter(link, false)),
        Err(GreetingError::RefusedHere(refusal)) if refusal.reason == super::super::link::Reason::NotWanted => {
            tracing::debug!(event = "node_link_not_wanted", %from, why = refusal.message, "a second connection was not taken");
        }
        Err(GreetingError::RefusedHere(refusal)) => {
            keeper.ear.refused(&refusal, true);
            if keeper.refusals.is_news(&refusal.message) {
                tracing::warn!(event = "node_refused", %from, why = refusal.message, "a node is refused");
            }
        }
        Err(GreetingError::RefusedThere(refusal)) => {
            keeper.ear.refused(&refusal, false);
            if keeper.refusals.is_news(&refusal.message) {
                tracing::warn!(event = "node_refused_here", %from, why = refusal.message, "a node does not want this one");
            }
        }
        Err(why) => {
            if matches!(why, GreetingError::Late) {
                keeper.ear.late();
            }
            tracing::debug!(event = "node_did_not_greet", %from, %why, "a connection did not greet");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_those_that_greet_the_oldest_of_the_network_with_most_makes_room() {
        let goes = |from: &[&str]| who_goes(&from.iter().map(|from| from.parse().unwrap()).collect::<Vec<_>>());
        assert_eq!(goes(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]), 0, "the oldest of all, where each has one");
        assert_eq!(goes(&["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3"]), 1, "not that of a node that came once");
        assert_eq!(goes(&["10.0.0.2", "10.0.0.1", "10.0.0.1", "10.0.0.2"]), 0);
    }

    #[tokio::test]
    async fn whoever_comes_often_pushes_out_its_own_and_not_a_node_that_greets() {
        let mut greetings = Greetings::default();
        let mut come = |from: &str| {
            let greeting = tokio::spawn(std::future::pending::<()>());
            greetings.enter(from.parse().unwrap(), greeting.abort_handle());
            greeting
        };
        let node = come("10.0.0.1:1");
        // In one network of IPv6, which is one stranger's.
        let strangers: Vec<_> = (0..200).map(|number| come(&format!("[2001:db8::{number}]:1"))).collect();
        for gone in strangers.into_iter().take(200 - (GREETINGS_MAX - 1)) {
            assert!(gone.await.unwrap_err().is_cancelled());
        }
        assert!(!node.is_finished());
        assert_eq!(greetings.0.len(), GREETINGS_MAX);
        assert_eq!(greetings.0.iter().filter(|(_, greeting)| greeting.is_finished()).count(), 0);
    }
}
