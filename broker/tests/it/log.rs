//! The log of a real daemon: one line for each event, a client's story by its session, floods cut.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::source::sources;
use crate::support::{Daemon, Http1, metric, soon};

const OPERATING: &str = include_str!("../../../docs/OPERATING.md");

/// Without the demo, whose programs listen too.
async fn daemon(keys: &[&str]) -> Daemon {
    let open = "namespaces.default={allow: {subscribe: anyone, publish: anyone, history: anyone}, unlisted: true}";
    let keys: Vec<&str> = ["dev=false", open].iter().chain(keys).copied().collect();
    Daemon::start_heard(&keys).await
}

fn text<'a>(line: &'a Value, name: &str) -> &'a str {
    line[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {line}"))
}

/// A stream that has begun, and the session it was told.
async fn stream(daemon: &Daemon, target: &str, headers: &str) -> (Http1, String) {
    let mut response = Http1::get(daemon.http, "1.1", target, headers, None).await;
    assert_eq!(response.status().await, 200);
    let session = response.decoder.header("tidings-session").unwrap().to_owned();
    (response, session)
}

#[tokio::test]
async fn a_clients_story_is_told_under_one_name_over_fronts_and_nodes() {
    let mut nodes = [daemon(&[]).await, daemon(&["limits.subscribe_channels=2"]).await];
    // The first node names it; the client takes the name along.
    let (response, session) = stream(&nodes[0], "/sse?channel=chat%3A1", "").await;
    let opened = nodes[0].logged("session_opened").await;
    assert_eq!([text(&opened, "session"), text(&opened, "front"), text(&opened, "channels")], [&session, "sse", "chat:1"]);
    assert_eq!((text(&opened, "level"), text(&opened, "target")), ("info", "tidings::session"));
    assert!(text(&opened, "address").starts_with("127.0.0.1:") && text(&opened, "time").ends_with('Z'));
    drop(response);
    let closed = nodes[0].logged("session_closed").await;
    assert_eq!([text(&closed, "session"), text(&closed, "reason")], [&session, "client_gone"]);
    assert!(closed["lasted_ms"].is_u64(), "{closed}");

    // On the other node, over another front, with what that one does not know.
    let target = format!("/stream?channel=chat%3A1&session={session}&since=cursor");
    let mut refused = Http1::get(nodes[1].http, "1.1", &target, "", None).await;
    assert_eq!(refused.status().await, 400);
    assert_eq!(refused.decoder.header("tidings-session"), Some(&*session));
    let line = nodes[1].logged("session_refused").await;
    assert_eq!([text(&line, "session"), text(&line, "code"), text(&line, "front")], [&session, "invalid_cursor", "http_stream"]);
    let (_, again) = stream(&nodes[1], "/sse?channel=a", &format!("Tidings-Session: {session}\r\n")).await;
    assert_eq!((&again, text(&nodes[1].logged("session_opened").await, "session")), (&session, &*session));
    let mut refused = Http1::get(nodes[1].http, "1.1", "/sse?channel=a&channel=b&channel=c", "", None).await;
    assert_eq!(refused.status().await, 400);
    let line = nodes[1].logged("session_refused").await;
    assert!(text(&line, "message").contains("limits.subscribe_channels"), "the rule that said no is named: {line}");
}

#[tokio::test]
async fn what_a_client_chose_stays_inside_its_field() {
    let mut daemon = daemon(&[]).await;
    for name in ["a%20b", "%0a", "x".repeat(33).as_str()] {
        let mut refused = Http1::get(daemon.http, "1.1", &format!("/sse?channel=a&session={name}"), "", None).await;
        assert_eq!(refused.status().await, 400, "{name}");
        assert_eq!(text(&daemon.logged("session_refused").await, "code"), "invalid_request");
    }
    // No control character is a channel's name; this turns the direction of reading.
    let _stream = stream(&daemon, "/sse?channel=%22%7D%E2%80%AE", "").await;
    assert_eq!(text(&daemon.logged("session_opened").await, "channels"), "\"}\u{202e}");
}

#[tokio::test]
async fn a_flood_is_cut_and_what_was_left_out_is_counted() {
    const CLIENTS: u64 = 40;
    let mut daemon = daemon(&["log.lines_per_second=3"]).await;
    let mut streams = Vec::new();
    for _ in 0..CLIENTS {
        streams.push(stream(&daemon, "/sse?channel=a", "").await);
    }
    let counted = metric(daemon.admin, "tidings_log_lines_left_out_total", &["\"flood\""]).await;
    daemon.terminate();
    let (mut written, mut left_out) = (0, 0);
    let mut seconds = BTreeSet::new();
    while let Some(line) = daemon.log_line().await {
        match text(&line, "event") {
            "session_opened" => {
                written += 1;
                seconds.insert(text(&line, "time")[..19].to_owned());
            }
            "lines_left_out" if line["of"] == "session_opened" => left_out += line["count"].as_u64().unwrap(),
            _ => {}
        }
    }
    assert!(written <= 3 * seconds.len() as u64, "{written} in {} seconds", seconds.len());
    assert_eq!(written + left_out, CLIENTS);
    assert_eq!(counted, left_out as f64, "there was no other flood before the end");
    assert!(daemon.ended().await.success());
}

#[tokio::test]
async fn a_log_that_nobody_reads_fills_its_queue_and_holds_up_no_client() {
    let mut daemon = daemon(&["log.lines_per_second=0"]).await;
    assert_eq!(metric(daemon.admin, "tidings_bound_limit", &["\"log_lines\""]).await, 4096.0);
    // Each is refused with a line. The pipe takes some, and then nothing more.
    let (mut answers, mut requests) = TcpStream::connect(daemon.http).await.unwrap().into_split();
    let answered = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut tokio::io::sink()).await });
    let many = format!("GET /sse?channel=a&since=cursor HTTP/1.1\r\nHost: {}\r\n\r\n", daemon.http).repeat(256);
    let full = async {
        while metric(daemon.admin, "tidings_log_lines_left_out_total", &["\"queue_full\""]).await == 0.0 {
            requests.write_all(many.as_bytes()).await.unwrap();
        }
    };
    soon("the queue is full", full).await;
    let waiting = metric(daemon.admin, "tidings_bound_used", &["\"log_lines\""]).await;
    assert!((4000.0..=4097.0).contains(&waiting), "{waiting} lines wait");
    drop(requests);
    soon("the answers end", answered).await.unwrap().unwrap();
    // Whoever reads on is told what is missing; and when no more is left than a pipe takes, the queue is empty.
    let (mut read, mut left_out) = (0, 0);
    while read < 4096 || left_out == 0 {
        let line = daemon.log_line().await.expect("the daemon goes on");
        read += 1;
        if line["event"] == "lines_left_out" {
            assert_eq!([text(&line, "of"), text(&line, "why")], ["any", "nobody reads the log fast enough"]);
            left_out += line["count"].as_u64().unwrap();
        }
    }
    let empty = async { while metric(daemon.admin, "tidings_bound_used", &["\"log_lines\""]).await > 0.0 {} };
    soon("the queue is empty", empty).await;
}

#[test]
fn every_event_of_the_log_stands_in_the_manual() {
    let chapter =
        OPERATING.split("## Log\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the manual has a chapter on the log");
    let events = |row: &'static str| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2);
    let documented: BTreeSet<&str> = chapter.lines().filter(|line| line.starts_with("| `")).flat_map(events).collect();
    let mut said = BTreeSet::new();
    for source in sources() {
        let beginnings: &[&str] = if source.path == "journal/record.rs" { &["=> \"session_"] } else { &["event = \""] };
        for beginning in beginnings {
            let name = |rest: &str| rest.split('"').nth(1).unwrap_or_default().to_owned();
            said.extend(source.text.match_indices(beginning).map(|(at, _)| name(&source.text[at..])));
        }
        // Every line of the daemon's has a name; the demo's programs are beside it.
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, pair) in lines.windows(2).enumerate().filter(|_| source.room() != "cluster") {
            let speaks = ["error", "warn", "info", "debug"].iter().any(|level| pair[0].contains(&format!("tracing::{level}!(")));
            let is_named = pair.iter().any(|line| line.contains("event = "));
            assert!(is_named || !speaks, "{}:{}: a line of the log without an event", source.path, number + 1);
        }
    }
    let missing: Vec<&String> = said.iter().filter(|name| !documented.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "not in the table of docs/OPERATING.md: {missing:?}");
    assert!(said.len() > 25, "only {} events were found", said.len());
}
