//! Another configuration while the daemon runs: all of it that can change, or nothing.

use tidings::auth::config::KeyHash;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Daemon, metric, soon};

/// A configuration with one key, and more below it.
fn with_key(key: &str, more: &str) -> String {
    format!("keys: [{{name: backend, sha256: '{}'}}]\n{more}", KeyHash::of(key.as_bytes()))
}

/// What a publish of this text is answered with.
async fn publish(daemon: &Daemon, key: &str, text: &str) -> String {
    publish_from(daemon, key, text, "").await
}

/// The same from a page of another origin.
async fn publish_from(daemon: &Daemon, key: &str, text: &str, origin: &str) -> String {
    let mut socket = TcpStream::connect(daemon.http).await.unwrap();
    let request = format!(
        "POST /v1/channels/a/messages HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n{origin}\r\n{text}",
        daemon.http,
        text.len()
    );
    let mut answer = String::new();
    // Who is refused may hear it before all is said.
    let _ = socket.write_all(request.as_bytes()).await;
    let _ = soon("an answer", socket.read_to_string(&mut answer)).await;
    answer
}

#[tokio::test]
async fn a_signal_takes_what_can_change_and_names_what_cannot() {
    let mut daemon = Daemon::start_from(&with_key("one", ""), &[]).await;
    assert!(publish(&daemon, "one", "x").await.starts_with("HTTP/1.1 200 "));
    let more = "cors: {origins: ['https://app.example']}\nlog: {level: debug}\nshards: 7\nnamespaces: {default: {payload_bytes: 4B}}\n";
    daemon.rewrite(&with_key("two", more));
    daemon.hang_up();
    let told = daemon.logged("config_reloaded").await;
    let applied: Vec<&str> = told["applied"].as_str().unwrap().split(' ').collect();
    for key in ["keys", "cors.origins", "log.level", "namespaces.default.payload_bytes"] {
        assert!(applied.contains(&key), "{key}: {told}");
    }
    assert_eq!((&told["waiting"], &told["because"], &told["level"]), (&"shards".into(), &"SIGHUP".into(), &"warn".into()), "{told}");
    assert!(publish(&daemon, "one", "x").await.starts_with("HTTP/1.1 401 "), "the old key is gone");
    let answer = publish_from(&daemon, "two", "x", "Origin: https://app.example\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("access-control-allow-origin: https://app.example"), "{answer}");
    assert!(publish(&daemon, "two", "12345").await.starts_with("HTTP/1.1 413 "));
    assert_eq!(metric(daemon.admin, "tidings_config_reloads_tried_total", &["applied"]).await, 1.0);
    assert_eq!(metric(daemon.admin, "tidings_config_keys_waiting", &[]).await, 1.0);
    assert!(metric(daemon.admin, "tidings_config_applied_timestamp_seconds", &[]).await > 1e9);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing_and_is_told_with_its_place() {
    let mut daemon = Daemon::start_from(&with_key("one", ""), &[]).await;
    for (file, place) in [
        (with_key("two", "limits:\n  channles: 5\n"), "config.yaml:3:3: "),
        (with_key("two", "limits:\n  connections: many\n"), "config.yaml:3:16: "),
        (with_key("two", "keys: ["), "config.yaml:"),
        (with_key("two", "shard:\n  inbox: 1\n"), "config.yaml:3:10: "),
    ] {
        daemon.rewrite(&file);
        daemon.hang_up();
        let told = daemon.logged("config_refused").await;
        assert!(told["why"].as_str().unwrap().contains(place), "{place}: {told}");
        assert_eq!(metric(daemon.admin, "tidings_config_refused", &[]).await, 1.0);
        assert!(publish(&daemon, "one", "x").await.starts_with("HTTP/1.1 200 "), "what was, is");
        assert!(publish(&daemon, "two", "x").await.starts_with("HTTP/1.1 401 "));
    }
    daemon.rewrite(&with_key("two", ""));
    daemon.hang_up();
    assert_eq!(daemon.logged("config_reloaded").await["applied"], "keys");
    assert_eq!(metric(daemon.admin, "tidings_config_refused", &[]).await, 0.0);
    assert!(publish(&daemon, "two", "x").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_file_that_changed_is_noticed_without_a_signal_and_limits_count_at_once() {
    let mut daemon = Daemon::start_from(&with_key("one", ""), &[]).await;
    assert!(publish(&daemon, "one", "x").await.starts_with("HTTP/1.1 200 "));
    daemon.rewrite(&with_key("one", "limits: {connections: 1}\n"));
    let told = daemon.logged("config_reloaded").await;
    assert_eq!((&told["because"], &told["applied"]), (&"the file changed".into(), &"limits.connections".into()), "{told}");
    let _first = tokio::net::TcpStream::connect(daemon.http).await.unwrap();
    let mut refused = String::new();
    while !refused.starts_with("HTTP/1.1 503 ") {
        refused = publish(&daemon, "one", "x").await;
    }
}
