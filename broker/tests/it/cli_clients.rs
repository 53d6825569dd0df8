//! `tidings publish` and `tidings subscribe` against a real daemon.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::{Daemon, soon};

/// A client of this daemon, without the variables of whoever runs the tests.
fn tidings(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.args(arguments).env_clear().env("TIDINGS_URL", format!("http://{}", daemon.grpc)).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What it ended with, and what it said: code, output, errors.
async fn run(command: &mut Command, input: &str) -> (Option<i32>, String, String) {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Who reads none of it may end before it is written.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = soon("the client ends", child.wait_with_output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A client that listens.
struct Ear {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Ear {
    fn open(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> serde_json::Value {
        let line = soon("a line", self.lines.next_line()).await.unwrap().expect("it still listens");
        serde_json::from_str(&line).unwrap()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_raw(self.child.id().unwrap() as i32).unwrap(), signal).unwrap();
    }

    async fn code(&mut self) -> Option<i32> {
        soon("the client ends", self.child.wait()).await.unwrap().code()
    }
}

#[tokio::test]
async fn what_is_published_is_heard_with_all_that_was_said() {
    let daemon = Daemon::start(&[]).await;
    let data = "{\n  \"total\": 1.50\n}";
    let said =
        ["publish", "orders", data, "--content-type", "application/json", "--event", "created", "--header", "trace=a=1", "--id", "o-1"];
    let (code, out, _) = run(&mut tidings(&daemon, &said), "").await;
    let result: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &result["channel"], &result["offset"], &result["duplicate"]), (Some(0), &"orders".into(), &1.into(), &false.into()));
    let (_, out, _) = run(&mut tidings(&daemon, &said), "").await;
    assert!(out.contains("\"duplicate\":true"), "{out}");
    assert_eq!(run(&mut tidings(&daemon, &["publish", "degrees", "-4.5"]), "").await.0, Some(0), "a number below zero is no option");

    let (code, out, _) = run(&mut tidings(&daemon, &["subscribe", "orders", "--since", "earliest", "--count", "1"]), "").await;
    assert_eq!((code, out.lines().count()), (Some(0), 1));
    assert!(out.contains("\"data\":{   \"total\": 1.50 }"), "JSON stays as it was, on one line: {out}");
    let heard: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&heard["event"], &heard["headers"]["trace"], &heard["id"]), (&"created".into(), &"a=1".into(), &"o-1".into()));
    assert_eq!(heard["cursor"], result["cursor"]);
}

#[tokio::test]
async fn standard_input_is_a_message_or_many() {
    let daemon = Daemon::start(&[]).await;
    for arguments in [&["publish", "whole"][..], &["publish", "whole", "-"]] {
        assert_eq!(run(&mut tidings(&daemon, arguments), "one\ntwo\n").await.0, Some(0));
    }
    let (code, out, _) = run(&mut tidings(&daemon, &["publish", "lines", "--lines"]), "one\r\ntwo\n\nlast").await;
    assert_eq!((code, out.lines().count()), (Some(0), 4));
    let (code, out, _) = run(&mut tidings(&daemon, &["publish", "quiet", "x", "--quiet"]), "").await;
    assert_eq!((code, out.as_str()), (Some(0), ""));
    let (_, out, _) = run(&mut tidings(&daemon, &["subscribe", "whole", "--last", "1", "--count", "1"]), "").await;
    assert!(out.contains("\"data\":\"one\\ntwo\\n\""), "{out}");
    let (_, out, _) = run(&mut tidings(&daemon, &["subscribe", "lines", "--last", "9", "--count", "4"]), "").await;
    let data: Vec<_> = out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["data"].clone()).collect();
    assert_eq!(data, ["one", "two", "", "last"]);
}

#[tokio::test]
async fn a_line_that_is_refused_is_named_and_stops_no_other() {
    let daemon = Daemon::start(&["namespaces.default.payload_bytes=8B"]).await;
    let (code, out, err) = run(&mut tidings(&daemon, &["publish", "a", "--lines"]), "short\nfar too long\nshort\n").await;
    assert_eq!((code, out.lines().count()), (Some(1), 2));
    assert!(err.contains("line 2: too_large: ") && !err.contains("line 3"), "{err}");
}

#[tokio::test]
async fn lines_are_answered_as_they_come_and_not_at_the_end() {
    let daemon = Daemon::start(&[]).await;
    let mut command = tidings(&daemon, &["publish", "a", "--lines"]);
    command.stdin(Stdio::piped());
    let mut client = Ear::open(command);
    let mut input = client.child.stdin.take().unwrap();
    for offset in 1..=3 {
        input.write_all(b"line\n").await.unwrap();
        assert_eq!(client.line().await["offset"], offset);
    }
    drop(input);
    assert_eq!(client.code().await, Some(0));
}

#[tokio::test]
async fn whoever_listens_ends_well_by_a_signal_or_when_nobody_reads() {
    let daemon = Daemon::start(&[]).await;
    run(&mut tidings(&daemon, &["publish", "a", "first"]), "").await;
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut ear = Ear::open(tidings(&daemon, &["subscribe", "a", "--last", "1"]));
        assert_eq!(ear.line().await["data"], "first");
        ear.signal(signal);
        assert_eq!(ear.code().await, Some(0));
    }
    let mut ear = Ear::open(tidings(&daemon, &["subscribe", "a", "--since", "earliest"]));
    ear.line().await;
    let mut errors = ear.child.stderr.take().unwrap();
    let Ear { mut child, lines } = ear;
    drop(lines);
    // The next line meets a pipe without a reader.
    run(&mut tidings(&daemon, &["publish", "a", "second"]), "").await;
    assert_eq!(soon("the client ends", child.wait()).await.unwrap().code(), Some(0));
    let mut said = String::new();
    errors.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "", "it ends quietly");
}

#[tokio::test]
async fn it_goes_on_by_itself_when_the_broker_leaves_and_comes_back() {
    let mut daemon = Daemon::start(&["drain.notice=0s", "drain.retry_min=50ms", "drain.retry_max=100ms"]).await;
    let mut ear = Ear::open(tidings(&daemon, &["subscribe", "a", "--since", "earliest"]));
    run(&mut tidings(&daemon, &["publish", "a", "before"]), "").await;
    assert_eq!(ear.line().await["data"], "before");
    daemon.terminate();
    let close = ear.line().await;
    assert_eq!((&close["close"]["code"], &close["close"]["retry"]), (&"draining".into(), &true.into()));
    daemon.ended().await;
    let again = Daemon::start(&[&format!("grpc.listen={}", daemon.grpc)]).await;
    run(&mut tidings(&again, &["publish", "a", "after"]), "").await;
    let gap = ear.line().await;
    assert_eq!((&gap["gap"]["channel"], &gap["gap"]["reason"]), (&"a".into(), &"restart".into()));
    assert_eq!(ear.line().await["data"], "after");
}

#[tokio::test]
async fn each_kind_of_failure_has_its_code() {
    let hash = tidings::auth::config::KeyHash::of(b"secret");
    let daemon = Daemon::start(&[&format!("keys=[{{name: a, sha256: '{hash}'}}]")]).await;
    let dir = tempfile::tempdir().unwrap();
    let (right, missing) = (dir.path().join("key"), dir.path().join("none"));
    std::fs::write(&right, "secret\n").unwrap();
    let ends = async |arguments: &[&str], key: Option<&str>| {
        let mut command = tidings(&daemon, arguments);
        let (code, out, err) = run(command.envs(key.map(|key| ("TIDINGS_KEY", key))), "").await;
        assert!(!err.contains("secret") && !out.contains("secret"), "a key must not be shown: {out}{err}");
        assert_eq!(err.is_empty(), code == Some(0), "{arguments:?}: {err}");
        code.unwrap()
    };
    let publish = ["publish", "a", "x"];
    assert_eq!(ends(&publish, Some("secret")).await, 0);
    assert_eq!(ends(&["publish", "a", "x", "--key-file", right.to_str().unwrap()], None).await, 0);
    assert_eq!(ends(&["publish", "a", "x", "--key-file", missing.to_str().unwrap()], None).await, 1);
    assert_eq!(ends(&publish, None).await, 3);
    assert_eq!(ends(&publish, Some("guess")).await, 3);
    assert_eq!(ends(&["subscribe", "a"], None).await, 3);
    assert_eq!(ends(&["publish", "a", "x", "--lines"], None).await, 2);
    assert_eq!(ends(&["publish", "", "x"], Some("secret")).await, 1);
    assert_eq!(ends(&["subscribe", "a", "--since", "nonsense"], Some("secret")).await, 1);
    assert_eq!(ends(&["publish", "a", "x", "--url", "127.0.0.1:1"], None).await, 4);
    assert_eq!(ends(&["subscribe", "a", "--url", "127.0.0.1:1"], None).await, 4);
    assert_eq!(ends(&["publish", "a", "x", "--url", "ftp://x y"], None).await, 2);
    for usage in
        [&["subscribe"][..], &["publish"], &["subscribe", "a", "--last", "1", "--since", "x"], &["publish", "a", "x", "--ttl", "5"]]
    {
        assert_eq!(ends(usage, None).await, 2, "{usage:?}");
    }
    assert_eq!(ends(&["--dev", "publish", "a", "x"], None).await, 2);
}

#[tokio::test]
async fn help_shows_examples_and_codes_and_no_key() {
    let daemon = Daemon::start(&[]).await;
    for command in ["publish", "subscribe"] {
        let (code, out, _) = run(tidings(&daemon, &[command, "--help"]).env("TIDINGS_KEY", "secret"), "").await;
        assert_eq!(code, Some(0));
        for part in ["Examples:", "Ends with code", "TIDINGS_KEY", "--key-file"] {
            assert!(out.contains(part), "no {part:?} in:\n{out}");
        }
        assert!(!out.contains("secret") && !out.contains("--config"), "{out}");
    }
}

#[tokio::test]
async fn the_lines_of_the_readme_work_as_they_stand() {
    const README: &str = include_str!("../../../README.md");
    let daemon = Daemon::start(&[]).await;
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("order.json"), "{}").unwrap();
    std::fs::write(home.path().join("access.log"), "one\ntwo\n").unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_tidings")).parent().unwrap();
    let is_ours = |line: &&str| line.contains("tidings publish ") || line.starts_with("tidings subscribe ");
    let lines: Vec<&str> = README.lines().filter(is_ours).collect();
    assert!(lines.len() >= 5, "{lines:?}");
    for line in lines {
        // What would go on for ever ends at the end of the file, or after one message that is there.
        let line = line.replace("tail -F", "cat").replace(" | jq .data", "");
        let line = if line.contains("subscribe") { format!("{line} --count 1") } else { line };
        let mut command = Command::new("sh");
        command.args(["-c", &line]).current_dir(home.path()).env_clear().env("TIDINGS_URL", format!("http://{}", daemon.grpc));
        command.env("PATH", format!("{}:/usr/bin:/bin", program.display())).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (code, out, err) = run(&mut command, "").await;
        assert!(code == Some(0) && out.starts_with("{\"channel\":"), "{line}: {out}{err}");
    }
}

#[tokio::test]
async fn channels_are_listed_by_name_and_only_those_that_were_asked_for() {
    let daemon = Daemon::start(&[]).await;
    for channel in ["room:400", "other", "room:000", "room:200"] {
        let (code, ..) = run(&mut tidings(&daemon, &["publish", channel, "x"]), "").await;
        assert_eq!(code, Some(0));
    }
    let (code, out, err) = run(&mut tidings(&daemon, &["channels", "room:"]), "").await;
    let rows: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(rows.iter().map(|row| row["channel"].as_str().unwrap()).collect::<Vec<_>>(), ["room:000", "room:200", "room:400"]);
    assert!(rows.iter().all(|row| row["offset"] == 1 && row["messages"] == 1 && row["cursor"].is_string()), "{out}");
    let (_, all, _) = run(&mut tidings(&daemon, &["channels"]), "").await;
    assert!(all.contains("\"other\"") && all.lines().count() >= 4, "those of the demo are among them: {all}");
}

#[tokio::test]
async fn orders_about_clients_say_what_ended_and_where() {
    let daemon = Daemon::start(&[]).await;
    let mut ear = Ear::open(tidings(&daemon, &["subscribe", "orders", "news"]));
    // What it hears shows that it listens.
    let published = async {
        loop {
            run(&mut tidings(&daemon, &["publish", "orders", "x"]), "").await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let heard = tokio::select! {
        () = published => unreachable!(),
        line = ear.line() => line,
    };
    assert_eq!(heard["channel"], "orders");
    let orders: [&[&str]; 3] =
        [&["disconnect", "--user", "ann"], &["unsubscribe", "--token-id", "t-1", "news"], &["revoke", "--user", "ann", "--for", "1h"]];
    for order in orders {
        let (code, out, err) = run(&mut tidings(&daemon, order), "").await;
        let done: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|why| panic!("{why}: {out}{err}"));
        assert_eq!((code, &done["ended"], &done["reached"][0]["node"]), (Some(0), &0.into(), &"this node".into()), "{out}{err}");
        assert_eq!(done["until"].is_u64(), order[0] == "revoke", "{out}");
    }
    let wrong: [&[&str]; 5] = [
        &["disconnect"],
        &["disconnect", "--user", "a", "--session", "b"],
        &["revoke"],
        &["revoke", "--session", "a"],
        &["unsubscribe", "--user", "a"],
    ];
    for wrong in wrong {
        assert_eq!(run(&mut tidings(&daemon, wrong), "").await.0, Some(2), "{wrong:?}");
    }
    ear.signal(rustix::process::Signal::TERM);
    assert_eq!(ear.code().await, Some(0));
}
