//! Where only the newest counts: who is behind gets that, is told so once, and by no way otherwise.

use tidings::hub::namespace::Config as Rules;

use crate::support::{Commit, Http1, Listener, News, Scene, Since, Way, soon};

const CHANNEL: &str = "prices";

async fn conflating(size: u32) -> Scene {
    Scene::with(Commit::AtOnce, |config| {
        let mut rules = Rules { conflate: true, ..Rules::default() };
        rules.history.size = size;
        config.namespaces.insert("default", rules);
    })
    .await
}

/// What comes next: a gap of this reason, or none, and then this message.
async fn expect(listener: &mut Listener, reason: Option<&str>, text: &str, why: &str) {
    if let Some(reason) = reason {
        let gap = News::Gap { channel: CHANNEL.to_owned(), reason: reason.to_owned() };
        assert_eq!(soon("the gap", listener.next()).await, gap, "{why}");
    }
    match soon("the message", listener.next()).await {
        News::Message(message) => assert_eq!(message.text, text, "{why}"),
        other => panic!("{why}: {text} was due, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_by_any_way_gets_the_newest_behind_one_gap() {
    for way in Way::ALL {
        let scene = conflating(5).await;
        let listener = Listener::open(way, &scene, &[CHANNEL], Since::Live).await;
        scene.publish(CHANNEL, "1").await;
        let (texts, cursor) = listener.leave_after(1).await;
        assert_eq!(texts, ["1"]);

        scene.publish(CHANNEL, "2").await;
        let mut listener = Listener::open(way, &scene, &[CHANNEL], cursor.clone()).await;
        expect(&mut listener, None, "2", &format!("{way:?}: one was published, and it is the newest")).await;
        drop(listener);

        scene.publish(CHANNEL, "3").await;
        let mut listener = Listener::open(way, &scene, &[CHANNEL], cursor.clone()).await;
        expect(&mut listener, Some("conflated"), "3", &format!("{way:?}: within the window")).await;
        drop(listener);

        scene.publish_numbers(CHANNEL, 4..=20).await;
        let mut listener = Listener::open(way, &scene, &[CHANNEL], cursor).await;
        expect(&mut listener, Some("conflated"), "20", &format!("{way:?}: from before the window")).await;
        scene.publish(CHANNEL, "21").await;
        expect(&mut listener, None, "21", &format!("{way:?}: it keeps up")).await;
        let cursor = listener.cursor();
        drop(listener);
        let mut listener = Listener::open(way, &scene, &[CHANNEL], cursor).await;
        scene.publish(CHANNEL, "22").await;
        expect(&mut listener, None, "22", &format!("{way:?}: nothing is told twice")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_just_comes_begins_with_the_newest_and_hears_of_no_gap() {
    let scene = conflating(100).await;
    scene.publish_numbers(CHANNEL, 1..=10).await;
    for way in Way::ALL {
        for since in [Since::Earliest, Since::Last(5)] {
            let mut listener = Listener::open(way, &scene, &[CHANNEL], since.clone()).await;
            expect(&mut listener, None, "10", &format!("{way:?} {since:?}")).await;
        }
    }
}

/// Many, each large.
const MANY: u64 = 3000;

fn large(number: u64) -> String {
    format!("{number} {}", "x".repeat(8 << 10))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_reading_goes_on_with_the_newest_and_is_told() {
    for (way, size) in [Way::SseHttp1, Way::SseHttp2, Way::StreamHttp1, Way::WebSocket, Way::Grpc, Way::Door]
        .map(|way| (way, 1000))
        .into_iter()
        // Without a history, too: it is not closed then.
        .chain([(Way::SseHttp1, 0), (Way::SseHttp2, 0), (Way::Grpc, 0)])
    {
        let scene = conflating(size).await;
        let mut slow = Listener::open(way, &scene, &[CHANNEL], Since::Live).await;
        let mut quick = Listener::open(Way::SseHttp1, &scene, &[CHANNEL], Since::Live).await;
        for number in 1..=MANY {
            scene.publish(CHANNEL, &large(number)).await;
            assert_eq!(quick.message().await.offset, number, "{way:?}: who keeps up gets all of them");
        }
        let (mut last, mut is_declared, mut gaps) = (0, false, 0);
        while last < MANY {
            match soon("news for the slow one", slow.next()).await {
                News::Message(message) => {
                    assert_eq!(message.offset != last + 1, is_declared, "{way:?}: {last} → {}", message.offset);
                    (last, is_declared) = (message.offset, false);
                }
                News::Gap { reason, .. } => {
                    assert_eq!((reason.as_str(), is_declared), ("conflated", false), "{way:?}");
                    (is_declared, gaps) = (true, gaps + 1);
                }
                other => panic!("{way:?}: {other:?}"),
            }
        }
        assert!(gaps >= 1, "{way:?}: 24 MiB are more than sockets hold");
        if way != Way::Door {
            assert!(scene.metric("tidings_gaps_declared_total", &["conflated"]).await >= 1.0, "{way:?}");
        }
        assert_eq!(scene.metric("tidings_gaps_declared_total", &["window"]).await, 0.0, "{way:?}: it is no loss");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_is_whole_for_who_asks_for_it() {
    let scene = conflating(100).await;
    scene.publish_numbers(CHANNEL, 1..=5).await;
    for order in ["asc", "desc"] {
        let path = format!("/v1/channels/{CHANNEL}/messages?order={order}");
        let mut answer = Http1::get(scene.http(), "1.1", &path, "Connection: close\r\n", None).await;
        let page: serde_json::Value = serde_json::from_slice(&answer.rest().await).unwrap();
        assert_eq!(page["messages"].as_array().unwrap().len(), 5, "{order}");
        assert!(page["gap"].is_null());
    }
}
