//! Connections that other nodes make.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::super::link::GreetingError;
use super::Keeper;
use super::outbox::Letter;
use super::socket::Socket;

/// Connections that have not greeted yet. Whoever reaches the port may open one, so they are few and short-lived; nodes try
/// again.
const GREETINGS_MAX: usize = 64;
/// After a failed accept: without descriptors the next one fails at once, and again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until the mesh stops.
pub(super) async fn run<L: Letter>(keeper: Arc<Keeper<L>>, listener: TcpListener) {
    let greetings = Arc::new(Semaphore::new(GREETINGS_MAX));
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let Ok(permit) = greetings.clone().try_acquire_owned() else {
                        tracing::debug!(%from, "too many greet at once; closed");
                        continue;
                    };
                    let keeper = keeper.clone();
                    tokio::spawn(async move {
                        greet(&keeper, stream).await;
                        drop(permit);
                    });
                }
                Err(why) => {
                    tracing::debug!(%why, "the cluster's listener could not accept");
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
            tracing::debug!(from, why = refusal.message, "a second connection was not taken");
        }
        Err(GreetingError::RefusedHere(refusal)) => {
            tracing::warn!(from, why = refusal.message, "a node is refused");
        }
        Err(why) => tracing::debug!(from, %why, "a connection did not greet"),
    }
}
