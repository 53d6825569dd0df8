//! A client that never stays long: another node, another way, the same cursor.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::news::News;
use super::wire::{Way, Wire};
use crate::chaos::history::Event;
use crate::chaos::world::World;

/// Longest wait until a subscription stands.
const OPEN_MAX: Duration = Duration::from_secs(3);

/// Listens to a channel from its beginning until the run is over, and writes down what it gets.
pub(crate) async fn run(world: Arc<World>, client: String, channel: String, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut cursor = String::new();
    while world.is_listening() {
        let (node, way) = (random.random_range(0..world.seats.len()), Way::ALL[random.random_range(0..Way::ALL.len())]);
        // Most hop, some stay for long enough to be judged on how soon they hear of things.
        let stay = Duration::from_millis(if random.random_bool(0.7) {
            random.random_range(200..3_000)
        } else {
            random.random_range(6_000..15_000)
        });
        let seat = world.seat(node);
        let opened = timeout(OPEN_MAX, Wire::open(way, seat, &channel, &cursor)).await;
        let Ok(Ok(wire)) = opened else {
            sleep(Duration::from_millis(random.random_range(50..300))).await;
            continue;
        };
        let (client, channel) = (client.clone(), channel.clone());
        let resumed = Event::Resumed {
            client: client.clone(),
            channel: channel.clone(),
            node: seat.name.clone(),
            way: way.name().to_owned(),
            cursor: cursor.clone(),
        };
        world.record(resumed);
        let why = listen(&world, wire, &client, &channel, &mut cursor, Instant::now() + stay).await;
        world.record(Event::Left { client, channel, why });
    }
}

/// Writes down what comes until the stay is over, or the stream is. Says why it left.
async fn listen(world: &World, mut wire: Wire, client: &str, channel: &str, cursor: &mut String, until: Instant) -> String {
    let (client, channel) = (client.to_owned(), channel.to_owned());
    loop {
        // A stay ends sooner when the whole run does.
        let look = until.min(Instant::now() + Duration::from_millis(500));
        match timeout_at(look, wire.next()).await {
            Err(_) if world.is_listening() && Instant::now() < until => {}
            Err(_) => return "went elsewhere".to_owned(),
            Ok(Err(why)) => return format!("{why:#}"),
            Ok(Ok(News::Closed(code))) => return code,
            Ok(Ok(News::Place(place))) => *cursor = place,
            Ok(Ok(News::Gap { reason })) => world.record(Event::Gap { client: client.clone(), channel: channel.clone(), reason }),
            Ok(Ok(News::Message { id, cursor: place, late })) => {
                cursor.clone_from(&place);
                world.record(Event::Received { client: client.clone(), channel: channel.clone(), id, cursor: place, late });
            }
        }
        if Instant::now() >= until {
            return "went elsewhere".to_owned();
        }
    }
}
