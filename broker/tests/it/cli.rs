//! The command line: what it prints, and with which code it ends.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the daemon in an empty directory, without the variables of whoever runs the tests.
fn tidings(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.args(arguments).current_dir(directory).env_clear().output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn check_says_which_configuration_was_read() {
    let home = tempfile::tempdir().unwrap();
    let without = tidings(home.path(), &["check"]);
    assert!(without.status.success());
    assert_eq!(stdout(&without), "built-in defaults (no config.yaml here): fine\n");
    std::fs::write(home.path().join("config.yaml"), "sse: {retry: 3s}\n").unwrap();
    assert_eq!(stdout(&tidings(home.path(), &["check"])), "config.yaml: fine\n");
    assert!(stdout(&tidings(home.path(), &["config", "--dev"])).contains("retry: 3s"));
}

#[test]
fn a_wrong_configuration_or_command_line_ends_with_code_2() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("config.yaml"), "http:\n  lisen: 127.0.0.1:0\n").unwrap();
    for arguments in [&["serve"][..], &["check"], &["config"], &[]] {
        let refused = tidings(home.path(), arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        let said = stderr(&refused);
        assert!(said.starts_with("config.yaml:2:3: ") && said.contains("did you mean `listen`?"), "{said}");
        assert!(stdout(&refused).is_empty());
    }
    for arguments in [&["-c", "missing.yaml"][..], &["--set", "http.listen"], &["--set", "shards=x"], &["--nonsense"], &["nonsense"]] {
        assert_eq!(tidings(home.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_fresh_key_is_a_configuration_that_lets_the_broker_listen_anywhere() {
    let home = tempfile::tempdir().unwrap();
    let (one, other) = (tidings(home.path(), &["key", "back \"end\""]), tidings(home.path(), &["key", "back \"end\""]));
    assert_ne!(stdout(&one), stdout(&other));
    std::fs::write(home.path().join("config.yaml"), stdout(&one)).unwrap();
    let checked = tidings(home.path(), &["check", "--set", "http.listen=0.0.0.0:8000"]);
    assert!(checked.status.success(), "{}", stderr(&checked));
}

#[test]
fn a_key_without_a_name_is_refused_as_the_configuration_would() {
    let home = tempfile::tempdir().unwrap();
    for name in ["", "  ", "a\nb"] {
        let refused = tidings(home.path(), &["key", name]);
        assert_eq!((refused.status.code(), stdout(&refused).as_str()), (Some(2), ""), "{name:?}");
        assert!(stderr(&refused).contains("say who uses it"), "{}", stderr(&refused));
    }
}

#[test]
fn settings_of_the_broker_stand_before_or_after_its_commands() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("a.yaml"), "sse: {retry: 3s}\n").unwrap();
    let orders = [
        &["-c", "a.yaml", "--set", "sse.retry=4s", "config", "--set", "dev=true"][..],
        &["config", "-c", "a.yaml", "--dev", "--set", "sse.retry=4s"],
        &["--dev", "--set", "sse.retry=9s", "config", "--set", "sse.retry=4s"],
    ];
    for arguments in orders {
        let shown = stdout(&tidings(home.path(), arguments));
        assert!(shown.contains("dev: true") && shown.contains("retry: 4s"), "{arguments:?}: {shown}");
    }
    let refused = tidings(home.path(), &["--dev", "key", "a"]);
    assert_eq!((refused.status.code(), stdout(&refused).as_str()), (Some(2), ""), "a key has no settings");
}

#[test]
fn the_effective_configuration_can_be_fed_back_and_the_schema_is_json() {
    let home = tempfile::tempdir().unwrap();
    let shown = stdout(&tidings(home.path(), &["config", "--set", "namespaces.chat.payload_bytes=1KiB"]));
    std::fs::write(home.path().join("again.yaml"), &shown).unwrap();
    assert_eq!(stdout(&tidings(home.path(), &["config", "-c", "again.yaml"])), shown);
    let schema: serde_json::Value = serde_json::from_str(&stdout(&tidings(home.path(), &["config", "--schema"]))).unwrap();
    assert!(schema["properties"]["namespaces"].is_object());
}
