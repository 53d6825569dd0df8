//! The client against a small broker of our own making, which remembers ids and misbehaves on demand.

#![expect(clippy::unwrap_used, reason = "a test binary, helpers included")]

mod fake;

use std::time::Duration;

use fake::{Fake, Mood};
use tidings_sdk::{Client, Code, Error, Message};

#[tokio::test]
async fn a_publish_is_one_call() {
    let fake = Fake::start().await;
    let published = Client::connect(&fake.address).await.unwrap().publish("news", "hello").await.unwrap();
    assert_eq!((published.channel.as_str(), published.offset, published.duplicate), ("news", 1, false));
    assert_eq!(fake.kept(), ["news hello"]);
}

#[tokio::test]
async fn everything_said_of_a_message_arrives() {
    let fake = Fake::start().await;
    let client = Client::connect(&fake.address).await.unwrap().with_key("k1").unwrap();
    let message = Message::new("{}").content_type("application/json").event("e").id("mine").header("a", "b").ttl(Duration::from_secs(2));
    client.publish("c", message).await.unwrap();
    let seen = fake.last_request();
    assert_eq!((seen.content_type.as_str(), seen.event.as_str(), seen.id.as_str()), ("application/json", "e", "mine"));
    assert_eq!((seen.headers["a"].as_str(), seen.ttl_ms, seen.retry_id.len()), ("b", 2_000, 0));
    assert_eq!(fake.last_authorization().as_deref(), Some("Bearer k1"));
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_id() {
    let fake = Fake::start().await;
    fake.set_mood(Mood::LoseAnswers(2));
    let published = Client::connect(&fake.address).await.unwrap().publish("news", "once").await.unwrap();
    assert!(published.duplicate, "the third try finds the first one's message");
    assert_eq!(fake.kept(), ["news once"]);
}

#[tokio::test]
async fn a_no_is_told_at_once() {
    let fake = Fake::start().await;
    let error = Client::connect(&fake.address).await.unwrap().publish("", "x").await.unwrap_err();
    let Error::Refused(refused) = error else { panic!("{error}") };
    assert_eq!((refused.code, refused.retry), (Code::InvalidRequest, false));
    assert_eq!(fake.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn patience_ends() {
    let client = Client::connect_lazy("http://127.0.0.1:1").unwrap().with_patience(Duration::from_secs(3));
    let start = tokio::time::Instant::now();
    let error = client.publish("news", "x").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(start.elapsed() <= Duration::from_secs(3));
    let ack = client.publish_stream(4).publish("news", "x").await.unwrap();
    assert!(matches!(ack.await.unwrap_err(), Error::Unavailable { .. }));
}

#[tokio::test]
async fn when_patience_ends_a_message_that_was_sent_is_of_unknown_fate_and_one_that_was_refused_is_not() {
    let fake = Fake::start().await;
    let client = Client::connect(&fake.address).await.unwrap();
    fake.set_mood(Mood::LoseAnswers(u32::MAX));
    tokio::time::pause();
    let error = client.publish("news", "x").await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { patience: tidings_sdk::PATIENCE_MAX, .. }) && error.may_retry(), "{error}");
    assert_eq!(fake.kept(), ["news x"], "tried many times and always under the same id");
    fake.set_mood(Mood::NeverAck);
    let ack = client.within(Duration::from_secs(7)).publish_stream(1).publish("news", "y").await.unwrap();
    assert!(matches!(ack.await.unwrap_err(), Error::OutcomeUnknown { .. }));
}

#[tokio::test]
async fn nobody_there_is_an_error_of_connect() {
    let error = Client::connect("127.0.0.1:1").await.unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn a_batch_and_a_publish_to_several_answer_one_by_one() {
    let fake = Fake::start().await;
    let client = Client::connect(&fake.address).await.unwrap();
    let batch = client.publish_batch([("a", "1"), ("", "2"), ("b", "3")]).await.unwrap();
    assert_eq!(batch.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    let several = client.publish_to(["a", ""], "4").await.unwrap();
    assert_eq!(several[0].as_ref().unwrap().offset, 2);
    assert_eq!(several[1].as_ref().unwrap_err().code, Code::InvalidRequest);
    assert_eq!(fake.kept(), ["a 1", "b 3", "a 4"]);
}

#[tokio::test]
async fn a_stream_publishes_in_order_and_survives_a_refusal() {
    let fake = Fake::start().await;
    let stream = Client::connect(&fake.address).await.unwrap().publish_stream(8);
    let mut acks = Vec::new();
    for n in 0..100 {
        acks.push(stream.publish(if n == 50 { "" } else { "c" }, n.to_string()).await.unwrap());
    }
    stream.finish().await.unwrap();
    let mut offset = 0;
    for (n, ack) in acks.into_iter().enumerate() {
        if n == 50 {
            assert!(matches!(ack.await, Err(Error::Refused(_))));
        } else {
            offset += 1;
            assert_eq!(ack.await.unwrap().offset, offset);
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_again_and_again_publishes_each_message_once_and_in_order() {
    let fake = Fake::start().await;
    fake.set_mood(Mood::BreakStreamsAfter(7));
    let stream = Client::connect(&fake.address).await.unwrap().publish_stream(16);
    let mut acks = Vec::new();
    for n in 0..60 {
        acks.push(stream.publish("c", n.to_string()).await.unwrap());
    }
    for (n, ack) in acks.into_iter().enumerate() {
        assert_eq!(ack.await.unwrap().offset, n as u64 + 1);
    }
    assert_eq!(fake.kept(), (0..60).map(|n| format!("c {n}")).collect::<Vec<_>>());
    assert!(fake.calls() > 3, "it did break");
}

#[tokio::test]
async fn a_stream_takes_no_more_than_its_bound() {
    let fake = Fake::start().await;
    fake.set_mood(Mood::NeverAck);
    let stream = Client::connect(&fake.address).await.unwrap().publish_stream(3);
    let mut acks = Vec::new();
    for _ in 0..3 {
        acks.push(stream.publish("c", "x").await.unwrap());
    }
    let fourth = stream.publish("c", "x");
    tokio::select! {
        biased;
        _ = fourth => panic!("a fourth unanswered message was taken"),
        () = fake.until_kept(3) => {}
    }
}

#[tokio::test]
async fn a_tiny_ack_flood_does_not_kill_the_connection() {
    let fake = Fake::start().await;
    let stream = Client::connect(&fake.address).await.unwrap().publish_stream(20_000);
    let mut last = None;
    for _ in 0..20_000 {
        last = Some(stream.publish("c", "x").await.unwrap());
    }
    assert_eq!(last.unwrap().await.unwrap().offset, 20_000);
    assert_eq!(fake.calls(), 1, "one stream carried them all");
}
