//! Leaving gently, as a process does it.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::support::{Daemon, EventStream, Http1, soon};

/// A stream of the daemon that has begun.
async fn stream(daemon: &Daemon) -> (Http1, EventStream) {
    let mut response = Http1::get(daemon.http, "1.1", "/sse?channel=a", "", None).await;
    let mut stream = EventStream::default();
    while stream.last_event_id.is_empty() {
        let bytes = soon("the first bytes", response.read()).await.unwrap();
        assert_eq!(stream.push(&bytes), []);
    }
    (response, stream)
}

#[tokio::test]
async fn a_terminated_daemon_sends_everyone_away_in_waves_and_ends_well() {
    let keys = ["drain.grace=4s", "drain.waves=4", "drain.retry_min=1s", "drain.retry_max=9s"];
    let mut daemon = soon("the start", Daemon::start(&keys)).await;
    let mut streams = Vec::new();
    for _ in 0..40 {
        streams.push(stream(&daemon).await);
    }
    let mut poll = Http1::get(daemon.http, "1.1", "/poll?channel=a&since=earliest", "", None).await;
    let held = async {
        while crate::support::metric(daemon.admin, "tidings_sessions", &["long_poll"]).await < 1.0 {
            tokio::task::yield_now().await;
        }
    };
    soon("a held poll", held).await;

    let began = tokio::time::Instant::now();
    daemon.terminate();
    assert_eq!(soon("the answer to the poll", poll.status()).await, 204);
    assert!(poll.decoder.header("tidings-cursor").is_some() && poll.decoder.header("retry-after").is_some());
    let mut ready = Http1::get(daemon.admin, "1.1", "/readyz", "Connection: close\r\n", None).await;
    assert_eq!(ready.status().await, 503, "readiness is off before anyone is sent away");

    let (mut retries, mut ends) = (Vec::new(), Vec::new());
    for (mut response, mut stream) in streams {
        ends.push(tokio::spawn(async move {
            let farewell = stream.push(&response.rest().await);
            assert!(response.decoder.is_over, "the last chunk is there");
            let [farewell] = &farewell[..] else { panic!("{farewell:?}") };
            assert_eq!(farewell.kind, "tidings:close");
            assert!(farewell.data.contains("\"code\":\"draining\"") && farewell.data.contains("\"retry\":true"), "{}", farewell.data);
            (began.elapsed(), stream.retry.unwrap())
        }));
    }
    let mut times = Vec::new();
    for end in ends {
        let (time, retry) = soon("a farewell", end).await.unwrap();
        times.push(time);
        retries.push(retry);
    }
    assert!(retries.iter().all(|retry| (1000..=9000).contains(retry)), "{retries:?}");
    retries.sort_unstable();
    retries.dedup();
    assert!(retries.len() > 20, "each draws its own: {retries:?}");
    times.sort_unstable();
    let apart = times.windows(2).filter(|pair| pair[1] - pair[0] > Duration::from_millis(200)).count();
    assert!(apart >= 2, "in waves, not at once: {times:?}");

    let ended = soon("the end", daemon.ended()).await;
    assert!(ended.success(), "{ended}");
    assert!(TcpStream::connect(daemon.http).await.is_err());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut daemon = soon("the start", Daemon::start(&["drain.grace=60s", "drain.waves=2"])).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(stream(&daemon).await);
    }
    daemon.terminate();
    // In one breath with the first: a supervisor that signals a process and then its group means it once.
    daemon.terminate();
    // The first wave is gone: it drains. The second would be half a minute away.
    let first_wave = async {
        while crate::support::metric(daemon.admin, "tidings_sessions_closed_total", &["draining"]).await < 1.0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the first wave", first_wave).await;
    // A process of its own has a clock of its own: this is longer than a breath.
    tokio::time::sleep(Duration::from_millis(500)).await;
    daemon.terminate();
    assert!(!tokio::time::timeout(Duration::from_secs(10), daemon.ended()).await.expect("at once").success());
}

#[tokio::test]
async fn who_has_not_said_a_word_does_not_hold_up_the_end() {
    let mut daemon = soon("the start", Daemon::start(&["drain.grace=60s", "drain.waves=1"])).await;
    // Browsers open connections ahead of need.
    let silent = TcpStream::connect(daemon.http).await.unwrap();
    let accepted = async {
        while crate::support::metric(daemon.admin, "tidings_connections_accepted_total", &[]).await < 1.0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the connection", accepted).await;
    let began = tokio::time::Instant::now();
    daemon.terminate();
    let ended = soon("the end", daemon.ended()).await;
    assert!(ended.success(), "{ended}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(silent);
}
