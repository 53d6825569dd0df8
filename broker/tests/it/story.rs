//! What an operator is told who has nothing but the name of a session, as a client's error gives it.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidings::admin::config::AdminKey;
use tidings::auth::config::{Key, KeyHash};
use tidings::auth::pattern::Pattern;
use tidings::hub::namespace;
use tidings::journal::What;
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::admin::{call, get, node};
use crate::raw::{Raw, ask, request};
use crate::support::{Commit, Http1, Scene, WebSocket, draft, handshake, soon};

/// What is kept of a session, oldest first.
async fn story(admin: SocketAddr, name: &str) -> Vec<Value> {
    get(admin, &format!("/api/sessions/{name}")).await["story"].as_array().unwrap().clone()
}

/// One line of a story.
fn line(event: &str, words: &str, times: u64) -> (String, String, u64) {
    (event.to_owned(), words.to_owned(), times)
}

/// What each line of a story is, and how often it happened.
fn told(story: &[Value]) -> Vec<(String, String, u64)> {
    let text = |one: &'_ Value, name| one[name].as_str().map(ToOwned::to_owned).unwrap();
    story.iter().map(|one| (text(one, "event"), text(one, "message"), one["times"].as_u64().unwrap_or(1))).collect()
}

#[tokio::test]
async fn whoever_is_refused_is_told_a_name_under_which_the_reason_is_found_in_its_own_words() {
    let (node, admin) = node(|_| {}).await;
    let to = node.addresses().http;
    let mut names = std::collections::HashSet::new();
    // All of one address and of one code; each front is asked for two different things.
    for target in [
        "/sse?channel=a&last=0",
        "/sse?channel=a&padding=99999",
        "/stream?channel=a&last=0",
        "/stream?channel=a&format=paper",
        "/poll?channel=a&last=0",
        "/poll?channel=a&wait=9999",
        "/ws?channel=a&session=no%20name",
        "/sse?channel=a&session=no%20name",
    ] {
        let asked = if target.starts_with("/ws") { handshake(target, "") } else { request("GET", target, to, "") };
        let answer = ask(to, asked).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{target}");
        let name = answer.header("tidings-session").unwrap_or_else(|| panic!("{target}: {answer:?}"));
        let words = serde_json::from_slice::<Value>(&answer.body).unwrap()["error"]["message"].as_str().unwrap().to_owned();
        let (story, wanted) = (story(admin, name).await, format!("was not let in: {words}"));
        assert_eq!(told(&story), [line("session_refused", &wanted, 1)], "{target}");
        assert!(story[0]["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{story:?}");
        names.insert(name.to_owned());
    }
    assert_eq!(names.len(), 8);
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_polls_has_one_line_which_counts_and_who_keeps_no_name_has_one_with_its_network() {
    let (node, admin) = node(|_| {}).await;
    let to = node.addresses().http;
    for text in ["one", "two"] {
        node.broker().publish(draft("a", text)).await.unwrap();
    }
    let poll = async |rest: &str| ask(to, request("GET", &format!("/poll?channel=a&wait=0&{rest}"), to, "")).await;
    let mut cursor = "earliest".to_owned();
    for _ in 0..3 {
        cursor = poll(&format!("session=polly&since={cursor}")).await.header("tidings-cursor").unwrap().to_owned();
    }
    let kept = story(admin, "polly").await;
    assert_eq!(told(&kept), [line("session_polled", "polled and was answered, with 2 messages in all", 3)]);
    assert!(kept[0]["since_ms"].as_u64().unwrap() <= kept[0]["at_ms"].as_u64().unwrap(), "{kept:?}");
    assert_eq!((&kept[0]["channels"], &kept[0]["messages"]), (&json!("a"), &json!(2)));
    // One that was refused is told beside them, and they go on being counted.
    assert_eq!(poll("session=polly&last=0").await.status, 400);
    poll(&format!("session=polly&since={cursor}")).await;
    let events: Vec<_> = story(admin, "polly").await.iter().map(|one| (one["event"].clone(), one["times"].clone())).collect();
    assert_eq!(events, [(json!("session_polled"), json!(4)), (json!("session_refused"), Value::Null)]);

    let [_, newest] = [poll("since=earliest").await, poll("since=earliest").await];
    let words = "polled without a name and was answered, with 4 messages to its network in all";
    assert_eq!(told(&story(admin, newest.header("tidings-session").unwrap()).await), [line("session_polled", words, 2)]);
    // They are no news, and found by who looks for them.
    let events = async |query: &str| -> Vec<Value> {
        let found = get(admin, &format!("/api/sessions{query}")).await;
        found["happenings"].as_array().unwrap().iter().map(|one| one["event"].clone()).collect()
    };
    assert_eq!(events("").await, ["session_refused"]);
    assert_eq!(events("?event=polled").await, ["session_polled"; 2]);
    assert_eq!(events("?text=without%20a%20name").await, ["session_polled"]);
    node.stop().await;
}

#[tokio::test]
async fn who_is_turned_away_before_it_is_anybody_is_found_by_its_address() {
    let (node, admin) = node(|config| config.limits.connections_per_address = 3).await;
    let (http, grpc) = (node.addresses().http, node.addresses().grpc.unwrap());
    let found = async |words: &str| {
        let wanted = async {
            loop {
                let all = get(admin, "/api/sessions?event=refused&text=127.0.0.1").await;
                let all = all["happenings"].as_array().unwrap().clone();
                if let Some(one) = all.into_iter().find(|one| one["message"].as_str().unwrap().contains(words)) {
                    return one;
                }
            }
        };
        soon(words, wanted).await
    };
    let unnamed = |one: &Value, reason| {
        assert_eq!((&one["session"], &one["front"], &one["reason"]), (&Value::Null, &Value::Null, &json!(reason)), "{one}");
    };
    let mut stranger = Raw::connect(http).await;
    stranger.send("NO HTTP\r\n\r\n").await;
    assert_eq!(stranger.answer().await.status, 400);
    drop(stranger);
    unnamed(&found("malformed: ").await, "invalid_request");

    let mut stranger = Raw::connect(grpc).await;
    stranger.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand then no frame at all, but something else").await;
    unnamed(&found("http2: ").await, "invalid_request");
    drop(stranger);

    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(Raw::connect(http).await);
    }
    unnamed(&found("limits.connections_per_address").await, "overloaded");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_to_make_room_finds_the_bound_that_it_was() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        config.shards = 1;
        config.http.send_buffer_bytes = 16 << 10;
        config.limits.unsent_bytes = 1 << 20;
    })
    .await;
    for _ in 0..30 {
        scene.publish("much", &"x".repeat(60_000)).await;
    }
    let mut stopped = Vec::new();
    for number in 0..100 {
        let target = format!("/sse?channel=much&since=earliest&session=s{number}");
        stopped.push(Http1::get(scene.http(), "1.1", &target, "", Some(4096)).await);
    }
    soon("the oldest are cut", async { while scene.metric("tidings_sessions_closed_total", &["sse", "too_slow"]).await < 50.0 {} }).await;
    let admin = scene.node.addresses().admin;
    let cut = get(admin, "/api/sessions?event=cut&limit=500").await;
    let name = cut["happenings"].as_array().unwrap().last().unwrap()["session"].as_str().unwrap();
    let story = story(admin, name).await;
    let lines: Vec<_> = story.iter().map(|one| (one["event"].as_str().unwrap(), one["reason"].as_str().unwrap_or_default())).collect();
    assert_eq!(lines, [("session_opened", ""), ("session_cut", "limits.unsent_bytes"), ("session_closed", "too_slow")], "{story:?}");
}

async fn subscribe(to: SocketAddr, key: &str, session: Option<&str>, channels: &[&str]) -> Status {
    let channel: Channel = Endpoint::from_shared(format!("http://{to}")).unwrap().connect().await.unwrap();
    let channels = channels.iter().map(ToString::to_string).collect();
    let mut request = Request::new(v1::SubscribeRequest { channels, ..v1::SubscribeRequest::default() });
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    if let Some(name) = session {
        request.metadata_mut().insert("tidings-session", name.parse().unwrap());
    }
    BrokerClient::new(channel).subscribe(request).await.unwrap_err()
}

#[tokio::test]
async fn so_is_a_listener_over_grpc_whether_the_gate_turns_it_away_or_its_request_is_wrong() {
    const ADMIN: &str = "tdk_admin";
    let (node, admin) = node(|config| {
        (config.dev, config.insecure) = (false, true);
        config.keys.push(Key::new("shop", KeyHash::of(b"shop-key")));
        config.admin.keys.push(AdminKey { name: "op".into(), sha256: KeyHash::of(ADMIN.as_bytes()) });
    })
    .await;
    let to = node.addresses().grpc.unwrap();
    let tried = [
        ("guess", None, "a", "unauthenticated"),
        ("guess", Some("own-name"), "a", "unauthenticated"),
        ("shop-key", None, "no\nname", "invalid_request"),
        ("shop-key", Some("no name"), "a", "invalid_request"),
    ];
    for (key, session, channel, code) in tried {
        let refused = subscribe(to, key, session, &[channel]).await;
        assert_eq!(refused.metadata().get("tidings-code").unwrap(), code, "{refused}");
        let name = refused.metadata().get("tidings-session").unwrap_or_else(|| panic!("{refused}")).to_str().unwrap();
        assert_eq!(session == Some("own-name"), name == "own-name");
        let path = format!("/api/sessions/{name}");
        let (status, found) = call(admin, "GET", &path, &format!("Authorization: Bearer {ADMIN}\r\n"), "").await;
        let (story, wanted) = (found["story"].as_array().unwrap(), format!("was not let in: {}", refused.message()));
        assert_eq!((status, told(story)), (200, vec![line("session_refused", &wanted, 1)]));
        assert!(story[0]["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{story:?}");
    }
    node.stop().await;
}

#[tokio::test]
async fn of_what_a_client_was_denied_each_rule_is_in_its_story() {
    let (node, admin) = node(|_| {}).await;
    let mut socket = WebSocket::open(node.addresses().http, "/ws?session=bert", "").await;
    let mut wanted = vec![line("session_opened", "began to listen", 1)];
    // Of one code, and for two different things.
    for (id, channel) in [(1, "a"), (2, "b"), (3, "b")] {
        let answer = socket.ask(&json!({"id": id, "presence": {"channel": channel}})).await;
        assert_eq!(answer["error"]["code"], "invalid_request", "{answer}");
        let denied = line("session_denied", &format!("was refused something: {}", answer["error"]["message"].as_str().unwrap()), 1);
        match wanted.last_mut().filter(|last| last.1 == denied.1) {
            Some(last) => last.2 += 1,
            None => wanted.push(denied),
        }
    }
    assert_eq!(told(&story(admin, "bert").await), wanted);
    assert_eq!(wanted.len(), 3, "two of them were the same again");
    node.stop().await;
}

#[tokio::test]
async fn a_flood_of_refusals_is_one_line_and_pushes_out_nobodys_story_but_its_own() {
    const KEPT: usize = 50;
    const FLOOD: usize = 300;
    let (node, admin) = node(|config| {
        config.admin.journal = KEPT as u32;
        config.http.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let to = node.addresses().http;
    let mut proxy = Raw::connect(to).await;
    let mut poll = async |name: &str, from: &str, what: &str| {
        proxy.send(request("GET", &format!("/poll?channel=a&session={name}&{what}"), to, &format!("X-Forwarded-For: {from}\r\n"))).await;
        let answer = proxy.answer().await;
        assert_eq!((answer.status, answer.header("tidings-session")), (400, Some(name)));
    };
    let mut anna = Raw::connect(to).await;
    anna.send(request("GET", "/sse?channel=a&session=anna", to, "")).await;
    assert_eq!(anna.head().await.status, 200);
    poll("victim", "198.51.100.1", "last=0").await;
    for number in 0..FLOOD {
        poll(&format!("f{number}"), "203.0.113.1", if number % 2 == 0 { "last=0" } else { "wait=9999" }).await;
    }
    // In the list each address is one line, which shows the newest.
    let refused = get(admin, "/api/sessions?event=refused").await;
    let lines: Vec<_> =
        refused["happenings"].as_array().unwrap().iter().map(|one| (one["session"].as_str().unwrap(), &one["times"])).collect();
    assert_eq!(lines, [(format!("f{}", FLOOD - 1).as_str(), &json!(FLOOD)), ("victim", &Value::Null)]);
    // Who looks for one of them finds it, with what was said to it.
    for (number, words) in [(FLOOD - 1, "`wait`"), (FLOOD - 2, "`last`")] {
        let name = format!("f{number}");
        let story = story(admin, &name).await;
        assert!(matches!(&told(&story)[..], [(_, said, 1)] if said.contains(words)), "{story:?}");
        let found = get(admin, &format!("/api/sessions?text={name}")).await;
        assert_eq!((&found["happenings"][0]["session"], found["happenings"].as_array().unwrap().len()), (&json!(name), 1));
    }
    assert_eq!((story(admin, "victim").await.len(), story(admin, "anna").await.len()), (1, 1));
    // All that is kept is bounded: the oldest of the flood left.
    assert_eq!(story(admin, "f0").await.len(), 0);
    let all = get(admin, "/api/sessions?event=refused&text=not%20let%20in&limit=500").await;
    assert_eq!(all["happenings"].as_array().unwrap().len(), KEPT);
    // Page after page, each once.
    let (mut seen, mut before) = (Vec::new(), String::new());
    loop {
        let page = get(admin, &format!("/api/sessions?text=not%20let%20in&limit=20{before}")).await;
        seen.extend(page["happenings"].as_array().unwrap().iter().map(|one| one["number"].as_u64().unwrap()));
        let Some(next) = page["before"].as_u64() else { break };
        before = format!("&before={next}");
    }
    assert_eq!((seen.len(), seen.is_sorted_by(|a, b| a > b)), (KEPT, true));
    node.stop().await;
}

fn with_key<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request
}

#[tokio::test]
async fn what_happened_is_asked_for_by_the_short_name_or_the_logs_and_a_name_that_is_none_is_refused() {
    let (node, admin) = node(|_| {}).await;
    let to = node.addresses().http;
    let mut anna = Raw::connect(to).await;
    anna.send(request("GET", "/sse?channel=a&session=anna", to, "")).await;
    assert_eq!(anna.head().await.status, 200);
    for event in ["opened", "session_opened", "gap,session_opened"] {
        let found = get(admin, &format!("/api/sessions?event={event}")).await;
        assert_eq!(
            (&found["happenings"][0]["session"], &found["happenings"][0]["event"]),
            (&json!("anna"), &json!("session_opened")),
            "{event}"
        );
    }
    for event in ["refusd", "opened,", "publish"] {
        let (status, refused) = call(admin, "GET", &format!("/api/sessions?event={event}"), "", "").await;
        assert_eq!(status, 400, "{event}: {refused}");
        let said = refused["error"]["message"].as_str().unwrap();
        for short in ["opened", "publish_refused", "fell_behind"] {
            assert!(said.contains(short), "{said}");
        }
    }
    // The page for operators has them all.
    let page = include_str!("../../../docs/OPERATING.md");
    let row = page.lines().find(|line| line.starts_with("| `GET /api/sessions?event=")).unwrap();
    for event in What::EVENTS {
        assert!(row.contains(&format!("`{}`", event.trim_start_matches("session_"))), "{event}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_publish_that_is_refused_is_found_by_who_published_and_by_the_channel() {
    const ADMIN: &str = "tdk_admin";
    let (node, admin) = node(|config| {
        (config.dev, config.insecure) = (false, true);
        config.keys.push(Key { channels: vec![Pattern::parse("shop:*").unwrap()], ..Key::new("shop", KeyHash::of(b"shop-key")) });
        config.keys.push(Key::new("wild", KeyHash::of(b"wild-key")));
        config.admin.keys.push(AdminKey { name: "op".into(), sha256: KeyHash::of(ADMIN.as_bytes()) });
        config.namespaces.insert("shop", namespace::Config { payload_bytes: 10, ..namespace::Config::default() });
        config.limits.publish_rate = 5;
    })
    .await;
    let (http, grpc) = (node.addresses().http, node.addresses().grpc.unwrap());
    let post = async |path: &str, key: Option<&str>, body: &str| {
        let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
        let head = format!("{key}Content-Length: {}\r\n", body.len());
        ask(http, format!("{}{body}", request("POST", path, http, &head))).await.status
    };
    let found = async |text: &str| {
        let path = format!("/api/sessions?event=publish_refused&text={text}");
        let (_, found) = call(admin, "GET", &path, &format!("Authorization: Bearer {ADMIN}\r\n"), "").await;
        let all = found["happenings"].as_array().unwrap().clone();
        assert!(!found.to_string().contains("-key"), "a key is told: {found}");
        all
    };
    // Of what is found there is one: over what, why, by which rule and in whose name.
    let is_told = async |text: &str, over: &str, reason: &str, rule: Option<&str>, by: &str| {
        let all = found(text).await;
        assert_eq!(all.len(), 1, "{text}: {all:?}");
        let one = &all[0];
        let told = (&one["over"], &one["reason"], &one["rule"], &one["by"]);
        assert_eq!(told, (&json!(over), &json!(reason), &json!(rule), &json!(by)), "{text}");
        assert!(one["message"].as_str().unwrap().starts_with(&format!("a publish of {by} was refused: ")), "{one}");
    };

    assert_eq!(post("/v1/channels/by-path/messages", Some("shop-key"), "x").await, 403);
    is_told("by-path", "http", "permission_denied", Some("no_scope"), "key shop").await;
    assert_eq!(post("/v1/publish", Some("shop-key"), r#"{"channel":"by-body","text":"x"}"#).await, 403);
    is_told("by-body", "http", "permission_denied", Some("no_scope"), "key shop").await;
    assert_eq!(post("/v1/publish", Some("shop-key"), r#"{"channels":["shop:1","of-many"],"text":"x"}"#).await, 200);
    is_told("of-many", "http", "permission_denied", Some("no_scope"), "key shop").await;
    // What is no publish at all is looked for by the channel that it names.
    assert_eq!(post("/v1/publish", Some("shop-key"), r#"{"channel":"of-text","text":1}"#).await, 400);
    is_told("of-text", "http", "invalid_request", None, "key shop").await;
    assert_eq!(found("of-text").await[0]["channel"], "of-text");
    assert_eq!(post("/v1/publish", Some("shop-key"), r#"{"channel":"\u001b[31mred","text":1}"#).await, 400);
    assert_eq!(found("red").await, [] as [Value; 0]);
    assert_eq!(found("key%20shop").await[0]["channel"], Value::Null);
    assert_eq!(post("/v1/channels/shop:2/messages", Some("shop-key"), "more than ten bytes").await, 413);
    is_told("shop:2", "http", "too_large", None, "key shop").await;
    assert_eq!(post("/v1/channels/nameless/messages", None, "x").await, 401);
    is_told("nameless", "http", "unauthenticated", Some("no_credential"), "address 127.0.0.1").await;
    assert_eq!(post("/v1/channels/guessed/messages", Some("guess"), "x").await, 401);
    is_told("guessed", "http", "unauthenticated", Some("no_credential"), "address 127.0.0.1").await;

    let channel: Channel = Endpoint::from_shared(format!("http://{grpc}")).unwrap().connect().await.unwrap();
    let mut client = BrokerClient::new(channel);
    let publish = |channel: &str| v1::PublishRequest { channel: channel.into(), data: "x".into(), ..Default::default() };
    client.publish(with_key("shop-key", publish("by-call"))).await.unwrap_err();
    is_told("by-call", "grpc", "permission_denied", Some("no_scope"), "key shop").await;
    let two_lines = v1::PublishRequest { event: "two\nlines".into(), ..publish("shop:3") };
    let requests =
        [publish("by-stream"), two_lines].map(Some).into_iter().zip(1..).map(|(publish, seq)| v1::PublishStreamRequest { seq, publish });
    let mut acks = client.publish_stream(with_key("shop-key", tokio_stream::iter(requests))).await.unwrap().into_inner();
    for seq in 1..=2 {
        assert_eq!(acks.message().await.unwrap().unwrap().seq, seq);
    }
    is_told("by-stream", "grpc", "permission_denied", Some("no_scope"), "key shop").await;
    is_told("shop:3", "grpc", "invalid_request", None, "key shop").await;
    client.publish(publish("anything")).await.unwrap_err();
    let strangers = found("grpc").await;
    assert!(strangers.iter().any(|one| one["by"] == "address 127.0.0.1"), "{strangers:?}");

    while post("/v1/channels/floodgate/messages", Some("wild-key"), "x").await == 200 {}
    is_told("floodgate", "http", "overloaded", None, "key wild").await;
    assert_eq!(found("limits.publish_rate").await.len(), 1);
    assert_eq!(found("key%20shop").await.len(), 9);
    node.stop().await;
}
