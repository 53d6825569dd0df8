//! The promises to those who listen, each held on every way to listen, with messages committed at once and late, and over
//! TLS as in the clear.
//!
//! A new front is one row in `on_every_front!`.

use std::time::Duration;

use tidings::broker::{HistoryQuery, Order};
use tidings::log::{Cursor, Pos, SlotCursor};
use tidings::message::{ChannelName, Draft, PublishId};

use crate::support::{Commit, Listener, Message, News, Scene, Since, Way, draft, metric, sibling, soon};

/// Makes a test of each promise and each way to listen.
macro_rules! on_every_front {
    ($($promise:ident),+ $(,)?) => { $(
        mod $promise {
            use crate::support::Way;
            on_every_front!(@rows $promise:
                sse_http1 SseHttp1, sse_http10 SseHttp10, sse_http2 SseHttp2,
                stream_http1 StreamHttp1, stream_http10 StreamHttp10, stream_http2 StreamHttp2, stream_page StreamPage,
                poll_http1 PollHttp1, poll_http2 PollHttp2,
                sse_guest SseGuest, sse_guest_http2 SseGuestHttp2, stream_guest StreamGuest, poll_guest PollGuest,
                websocket_guest WebSocketGuest, websocket_carried WebSocketCarried,
                websocket WebSocket, websocket_requests WebSocketRequests, grpc Grpc, door Door);

            mod over_tls {
                use crate::support::Way;
                on_every_front!(@tls $promise:
                    sse_http1 SseHttp1, sse_http2 SseHttp2, stream_http1 StreamHttp1, stream_http2 StreamHttp2,
                    poll_http1 PollHttp1, poll_http2 PollHttp2,
                    websocket WebSocket, websocket_requests WebSocketRequests, grpc Grpc);
            }
        }
    )+ };
    (@tls $promise:ident: $($name:ident $way:ident),+) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            for commit in [crate::support::Commit::AtOnce, crate::support::Commit::Late] {
                crate::support::over_tls(super::super::$promise(Way::$way, commit)).await;
            }
        }
    )+ };
    (@rows $promise:ident: $($(#[$mark:meta])* $name:ident $way:ident),+) => { $(
        $(#[$mark])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            for commit in [crate::support::Commit::AtOnce, crate::support::Commit::Late] {
                super::$promise(Way::$way, commit).await;
            }
        }
    )+ };
}

on_every_front![
    everything_comes_once_and_in_order,
    everyone_sees_the_same_order,
    history_runs_into_live_without_a_seam,
    the_newest_n_come_and_then_what_is_live,
    who_comes_back_misses_nothing_and_gets_nothing_twice,
    what_left_the_window_is_declared_and_the_rest_follows,
    the_last_moment_of_the_window_is_no_gap,
    a_clear_is_declared_to_those_who_were_away,
    a_clear_disturbs_nobody_who_is_there,
    a_gap_is_told_once_even_when_nothing_follows_it,
    a_cursor_of_another_life_is_a_gap_and_then_all_that_is_kept,
    a_cursor_from_nowhere_is_a_gap,
    a_cursor_of_another_slot_says_nothing,
    channels_of_one_slot_come_in_the_order_of_the_slot,
    a_subscription_over_several_slots_resumes_exactly,
    a_message_that_outlived_its_own_ttl_is_no_gap,
    a_repeated_publish_is_delivered_once,
    bounds_are_told_by_their_code,
    a_drain_sends_clients_away_gently,
    a_channel_without_history_reaches_those_who_listen,
];

const CHANNEL: &str = "orders";

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn gap(channel: &str, reason: &str) -> News {
    News::Gap { channel: channel.to_owned(), reason: reason.to_owned() }
}

async fn next(listener: &mut Listener) -> News {
    soon("news", listener.next()).await
}

async fn everything_comes_once_and_in_order(way: Way, commit: Commit) {
    let scene = Scene::open(commit).await;
    let mut listener = Listener::open(way, &scene, &[CHANNEL], Since::Live).await;
    scene.publish_numbers(CHANNEL, 1..=80).await;
    for number in 1..=80 {
        let message = listener.message().await;
        assert_eq!((message.offset, message.text), (number, number.to_string()));
    }
}

async fn everyone_sees_the_same_order(way: Way, commit: Commit) {
    let scene = Scene::open(commit).await;
    let mut one = Listener::open(way, &scene, &[CHANNEL], Since::Live).await;
    let mut other = Listener::open(way, &scene, &[CHANNEL], Since::Live).await;
    let publish = |publisher: u64| scene.publish_numbers(CHANNEL, publisher * 100 + 1..=publisher * 100 + 25);
    tokio::join!(publish(0), publish(1), publish(2));
    let (one, other) = (one.texts(75).await, other.texts(75).await);
    assert_eq!(one, other);
    for publisher in 0..3 {
        let of_one = one.iter().filter(|text| text.parse::<u64>().unwrap() / 100 == publisher).cloned().collect::<Vec<_>>();
        assert_eq!(of_one, numbers(publisher * 100 + 1..=publisher * 100 + 25), "each publisher's own order stays");
    }
}

async fn history_runs_into_live_without_a_seam(way: Way, commit: Commit) {
    let scene = Scene::open(commit).await;
    scene.publish_numbers(CHANNEL, 1..=30).await;
    let listen = async { Listener::open(way, &scene, &[CHANNEL], Since::Earliest).await.texts(60).await };
    let (texts, ()) = tokio::join!(listen, scene.publish_numbers(CHANNEL, 31..=60));
    assert_eq!(texts, numbers(1..=60));
}

async fn the_newest_n_come_and_then_what_is_live(way: Way, commit: Commit) {
    let scene = Scene::open(commit).await;
    scene.publish_numbers(CHANNEL, 1..=20).await;
    let mut listener = Listener::open(way, &scene, &[CHANNEL], Since::Last(3)).await;
    assert_eq!(listener.texts(3).await, numbers(18..=20));
    scene.publish(CHANNEL, "21").await;
    assert_eq!(listener.texts(1).await, ["21"]);
    let mut of_few = Listener::open(way, &scene, &[CHANNEL], Since::Last(1000)).await;
    assert_eq!(of_few.texts(21).await, numbers(1..=21), "more than there are is all there are");
}

async fn who_comes_back_misses_nothing_and_gets_nothing_twice(way: Way, commit: Commit) {
    let scene = Scene::open(commit).await;
    scene.publish_numbers(CHANNEL, 1..=20).await;
    let (mut texts, cursor) = Listener::open(way, &scene, &[CHANNEL], Since::Earliest).await.leave_after(7).await;
    scene.publish_numbers(CHANNEL, 21..=30).await;
    // By every other way too: one cursor fits all.
    for other in Way::ALL {
        let mut listener = Listener::open(other, &scene, &[CHANNEL], cursor.clone()).await;
        assert_eq!(listener.texts(30 - texts.len()).await, numbers(texts.len() as u64 + 1..=30), "{way:?} → {other:?}");
    }
    let (rest, cursor) = Listener::open(way, &scene, &[CHANNEL], cursor).await.leave_after(30 - texts.len()).await;
    texts.extend(rest);
    assert_eq!(texts, numbers(1..=30));
    // At the very end nothing is due but what is new.
    let mut listener = Listener::open(way, &scene, &[CHANNEL], cursor).await;
    scene.publish(CHANNEL, "31").await;
    assert_eq!(listener.texts(1).await, ["31"]);
    assert_eq!(scene.metric("tidings_gaps_declared_total", &[]).await, 0.0);
}

async fn what_left_the_window_is_declared_and_the_rest_follows(way: Way, commit: Commit) {
    let scene = Scene::keeping(commit, "default", 10).await;
    scene.publish_numbers(CHANNEL, 1..=5).await;
    let (_, cursor) = Listener::open(way, &scene, &[CHANNEL], Since::Earliest).await.leave_after(5).await;
    scene.publish_numbers(CHANNEL, 6..=30).await;
    let mut listener = Listener::open(way, &scene, &[CHANNEL], cursor).await;
    assert_eq!(next(&mut listener).await, gap(CHANNEL, "window"));
    let (texts, cursor) = listener.leave_after(10).await;
    assert_eq!(texts, numbers(21..=30));
    let mut listener = Listener::open(way, &scene, &[CHANNEL], cursor).await;
    scene.publish(CHANNEL, "31").await;
    assert_eq!(listener.texts(1).await, ["31"], "a gap that was told is not told again");
}

async fn the_last_moment_of_the_window_is_no_gap(way: Way, commit: Commit) {
    let scene = Scene::keeping(commit, "default", 10).await;
    scene.publish_numbers(CHANNEL, 1..=5).await;
    let (_, cursor) = Listener::open(way, &scene, &[CHANNEL], Since::Earliest).await.leave_after(5).await;
    scene.publish_numbers(CHANNEL, 6..=15).await;
    let mut listener = Listener::open(way, &scene, &[CHANNEL], cursor.clone()).await;
    assert_eq!(listener.texts(10).await, numbers(6..=15));
    scene.publish(CHANNEL, "16").await;
    let mut listener = Listener::open(way, &scene, &[CHANNEL], cursor).await;
    assert_eq!(next(&mut listener).await, gap(CHANNEL, "window"), "one message more and it is");
}

async fn a_clear_is_declared_to_those_who_were_away(way: Way, commit: Commit) {
    let scene = Scene::open(commit).await;
    scene.publish_numbers(CHANNEL, 1..=5).await;
    let (_, cursor) = Listener::open(way, &scene, &[CHANNEL], Since::Earliest).await.leave_after(5).await;
    scene.publish_numbers(CHANNEL, 6..=8).await;
    scene.clear(CHANNEL).await;
    scene.publish(CHANNEL, "9").await;
    let mut listener = Listener::open(way, &scene, &[CHANNEL], cursor).await;
    assert_eq!(next(&mut listener).await, gap(CHANNEL, "cleared"));
    assert_eq!(listener.texts(1).await, ["9"]);
}

async fn a_clear_disturbs_nobody_who_is_there(way: Way, commit: Commit) {
    let scene = Scene::open(commit).await;
    let mut listener = Listener::open(way, &scene, &[CHANNEL], Since::Live).await;
    scene.publish(CHANNEL, "before").await;
    assert_eq!(listener.texts(1).await, ["before"]);
    scene.clear(CHANNEL).await;
    if way.is_poll() {
        // A poll is away between two answers, and told as anyone who was.
        assert_eq!(next(&mut listener).await, gap(CHANNEL, "cleared"));
    }
    scene.publish(CHANNEL, "after").await;
    assert_eq!(listener.texts(1).await, ["after"]);
}

async fn a_gap_is_told_once_even_when_nothing_follows_it(way: Way, commit: Commit) {
    let scene = Scene::open(commit).await;
    scene.publish_numbers(CHANNEL, 1..=5).await;
    let (_, before) = Listener::open(way, &scene, &[CHANNEL], Since::Earliest).await.leave_after(5).await;
    scene.publish(CHANNEL, "6").await;
    scene.clear(CHANNEL).await;
    let mut listener = Listener::open(way, &scene, &[CHANNEL], before.clone()).await;
    assert_eq!(next(&mut listener).await, gap(CHANNEL, "cleared"));
    // The door gives its cursor on demand; on a wire it must be sent.
    let after = if way.is_poll() { listener.cursor() } else { soon("a cursor behind the gap", listener.fresh_cursor(&before)).await };
    drop(listener);
    let mut listener = Listener::open(way, &scene, &[CHANNEL], after).await;
    scene.publish(CHANNEL, "7").await;
    assert_eq!(next(&mut listener).await, News::Message(listener_message(CHANNEL, 7, &scene).await), "not the gap again");
}

/// The message with this text as a listener shows it: the newest of its channel.
async fn listener_message(channel: &str, number: u64, scene: &Scene) -> Message {
    let name = ChannelName::parse(channel).unwrap();
    let query = HistoryQuery { limit: 1, order: Order::NewestFirst, ..Default::default() };
    let page = scene.node.broker().history(&name, &query).await.unwrap();
    let entry = page.entries.first().unwrap();
    assert_eq!(entry.payload.bytes(), number.to_string().as_bytes());
    Message { channel: channel.to_owned(), offset: entry.offset, cursor: entry.cursor().to_string(), text: number.to_string() }
}

async fn a_cursor_of_another_life_is_a_gap_and_then_all_that_is_kept(way: Way, commit: Commit) {
    let before = Scene::open(commit).await;
    before.publish_numbers(CHANNEL, 1..=5).await;
    let (_, cursor) = Listener::open(way, &before, &[CHANNEL], Since::Earliest).await.leave_after(5).await;
    drop(before);
    let scene = Scene::open(commit).await;
    scene.publish_numbers(CHANNEL, 10..=12).await;
    let mut listener = Listener::open(way, &scene, &[CHANNEL], cursor).await;
    assert_eq!(next(&mut listener).await, gap(CHANNEL, "restart"));
    let (texts, cursor) = listener.leave_after(3).await;
    assert_eq!(texts, numbers(10..=12));
    scene.publish(CHANNEL, "13").await;
    assert_eq!(Listener::open(way, &scene, &[CHANNEL], cursor).await.texts(1).await, ["13"]);
}

async fn a_cursor_from_nowhere_is_a_gap(way: Way, commit: Commit) {
    let scene = Scene::open(commit).await;
    let published = scene.publish(CHANNEL, "1").await;
    let future = Pos { idx: published.pos.idx + 1000, ..published.pos };
    let cursor = Since::Cursor(Cursor::single(published.slot, future).encode());
    let mut listener = Listener::open(way, &scene, &[CHANNEL], cursor).await;
    assert_eq!(next(&mut listener).await, gap(CHANNEL, "unknown"));
    scene.publish(CHANNEL, "2").await;
    assert_eq!(listener.texts(1).await, ["2"]);
}

async fn a_cursor_of_another_slot_says_nothing(way: Way, commit: Commit) {
    let scene = Scene::open(commit).await;
    let elsewhere = scene.publish("elsewhere", "x").await;
    scene.publish(CHANNEL, "1").await;
    let cursor = Since::Cursor(elsewhere.cursor().to_string());
    let mut listener = Listener::open(way, &scene, &[CHANNEL], cursor).await;
    if way.is_poll() || matches!(way, Way::Grpc | Way::Door) {
        scene.publish(CHANNEL, "2").await;
    } else {
        // An event stream says where it stands once it has joined.
        let known = Since::Cursor(elsewhere.cursor().to_string());
        listener.fresh_cursor(&known).await;
        scene.publish(CHANNEL, "2").await;
    }
    assert_eq!(listener.texts(1).await, ["2"], "a slot without a position starts live");
}

async fn channels_of_one_slot_come_in_the_order_of_the_slot(way: Way, commit: Commit) {
    let scene = Scene::open(commit).await;
    let other = sibling(CHANNEL, "other");
    let unheard = sibling(CHANNEL, "unheard");
    let publish = |from: u64| {
        let (scene, other, unheard) = (&scene, &other, &unheard);
        async move {
            for number in from..from + 10 {
                let channel = [CHANNEL, other, unheard][number as usize % 3];
                scene.publish(channel, &number.to_string()).await;
            }
        }
    };
    let heard = |range: std::ops::Range<u64>| range.filter(|n| n % 3 != 2).map(|n| n.to_string()).collect::<Vec<_>>();
    publish(0).await;
    let all = heard(0..40);
    for cut in 1..=4 {
        let listener = Listener::open(way, &scene, &[CHANNEL, &other], Since::Earliest).await;
        let (mut texts, cursor) = listener.leave_after(cut).await;
        publish(cut as u64 * 10).await;
        let now = heard(0..(cut as u64 + 1) * 10);
        let mut listener = Listener::open(way, &scene, &[CHANNEL, &other], cursor).await;
        texts.extend(listener.texts(now.len() - texts.len()).await);
        assert_eq!(texts, now);
        if cut == 3 {
            assert_eq!(texts, all);
        }
    }
    // Live, both at once.
    let mut listener = Listener::open(way, &scene, &[&other, CHANNEL], Since::Live).await;
    publish(50).await;
    assert_eq!(listener.texts(heard(50..60).len()).await, heard(50..60));
}

async fn a_subscription_over_several_slots_resumes_exactly(way: Way, commit: Commit) {
    let scene = Scene::open(commit).await;
    let channels = ["north", "east", "south"];
    let mut due = 0;
    let mut heard: Vec<(String, u64)> = Vec::new();
    let mut since = Since::Earliest;
    for round in 1..=6 {
        for channel in channels {
            scene.publish_numbers(channel, due + 1..=due + 3).await;
        }
        due += 3;
        let mut listener = Listener::open(way, &scene, &channels, since).await;
        // One is left for the next round, which must find it although other slots went on; all of it in the last.
        let upto = due as usize * channels.len() - usize::from(round < 6);
        while heard.len() < upto || !listener.may_leave() {
            let message = listener.message().await;
            heard.push((message.channel, message.offset));
        }
        since = listener.cursor();
    }
    for channel in channels {
        let offsets: Vec<u64> = heard.iter().filter(|(known, _)| known == channel).map(|(_, offset)| *offset).collect();
        assert_eq!(offsets, (1..=due).collect::<Vec<_>>(), "{channel}");
    }
}

async fn a_message_that_outlived_its_own_ttl_is_no_gap(way: Way, commit: Commit) {
    let scene = Scene::open(commit).await;
    scene.publish(CHANNEL, "1").await;
    let (_, cursor) = Listener::open(way, &scene, &[CHANNEL], Since::Earliest).await.leave_after(1).await;
    let ttl = Some(Duration::ZERO);
    scene.node.broker().publish(Draft { ttl, ..draft(CHANNEL, "short") }).await.unwrap();
    scene.publish(CHANNEL, "2").await;
    let mut listener = Listener::open(way, &scene, &[CHANNEL], cursor).await;
    assert_eq!(listener.texts(1).await, ["2"]);
}

async fn a_repeated_publish_is_delivered_once(way: Way, commit: Commit) {
    let scene = Scene::open(commit).await;
    let mut listener = Listener::open(way, &scene, &[CHANNEL], Since::Live).await;
    for _ in 0..3 {
        let id = Some(PublishId::keyed("the-same").unwrap());
        scene.node.broker().publish(Draft { id, ..draft(CHANNEL, "once") }).await.unwrap();
    }
    scene.publish(CHANNEL, "end").await;
    assert_eq!(listener.texts(2).await, ["once", "end"]);
}

async fn a_channel_without_history_reaches_those_who_listen(way: Way, commit: Commit) {
    let scene = Scene::keeping(commit, "default", 0).await;
    let mut listener = Listener::open(way, &scene, &[CHANNEL], Since::Live).await;
    for number in 1..=5 {
        // Nobody is behind: each is published once the one before was heard.
        let text = number.to_string();
        let (heard, _) = tokio::join!(listener.message(), scene.publish(CHANNEL, &text));
        assert_eq!((heard.offset, heard.text), (number, text));
    }
    let page = scene.node.broker().history(&ChannelName::parse(CHANNEL).unwrap(), &Default::default()).await.unwrap();
    assert!(page.entries.is_empty(), "nothing is kept for those who ask later");
}

async fn bounds_are_told_by_their_code(way: Way, commit: Commit) {
    let scene = Scene::open(commit).await;
    let many: Vec<String> = (0..65).map(|number| format!("{number}{{tag}}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let slots: Vec<String> = (0..40).map(|number| format!("slot-{number}")).collect();
    let slots: Vec<&str> = slots.iter().map(String::as_str).collect();
    let refused = async |channels: &[&str], since: Since| Listener::try_open(way, &scene, channels, since).await.err();
    assert_eq!(refused(&many, Since::Live).await.as_deref(), Some("invalid_request"));
    assert_eq!(refused(&many[..64], Since::Live).await, None);
    assert_eq!(refused(&slots, Since::Live).await.as_deref(), Some("invalid_request"));
    // Over WebSocket one may begin with nothing and subscribe later.
    let expected = if way.is_websocket() { None } else { Some("invalid_request") };
    assert_eq!(refused(&[], Since::Live).await.as_deref(), expected);
    assert_eq!(refused(&[CHANNEL], Since::Cursor("nonsense".into())).await.as_deref(), Some("invalid_cursor"));
    let one = scene.publish(CHANNEL, "1").await;
    let positions = SlotCursor::new(one.slot, one.pos);
    assert_eq!(refused(&[CHANNEL], Since::Cursor(Cursor::from(positions).encode())).await, None);
}

async fn a_drain_sends_clients_away_gently(way: Way, commit: Commit) {
    let scene = Scene::with(commit, |config| {
        config.drain.grace = Duration::from_secs(5);
        config.drain.waves = 2;
    })
    .await;
    scene.publish(CHANNEL, "1").await;
    let mut listener = Listener::open(way, &scene, &[CHANNEL], Since::Last(1)).await;
    assert_eq!(listener.texts(1).await, ["1"]);
    if way == Way::Door {
        // Whoever embeds the broker ends its own listeners.
        drop(listener);
        return soon("the drain", scene.node.drain()).await;
    }
    let Scene { node, .. } = scene;
    let admin = node.addresses().admin;
    let answered = async {
        if way.is_poll() {
            // The held poll is answered with nothing but the cursor to go elsewhere with.
            return listener.answered_empty().await;
        }
        assert_eq!(next(&mut listener).await, News::Closed { code: "draining".to_owned(), retry: true });
        assert_eq!(next(&mut listener).await, News::Over);
    };
    let drained = async {
        while metric(admin, "tidings_sessions", &[]).await < 1.0 {
            tokio::task::yield_now().await;
        }
        node.drain().await;
    };
    tokio::join!(soon("the farewell", answered), soon("the drain", drained));
}
