//! docs/TOKENS.md: what it tells people to paste makes tokens that the broker believes.

use std::path::Path;
use std::process::Command;

use super::scene::{SECRET, get, ok, start, verdict};

const PAGE: &str = include_str!("../../../../docs/TOKENS.md");

/// The code blocks of a language, in order.
fn blocks(language: &str) -> Vec<&'static str> {
    PAGE.split(&format!("```{language}\n")).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// What a program prints that is run in a folder of its own. A language that is left out would be a page that nobody tried.
fn run(file: &str, text: &str, command: &[&str], package: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join(file), text).unwrap();
    let [program, arguments @ ..] = command else { unreachable!() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    assert!(is_there, "{program} is missing, which runs {file} of docs/TOKENS.md: `apt-get install {package}` (scripts/test does it)");
    let cache = Path::new(home.path()).join("cache");
    let output =
        Command::new(program).args(arguments).current_dir(home.path()).env("TOKEN_SECRET", SECRET).env("GOCACHE", cache).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_addresses_of_the_page_are_believed_in_every_language() {
    let python = blocks("python");
    let programs = [
        ("token.mjs", blocks("js")[0], &["node", "token.mjs"][..], "nodejs"),
        ("token.py", python[0], &["python3", "token.py"], "python3"),
        ("token.go", blocks("go")[0], &["go", "run", "token.go"], "golang-go"),
        ("Token.java", blocks("java")[0], &["java", "Token.java"], "default-jdk-headless"),
    ];
    let running = programs.map(|(file, text, command, package)| tokio::task::spawn_blocking(move || run(file, text, command, package)));
    let signed = run("url.py", python[1], &["python3", "url.py"], "python3");
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    for token in running {
        let token = token.await.unwrap();
        let headers = format!("Authorization: Bearer {token}\r\n");
        assert_eq!(verdict(&get(to, "/poll?channel=chat:a", &headers).await), ok(), "{token}");
        assert_eq!(verdict(&get(to, "/v1/channels/chat:a/messages", &headers).await), ok(), "{token}");
    }
    assert_eq!(verdict(&get(to, &format!("/poll?{signed}"), "").await), ok(), "{signed}");
    node.stop().await;
}

/// The page's own text, compiled here.
#[test]
fn the_rust_of_the_page_is_the_example_that_is_compiled() {
    let example = include_str!("../../../examples/token.rs");
    let code = example.split_once("\n\n").map_or(example, |(_, code)| code);
    assert_eq!(blocks("rust")[0], code);
}
