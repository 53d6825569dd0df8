//! A cursor per channel: a client that keeps them changes fronts and channels as it likes.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use crate::support::{Commit, Listener, Scene, Since, Way, chance, sibling, soon};

const EACH: u64 = 300;

/// The ways on which every channel may begin somewhere else.
const WAYS: [Way; 7] =
    [Way::SseHttp1, Way::SseHttp2, Way::StreamHttp1, Way::StreamPage, Way::PollHttp1, Way::WebSocket, Way::WebSocketRequests];

async fn wander(commit: Commit) {
    let scene = Arc::new(Scene::open(commit).await);
    let channels = [String::from("storm"), sibling("storm", "beside"), sibling("storm", "third"), String::from("elsewhere")];
    let publishing = tokio::spawn({
        let (scene, channels) = (scene.clone(), channels.clone());
        async move {
            for number in 1..=EACH {
                for channel in &channels {
                    scene.publish(channel, &number.to_string()).await;
                }
            }
        }
    });
    let mut chance = chance();
    let mut heard: BTreeMap<&str, (u64, String)> = channels.iter().map(|name| (&**name, (0, "earliest".to_owned()))).collect();
    while heard.values().any(|(offset, _)| *offset < EACH) {
        let way = WAYS[chance.random_range(0..WAYS.len())];
        let mut names: Vec<&str> = heard.iter().filter(|(_, (offset, _))| *offset < EACH).map(|(name, _)| *name).collect();
        names.shuffle(&mut chance);
        names.truncate(chance.random_range(1..=names.len()));
        let since = Since::Each(names.iter().map(|name| heard[name].1.clone()).collect());
        let mut listener = Listener::open(way, &scene, &names, since).await;
        let mut wanted = chance.random_range(1..40);
        while wanted > 0 && names.iter().any(|name| heard[name].0 < EACH) {
            let message = soon("a message", listener.message()).await;
            let (offset, cursor) = heard.get_mut(&*message.channel).unwrap();
            assert!(names.contains(&&*message.channel), "{way:?}: {} was not asked for", message.channel);
            assert_eq!(message.offset, *offset + 1, "{way:?}: {} of {names:?}", message.channel);
            (*offset, *cursor) = (message.offset, message.cursor);
            wanted -= 1;
            // The cursor of a poll's whole answer is that of the channel furthest back.
            if way.is_poll() && listener.may_leave() {
                break;
            }
        }
    }
    publishing.await.unwrap();
    assert_eq!(scene.metric("tidings_gaps_declared_total", &[]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_a_cursor_per_channel_changes_fronts_and_channels_at_will() {
    wander(Commit::AtOnce).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_with_late_commits() {
    wander(Commit::Late).await;
}
