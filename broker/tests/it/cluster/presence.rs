//! Who is on a channel is one answer, whichever node is asked, and whoever dies.

use std::collections::BTreeSet;
use std::time::Duration;

use tidings::broker::{Delivery, Subscribe, Subscription};
use tidings::hub::namespace;
use tidings::message::ChannelName;
use tidings::presence::{Member, MemberId, Page, Query};
use tokio::time::Instant;

use super::scene::Cluster;
use crate::support::{Scene, soon};

const GRACE: Duration = Duration::from_secs(4);

async fn start(count: usize) -> Cluster {
    let mut cluster = Cluster { nodes: Vec::new() };
    for _ in 0..count {
        cluster
            .add(|config| {
                config.presence.grace = GRACE;
                let room = namespace::Config { presence: true, join_leave: true, ..Default::default() };
                config.namespaces.insert("room", room.open());
            })
            .await;
    }
    cluster.settle().await;
    cluster
}

/// Somebody on a channel, told of others when it listens, and what it believes by that.
struct Guest {
    subscription: Subscription,
    here: BTreeSet<String>,
    told: Vec<String>,
}

impl Guest {
    async fn enter(scene: &Scene, channel: &str, user: &str, presence: bool) -> Self {
        let member = Some(Member { id: MemberId::User(user.into()), info: None });
        let subscribe = Subscribe { member, presence, ..Subscribe::live([channel]).unwrap() };
        let subscription = soon("a subscription", async {
            loop {
                // While slots change hands a node may ask to be asked again.
                if let Ok(subscription) = scene.node.broker().subscribe(subscribe.clone()).await {
                    return subscription;
                }
            }
        });
        Self { subscription: subscription.await, here: BTreeSet::new(), told: Vec::new() }
    }

    async fn next(&mut self) {
        match self.subscription.next().await.unwrap() {
            Delivery::Presence { notice, .. } => {
                if let Some(here) = notice.here {
                    self.here = here.iter().map(|user| user.name.to_string()).collect();
                }
                for user in notice.joined {
                    assert!(self.here.insert(user.name.to_string()), "{} joined and was there", user.name);
                    self.told.push(format!("+{}", user.name));
                }
                for name in notice.left {
                    assert!(self.here.remove(&*name), "{name} left and was not there");
                    self.told.push(format!("-{name}"));
                }
            }
            other => panic!("{other:?}"),
        }
    }

    async fn believes(&mut self, users: &[&str]) {
        soon(&format!("{users:?} were due"), async {
            while !self.here.iter().eq(users.iter()) {
                self.next().await;
            }
        })
        .await;
    }

    /// Takes what comes within this time.
    async fn listen_for(&mut self, time: Duration) {
        let _ = tokio::time::timeout(time, async {
            loop {
                self.next().await;
            }
        })
        .await;
    }
}

async fn page(scene: &Scene, channel: &str) -> Page {
    let channel = ChannelName::parse(channel).unwrap();
    scene.node.broker().presence(&channel, Query { after: None, limit: 1000 }).await.unwrap()
}

async fn users(scene: &Scene, channel: &str) -> Vec<String> {
    page(scene, channel).await.users.iter().map(|user| user.name.to_string()).collect()
}

/// Waits until every node lists exactly these, and says how long that took.
async fn listed_everywhere(cluster: &Cluster, channel: &str, expected: &[&str]) -> Duration {
    let began = Instant::now();
    for scene in &cluster.nodes {
        soon(&format!("{expected:?} on every node"), async {
            while users(scene, channel).await != expected {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_says_the_same_within_a_second_and_tells_it() {
    let cluster = start(3).await;
    // Channels at home on each of the three; a busy machine may be late with some of them.
    let mut fastest = Duration::MAX;
    for channel in ["room:a", "room:b", "room:c", "room:d"] {
        let mut guests = Vec::new();
        for (at, name) in ["ann", "bob", "cid"].into_iter().enumerate() {
            guests.push(Guest::enter(&cluster.nodes[at], channel, name, true).await);
        }
        for guest in &mut guests {
            guest.believes(&["ann", "bob", "cid"]).await;
        }
        let eve = Guest::enter(&cluster.nodes[1], channel, "eve", false).await;
        let took = listed_everywhere(&cluster, channel, &["ann", "bob", "cid", "eve"]).await;
        println!("{channel}: the same on three nodes after {took:?}");
        fastest = fastest.min(took);
        for guest in &mut guests {
            guest.believes(&["ann", "bob", "cid", "eve"]).await;
        }
        // Somebody on two nodes is there once, with two connections.
        let twin = Guest::enter(&cluster.nodes[2], channel, "eve", false).await;
        soon("two connections", async {
            while page(&cluster.nodes[0], channel).await.users[3].connections != 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        drop((eve, twin));
        for guest in &mut guests {
            guest.believes(&["ann", "bob", "cid"]).await;
            assert!(guest.told.ends_with(&["+eve".to_owned(), "-eve".to_owned()]), "{:?}", guest.told);
        }
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hops_to_another_node_within_the_grace_has_neither_left_nor_joined() {
    let cluster = start(3).await;
    let mut guest = Guest::enter(&cluster.nodes[0], "room:a", "guest", true).await;
    let ann = Guest::enter(&cluster.nodes[1], "room:a", "ann", false).await;
    guest.believes(&["ann", "guest"]).await;
    let before = guest.told.len();
    drop(ann);
    tokio::time::sleep(GRACE / 2).await;
    let ann = Guest::enter(&cluster.nodes[2], "room:a", "ann", false).await;
    guest.listen_for(GRACE * 2).await;
    assert_eq!(guest.told.len(), before, "{:?}", guest.told);
    drop(ann);
    guest.believes(&["guest"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_members_of_a_node_that_died_leave_after_the_grace_and_those_who_came_back_have_not_left() {
    let mut cluster = start(3).await;
    let channels = ["room:a", "room:b", "room:c", "room:d", "room:e", "room:f"];
    let mut guests = Vec::new();
    let mut there = Vec::new();
    for channel in channels {
        guests.push(Guest::enter(&cluster.nodes[0], channel, "guest", true).await);
        for (at, name) in [(1, "ann"), (1, "bob"), (2, "cid"), (2, "dan")] {
            there.push((at, Guest::enter(&cluster.nodes[at], channel, name, false).await));
        }
    }
    let all = ["ann", "bob", "cid", "dan", "guest"];
    for guest in &mut guests {
        guest.believes(&all).await;
    }
    let told: Vec<usize> = guests.iter().map(|guest| guest.told.len()).collect();
    let dead = cluster.nodes.remove(2);
    let died = Instant::now();
    dead.node.stop().await;
    drop(dead);
    there.retain(|(at, _)| *at != 2);
    let mut back = Vec::new();
    for channel in channels {
        back.push(Guest::enter(&cluster.nodes[1], channel, "cid", false).await);
    }
    for (guest, told) in guests.iter_mut().zip(told) {
        guest.believes(&["ann", "bob", "cid", "guest"]).await;
        assert_eq!(guest.told[told..], ["-dan"], "he alone did not come back");
    }
    let took = died.elapsed();
    assert!(took >= GRACE, "he left after the grace, not after {took:?}");
    println!("gone {took:?} after the end of their node, with a grace of {GRACE:?}");
    for channel in channels {
        listed_everywhere(&cluster, channel, &["ann", "bob", "cid", "guest"]).await;
    }
    drop((there, back));
}
