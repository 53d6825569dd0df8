//! A slow client hurts nobody and costs nothing; and nobody is called slow who is not.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Commit, Listener, News, Scene, Since, Way, soon};

const CHANNEL: &str = "ticker";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_a_busy_channel_without_history_is_not_too_slow() {
    for way in [Way::SseHttp1, Way::SseHttp10] {
        let scene = Scene::keeping(Commit::AtOnce, "default", 0).await;
        let is_over = AtomicBool::new(false);
        let publish = async {
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                number += 1;
                scene.publish(CHANNEL, &number.to_string()).await;
                tokio::task::yield_now().await;
            }
        };
        let join = async {
            for _ in 0..300 {
                let mut listener = Listener::open(way, &scene, &[CHANNEL], Since::Live).await;
                let first = soon("a message", listener.next()).await;
                assert!(matches!(first, News::Message(_)), "{first:?}");
            }
            is_over.store(true, Ordering::Relaxed);
        };
        tokio::join!(publish, join);
    }
}
