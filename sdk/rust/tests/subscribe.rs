//! Subscriptions against a broker of our own making that tells what was written down before.

#![expect(clippy::unwrap_used, reason = "a test binary, helpers included")]

mod fake;

use std::time::Duration;

use fake::{Fake, Line, named};
use tidings_proto::v1;
use tidings_proto::v1::subscribe_reply::Reply;
use tidings_proto::v1::subscribe_request::Since;
use tidings_sdk::{Client, Code, Delivery, Error, Subscription};
use tokio_stream::StreamExt;
use tonic::Status;

fn say(cursor: &str, reply: Reply) -> Line {
    Line::Say(Box::new(v1::SubscribeReply { cursor: cursor.into(), reply: Some(reply) }))
}

fn subscribed(cursor: &str) -> Line {
    say(cursor, Reply::Subscribed(v1::Subscribed {}))
}

fn message(cursor: &str, id: &str) -> Line {
    say(cursor, Reply::Message(v1::Message { channel: "a".into(), id: id.into(), cursor: "its own".into(), ..Default::default() }))
}

fn gap(cursor: &str, reason: &str) -> Line {
    say(cursor, Reply::Gap(v1::Gap { channel: "a".into(), reason: reason.into(), oldest: "o".into() }))
}

fn closed(code: &str, retry: bool, retry_after_ms: u64) -> Line {
    say("c", Reply::Closed(v1::Closed { code: code.into(), message: "because".into(), retry, retry_after_ms }))
}

fn broken() -> Line {
    Line::Fail(Status::unavailable("broken"))
}

async fn listen(fake: &Fake) -> Subscription {
    Client::connect(&fake.address).await.unwrap().subscribe(["a"]).await.unwrap()
}

/// The next deliveries in a few words each.
async fn hear(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.len() < count {
        heard.push(match subscription.next().await.unwrap().unwrap() {
            Delivery::Message(message) => message.id,
            Delivery::Gap(gap) => format!("gap {}", gap.reason),
            Delivery::Interrupted(why) => format!("interrupted {}", why.code.unwrap_or_default()),
            other => format!("{other:?}"),
        });
    }
    heard
}

#[tokio::test]
async fn a_subscription_goes_on_where_it_was_when_its_stream_breaks() {
    let first = vec![subscribed("c0"), message("c1", "1"), broken()];
    let fake = Fake::telling([first, vec![subscribed("c1"), message("c2", "2"), Line::Hang]]).await;
    let mut subscription = Client::connect(&fake.address).await.unwrap().subscribe(["a", "b"]).last(3).await.unwrap();
    assert_eq!(subscription.cursor(), "c0");
    assert_eq!(hear(&mut subscription, 4).await, ["1", "interrupted ", "Resumed", "2"]);
    assert_eq!(subscription.cursor(), "c2");
    let asked: Vec<_> = fake.subscribes().into_iter().map(|asked| (asked.channels.join(" "), asked.since.unwrap())).collect();
    assert_eq!(asked, [("a b".into(), Since::Last(3)), ("a b".into(), Since::Cursor("c1".into()))]);
}

#[tokio::test]
async fn a_message_carries_the_cursor_of_the_subscription_and_not_its_own() {
    let fake = Fake::telling([vec![subscribed("c0"), message("c1", "1"), Line::Hang]]).await;
    let Some(Ok(Delivery::Message(message))) = StreamExt::next(&mut listen(&fake).await).await else { panic!("no message") };
    assert_eq!(message.cursor, "c1");
}

#[tokio::test]
async fn silence_is_noticed_and_another_connection_made() {
    let fake = Fake::telling([vec![subscribed("c0"), Line::Hang], vec![subscribed("c0"), message("c1", "1"), Line::Hang]]).await;
    let mut subscription = listen(&fake).await;
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    assert_eq!(hear(&mut subscription, 1).await, ["interrupted "]);
    assert_eq!(start.elapsed().as_secs(), 45);
    tokio::time::resume();
    assert_eq!(hear(&mut subscription, 2).await, ["Resumed", "1"]);
}

#[tokio::test]
async fn a_reader_that_was_away_for_long_is_given_what_waited_and_not_called_silent() {
    let fake = Fake::telling([vec![subscribed("c0"), message("c1", "1"), message("c2", "2"), Line::Hang]]).await;
    let mut subscription = listen(&fake).await;
    assert_eq!(hear(&mut subscription, 1).await, ["1"]);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(hear(&mut subscription, 1).await, ["2"]);
}

#[tokio::test]
async fn a_broker_that_leaves_says_when_to_come_back_and_is_obeyed() {
    let fake = Fake::telling([vec![subscribed("c0"), closed("draining", true, 7_000)], vec![subscribed("c"), Line::Hang]]).await;
    let mut subscription = listen(&fake).await;
    assert_eq!(hear(&mut subscription, 1).await, ["interrupted draining"]);
    tokio::time::pause();
    let early = tokio::time::timeout(Duration::from_millis(6_000), subscription.next()).await;
    assert!(early.is_err(), "{early:?}");
    tokio::time::resume();
    assert_eq!(hear(&mut subscription, 1).await, ["Resumed"]);
    assert_eq!(fake.subscribes()[1].since, Some(Since::Cursor("c".into())));
}

#[tokio::test]
async fn it_comes_back_to_a_broker_that_is_overloaded_for_a_while() {
    let later = || vec![Line::Fail(named(Status::resource_exhausted("full"), "overloaded"))];
    let fake = Fake::telling([vec![subscribed("c0")], later(), later(), vec![subscribed("c0"), Line::Hang]]).await;
    assert_eq!(hear(&mut listen(&fake).await, 2).await, ["interrupted ", "Resumed"], "told once, however many tries it takes");
}

#[tokio::test]
async fn a_no_ends_it() {
    let no = vec![Line::Fail(named(Status::unauthenticated("the key was withdrawn"), "unauthenticated"))];
    let fake = Fake::telling([vec![subscribed("c0"), broken()], no]).await;
    let mut subscription = listen(&fake).await;
    assert_eq!(hear(&mut subscription, 1).await, ["interrupted "]);
    let error = subscription.next().await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::Refused(refused) if refused.code == Code::Unauthenticated && !refused.retry), "{error}");
    assert!(subscription.next().await.is_none());

    let fake = Fake::telling([vec![subscribed("c0"), closed("finished", false, 0)]]).await;
    let mut subscription = listen(&fake).await;
    assert_eq!(subscription.next().await.unwrap().unwrap_err().code().unwrap().as_str(), "finished");
    assert!(subscription.next().await.is_none());
}

#[tokio::test]
async fn a_gap_that_is_told_again_because_the_cursor_did_not_move_is_handed_on_once() {
    let fake = Fake::telling([
        vec![subscribed("c0"), gap("c0", "window"), broken()],
        vec![subscribed("c0"), gap("c0", "window"), broken()],
        vec![subscribed("c0"), gap("c0", "restart"), message("c1", "1"), gap("c1", "restart"), Line::Hang],
    ])
    .await;
    let heard = hear(&mut listen(&fake).await, 8).await;
    assert_eq!(
        heard,
        ["gap window", "interrupted ", "Resumed", "interrupted ", "Resumed", "gap restart", "1", "gap restart"],
        "the same is told once, another one always, and any after a message"
    );
}

#[tokio::test]
async fn a_message_that_comes_again_after_a_restart_is_known_by_its_id() {
    let fake = Fake::telling([
        vec![subscribed("c0"), message("c1", "1"), broken()],
        vec![subscribed("c1"), gap("c1", "restart"), message("d1", "1"), message("d2", "2"), Line::Hang],
    ])
    .await;
    let mut subscription = listen(&fake).await;
    assert_eq!(hear(&mut subscription, 5).await, ["1", "interrupted ", "Resumed", "gap restart", "2"]);
    assert_eq!(subscription.cursor(), "d2");
}

#[tokio::test]
async fn whoever_stops_waiting_for_the_next_one_loses_none() {
    let fake =
        Fake::telling([vec![subscribed("c0"), message("c1", "1"), broken()], vec![subscribed("c1"), message("c2", "2"), Line::Hang]]).await;
    let mut subscription = listen(&fake).await;
    let mut ids = Vec::new();
    while ids.len() < 2 {
        tokio::select! {
            biased;
            delivery = subscription.next() => if let Delivery::Message(message) = delivery.unwrap().unwrap() { ids.push(message.id) },
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(ids, ["1", "2"]);
}

#[tokio::test]
async fn to_begin_takes_a_broker_that_says_yes_in_time() {
    let fake = Fake::telling([vec![Line::Fail(named(Status::invalid_argument("no cursor"), "invalid_cursor"))]]).await;
    let client = Client::connect(&fake.address).await.unwrap();
    let error = client.subscribe(["a"]).since("nonsense").await.unwrap_err();
    assert_eq!(error.code(), Some(&Code::InvalidCursor));
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_an_error_once_patience_ends() {
    let client = Client::connect_lazy("http://127.0.0.1:1").unwrap().with_patience(Duration::from_secs(3));
    assert!(matches!(client.subscribe(["a"]).await.unwrap_err(), Error::Unavailable { .. }));
    assert!(matches!(client.history("a").await.unwrap_err(), Error::Unavailable { .. }));
}

#[tokio::test]
async fn who_is_there_is_told_when_asked_for_and_asked_for_again_after_a_break() {
    let told = |all, left: &[&str]| {
        let counts = Some(v1::PresenceCounts { users: 1, anonymous: 2, connections: 3 });
        let users = vec![v1::PresenceUser { user: "ann".into(), info: "{}".into(), connections: 0 }];
        let left = left.iter().map(ToString::to_string).collect();
        say("c0", Reply::Presence(v1::Presence { channel: "a".into(), counts, all, users, left, ..Default::default() }))
    };
    let fake =
        Fake::telling([vec![subscribed("c0"), told(true, &[]), broken()], vec![subscribed("c0"), told(false, &["bob"]), Line::Hang]]).await;
    let mut subscription = Client::connect(&fake.address).await.unwrap().subscribe(["a"]).presence().await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        if let Delivery::Presence(told) = subscription.next().await.unwrap().unwrap() {
            heard.push(told);
        }
    }
    assert!(heard[0].all && heard[0].users[0].user == "ann" && heard[0].counts.anonymous == 2, "{heard:?}");
    assert!(!heard[1].all && heard[1].left == ["bob"], "{heard:?}");
    assert!(fake.subscribes().iter().all(|request| request.presence));
}

#[tokio::test]
async fn who_is_there_comes_page_by_page() {
    let fake = Fake::telling([]).await;
    let client = Client::connect(&fake.address).await.unwrap();
    let page = client.presence("a").limit(1).await.unwrap();
    assert_eq!((page.users[0].user.as_str(), page.next.as_deref(), page.counts.users), ("a", Some("a"), 2));
    let page = client.presence("a").limit(1).after("a").await.unwrap();
    assert_eq!((page.users[0].user.as_str(), page.next), ("a-2", None));
}
