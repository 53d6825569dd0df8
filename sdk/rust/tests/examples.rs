//! Every example program is run against a real broker, and every block of the README stands in one of them.

#![expect(clippy::unwrap_used, reason = "a test binary, helpers included")]

mod real;

use std::path::PathBuf;
use std::process::Stdio;

use real::{address, broker};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

const README: &str = include_str!("../README.md");
const EXAMPLES: [&str; 5] = [
    include_str!("../examples/hello.rs"),
    include_str!("../examples/publish.rs"),
    include_str!("../examples/publish_stream.rs"),
    include_str!("../examples/subscribe.rs"),
    include_str!("../examples/history.rs"),
];

fn example(name: &str) -> Command {
    // Beside this test's own folder, where cargo puts them when it builds all targets.
    let path: PathBuf = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: run `cargo build -p tidings-sdk --examples`", path.display());
    let mut command = Command::new(path);
    command.env_remove("TIDINGS_KEY").kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

async fn run(mut command: Command) -> String {
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_examples_do_what_they_say() {
    let node = broker().await;
    let address = address(&node);
    let mut hello = example("hello");
    hello.arg(&address);
    assert_eq!(run(hello).await, "message 1 of news\n");
    let mut publish = example("publish");
    publish.args(["news", "again", &address]);
    assert!(run(publish).await.starts_with("message 2 of news, cursor "));

    let mut publish_stream = example("publish_stream");
    let mut child = publish_stream.args(["numbers", &address]).stdin(Stdio::piped()).spawn().unwrap();
    let lines: String = (1..=1_000).map(|number| format!("{number}\n")).collect();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "1000 messages published to numbers\n");

    let mut history = example("history");
    history.args(["n", &address]);
    let told = run(history).await;
    assert!(
        told.starts_with("news holds 2 messages\n  #1: Some(\"hello\")\n  #2: Some(\"again\")\nnumbers holds 1000 messages\n"),
        "{told}"
    );
    assert!(told.ends_with("#1000: Some(\"1000\")\n"), "{told}");

    let mut subscribe = example("subscribe");
    let mut child = subscribe.args(["numbers"]).env("TIDINGS_URL", &address).env_remove("TIDINGS_SINCE").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut cursor = String::new();
    for number in 1..=10 {
        assert_eq!(lines.next_line().await.unwrap().unwrap(), format!("numbers #{number}: Some(\"{number}\")"));
        cursor = lines.next_line().await.unwrap().unwrap().strip_prefix("cursor ").unwrap().to_owned();
    }
    child.kill().await.unwrap();
    let mut subscribe = example("subscribe");
    let mut child = subscribe.args(["numbers"]).env("TIDINGS_URL", &address).env("TIDINGS_SINCE", cursor).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "numbers #11: Some(\"11\")");
    child.kill().await.unwrap();
}

#[tokio::test]
async fn an_example_that_fails_says_so_and_ends_with_a_code() {
    let output = example("publish").args(["news", "hello", "127.0.0.1:1"]).stderr(Stdio::piped()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("not published: no broker was reached: cannot connect to 127.0.0.1:1"), "{said}");
}

#[test]
fn every_block_of_the_readme_stands_in_an_example() {
    let flat = |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    let examples = EXAMPLES.map(flat);
    let blocks: Vec<_> = README.split("```rust\n").skip(1).map(|rest| flat(rest.split("```").next().unwrap())).collect();
    assert!(blocks.len() > 5, "only {} blocks were found", blocks.len());
    for block in blocks {
        assert!(examples.iter().any(|example| example.contains(&block)), "in no example:\n{block}");
    }
}
