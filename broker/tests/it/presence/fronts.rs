//! Who is there is the same on every front, and so is who comes and goes.

use std::time::Duration;

use serde_json::json;
use tidings::broker::{Delivery, Subscribe};
use tidings::message::ChannelName;
use tidings::presence::Query;
use tidings_proto::v1;

use super::scene::{Front, Guest, bearer, get, listed, start, stay, token};
use crate::support::{Http1, WebSocket, percent, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_on_every_front_is_told_who_is_there_who_comes_and_who_goes() {
    let scene = start(|_| {}).await;
    let mut guests = Vec::new();
    for (number, front) in Front::ALL.into_iter().enumerate() {
        guests.push(Guest::enter(&scene, front, "room:1", &bearer(&format!("guest-{number}"))).await);
    }
    let all = ["guest-0", "guest-1", "guest-2", "guest-3"];
    for guest in &mut guests {
        guest.believes(&all).await;
        assert_eq!(guest.here["guest-1"], json!({ "name": "GUEST-1" }), "what its token says of it");
    }
    let page = listed(scene.http(), "room:1", &all, 0).await;
    assert_eq!(page["connections"], 4);
    assert_eq!(page["members"][0], json!({ "user": "guest-0", "info": { "name": "GUEST-0" }, "connections": 1 }));

    // A second connection of somebody who is there is nobody new; it is counted.
    let second = stay(scene.http(), "room:1", &bearer("guest-0")).await;
    let ann = stay(scene.http(), "room:1", &bearer("ann")).await;
    for guest in &mut guests {
        guest.believes(&["ann", "guest-0", "guest-1", "guest-2", "guest-3"]).await;
    }
    let page = listed(scene.http(), "room:1", &["ann", "guest-0", "guest-1", "guest-2", "guest-3"], 0).await;
    assert_eq!((&page["connections"], &page["members"][1]["connections"]), (&json!(6), &json!(2)));
    drop((second, ann));
    for guest in &mut guests {
        guest.believes(&all).await;
        assert!(guest.told.ends_with(&["+ann".to_owned(), "-ann".to_owned()]), "{:?}", guest.told);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_within_the_grace_has_neither_left_nor_joined() {
    let scene = start(|config| config.presence.grace = Duration::from_secs(60)).await;
    let mut guest = Guest::enter(&scene, Front::Sse, "room:1", &bearer("guest")).await;
    let ann = stay(scene.http(), "room:1", &bearer("ann")).await;
    guest.believes(&["ann", "guest"]).await;
    drop(ann);
    // Gone for now: expected back, without a connection.
    let expected = async {
        while get(scene.http(), "/v1/channels/room%3A1/presence").await["members"][0]["connections"] != 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("her connection never went", expected).await;
    let ann = WebSocket::open(scene.http(), "/ws?channel=room:1", &bearer("ann")).await;
    let bob = stay(scene.http(), "room:1", &bearer("bob")).await;
    guest.believes(&["ann", "bob", "guest"]).await;
    let of_ann: Vec<&str> = guest.told.iter().map(String::as_str).filter(|told| told.ends_with("ann")).collect();
    assert!(of_ann.is_empty() || of_ann == ["+ann"], "she joined once at most and never left: {of_ann:?}");
    drop((ann, bob));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_without_a_user_are_counted_and_not_named_and_backends_are_nobody() {
    let scene = start(|_| {}).await;
    let mut guest = Guest::enter(&scene, Front::WebSocket, "room:1", &bearer("guest")).await;
    let nameless = format!("Authorization: Bearer {}\r\n", token(None, Some(json!({ "name": "nobody" }))));
    let one = stay(scene.http(), "room:1", &nameless).await;
    let two = stay(scene.http(), "room:1", &nameless).await;
    let same = [stay(scene.http(), "room:1", &format!("{nameless}Tidings-Session: me\r\n")).await];
    let again = stay(scene.http(), "room:1", &format!("{nameless}Tidings-Session: me\r\n")).await;
    let backend = stay(scene.http(), "room:1", "Authorization: Bearer all-key\r\n").await;
    let page = listed(scene.http(), "room:1", &["guest"], 3).await;
    assert_eq!((&page["users"], &page["connections"]), (&json!(1), &json!(5)));
    while guest.last["anonymous"] != 3 {
        guest.next().await;
    }
    assert_eq!(guest.here.len(), 1);
    // One that says who it is, once it is connected, has a name from then on.
    let mut named = WebSocket::open(scene.http(), "/ws?channel=room:1", &nameless).await;
    soon("a subscription", named.object()).await.unwrap();
    listed(scene.http(), "room:1", &["guest"], 4).await;
    named.ask(&json!({ "id": 1, "auth": { "token": token(Some("ann"), None) } })).await;
    listed(scene.http(), "room:1", &["ann", "guest"], 3).await;
    drop(named);
    drop((one, two, same, again, backend));
    listed(scene.http(), "room:1", &["guest"], 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_is_told_once_and_waits_for_what_changes() {
    let scene = start(|_| {}).await;
    let poll = async |presence: &str, cursor: &str| {
        let since = if cursor.is_empty() { String::new() } else { format!("&since={cursor}") };
        let path = format!("/poll?channel=room:1&wait=10{since}&presence={presence}");
        let mut http = Http1::get(scene.http(), "1.1", &path, &format!("{}Connection: close\r\n", bearer("poller")), None).await;
        let status = http.status().await;
        let body = http.rest().await;
        let cursor =
            http.decoder.header("tidings-cursor").unwrap_or_else(|| panic!("{status}: {}", String::from_utf8_lossy(&body))).to_owned();
        let body = if body.is_empty() { json!({}) } else { serde_json::from_slice(&body).unwrap() };
        (status, cursor, body)
    };
    let (_, mut cursor, mut answer) = poll("1", "").await;
    let mut told = "1".to_owned();
    let mut seen = Vec::new();
    let note = |answer: &serde_json::Value, told: &mut String, seen: &mut Vec<String>| {
        if let Some(now) = answer["presence"]["told"].as_str() {
            now.clone_into(told);
            for notice in answer["presence"]["notices"].as_array().unwrap() {
                let users = |key: &str| notice[key].as_array().cloned().unwrap_or_default();
                seen.extend(users("here").iter().map(|user| format!("={}", user["user"].as_str().unwrap())));
                seen.extend(users("joined").iter().map(|user| format!("+{}", user["user"].as_str().unwrap())));
                seen.extend(users("left").iter().map(|user| format!("-{}", user.as_str().unwrap())));
            }
        }
    };
    note(&answer, &mut told, &mut seen);
    while !seen.iter().any(|seen| seen.ends_with("poller")) {
        (_, cursor, answer) = poll(&told, &cursor).await;
        note(&answer, &mut told, &mut seen);
    }
    // Nothing is new: the poll is held until somebody comes.
    let began = tokio::time::Instant::now();
    let (held, ann) = tokio::join!(poll(&told, &cursor), async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        stay(scene.http(), "room:1", &bearer("ann")).await
    });
    assert!(began.elapsed() >= Duration::from_millis(600), "{held:?}");
    note(&held.2, &mut told, &mut seen);
    assert_eq!(seen.last().unwrap(), "+ann", "{seen:?}");
    drop(ann);
    for wrong in ["2", "yes", "0123456789abcdef.0123456789abcdef"] {
        let path = format!("/poll?channel=room:1&presence={wrong}");
        assert_eq!(Http1::get(scene.http(), "1.1", &path, &bearer("x"), None).await.status().await, 400, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_socket_asks_page_by_page_and_is_told_of_what_it_subscribes_to() {
    let scene = start(|_| {}).await;
    let stays = [stay(scene.http(), "room:1", &bearer("ann")).await, stay(scene.http(), "room:1", &bearer("bob")).await];
    listed(scene.http(), "room:1", &["ann", "bob"], 0).await;
    let mut socket = WebSocket::open(scene.http(), "/ws", &bearer("cid")).await;
    let page = socket.ask(&json!({ "id": 1, "presence": { "channel": "room:1", "limit": 1 } })).await;
    let next = page["presence"]["next"].clone();
    assert_eq!((&page["id"], &page["presence"]["members"][0]["user"], &next), (&json!(1), &json!("ann"), &json!("ann")));
    let page = socket.ask(&json!({ "id": 2, "presence": { "channel": "room:1", "after": next } })).await;
    assert_eq!(page["presence"]["members"][0]["user"], "bob");
    assert!(page["presence"].get("next").is_none());
    let subscribed = socket.ask(&json!({ "id": 3, "subscribe": { "channel": "room:1", "presence": true } })).await;
    assert_eq!(subscribed["subscribed"]["channel"], "room:1");
    let mut here = Vec::new();
    while !here.contains(&"cid".to_owned()) {
        let object = soon("a notice", socket.object()).await.unwrap();
        for key in ["here", "joined"] {
            here.extend(object["presence"][key].as_array().into_iter().flatten().map(|user| user["user"].as_str().unwrap().to_owned()));
        }
    }
    socket.ask(&json!({ "id": 4, "unsubscribe": { "channel": "room:1" } })).await;
    drop(stays);
    // It left with that, and hears no more of the others.
    listed(scene.http(), "room:1", &[], 0).await;
    assert_eq!(socket.ask(&json!({ "id": 5, "ping": {} })).await["id"], 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_ask_is_refused_and_so_is_what_no_namespace_knows() {
    let scene = start(|_| {}).await;
    let status = async |path: &str, headers: &str| Http1::get(scene.http(), "1.1", path, headers, None).await.status().await;
    let may = bearer("ann");
    let may_not = {
        let claims = json!({ "sub": "eve", "exp": 4_000_000_000_u64, "channels": [{ "match": "*", "can": ["subscribe"] }] });
        format!("Authorization: Bearer {}\r\n", super::scene::sign_claims(&claims))
    };
    let of = |channel: &str| format!("/v1/channels/{}/presence", percent(channel));
    assert_eq!(status(&of("room:1"), &may).await, 200);
    assert_eq!(status(&of("room:1"), &may_not).await, 403);
    assert_eq!(status(&of("room:1"), "").await, 401);
    assert_eq!(status(&of("off:1"), &may).await, 400, "its namespace has no presence");
    assert_eq!(status(&format!("{}?limit=0", of("room:1")), &may).await, 400);
    for front in ["/sse", "/stream", "/poll"] {
        assert_eq!(status(&format!("{front}?channel=room:1&presence=1"), &may_not).await, 403, "{front}");
        assert_eq!(status(&format!("{front}?channel=quiet:1&presence=1"), &may).await, 400, "{front}: nobody is told there");
        assert_eq!(status(&format!("{front}?channel=off:1&presence=1"), &may).await, 400, "{front}");
        assert_eq!(status(&format!("{front}?channel=off:1"), &may).await, 200, "{front}");
    }
    // It may be asked who is there, though nobody is told.
    let quiet = stay(scene.http(), "quiet:1", &may).await;
    listed(scene.http(), "quiet:1", &["ann"], 0).await;
    drop(quiet);
    for (channel, rule, allowed) in [("room:1", "scope", true), ("off:1", "no_presence", false)] {
        let question = json!({ "channel": channel, "action": "presence" }).to_string();
        let head = format!(
            "POST /v1/explain HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer all-key\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{question}",
            scene.http(),
            question.len()
        );
        let answer = crate::raw::ask(scene.http(), head).await;
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((&answer["rule"], &answer["allowed"]), (&json!(rule), &json!(allowed)), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_ask_and_are_told_over_grpc_and_a_program_around_the_broker_too() {
    let scene = start(|_| {}).await;
    let stays = [stay(scene.http(), "room:1", &bearer("ann")).await, stay(scene.http(), "room:1", &bearer("bob")).await];
    listed(scene.http(), "room:1", &["ann", "bob"], 0).await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", scene.grpc())).unwrap().connect().await.unwrap();
    let mut client = v1::broker_client::BrokerClient::new(channel);
    let with_key = |message| {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", "Bearer all-key".parse().unwrap());
        request
    };
    let ask = v1::PresenceRequest { channel: "room:1".into(), limit: 1, after: String::new() };
    let page = client.presence(with_key(ask)).await.unwrap().into_inner();
    let counts = v1::PresenceCounts { users: 2, anonymous: 0, connections: 2 };
    let ann = v1::PresenceUser { user: "ann".into(), info: r#"{"name":"ANN"}"#.into(), connections: 1 };
    assert_eq!((page.counts, &page.users[..], &*page.next), (Some(counts), &[ann][..], "ann"));
    let unknown = v1::PresenceRequest { channel: "off:1".into(), ..Default::default() };
    let mut request = tonic::Request::new(unknown);
    request.metadata_mut().insert("authorization", "Bearer all-key".parse().unwrap());
    assert_eq!(client.presence(request).await.unwrap_err().code(), tonic::Code::InvalidArgument);

    let listen = v1::SubscribeRequest { channels: vec!["room:1".into()], presence: true, ..Default::default() };
    let mut request = tonic::Request::new(listen);
    request.metadata_mut().insert("authorization", "Bearer all-key".parse().unwrap());
    let mut replies = client.subscribe(request).await.unwrap().into_inner();
    let mut told = async || loop {
        let reply = soon("a reply", replies.message()).await.unwrap().unwrap().reply.unwrap();
        if let v1::subscribe_reply::Reply::Presence(presence) = reply {
            return presence;
        }
    };
    let first = told().await;
    assert!(first.all && first.users.iter().map(|user| &*user.user).eq(["ann", "bob"]), "{first:?}");

    // The program around it: seen as it likes, and told.
    let broker = scene.node.broker();
    let channel = ChannelName::parse("room:1").unwrap();
    let member = tidings::presence::Member { id: tidings::presence::MemberId::User("zoe".into()), info: None };
    for (name, info) in [("", None), ("a\nb", None), ("a", Some("{")), ("a", Some("{\n}"))] {
        let id = tidings::presence::MemberId::User(name.into());
        let wrong = Some(tidings::presence::Member { id, info: info.map(Into::into) });
        let refused = broker.subscribe(Subscribe { member: wrong, ..Subscribe::live(["room:1"]).unwrap() }).await;
        assert_eq!(refused.unwrap_err().code, tidings::error::ErrorCode::InvalidRequest, "{name:?} {info:?}");
    }
    let subscribe = Subscribe { member: Some(member), presence: true, ..Subscribe::live(["room:1"]).unwrap() };
    let mut subscription = broker.subscribe(subscribe).await.unwrap();
    let joined = told().await;
    assert!(!joined.all && joined.users[0].user == "zoe", "{joined:?}");
    let Some(Delivery::Presence { notice, .. }) = soon("a notice", subscription.next()).await else { panic!("a notice was due") };
    assert!(notice.here.is_some());
    let page = broker.presence(&channel, Query { after: Some("bob".into()), limit: 10 }).await.unwrap();
    assert!(page.counts.users == 3 && page.users.len() == 1 && &*page.users[0].name == "zoe", "{page:?}");
    drop(subscription);
    assert_eq!(told().await.left, ["zoe"]);
    drop(stays);
}
