//! The admin API over real sockets: who may, what it tells, what it changes.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidings::admin::config::AdminKey;
use tidings::auth::config::KeyHash;
use tidings::config::Config;
use tidings::node::Node;

use crate::raw::{Raw, ask, config, request};
use crate::support::{Daemon, Http1, WebSocket, soon};

const KEY: &str = "tdk_admin";

pub(crate) async fn node(change: impl FnOnce(&mut Config)) -> (Node, SocketAddr) {
    let mut config = config();
    change(&mut config);
    let node = Node::start(config).await.unwrap();
    let admin = node.addresses().admin;
    (node, admin)
}

/// Status and JSON of one call.
pub(crate) async fn call(admin: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let answer = ask(admin, format!("{}{body}", request(method, path, admin, &format!("{headers}{length}")))).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    let json = serde_json::from_slice(&answer.body).unwrap_or_else(|why| panic!("{why}: {answer:?}"));
    (answer.status, json)
}

pub(crate) async fn get(admin: SocketAddr, path: &str) -> Value {
    let (status, json) = call(admin, "GET", path, "", "").await;
    assert_eq!(status, 200, "{path}: {json}");
    json
}

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn every_call_needs_an_admin_key_where_there_is_one_and_is_closed_where_there_is_none() {
    let key = AdminKey { name: "op".into(), sha256: KeyHash::of(KEY.as_bytes()) };
    let (guarded, admin) = node(|config| config.admin.keys = vec![key]).await;
    let right = format!("Authorization: Bearer {KEY}\r\n");
    for path in
        ["overview", "trend", "channels", "channels/a", "sessions", "sessions/a", "cluster", "log", "tail?channel=a&wait=0", "nothing"]
    {
        let path = format!("/api/{path}");
        for (headers, refused) in [("", true), ("Authorization: Bearer guess\r\n", true), (right.as_str(), false)] {
            let (status, answer) = call(admin, "GET", &path, headers, "").await;
            assert_eq!(status == 401, refused, "{path} {headers}: {answer}");
        }
    }
    let (status, _) = call(admin, "POST", "/api/publish", JSON, r#"{"channel":"a","text":"x"}"#).await;
    assert_eq!(status, 401);
    // An API key of a publisher opens nothing here, and what machines ask for asks for nothing.
    for path in ["/metrics", "/livez", "/"] {
        let answer = ask(admin, request("GET", path, admin, "")).await;
        assert_eq!((answer.status, answer.header("x-content-type-options")), (200, Some("nosniff")), "{path}");
        assert_eq!(answer.header("x-frame-options").is_some(), path == "/", "{path}");
    }
    guarded.stop().await;

    let (closed, admin) = node(|config| (config.dev, config.insecure) = (false, true)).await;
    let (status, answer) = call(admin, "GET", "/api/overview", &right, "").await;
    assert_eq!((status, answer["error"]["code"].as_str()), (403, Some("permission_denied")));
    assert!(answer["error"]["message"].as_str().unwrap().contains("admin.keys"), "{answer}");
    closed.stop().await;
}

#[tokio::test]
async fn a_foreign_page_changes_nothing_where_no_key_is_needed() {
    let (node, admin) = node(|_| {}).await;
    let body = r#"{"channel":"a","text":"x"}"#;
    for headers in [
        "Content-Type: text/plain\r\n".to_owned(),
        String::new(),
        format!("{JSON}Origin: http://evil.example\r\n"),
        format!("{JSON}Origin: null\r\n"),
    ] {
        for (method, path) in [("POST", "/api/publish"), ("PUT", "/api/log")] {
            let (status, answer) = call(admin, method, path, &headers, body).await;
            assert!(matches!(status, 400 | 403), "{path} {headers}: {answer}");
        }
    }
    assert_eq!(get(admin, "/api/channels").await, json!({"channels": [], "next": null, "silent_nodes": []}));
    let (status, answer) = call(admin, "POST", "/api/publish", &format!("{JSON}Origin: http://{admin}\r\n"), body).await;
    assert_eq!((status, answer["offset"].as_u64()), (200, Some(1)), "{answer}");
    node.stop().await;
}

#[tokio::test]
async fn channels_tell_who_is_on_them_on_whatever_front() {
    let (node, admin) = node(|_| {}).await;
    let to = node.addresses().http;
    let mut held = Vec::new();
    for n in 0..5 {
        let mut raw = Raw::connect(to).await;
        raw.send(request("GET", &format!("/sse?channel=room%3A1&channel=room%3A2&session=s{n}"), to, "")).await;
        assert_eq!(raw.head().await.status, 200);
        held.push(raw);
    }
    let _inside = node.broker().subscribe(tidings::broker::Subscribe::live(["room:1"]).unwrap()).await.unwrap();
    call(admin, "POST", "/api/publish", JSON, r#"{"channel":"room:1","data":{"a":1},"event":"said"}"#).await;
    let listed = get(admin, "/api/channels?prefix=room%3A").await;
    assert_eq!([listed["channels"][0]["channel"].as_str(), listed["channels"][1]["channel"].as_str()], [Some("room:1"), Some("room:2")]);
    assert_eq!([&listed["channels"][0]["listeners"], &listed["channels"][1]["listeners"]], [&json!(6), &json!(5)]);
    let one = get(admin, "/api/channels/room%3A1").await;
    assert_eq!((&one["on_shards"]["count"], &one["listeners"]), (&json!(5), &json!(6)));
    let mut names: Vec<&str> =
        one["on_shards"]["sessions"].as_array().unwrap().iter().map(|one| one["session"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["s0", "s1", "s2", "s3", "s4"]);
    let first = &one["on_shards"]["sessions"][0];
    assert_eq!((&first["channel_count"], &first["front"], &first["behind_seconds"]), (&json!(2), &json!("sse"), &Value::Null));
    assert!(["room:1", "room:2"].iter().all(|name| first["channels"].as_array().unwrap().contains(&json!(name))), "{first}");
    assert_eq!((&one["newest"][0]["data"], &one["newest"][0]["event"]), (&json!({"a": 1}), &json!("said")));
    let (status, _) = call(admin, "GET", "/api/channels/nobody", "", "").await;
    assert_eq!(status, 404);
    // In pages.
    let page = get(admin, "/api/channels?limit=1").await;
    assert_eq!((page["channels"].as_array().unwrap().len(), page["next"].as_str()), (1, Some("room:1")));
    assert_eq!(get(admin, "/api/channels?limit=1&after=room%3A1").await["next"], Value::Null);
    node.stop().await;
}

#[tokio::test]
async fn a_held_poll_and_a_grpc_stream_are_seen_while_they_are_there() {
    let (node, admin) = node(|_| {}).await;
    let to = node.addresses().http;
    let first = get_cursor(to).await;
    let mut poll = Raw::connect(to).await;
    poll.send(request("GET", &format!("/poll?channel=a&since={first}&wait=20&session=polly"), to, "")).await;
    let client = tidings_sdk::Client::connect(&format!("http://{}", node.addresses().grpc.unwrap())).await.unwrap();
    let stream = client.subscribe(["a", "b"]).session("grace").await.unwrap();
    assert_eq!(stream.session(), Some("grace"));
    for (name, front, channels) in [("polly", "long_poll", 1), ("grace", "grpc", 2)] {
        let mut now = Value::Null;
        while now["count"] != 1 {
            now = get(admin, &format!("/api/sessions/{name}")).await["now"].clone();
        }
        let one = &now["sessions"][0];
        assert_eq!((&one["front"], &one["channel_count"], &one["shard"]), (&json!(front), &json!(channels), &Value::Null), "{now}");
    }
    let on_a = get(admin, "/api/channels/a").await;
    let names: Vec<&str> = on_a["on_shards"]["sessions"].as_array().unwrap().iter().filter_map(|one| one["session"].as_str()).collect();
    assert!(names.contains(&"polly") && names.contains(&"grace"), "{on_a}");
    drop((poll, stream));
    for name in ["polly", "grace"] {
        while get(admin, &format!("/api/sessions/{name}")).await["now"]["count"] != 0 {
            tokio::task::yield_now().await;
        }
    }
    node.stop().await;
}

/// Where the channel `a` stands.
async fn get_cursor(to: SocketAddr) -> String {
    let answer = ask(to, request("GET", "/poll?channel=a&wait=0", to, "")).await;
    answer.header("tidings-cursor").unwrap().to_owned()
}

#[tokio::test]
async fn a_publish_that_is_refused_stands_in_the_story_of_the_one_who_asked_for_it() {
    let (node, admin) = node(|_| {}).await;
    let mut socket = WebSocket::open(node.addresses().http, "/ws?session=bert", "").await;
    let answer = socket.ask(&json!({"id": 1, "publish": {"channel": "tidings-probe:a", "text": "x"}})).await;
    assert_eq!(answer["error"]["code"], "permission_denied");
    let told = get(admin, "/api/sessions/bert").await;
    let denied = told["story"].as_array().unwrap().iter().find(|one| one["event"] == "session_denied").unwrap_or_else(|| panic!("{told}"));
    assert_eq!(denied["reason"], "permission_denied", "{told}");
    node.stop().await;
}

#[tokio::test]
async fn a_sessions_story_is_kept_and_says_what_it_is_now() {
    let (node, admin) = node(|config| config.limits.subscribe_channels = 2).await;
    let to = node.addresses().http;
    let target = "/sse?channel=a&channel=b&channel=c&session=anna";
    let mut refused = Raw::connect(to).await;
    refused.send(request("GET", target, to, "")).await;
    assert_eq!(refused.head().await.status, 400);
    let mut raw = Raw::connect(to).await;
    raw.send(request("GET", "/sse?channel=a&session=anna", to, "")).await;
    assert_eq!(raw.head().await.status, 200);
    let told = get(admin, "/api/sessions/anna").await;
    let events: Vec<&str> = told["story"].as_array().unwrap().iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["session_refused", "session_opened"]);
    assert!(told["story"][0]["message"].as_str().unwrap().contains("limits.subscribe_channels"));
    assert_eq!((&told["now"]["sessions"][0]["session"], &told["now"]["silent_shards"]), (&json!("anna"), &json!(0)));
    drop(raw);
    while get(admin, "/api/sessions/anna").await["story"].as_array().unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    let told = get(admin, "/api/sessions/anna").await;
    assert_eq!((&told["story"][2]["reason"], &told["now"]["count"]), (&json!("client_gone"), &json!(0)));
    let refusals = get(admin, "/api/sessions?event=refused&text=SUBSCRIBE_channels").await;
    assert_eq!(refusals["happenings"].as_array().unwrap().len(), 1, "{refusals}");
    let newest = get(admin, "/api/sessions?limit=1").await;
    assert_eq!(newest["happenings"][0]["event"], "session_closed");
    let older = get(admin, &format!("/api/sessions?limit=9&before={}", newest["before"])).await;
    assert_eq!(older["happenings"].as_array().unwrap().len(), 2);
    for wrong in ["/api/sessions/a%20b", "/api/sessions?limit=many", "/api/trend?after=-1", "/api/tail", "/api/tail?channel=a&since=x"] {
        assert_eq!(call(admin, "GET", wrong, "", "").await.0, 400, "{wrong}");
    }
    node.stop().await;
}

#[tokio::test]
async fn whoever_watches_a_channel_misses_nothing_and_sees_nothing_twice() {
    let (node, admin) = node(|_| {}).await;
    let mut cursor = get(admin, "/api/tail?channel=a").await["cursor"].as_str().unwrap().to_owned();
    let mut seen = Vec::new();
    for round in 0..4 {
        for n in 0..3 {
            call(admin, "POST", "/api/publish", JSON, &format!(r#"{{"channel":"a","text":"{round}.{n}"}}"#)).await;
        }
        // What is there comes at once, and the wait ends with the first news.
        while seen.len() < 3 * (round + 1) {
            let answer = get(admin, &format!("/api/tail?channel=a&since={cursor}&wait=20")).await;
            cursor = answer["cursor"].as_str().unwrap().to_owned();
            seen.extend(answer["messages"].as_array().unwrap().iter().map(|one| one["offset"].as_u64().unwrap()));
        }
    }
    assert_eq!(seen, (1..=12).collect::<Vec<u64>>());
    let quiet = get(admin, &format!("/api/tail?channel=a&since={cursor}&wait=0")).await;
    assert_eq!(quiet["messages"], json!([]));
    node.stop().await;
}

#[tokio::test]
async fn the_overview_counts_and_the_trend_remembers() {
    let (node, admin) = node(|_| {}).await;
    let to = node.addresses().http;
    let mut raw = Raw::connect(to).await;
    raw.send(request("GET", "/sse?channel=a", to, "")).await;
    assert_eq!(raw.head().await.status, 200);
    call(admin, "POST", "/api/publish", JSON, r#"{"channel":"a","text":"x"}"#).await;
    raw.chunks_until(|text| text.contains("data: x\n\n")).await;
    // A delivery is booked at the end of the turn that made it.
    let seen = soon("the delivery is counted", async {
        loop {
            let seen = get(admin, "/api/overview").await;
            if seen["delivered"] == 1 {
                return seen;
            }
        }
    })
    .await;
    assert_eq!((&seen["sessions"]["sse"], &seen["published"]), (&json!(1), &json!(1)), "{seen}");
    assert_eq!(seen["shards"].as_array().unwrap().len(), 2);
    assert!(seen["bounds"].as_array().unwrap().iter().any(|one| one["bound"] == "connections" && one["used"] == 1), "{seen}");
    assert_eq!(get(admin, "/api/trend").await["step_seconds"], 5);
    let cluster = get(admin, "/api/cluster").await;
    assert_eq!((&cluster["is_clustered"], &cluster["nodes"][0]["leads"]), (&json!(false), &json!(16_384)));
    assert_eq!(call(admin, "DELETE", "/api/overview", "", "").await.0, 405);
    // Inside another program the log is not ours.
    assert_eq!(call(admin, "GET", "/api/log", "", "").await.0, 404);
    node.stop().await;
}

#[tokio::test]
async fn levels_of_the_log_change_while_it_runs() {
    let mut daemon = Daemon::start_heard(&[
        "dev=false",
        "namespaces.default={allow: {subscribe: anyone, publish: anyone, history: anyone}, unlisted: true}",
        &format!("admin.keys=[{{name: op, sha256: {}}}]", KeyHash::of(KEY.as_bytes())),
    ])
    .await;
    let right = format!("{JSON}Authorization: Bearer {KEY}\r\n");
    let admin = daemon.admin;
    assert_eq!(call(admin, "GET", "/api/log", &right, "").await, (200, json!({"level": "info"})));
    let (status, answer) = call(admin, "PUT", "/api/log", &right, r#"{"level":"inof"}"#).await;
    assert!(status == 400 && answer["error"]["message"].as_str().unwrap().contains("did you mean `info`?"), "{answer}");
    let level = "warn,tidings::session=debug,tidings::log=info";
    assert_eq!(call(admin, "PUT", "/api/log", &right, &format!(r#"{{"level":"{level}"}}"#)).await, (200, json!({"level": level})));
    // A poll is told of at debug only.
    let mut poll = Http1::get(daemon.http, "1.1", "/poll?channel=a&session=poller", "", None).await;
    assert_eq!(poll.status().await, 200);
    let opened = daemon.logged("session_opened").await;
    assert_eq!((&opened["session"], &opened["level"]), (&json!("poller"), &json!("debug")));
    call(admin, "GET", "/api/overview", "", "").await;
    assert_eq!(daemon.logged("admin_refused").await["path"], "/api/overview");
}
