//! Exact resume: whoever is cut off anywhere, and comes back any way, sees every message exactly once and in order.

use std::collections::HashMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tidings::config::Config;
use tidings::hub::namespace;
use tokio::io::AsyncReadExt as _;

use crate::support::{
    BodyDecoder, Commit, EventStream, Http1, Http2, Listener, Message, Scene, Since, Way, chance, percent, sibling, soon,
};

/// Room for all that is published here: nothing may be a gap.
fn roomy(config: &mut Config) {
    let mut rules = namespace::Config::default();
    (rules.history.size, rules.history.bytes) = (100_000, 64 << 20);
    config.namespaces.insert(namespace::DEFAULT, rules);
}

const PUBLISHERS: u64 = 3;
const EACH: u64 = 120;

/// Comes and goes by chance, by every way there is, until it has seen all messages of all channels.
async fn wander(scene: Arc<Scene>, channels: Arc<[String]>, mut chance: StdRng) -> Vec<Message> {
    let names: Vec<&str> = channels.iter().map(String::as_str).collect();
    let due = channels.len() * (PUBLISHERS * EACH) as usize;
    let (mut heard, mut since) = (Vec::new(), Since::Earliest);
    while heard.len() < due {
        let way = Way::ALL[chance.random_range(0..Way::ALL.len())];
        let mut listener = Listener::open(way, &scene, &names, since).await;
        for _ in 0..chance.random_range(1..60) {
            if heard.len() == due {
                break;
            }
            heard.push(listener.message().await);
        }
        while !listener.may_leave() {
            heard.push(listener.message().await);
        }
        since = listener.cursor();
    }
    assert_eq!(heard.len(), due, "nothing twice");
    heard
}

async fn storm(commit: Commit, change: impl FnOnce(&mut Config)) {
    let mut chance = chance();
    let scene = Scene::with(commit, |config| {
        roomy(config);
        change(config);
    });
    let scene = Arc::new(scene.await);
    let channels: Arc<[String]> = [String::from("storm"), sibling("storm", "beside"), String::from("elsewhere")].into();
    let mut wanderers = Vec::new();
    for _ in 0..8 {
        let seed = StdRng::seed_from_u64(chance.random());
        wanderers.push(tokio::spawn(wander(scene.clone(), channels.clone(), seed)));
    }
    let mut publishers = Vec::new();
    for publisher in 0..PUBLISHERS {
        let (scene, channels) = (scene.clone(), channels.clone());
        publishers.push(tokio::spawn(async move {
            for number in 1..=EACH {
                for channel in channels.iter() {
                    scene.publish(channel, &format!("{publisher} {number}")).await;
                }
            }
        }));
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let mut order_of_one_slot: Option<Vec<(String, u64)>> = None;
    for wanderer in wanderers {
        let heard = soon("all messages", wanderer).await.unwrap();
        for channel in channels.iter() {
            let of_channel: Vec<&Message> = heard.iter().filter(|message| message.channel == *channel).collect();
            let offsets: Vec<u64> = of_channel.iter().map(|message| message.offset).collect();
            assert_eq!(offsets, (1..=PUBLISHERS * EACH).collect::<Vec<_>>(), "{channel}");
            for publisher in 0..PUBLISHERS {
                let mine = of_channel.iter().filter_map(|message| message.text.strip_prefix(&format!("{publisher} ")));
                assert!(mine.eq((1..=EACH).map(|number| number.to_string())), "the order of publisher {publisher} in {channel}");
            }
        }
        let of_one_slot = heard.iter().filter(|message| message.channel != "elsewhere");
        let of_one_slot: Vec<(String, u64)> = of_one_slot.map(|message| (message.channel.clone(), message.offset)).collect();
        assert!(*order_of_one_slot.get_or_insert_with(|| of_one_slot.clone()) == of_one_slot, "a slot has one order for all");
    }
    assert_eq!(scene.metric("tidings_gaps_declared_total", &[]).await, 0.0);
    let overflowed = scene.metric("tidings_shard_inbox_overflowed_total", &[]).await;
    println!("inboxes overflowed {overflowed} times");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_with_clients_that_come_and_go_by_all_ways_loses_and_doubles_nothing() {
    storm(Commit::AtOnce, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_with_late_commits_loses_and_doubles_nothing() {
    storm(Commit::Late, |_| {}).await;
}

/// Everyone falls behind all the time: inboxes overflow, rings hold a few messages, pages fewer.
fn cramped(config: &mut Config) {
    (config.shard.inbox, config.shard.ring_bytes, config.shard.page_bytes) = (4, 2 << 10, 512);
    (config.poll.messages, config.poll.bytes) = (3, 1 << 10);
    config.limits.publish_wait = std::time::Duration::from_secs(20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_without_room_loses_and_doubles_nothing() {
    storm(Commit::AtOnce, cramped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_without_room_and_with_late_commits_loses_and_doubles_nothing() {
    storm(Commit::Late, cramped).await;
}

/// How the bytes of a stream are got and understood.
#[derive(Clone, Copy, Debug)]
enum Wire {
    Chunks,
    UntilClose,
    Http2,
}

/// What a client knows that read so much of the stream and no more.
fn read_prefix(wire: Wire, bytes: &[u8]) -> (Vec<String>, String) {
    let body = match wire {
        Wire::Http2 => bytes.to_vec(),
        Wire::Chunks | Wire::UntilClose => BodyDecoder::default().push(bytes),
    };
    let mut stream = EventStream::default();
    let events = stream.push(&body);
    (events.into_iter().map(|event| event.data).collect(), stream.last_event_id)
}

/// The bytes of a stream up to its `count`-th event and whatever follows in the same breath.
async fn record(wire: Wire, scene: &Scene, path: &str, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let has_all = |bytes: &[u8]| read_prefix(wire, bytes).0.len() >= count;
    match wire {
        Wire::Http2 => {
            let mut response = Http2::get(scene.http(), path, &[]).await;
            while !has_all(&bytes) {
                bytes.extend(soon("the stream", response.read()).await.unwrap());
            }
        }
        Wire::Chunks | Wire::UntilClose => {
            let version = if matches!(wire, Wire::Chunks) { "1.1" } else { "1.0" };
            let mut response = Http1::get(scene.http(), version, path, "", None).await;
            while !has_all(&bytes) {
                let mut piece = [0; 4096];
                let read = soon("the stream", response.socket.read(&mut piece)).await.unwrap();
                bytes.extend(&piece[..read]);
            }
        }
    }
    bytes
}

/// Cuts a recorded stream at every byte; each time, a new stream with what the client remembers must give the rest.
async fn cut_everywhere(scene: &Scene, query: &str, texts: usize) {
    for wire in [Wire::Chunks, Wire::UntilClose, Wire::Http2] {
        let path = format!("/sse?{query}&since=earliest");
        let bytes = record(wire, scene, &path, texts).await;
        let (all, _) = read_prefix(wire, &bytes);
        assert_eq!(all.len(), texts);
        // What is resumed with decides what comes, so each place is asked once.
        let mut rests: HashMap<String, Vec<String>> = HashMap::new();
        for cut in 0..=bytes.len() {
            let (mut seen, last_event_id) = read_prefix(wire, &bytes[..cut]);
            if seen.len() == texts {
                break;
            }
            if !rests.contains_key(&last_event_id) {
                let since = if last_event_id.is_empty() { "earliest" } else { &last_event_id };
                let again = record(wire, scene, &format!("/sse?{query}&since={since}"), texts - seen.len()).await;
                rests.insert(last_event_id.clone(), read_prefix(wire, &again).0);
            }
            seen.extend(rests[&last_event_id].iter().cloned());
            assert_eq!(seen, all, "{wire:?} cut after {cut} bytes of {query}");
        }
        assert_eq!(rests.len(), texts, "the beginning and each message but the last is a place to resume from");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_one_channel_cut_at_every_byte_goes_on_right_there() {
    let scene = Scene::open(Commit::AtOnce).await;
    let texts = ["one", "two\nlines", "three\r\nlines\r\r\nin all", "", "\n", "id: forged\n\ndata: forged", ": no comment", "grüße 🌊"];
    for text in texts {
        scene.publish("plain", text).await;
    }
    cut_everywhere(&scene, "channel=plain", texts.len()).await;
    cut_everywhere(&scene, "channel=plain&envelope=1", texts.len()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_channels_of_one_slot_cut_at_every_byte_go_on_right_there() {
    let scene = Scene::open(Commit::AtOnce).await;
    let beside = sibling("plain", "beside");
    for number in 0..10 {
        scene.publish(if number % 3 == 0 { "plain" } else { &beside }, &number.to_string()).await;
    }
    cut_everywhere(&scene, &format!("channel=plain&channel={}", percent(&beside)), 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_of_several_slots_cut_at_every_byte_go_on_right_there() {
    let scene = Scene::open(Commit::AtOnce).await;
    let channels = ["north", "east", "south"];
    for number in 0..9 {
        scene.publish(channels[number % 3], &number.to_string()).await;
    }
    cut_everywhere(&scene, "channel=north&channel=east&channel=south", 9).await;
}
