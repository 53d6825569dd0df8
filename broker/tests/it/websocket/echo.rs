//! `echo: false`: who publishes over a WebSocket does not hear itself, and everybody else hears all.

use std::time::Duration;

use serde_json::{Value, json};
use tidings::config::Config;
use tidings::hub::namespace::Config as Rules;

use crate::cluster::scene::Cluster;
use crate::support::{Commit, Listener, Scene, Since, Way, WebSocket, soon};

fn silent(config: &mut Config) {
    config.namespaces.insert("quiet", Rules { echo: false, ..Rules::default() }.open());
}

/// The texts of the next messages, so many; other objects are passed over.
async fn texts(socket: &mut WebSocket, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let object = soon("a message", socket.object()).await.unwrap();
        if let Some(message) = object.get("message") {
            texts.push(message["data"].as_str().unwrap().to_owned());
        }
        assert!(object.get("error").is_none() && object.get("close").is_none() && object.get("gap").is_none(), "{object}");
    }
    texts
}

fn publish(channel: &str, text: &str, id: Option<&str>) -> Value {
    match id {
        Some(id) => json!({ "id": 1, "publish": { "channel": channel, "text": text, "id": id } }),
        None => json!({ "id": 1, "publish": { "channel": channel, "text": text } }),
    }
}

/// Two clients publish in turns, and each hears the other one only, in order.
async fn converse(at: [&Scene; 2], channels: &str) {
    let path = format!("/ws?{channels}");
    let mut ann = WebSocket::open(at[0].http(), &path, "").await;
    let mut bob = WebSocket::open(at[1].http(), &path, "").await;
    let mut third = Listener::open(Way::SseHttp1, at[1], &["quiet:room"], Since::Live).await;
    for _ in 0..2 {
        for socket in [&mut ann, &mut bob] {
            while soon("subscribed", socket.object()).await.unwrap().get("subscribed").is_none() {}
        }
        if !channels.contains('&') {
            break;
        }
    }
    let mut all = Vec::new();
    for number in 0..100 {
        // An id that no other round has used.
        let (text, id) = (format!("ann {number}"), format!("{:x}", rand::random::<u64>()));
        ann.say(&publish("quiet:room", &text, (number % 2 == 0).then_some(&*id))).await;
        assert_eq!(third.texts(1).await, [text.as_str()], "others hear it at once");
        all.push(text.clone());
        assert_eq!(texts(&mut bob, 1).await, [text]);
        let text = format!("bob {number}");
        bob.say(&publish("quiet:room", &text, None)).await;
        assert_eq!(texts(&mut ann, 1).await, [text.as_str()], "and not what it said itself");
        assert_eq!(third.texts(1).await, [text]);
    }
    // Many at once: what is joined to one write for others is taken apart for who said some of it.
    for number in 0..200 {
        ann.say(&publish("quiet:room", &format!("many {number}"), None)).await;
    }
    let many: Vec<String> = (0..200).map(|number| format!("many {number}")).collect();
    assert_eq!(texts(&mut bob, 200).await, many);
    assert_eq!(third.texts(200).await, many);
    bob.say(&publish("quiet:room", "over", None)).await;
    assert_eq!(texts(&mut ann, 1).await, ["over"], "nothing of its own is left for later");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_does_not_hear_itself_and_everybody_else_hears_all() {
    for commit in [Commit::AtOnce, Commit::Late] {
        let scene = Scene::with(commit, silent).await;
        converse([&scene, &scene], "channel=quiet:room").await;
        converse([&scene, &scene], "channel=quiet:room&channel=quiet:other").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_it_when_another_node_orders_the_channel() {
    let mut cluster = Cluster { nodes: Vec::new() };
    for _ in 0..2 {
        cluster.add(silent).await;
    }
    cluster.settle().await;
    let [one, other] = &cluster.nodes[..] else { panic!("two nodes") };
    // One of them is the home of the channel.
    converse([one, other], "channel=quiet:room").await;
    converse([other, one], "channel=quiet:room").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_cursor_moves_on_past_what_it_said_and_a_new_connection_hears_all() {
    let often = |config: &mut Config| {
        silent(config);
        (config.shard.heartbeat_min, config.shard.heartbeat_max) = (Duration::from_secs(1), Duration::from_secs(1));
    };
    let scene = Scene::with(Commit::AtOnce, often).await;
    let mut ann = WebSocket::open(scene.http(), "/ws?channel=quiet:room", "").await;
    assert!(ann.object().await.unwrap().get("subscribed").is_some());
    let published = ann.ask(&publish("quiet:room", "mine", None)).await;
    let mine = published["published"]["cursor"].as_str().unwrap().to_owned();
    let fresh = loop {
        let object = soon("a heartbeat with a cursor", ann.object()).await.unwrap();
        assert!(object.get("message").is_none(), "{object}");
        if let Some(cursor) = object["heartbeat"]["cursor"].as_str() {
            break cursor.to_owned();
        }
    };
    assert_eq!(fresh, mine);
    drop(ann);
    let mut again = WebSocket::open(scene.http(), &format!("/ws?channel=quiet:room&since={fresh}"), "").await;
    scene.publish("quiet:room", "another's").await;
    assert_eq!(texts(&mut again, 1).await, ["another's"]);
    let mut whole = WebSocket::open(scene.http(), "/ws?channel=quiet:room&since=earliest", "").await;
    assert_eq!(texts(&mut whole, 2).await, ["mine", "another's"], "who comes later hears what was said before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elsewhere_a_client_hears_itself() {
    let scene = Scene::with(Commit::AtOnce, silent).await;
    let mut ann = WebSocket::open(scene.http(), "/ws?channel=loud", "").await;
    ann.say(&publish("loud", "hello", None)).await;
    assert_eq!(texts(&mut ann, 1).await, ["hello"]);
}
