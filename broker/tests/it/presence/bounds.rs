//! Presence has bounds, and says where they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidings::broker::{Broker, Delivery, Subscribe};
use tidings::presence::{Member, MemberId};

use super::scene::{Front, Guest, bearer, get, listed, start, stay};
use crate::support::{Http1, draft, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_too_many_is_refused_with_words_and_counted() {
    let scene = start(|config| config.presence.members = 3).await;
    let mut stays = Vec::new();
    for user in ["ann", "bob", "cid"] {
        stays.push(stay(scene.http(), "room:1", &bearer(user)).await);
    }
    let path = "/sse?channel=room:1";
    let mut refused = Http1::get(scene.http(), "1.1", path, &format!("{}Connection: close\r\n", bearer("dan")), None).await;
    assert_eq!(refused.status().await, 503);
    let said = String::from_utf8(refused.rest().await).unwrap();
    assert!(said.contains("presence.members"), "{said}");
    // Another connection of somebody who is there takes no room.
    stays.push(stay(scene.http(), "room:1", &bearer("ann")).await);
    listed(scene.http(), "room:1", &["ann", "bob", "cid"], 0).await;
    assert_eq!(scene.metric("tidings_presence_refused_total", &[]).await, 1.0);
    assert_eq!(scene.metric("tidings_presence_members", &[]).await, 3.0);
    assert_eq!(scene.metric("tidings_bound_used", &["presence_members"]).await, 3.0);
    assert!(scene.metric("tidings_presence_bytes", &[]).await > 0.0);
    drop(stays);
    listed(scene.http(), "room:1", &[], 0).await;
    assert_eq!(scene.metric("tidings_presence_joined_total", &[]).await, 3.0);
    assert_eq!(scene.metric("tidings_presence_left_total", &[]).await, 3.0);
    assert_eq!(scene.metric("tidings_presence_bytes", &[]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_keeps_of_members_is_bounded_over_all_channels() {
    // A node that is alone keeps everybody twice: as connected, and as a member.
    let scene = start(|config| config.presence.members_held = 4).await;
    let mut stays = Vec::new();
    for (room, user) in [("room:1", "ann"), ("room:2", "bob")] {
        stays.push(stay(scene.http(), room, &bearer(user)).await);
        listed(scene.http(), room, &[user], 0).await;
    }
    let path = "/sse?channel=room:3";
    let mut refused = Http1::get(scene.http(), "1.1", path, &format!("{}Connection: close\r\n", bearer("dan")), None).await;
    assert_eq!(refused.status().await, 503);
    let said = String::from_utf8(refused.rest().await).unwrap();
    assert!(said.contains("presence.members_held"), "{said}");
    assert_eq!(scene.metric("tidings_bound_used", &["presence_held"]).await, 4.0);
    assert_eq!(scene.metric("tidings_presence_refused_total", &[]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_channel_above_the_size_only_counts_are_told_and_the_answers_say_so() {
    let scene = start(|config| config.presence.told = 4).await;
    let mut guest = Guest::enter(&scene, Front::Sse, "room:1", &bearer("guest")).await;
    guest.believes(&["guest"]).await;
    let mut stays = Vec::new();
    for number in 0..8 {
        stays.push(stay(scene.http(), "room:1", &bearer(&format!("u{number}"))).await);
    }
    while guest.last["users"] != 9 {
        guest.next().await;
    }
    assert!(guest.last["counts_only"] == true && guest.last.get("joined").is_none() && guest.last.get("here").is_none());
    let page = listed(scene.http(), "room:1", &["guest", "u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7"], 0).await;
    assert_eq!(page["counts_only"], true);
    stays.truncate(1);
    // Names are told again once there are few.
    guest.here.clear();
    guest.believes(&["guest", "u0"]).await;
}

/// Publishes to another channel and hears itself, again and again, until it is told to stop. How often it did.
async fn pulse(broker: Broker, stop: Arc<AtomicBool>) -> u64 {
    let mut ear = broker.subscribe(Subscribe::live(["off:1"]).unwrap()).await.unwrap();
    let mut beats = 0;
    while !stop.load(Ordering::Relaxed) {
        soon("room for a message", broker.publish(draft("off:1", "x"))).await.unwrap();
        while !matches!(soon("a message", ear.next()).await, Some(Delivery::Messages(_))) {}
        beats += 1;
    }
    beats
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_hundred_thousand_members_flood_nobody_and_hold_nobody_up() {
    const MEMBERS: u64 = 100_000;
    let scene = start(|_| {}).await;
    let mut guest = Guest::enter(&scene, Front::Sse, "room:1", &bearer("guest")).await;
    guest.believes(&["guest"]).await;
    let broker = scene.node.broker().clone();
    let stop = Arc::new(AtomicBool::new(false));
    let pulse = tokio::spawn(pulse(broker.clone(), stop.clone()));

    let crowd = tokio::spawn(async move {
        let mut crowd = Vec::new();
        for number in 0..MEMBERS {
            let member = Some(Member { id: MemberId::User(format!("u{number}").into()), info: None });
            crowd.push(broker.subscribe(Subscribe { member, ..Subscribe::live(["room:1"]).unwrap() }).await.unwrap());
        }
        crowd
    });
    let mut notices: u64 = 0;
    while guest.last["users"] != MEMBERS + 1 {
        guest.next().await;
        notices += 1;
    }
    let crowd = crowd.await.unwrap();
    // Those who came before the channel was large were told by name, the others in counts of many at once.
    assert!(guest.last["counts_only"] == true && guest.told.len() <= 2000, "{}", guest.last);
    assert!(notices < MEMBERS / 50, "{notices} notices");
    let bytes = scene.metric("tidings_presence_bytes", &[]).await;
    assert!(bytes < 300.0 * MEMBERS as f64, "{bytes} bytes");
    let page = get(scene.http(), "/v1/channels/room:1/presence").await;
    assert_eq!((&page["users"], &page["counts_only"]), (&(MEMBERS + 1).into(), &true.into()));
    assert!(page["members"].as_array().unwrap().len() <= 1000);

    drop(crowd);
    let mut notices: u64 = 0;
    while guest.last["users"] != 1 {
        guest.next().await;
        notices += 1;
    }
    assert!(notices < MEMBERS / 50, "{notices} notices");
    stop.store(true, Ordering::Relaxed);
    let beats = pulse.await.unwrap();
    println!("{notices} notices of who left, {bytes} bytes, {beats} messages meanwhile");
    // Far more than would have gone through if one of the two had waited for the other.
    assert!(beats > 100, "{beats}");
}
