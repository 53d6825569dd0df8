//! Exactly once: a real broker, a road to it that breaks at random bytes, and many messages.

#![expect(clippy::unwrap_used, reason = "a test binary, helpers included")]

mod real;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use real::{Fate, Road, address, broker, broker_with};
use tidings_sdk::{Client, Delivery, Error, Message, Subscription};

/// Few enough that their answers come before a connection breaks.
const IN_FLIGHT: usize = 16;

/// Chance that can be repeated: the seed is printed, and `TIDINGS_TEST_SEED` gives it again.
fn chance() -> StdRng {
    let seed = std::env::var("TIDINGS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("TIDINGS_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// A message that says its number, of a random size.
fn numbered(number: u64, chance: &mut StdRng) -> String {
    format!("{number} {}", "x".repeat(chance.random_range(0..400)))
}

fn number_in(message: &tidings_sdk::Received) -> u64 {
    message.text().unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// The offset of the next message, past interruptions. A gap is a failure.
async fn next_message(subscription: &mut Subscription) -> tidings_sdk::Received {
    loop {
        match subscription.next().await.unwrap().unwrap() {
            Delivery::Message(message) => return message,
            Delivery::Interrupted(_) | Delivery::Resumed => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_comes_once_and_in_order_over_connections_that_are_cut_anywhere() {
    const STREAMED: u64 = 2_000;
    const SINGLE: u64 = 300;
    let mut chance = chance();
    let node = broker().await;
    let to = node.addresses().grpc.unwrap();
    let mut fates = StdRng::from_rng(&mut chance);
    // Now and then it breaks within the handshake, mostly after more than what is on its way at once.
    let road = Road::build(to, move |_| Fate::Cut(fates.random_range(50..60_000))).await;
    let client = Client::connect_lazy(&road.address).unwrap();

    let streaming = client.clone();
    let mut sizes = StdRng::from_rng(&mut chance);
    let streamed = tokio::spawn(async move {
        let stream = streaming.publish_stream(IN_FLIGHT);
        let mut acks = Vec::new();
        for number in 1..=STREAMED {
            acks.push(stream.publish("{storm}streamed", numbered(number, &mut sizes)).await.unwrap());
        }
        for (number, ack) in (1..).zip(acks) {
            assert_eq!(ack.await.unwrap().offset, number, "its place is that of its call");
        }
    });
    let mut sizes = StdRng::from_rng(&mut chance);
    let calling = Client::connect_lazy(&road.address).unwrap();
    let single = tokio::spawn(async move {
        for number in 1..=SINGLE {
            let published = calling.publish("elsewhere", numbered(number, &mut sizes)).await.unwrap();
            assert_eq!(published.offset, number);
        }
    });

    let listening = Client::connect_lazy(&road.address).unwrap();
    let mut subscription = listening.subscribe(["{storm}streamed", "elsewhere"]).earliest().await.unwrap();
    let mut reached = BTreeMap::new();
    for count in 1..=STREAMED + SINGLE {
        let message = tokio::time::timeout(Duration::from_secs(30), next_message(&mut subscription)).await;
        let Ok(message) = message else {
            let kept = Client::connect(&address(&node)).await.unwrap().channels().await.unwrap().channels;
            panic!(
                "after {} messages nothing more came over {} connections to {subscription:?}; there are {kept:?}",
                count - 1,
                road.connections()
            );
        };
        let before = reached.insert(message.channel.clone(), message.offset).unwrap_or(0);
        assert_eq!(message.offset, before + 1, "of {}", message.channel);
        assert_eq!(number_in(&message), message.offset, "of {}", message.channel);
    }
    streamed.await.unwrap();
    single.await.unwrap();
    assert!(road.connections() > 20, "only {} connections: it was no storm", road.connections());
    let kept = Client::connect(&address(&node)).await.unwrap().channels().await.unwrap().channels;
    let kept: BTreeMap<_, _> = kept.into_iter().map(|info| (info.channel, info.offset)).collect();
    assert_eq!(kept, reached, "and the broker holds no more than that");
    println!("{} connections", road.connections());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_restarts_no_message_comes_twice_and_what_is_missing_is_declared() {
    const MESSAGES: u64 = 1_500;
    let mut chance = chance();
    let mut node = Some(broker().await);
    let mut fates = StdRng::from_rng(&mut chance);
    let to = node.as_ref().unwrap().addresses().grpc.unwrap();
    let road = Road::build(to, move |_| Fate::Cut(fates.random_range(50..60_000))).await;

    let listening = Client::connect_lazy(&road.address).unwrap();
    let mut subscription = listening.subscribe(["a"]).earliest().await.unwrap();
    let listener = tokio::spawn(async move {
        let (mut last, mut gaps, mut holes, mut is_declared) = (0, 0, 0, false);
        while last < MESSAGES {
            match subscription.next().await.unwrap().unwrap() {
                Delivery::Message(message) => {
                    let number = number_in(&message);
                    assert!(number > last, "{number} came after {last}");
                    if number != last + 1 {
                        assert!(is_declared, "between {last} and {number} messages are missing, and nobody said so");
                        holes += 1;
                    }
                    (last, is_declared) = (number, false);
                }
                Delivery::Gap(gap) => {
                    assert_eq!(gap.reason, "restart");
                    (gaps, is_declared) = (gaps + 1, true);
                }
                _ => {}
            }
        }
        (gaps, holes)
    });

    let client = Client::connect_lazy(&road.address).unwrap();
    let stream = client.publish_stream(IN_FLIGHT);
    let mut acks = Vec::new();
    for number in 1..=MESSAGES {
        let message = Message::new(numbered(number, &mut chance)).id(number.to_string());
        acks.push(stream.publish("a", message).await.unwrap());
        if number % 400 == 0 {
            // Away with all it knows, and back as another one.
            road.lead_to(None);
            node.take().unwrap().stop().await;
            node = Some(broker().await);
            road.lead_to(node.as_ref().unwrap().addresses().grpc);
        }
    }
    for ack in acks {
        ack.await.unwrap();
    }
    let (gaps, holes) = tokio::time::timeout(Duration::from_secs(60), listener).await.unwrap().unwrap();
    assert!(gaps >= 1 && gaps >= holes, "{gaps} gaps, {holes} holes");
    println!("{} connections, {gaps} gaps, {holes} holes", road.connections());
}

#[tokio::test]
async fn a_connection_that_stalls_is_given_up_for_another_before_patience_ends() {
    let node = broker().await;
    let to = node.addresses().grpc.unwrap();
    let road = Road::build(to, |number| if number == 0 { Fate::Stall(2_000) } else { Fate::Cut(i64::MAX) }).await;
    let client = Client::connect(&road.address).await.unwrap();
    client.publish("a", "first").await.unwrap();
    let lost = tokio::spawn({
        let client = client.clone();
        async move { client.publish("a", "x".repeat(3_000)).await }
    });
    // Time stands still until the message has met the wall, and runs until another connection is made.
    tokio::task::yield_now().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::time::resume();
    assert_eq!(lost.await.unwrap().unwrap().offset, 2);
    assert_eq!(road.connections(), 2);
}

#[tokio::test]
async fn a_subscription_goes_on_in_another_process_from_the_cursor_that_was_kept() {
    let node = broker().await;
    let client = Client::connect(&address(&node)).await.unwrap();
    for number in 1..=5 {
        client.publish("a", number.to_string()).await.unwrap();
    }
    let mut subscription = client.subscribe(["a"]).earliest().await.unwrap();
    for number in 1..=2 {
        assert_eq!(next_message(&mut subscription).await.offset, number);
    }
    let kept = subscription.cursor().to_owned();
    drop(subscription);
    let mut subscription = Client::connect(&address(&node)).await.unwrap().subscribe(["a"]).since(kept).await.unwrap();
    assert_eq!(next_message(&mut subscription).await.offset, 3);
}

#[tokio::test]
async fn history_and_channels_are_read_page_by_page_and_cleared() {
    let node = broker().await;
    let client = Client::connect(&address(&node)).await.unwrap();
    for channel in ["chat:a", "chat:b", "news"] {
        for number in 1..=3 {
            client.publish(channel, Message::new(number.to_string()).event("n").header("k", "v")).await.unwrap();
        }
    }
    let page = client.history("chat:a").limit(2).await.unwrap();
    let first = &page.messages[0];
    assert_eq!((first.offset, first.text(), first.event.as_str(), first.headers["k"].as_str()), (1, Some("1"), "n", "v"));
    let page = client.history("chat:a").since(page.cursor).await.unwrap();
    assert_eq!(page.messages.iter().map(|message| message.offset).collect::<Vec<_>>(), [3]);
    let newest = client.history("chat:a").newest_first().limit(1).await.unwrap();
    assert_eq!(newest.messages[0].offset, 3);

    let page = client.channels().prefix("chat:").limit(1).await.unwrap();
    assert_eq!((page.channels[0].channel.as_str(), page.channels[0].messages, page.next.as_deref()), ("chat:a", 3, Some("chat:a")));
    let page = client.channels().prefix("chat:").after(page.next.unwrap()).await.unwrap();
    assert_eq!((page.channels.len(), page.channels[0].channel.as_str(), page.next), (1, "chat:b", None));

    let cleared = client.clear("chat:a").await.unwrap();
    assert!(client.history("chat:a").await.unwrap().messages.is_empty());
    assert!(client.history("chat:a").since(first.cursor.clone()).await.unwrap().gap.is_some_and(|gap| gap.reason == "cleared"));
    assert!(!cleared.is_empty());
    let error = client.history("chat:a").limit(1_000_000).await.unwrap_err();
    assert!(matches!(&error, Error::Refused(refused) if !refused.retry), "{error}");
}

#[tokio::test]
async fn over_a_unix_socket_all_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidings.sock");
    let _node = broker_with(|config| config.grpc.unix = Some(path.clone())).await;
    let client = Client::connect(&format!("unix:{}", path.display())).await.unwrap();
    let mut subscription = client.subscribe(["a"]).await.unwrap();
    client.publish("a", "x").await.unwrap();
    assert_eq!(next_message(&mut subscription).await.data, "x");
}
