//! A client that is on a channel only to be seen there, and hops from node to node: in the end every node must say how many are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep, timeout};

use super::http;
use crate::world::World;

/// Where all of them are.
pub(crate) const CHANNEL: &str = "guests:all";
/// Longest wait until a stream stands.
const OPEN_MAX: Duration = Duration::from_secs(3);

/// Is on the channel until the run is over, with short pauses between two nodes, under one name; once nothing is published any
/// more it stays where it is.
pub(crate) async fn run(world: Arc<World>, guest: String, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    while world.is_listening() {
        let seat = world.seat(random.random_range(0..world.seats.len()));
        let path = format!("/sse?channel={CHANNEL}&session={guest}");
        let Ok(Ok(body)) = timeout(OPEN_MAX, open(seat.http(), &path)).await else {
            sleep(Duration::from_millis(random.random_range(50..300))).await;
            continue;
        };
        let until = Instant::now() + Duration::from_millis(random.random_range(500..6_000));
        stay(&world, body, until).await;
    }
}

async fn open(to: std::net::SocketAddr, path: &str) -> anyhow::Result<Incoming> {
    let response = http::ask(http::connect(to).await?, "GET", path, Bytes::new()).await?;
    anyhow::ensure!(response.status() == 200, "{}", response.status());
    Ok(response.into_body())
}

/// Keeps the stream open; ends when it does, or when it is time to go on.
async fn stay(world: &World, mut body: Incoming, until: Instant) {
    while world.is_listening() && (Instant::now() < until || !world.is_publishing()) {
        match timeout(Duration::from_millis(200), body.frame()).await {
            Err(_) | Ok(Some(Ok(_))) => {}
            Ok(None | Some(Err(_))) => return,
        }
    }
}
