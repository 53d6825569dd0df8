//! Publishes message after message and never takes silence for an answer: another node, the same id.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tidings_sdk::{Client, Error, Message};
use tokio::time::{Instant, sleep, timeout};

use super::http;
use crate::chaos::history::Event;
use crate::chaos::world::World;

/// How long one message is tried, as the SDKs do it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one node is given.
const TRY_MAX: Duration = Duration::from_secs(3);

/// How it publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Http,
    Grpc,
}

/// What came of one try.
enum Outcome {
    Acked {
        cursor: String,
        copies: u32,
    },
    /// The node did not take it.
    Refused(String),
    /// It may have taken it.
    Lost(String),
}

/// Publishes until the run stops publishing, each message with an id of its own to one of the channels.
pub(crate) async fn run(world: Arc<World>, name: String, door: Door, pause: Duration, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    // Made once for each node: connections are the SDK's business.
    let clients: Vec<_> = world.seats.iter().map(|seat| Client::connect_lazy(&seat.grpc().to_string())).collect();
    let mut node = random.random_range(0..world.seats.len());
    for number in 0u64.. {
        if !world.is_publishing() {
            return;
        }
        let (id, channel) = (format!("{name}-{number}"), world.channels[random.random_range(0..world.channels.len())].clone());
        world.record(Event::Publish { id: id.clone(), channel: channel.clone() });
        let deadline = Instant::now() + PATIENCE;
        let mut may_be_there = false;
        loop {
            let seat = world.seat(node);
            world.record(Event::Try { id: id.clone(), node: seat.name.clone() });
            let outcome = match (door, &clients[node]) {
                (Door::Grpc, Ok(client)) => over_grpc(client, &channel, &id).await,
                _ => over_http(seat.http(), &channel, &id).await,
            };
            let why = match outcome {
                Outcome::Acked { cursor, copies } => {
                    world.record(Event::Acked { id, node: seat.name.clone(), cursor, copies });
                    break;
                }
                Outcome::Refused(why) => why,
                Outcome::Lost(why) => {
                    may_be_there = true;
                    why
                }
            };
            if Instant::now() > deadline {
                world.record(if may_be_there { Event::Unknown { id, why } } else { Event::Failed { id, why } });
                break;
            }
            node = random.random_range(0..world.seats.len());
            sleep(Duration::from_millis(random.random_range(20..200))).await;
        }
        if random.random_bool(0.05) {
            node = random.random_range(0..world.seats.len());
        }
        sleep(pause).await;
    }
}

async fn over_grpc(client: &Client, channel: &str, id: &str) -> Outcome {
    match client.within(TRY_MAX).publish(channel, Message::new(id.to_owned()).id(id)).await {
        Ok(published) => Outcome::Acked { cursor: published.cursor, copies: published.copies },
        Err(why @ Error::OutcomeUnknown { .. }) => Outcome::Lost(why.to_string()),
        Err(why) => Outcome::Refused(why.to_string()),
    }
}

async fn over_http(to: std::net::SocketAddr, channel: &str, id: &str) -> Outcome {
    let stream = match http::connect(to).await {
        Ok(stream) => stream,
        Err(why) => return Outcome::Refused(why.to_string()),
    };
    let body = json!({ "channel": channel, "text": id, "id": id }).to_string();
    let asked = async {
        let response = http::ask(stream, "POST", "/v1/publish", Bytes::from(body)).await?;
        let status = response.status().as_u16();
        let answer: Value = serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
        Ok::<_, anyhow::Error>((status, answer))
    };
    match timeout(TRY_MAX, asked).await.context("no answer").flatten() {
        Ok((200, answer)) => {
            let copies = answer["copies"].as_u64().and_then(|copies| u32::try_from(copies).ok()).unwrap_or_default();
            Outcome::Acked { cursor: answer["cursor"].as_str().unwrap_or_default().to_owned(), copies }
        }
        // These say that whether it went through is unknown.
        Ok((500 | 504, answer)) => Outcome::Lost(answer.to_string()),
        Ok((status, answer)) => Outcome::Refused(format!("{status} {answer}")),
        Err(why) => Outcome::Lost(why.to_string()),
    }
}
