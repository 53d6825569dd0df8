//! Connections that have outlived a cut of the network, which are made anew beside themselves.
//!
//! What TCP sends and nobody acknowledges it sends again after longer and longer times: behind a cut of two seconds, up to a second and a
//! half after the cut has ended. A new connection stands within a few round trips. But a node that is stopped, or has no time, is silent as well, and then
//! the connection that stands is as good as another one. So it is looked, by connections that say nothing, whether the other host
//! answers: only where it did not and does again there was a cut.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::super::link::Purpose;
use super::super::membership::{Members, NodeName, Record};
use super::Keeper;
use super::outbox::Letter;
use super::roster::Standing;

/// A host that answers at all does so within this time. Over a longer way nothing is made anew, and TCP has to find out.
const KNOCK_TIMEOUT: Duration = Duration::from_millis(250);
/// Between two knocks behind a cut, and how often it is looked whether a node is heard.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two knocks at a node that is there and says nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits until a connection that this node made should be made anew: with a connection to the node, if there is one already.
/// `was_cut` is what is known of a cut, kept from one call to the next.
pub(super) async fn is_due<L: Letter>(
    keeper: &Keeper<L>,
    members: &watch::Receiver<Members>,
    (name, purpose): (&NodeName, Purpose),
    standing: Standing,
    was_cut: &mut bool,
) -> Option<TcpStream> {
    if !standing.dialled {
        return std::future::pending().await;
    }
    if purpose != Purpose::Control {
        // Only on control connections something is always said: the others follow them.
        return if standing.is_left_over { None } else { std::future::pending().await };
    }
    loop {
        let record = members.borrow().get(name).filter(|record| record.tag == standing.tag).cloned();
        let Some(record) = record.filter(|_| !keeper.ear.is_heard(standing.tag)) else {
            *was_cut = false;
            sleep(PAUSE).await;
            continue;
        };
        match knock(&record).await {
            Ok(stream) if *was_cut => return Some(stream),
            Ok(_) => sleep(PATIENCE).await,
            // Even if it is refused: whether the process has ended, the connection that stands finds out.
            Err(_) => {
                *was_cut = true;
                sleep(PAUSE.mul_f64(rand::random_range(0.5..1.0))).await;
            }
        }
    }
}

async fn knock(record: &Record) -> io::Result<TcpStream> {
    timeout(KNOCK_TIMEOUT, TcpStream::connect(&record.links)).await?
}
