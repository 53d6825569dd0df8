//! A client that is on a channel only to be seen there, and hops from node to node: in the end every node must say who is there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tidings::auth::secret::Secret;
use tidings::auth::token::config::{Algorithm, TokenKey};
use tidings::auth::token::{SigningKey, sign};
use tokio::time::{Instant, sleep, timeout};

use super::http;
use crate::chaos::history::{Event, Member};
use crate::chaos::node::Seat;
use crate::chaos::world::World;

/// Where all of them are.
pub(crate) const CHANNEL: &str = "guests:all";
/// Longest wait until a stream stands.
const OPEN_MAX: Duration = Duration::from_secs(3);
/// What signs the guests' tokens.
const SECRET: &str = "chaos-chaos-chaos-chaos-chaos-chaos";
/// The same, as a node is told it.
pub(crate) const TOKENS: &str = "tokens.keys=[{algorithm: HS256, secret: chaos-chaos-chaos-chaos-chaos-chaos}]";
/// Users among the guests: with more guests than that some have two sessions, on two nodes most of the time.
const USERS: usize = 5;
/// Members of one page, so that who is there takes several.
const PAGE: usize = 2;

/// Who this guest is: every seventh is nobody, who is counted and not named.
fn user(number: usize) -> Option<String> {
    (number % 7 != 6).then(|| format!("user-{}", number % USERS))
}

/// A token that is good for longer than any run.
fn token(user: &str) -> anyhow::Result<String> {
    let secret = Some(Secret::new(SECRET));
    let key = TokenKey { kid: None, algorithm: Algorithm::HS256, secret, secret_file: None, public_key: None, public_key_file: None };
    let key = SigningKey::of_secret(&key).map_err(|why| anyhow::anyhow!("{why}"))?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    sign(&key, &json!({ "sub": user, "exp": now + 86_400 })).map_err(|why| anyhow::anyhow!("{why}"))
}

/// Is on the channel until the run is over, with short pauses between two nodes, under one name; once nothing is published any
/// more it stays where it is.
///
/// # Errors
/// When it can have no token.
pub(crate) async fn run(world: Arc<World>, number: usize, seed: u64) -> anyhow::Result<()> {
    let (session, user) = (format!("guest-{number}"), user(number));
    let shown = user.as_deref().map(token).transpose()?.map(|token| format!("&token={token}")).unwrap_or_default();
    let mut random = StdRng::seed_from_u64(seed);
    while world.is_listening() {
        let seat = world.seat(random.random_range(0..world.seats.len()));
        let path = format!("/sse?channel={CHANNEL}&session={session}{shown}");
        let Ok(Ok(body)) = timeout(OPEN_MAX, open(seat.http(), &path)).await else {
            sleep(Duration::from_millis(random.random_range(50..300))).await;
            continue;
        };
        let until = Instant::now() + Duration::from_millis(random.random_range(500..6_000));
        world.record(Event::Came { session: session.clone(), user: user.clone() });
        stay(&world, body, until).await;
        world.record(Event::Went { session: session.clone() });
    }
    Ok(())
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

/// What a node says of who is there, page by page.
///
/// # Errors
/// When it does not answer as it should.
pub(crate) async fn present(seat: &Seat) -> anyhow::Result<Event> {
    let (mut members, mut after): (Vec<Member>, _) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/channels/{CHANNEL}/presence?limit={PAGE}{after}");
        let (status, body) = http::get(seat.http(), &path).await.with_context(|| format!("presence on {}", seat.name))?;
        let text = String::from_utf8_lossy(&body);
        anyhow::ensure!(status == 200, "presence on {}: {status} {text}", seat.name);
        let page: Value = serde_json::from_str(&text)?;
        for member in page["members"].as_array().context("a page without members")? {
            let user = member["user"].as_str().context("a member without a name")?.to_owned();
            members.push(Member { user, connections: member["connections"].as_u64().context("a member without connections")? });
        }
        match page["next"].as_str() {
            // As many pages as there are members is a loop.
            Some(next) if members.len() < 1_000 => after = format!("&after={next}"),
            _ => {
                let count = |name: &str| page[name].as_u64().with_context(|| format!("a page without {name}"));
                return Ok(Event::Present { node: seat.name.clone(), users: count("users")?, anonymous: count("anonymous")?, members });
            }
        }
    }
}
