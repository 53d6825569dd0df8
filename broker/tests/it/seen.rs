//! What an operator must be able to see: who is behind and for how long, and how full every bound is.

use std::time::Duration;

use crate::support::{Commit, Listener, Scene, Since, Way, soon};

const CHANNEL: &str = "ticker";

/// Asks until a metric is what it should be.
async fn shows(scene: &Scene, name: &str, labels: &[&str], is_right: impl Fn(f64) -> bool) {
    let right = async {
        while !is_right(scene.metric(name, labels).await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(name, right).await;
}

/// Fills the socket of a listener that does not read.
async fn publish_much(scene: &Scene, count: u64) {
    for number in 1..=count {
        scene.publish(CHANNEL, &format!("{number} {}", "x".repeat(8 << 10))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_reading_counts_as_behind_until_he_caught_up() {
    const COUNT: u64 = 500;
    let scene = Scene::open(Commit::AtOnce).await;
    let mut slow = Listener::open(Way::SseHttp1, &scene, &[CHANNEL], Since::Live).await;
    shows(&scene, "tidings_sessions", &["sse"], |count| count == 1.0).await;
    assert_eq!(scene.metric("tidings_sessions_behind", &["sse"]).await, 0.0, "who listens live is not behind");
    publish_much(&scene, COUNT).await;
    shows(&scene, "tidings_sessions_behind", &["sse"], |count| count == 1.0).await;
    shows(&scene, "tidings_sessions_behind_seconds", &[], |seconds| seconds >= 1.0).await;
    for number in 1..=COUNT {
        assert_eq!(slow.message().await.offset, number);
    }
    shows(&scene, "tidings_sessions_behind", &["sse"], |count| count == 0.0).await;
    shows(&scene, "tidings_sessions_behind_seconds", &[], |seconds| seconds == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_while_behind_is_not_counted_any_more() {
    let scene = Scene::open(Commit::AtOnce).await;
    let stopped = Listener::open(Way::SseHttp1, &scene, &[CHANNEL], Since::Live).await;
    publish_much(&scene, 500).await;
    shows(&scene, "tidings_sessions_behind", &["sse"], |count| count == 1.0).await;
    drop(stopped);
    shows(&scene, "tidings_sessions", &["sse"], |count| count == 0.0).await;
    shows(&scene, "tidings_sessions_behind", &["sse"], |count| count == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bound_has_a_limit_and_shows_what_is_used_of_it() {
    let scene = Scene::with(Commit::AtOnce, |config| config.limits.channels = 50).await;
    let _listener = Listener::open(Way::SseHttp1, &scene, &[CHANNEL], Since::Live).await;
    publish_much(&scene, 3).await;
    let bounds = [
        "connections",
        "grpc_connections",
        "connections_pending",
        "channels",
        "channels_silent",
        "history_bytes",
        "dedupe_ids",
        "shard_inbox",
        "shard_ring",
        "incoming_bytes",
    ];
    for bound in bounds {
        assert!(scene.metric("tidings_bound_limit", &[bound]).await >= 1.0, "{bound}");
    }
    assert_eq!(scene.metric("tidings_bound_limit", &["\"channels\""]).await, 50.0);
    assert!(scene.metric("tidings_bound_used", &["\"channels\""]).await >= 1.0);
    assert!(scene.metric("tidings_bound_used", &["history_bytes"]).await >= 3.0 * 8192.0);
    assert_eq!(scene.metric("tidings_bound_used", &["\"connections\""]).await, 1.0, "the listener's own");
    shows(&scene, "tidings_shard_busy_seconds_total", &[], |seconds| seconds > 0.0).await;
    shows(&scene, "tidings_delivery_stage_seconds_count", &["shard"], |count| count >= 3.0).await;
}
