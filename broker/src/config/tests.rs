//! Reading, overriding, refusing. `shipped.rs` beside it holds the checked-in files against the code.

use std::time::Duration;

use super::*;

mod shipped;

fn load(text: &str, overrides: &[Override]) -> Result<Config, Problems> {
    Config::load(Some(File { name: "test.yaml", text }), overrides)
}

fn set(argument: &str) -> Override {
    Override::flag(argument).unwrap()
}

fn env(name: &str, value: &str) -> Override {
    Override::variable(name, value).unwrap()
}

fn problems(text: &str, overrides: &[Override]) -> Vec<Problem> {
    load(text, overrides).expect_err("this must be refused").0
}

fn problem(text: &str, overrides: &[Override]) -> String {
    let all = problems(text, overrides);
    assert_eq!(all.len(), 1, "{all:#?}");
    all[0].to_string()
}

fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
}

#[test]
fn an_empty_file_and_no_file_and_empty_sections_are_the_defaults() {
    let defaults = Config::default();
    assert_eq!(Config::load(None, &[]), Ok(defaults.clone()));
    for text in [
        "",
        "# nothing\n",
        "---\n",
        "http:\ngrpc: ~\nkeys:\nnamespaces:\n",
        "namespaces:\n  default:\n",
        "namespaces: {default: {history: }}",
    ] {
        assert_eq!(load(text, &[]).as_ref(), Ok(&defaults), "{text:?}");
    }
}

#[test]
fn durations_and_sizes_are_read_as_people_write_them() {
    let config =
        load("drain: {grace: 2m, notice: 250ms, retry_max: 1h}\nlimits: {history_bytes: 2GiB}\nhttp: {header_bytes: 65536}", &[]).unwrap();
    assert_eq!(config.drain.grace, Duration::from_secs(120));
    assert_eq!(config.drain.notice, Duration::from_millis(250));
    assert_eq!(config.drain.retry_max, Duration::from_secs(3600));
    assert_eq!(config.limits.history_bytes, 2 << 30);
    assert_eq!(config.http.header_bytes, 65_536);
    for wrong in [
        "drain: {grace: 30}",
        "drain: {grace: 30 sec}",
        "drain: {grace: s}",
        "drain: {grace: -3s}",
        "drain: {grace: 99999999999999999999s}",
    ] {
        assert_says(&problem(wrong, &[]), &["test.yaml:1:9: ", "a duration with its unit"]);
    }
    for wrong in ["poll: {bytes: 1MB}", "poll: {bytes: -1}", "poll: {bytes: 1.5}", "poll: {bytes: 18446744073709551615GiB}"] {
        assert_says(&problem(wrong, &[]), &["test.yaml:1:8: ", "a size such as 64KiB"]);
    }
}

#[test]
fn an_unknown_key_is_refused_with_line_column_snippet_and_hint() {
    let said = problem("# one\nhttp:\n  lisen: 127.0.0.1:1\n", &[]);
    assert_says(&said, &["test.yaml:3:3", "lisen", "  lisen: 127.0.0.1:1", "did you mean `listen`?"]);
    let said = problem("retry: 2s\n", &[]);
    assert_says(&said, &["test.yaml:1:1", "`retry` belongs under `sse`"]);
    let said = problem("log: {format: jsno}\n", &[]);
    assert_says(&said, &["test.yaml:1:15", "did you mean `json`?"]);
}

#[test]
fn a_wrong_type_a_double_key_and_broken_yaml_name_their_line() {
    assert_says(&problem("dev: false\nshards: many\n", &[]), &["test.yaml:2:9"]);
    assert_says(&problem("dev: false\nhttp: 8000\n", &[]), &["test.yaml:2:7"]);
    assert_says(&problem("dev: false\nhttp:\n  listen: localhost\n", &[]), &["test.yaml:3:3: ", "localhost", "an IP address with a port"]);
    assert_says(&problem("dev: false\ndev: true\n", &[]), &["test.yaml:2:1"]);
    assert_says(&problem("dev: false\nhttp: {listen: \n", &[]), &["test.yaml:"]);
    assert_says(&problem("dev: false\nkeys: [{name: a, sha256: abc}]\n", &[]), &["test.yaml:2:26", "64 hexadecimal digits"]);
}

#[test]
fn what_is_wrong_is_said_without_the_terms_of_rust_and_of_libraries() {
    let said = [
        (problem("shards: many", &[]), "not a whole number from 0 to 65535"),
        (problem("dev: maybe", &[]), "neither true nor false"),
        (problem("http: 8000", &[]), "keys with values are expected here"),
        (problem("cors: {origins: x}", &[]), "a list is expected here"),
        (problem("dev: true\ndev: false", &[]), "the key is given twice: dev"),
        (problem("http:\n\tlisten: x", &[]), "YAML is indented with blanks"),
        (problem("keys: [{name: a}]", &[]), "missing key `sha256`"),
        (problem("", &[set("shards=many")]), "expected a whole number from 0 to 65535"),
        (problem("", &[set("dev=maybe")]), "expected true or false"),
        (problem("", &[set("http=7")]), "expected keys with values"),
        (problem("", &[set("keys=x")]), "expected a list"),
        (problem("", &[set("grpc.unix=[]")]), "expected a path"),
    ];
    for (said, part) in said {
        assert_says(&said, &[part]);
        for term in ["u16", "struct", "sequence start", "mapping start", "DuplicateKeyPolicy", "boolean"] {
            assert!(!said.contains(term), "{term:?} in {said}");
        }
    }
}

#[test]
fn variables_go_over_the_file_and_flags_over_variables() {
    let file = "http: {listen: 127.0.0.1:1, http2_streams: 7}\nsse: {retry: 5s}\n";
    let config =
        load(file, &[env("TIDINGS_HTTP__LISTEN", "127.0.0.1:2"), env("TIDINGS_SSE__RETRY", "6s"), set("http.listen=127.0.0.1:3")]).unwrap();
    assert_eq!(config.http.listen, "127.0.0.1:3".parse().unwrap());
    assert_eq!(config.http.http2_streams, 7);
    assert_eq!(config.sse.retry, Duration::from_secs(6));
    assert!(load("", &[env("TIDINGS_DEV", "true")]).unwrap().dev);
    assert!(load("", &[Override::dev()]).unwrap().dev);
}

#[test]
fn overrides_reach_lists_mappings_nulls_and_text_that_is_no_yaml() {
    let hash = "ab".repeat(32);
    let config = load(
        "namespaces: {chat: {payload_bytes: 1KiB}}",
        &[
            env("TIDINGS_KEYS", &format!("[{{name: ci, sha256: {hash}}}]")),
            env("TIDINGS_NAMESPACES__CHAT__HISTORY__SIZE", "5"),
            set("namespaces.new={history: {size: 6}}"),
            set("grpc.listen=null"),
            set("http.listen=[::1]:8000"),
            set("cors.origins=[\"*\"]"),
            set("limits.history_bytes=8388608"),
            set("log.level=info,tidings=debug"),
        ],
    )
    .unwrap();
    assert_eq!(config.keys[0].sha256.to_string(), hash);
    let chat = config.namespaces.get(Some("chat"));
    assert_eq!((chat.payload_bytes, chat.history.size, chat.history.ttl), (1024, 5, Duration::from_secs(600)));
    assert_eq!(config.namespaces.get(Some("new")).history.size, 6);
    assert_eq!(config.namespaces.get(Some("unlisted")), config.namespaces.get(None));
    assert_eq!(config.grpc.listen, None);
    assert_eq!(config.http.listen, "[::1]:8000".parse().unwrap());
    assert_eq!(config.limits.history_bytes, 8 << 20);
    assert_eq!(config.log.level, "info,tidings=debug");
}

#[test]
fn a_wrong_override_names_the_variable_or_the_flag() {
    assert_says(
        &problem("", &[env("TIDINGS_HTTP__LISEN", "x")]),
        &["TIDINGS_HTTP__LISEN: ", "unknown key `lisen` at `http`", "did you mean `listen`?"],
    );
    assert_says(&problem("", &[env("TIDINGS_HTTP_LISTEN", "x")]), &["TIDINGS_HTTP_LISTEN: ", "TIDINGS_HTTP__LISTEN"]);
    assert_says(&problem("", &[set("shards=many")]), &["--set shards: ", "many"]);
    assert_says(&problem("", &[set("drain.grace=soon")]), &["--set drain.grace: ", "a duration with its unit"]);
    assert_says(&problem("", &[set("keys.0.name=x")]), &["--set keys.0.name: ", "is a list"]);
    assert_says(&problem("", &[set("dev.on=x")]), &["single value"]);
    assert_eq!(problems("", &[set("shards=many"), set("nonsense=1")]).len(), 2);
    for wrong in ["http.listen", "=1", ""] {
        assert!(Override::flag(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn variables_of_others_of_clients_and_kubernetes_service_links_are_not_ours() {
    for name in [
        "PATH",
        "TIDINGS_URL",
        "TIDINGS_KEY",
        "TIDING_DEV",
        "TIDINGS_PORT",
        "TIDINGS_PORT_8000_TCP_ADDR",
        "TIDINGS_SERVICE_HOST",
        "TIDINGS_SERVICE_PORT_HTTP",
    ] {
        assert!(Override::variable(name, "1").is_none(), "{name}");
    }
}

#[test]
fn a_listener_beyond_loopback_needs_a_key_or_the_word_insecure_and_never_dev() {
    let open = "http:\n  listen: 0.0.0.0:8000\n";
    assert_says(
        &problem(open, &[]),
        &["test.yaml:2:11: http.listen: 0.0.0.0:8000 is beyond loopback", "tidings key NAME", "insecure: true"],
    );
    assert!(load(open, &[set("insecure=true")]).is_ok());
    assert!(load(open, &[set(&format!("keys=[{{name: a, sha256: {}}}]", "0a".repeat(32)))]).is_ok());
    assert_says(&problem(open, &[Override::dev(), set("insecure=true")]), &["`dev` does not allow"]);
    assert_says(&problem("", &[env("TIDINGS_ADMIN__LISTEN", "[::]:8002")]), &["TIDINGS_ADMIN__LISTEN: admin.listen: "]);
    for inside in ["127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert!(load("", &[set(&format!("grpc.listen={inside}"))]).is_ok(), "{inside}");
    }
}

#[test]
fn what_does_not_fit_together_is_reported_all_at_once() {
    let hash = "ab".repeat(32);
    let text = format!(
        "
http: {{listen: 127.0.0.1:8001, header_bytes: 1KiB}}
cors: {{origins: ['*'], credentials: true}}
grpc: {{message_bytes: 64KiB, streams: 0}}
keys: [{{name: a, sha256: {hash}}}, {{name: a, sha256: {hash}}}]
namespaces:
  a:b: {{payload_bytes: 0B}}
  big: {{payload_bytes: 8MiB}}
  huge: {{history: {{bytes: 2GiB, ttl: 0s}}}}
limits: {{channels: 0, subscribe_slots: 17}}
shards: 65
shard: {{heartbeat_min: 30s, ring_bytes: 1KiB}}
poll: {{wait: 2m, messages: 0}}
drain: {{notice: 30s, waves: 0, retry_min: 11s}}
"
    );
    let all: Vec<String> = problems(&text, &[]).iter().map(ToString::to_string).collect();
    let expected = [
        ":2:46: http.header_bytes: 1KiB",
        // The nearest section around a key that the file does not name.
        ":4:7: grpc.listen: 127.0.0.1:8001 is taken by `http.listen`",
        ":3:37: cors.credentials",
        ":4:23: grpc.message_bytes",
        ":4:39: grpc.streams",
        ": keys: two keys are named `a`",
        ": keys: the key `a` is listed twice",
        ": namespaces: \"a:b\" is no namespace",
        ": namespaces.a:b.payload_bytes: 0B",
        ": namespaces.big.history.bytes: one message",
        ": namespaces.huge.history.bytes: one channel",
        ": namespaces.huge.history.ttl: 0s",
        ": limits.channels: 0",
        ": limits.subscribe_slots: 17",
        ": shards: 65",
        ": shard.heartbeat_min: is longer",
        ": shard.ring_bytes: is smaller",
        ": poll.wait: is longer",
        ": poll.messages: 0",
        ": drain.notice: leaves no time",
        ": drain.waves: 0",
        ": drain.retry_min: is longer",
    ];
    for part in expected {
        assert!(all.iter().any(|said| said.contains(part)), "no {part:?} in:\n{}", all.join("\n"));
    }
    assert_eq!(all.len(), expected.len(), "{}", all.join("\n"));
}

#[test]
fn a_log_level_that_would_silence_everything_is_refused() {
    for right in ["off", "debug", "info,tidings::net=trace", "warn, tidings=debug"] {
        assert!(load(&format!("log: {{level: '{right}'}}"), &[]).is_ok(), "{right}");
    }
    assert_says(&problem("log: {level: inof}", &[]), &["log.level: `inof` is no level", "did you mean `info`?"]);
    for wrong in ["''", "tidings", "'info,'", "'=info'", "'tidings=loud'"] {
        assert_says(&problem(&format!("log: {{level: {wrong}}}"), &[]), &["test.yaml:1:14: log.level", "is no level"]);
    }
}

#[test]
fn an_origin_is_one_as_browsers_send_it() {
    for right in ["*", "https://app.example", "http://localhost:3000", "http://[::1]:3000", "capacitor://localhost"] {
        assert!(load(&format!("cors: {{origins: ['{right}']}}"), &[]).is_ok(), "{right}");
    }
    for wrong in ["app.example", "https://app.example/", "https://App.example", "https://", "://x", "*.example", "https://a b"] {
        assert_says(&problem(&format!("cors: {{origins: ['{wrong}']}}"), &[]), &["test.yaml:1:17", "is no origin"]);
    }
}

#[test]
fn what_is_shown_can_be_loaded_again() {
    let text =
        format!("namespaces: {{'1': {{history: {{size: 0}}}}, 'yes': {{}}}}\nkeys: [{{name: '007', sha256: '{}'}}]", "12".repeat(32));
    let config = load(&text, &[set("grpc.unix=/run/tidings.sock"), set("dev=true")]).unwrap();
    assert_eq!(load(&config.to_yaml().unwrap(), &[]), Ok(config));
}

#[test]
fn what_is_shown_holds_no_secret() {
    let secret = "hush hush hush hush hush hush hush";
    let text = format!(
        "cluster: {{keys: ['{secret}', '{secret} 2']}}\ntokens: {{keys: [{{algorithm: HS256, secret: '{secret}'}}]}}\n\
         signed_urls: [{{id: gate, secret: '{secret}'}}]"
    );
    let shown = load(&text, &[]).unwrap().to_yaml().unwrap();
    assert!(!shown.contains("hush") && shown.matches("(hidden)").count() == 4, "{shown}");
}

#[test]
fn a_cluster_is_refused_by_the_name_of_what_does_not_fit() {
    let secret = "k".repeat(32);
    let with = |rest: &str| format!("cluster:\n  keys: [{secret}]\n  {rest}\n");
    assert!(load(&with("seeds: ['node-1.internal:8003', '10.0.0.2:8003']\n  node: node-2\n  advertise: '[::1]:8003'"), &[]).is_ok());
    for (text, says) in [
        ("cluster:\n  seeds: ['a:1']\n".to_owned(), ["cluster.keys", "alone", "same secret"]),
        ("cluster:\n  keys: [short]\n".to_owned(), ["cluster.keys", "5 characters", "openssl"]),
        (format!("cluster:\n  keys: [{secret}1, {secret}2, {secret}3]\n"), ["cluster.keys", "3 keys", "at most 2"]),
        (with("seeds: ['node-1']"), ["cluster.seeds", "`node-1`", "HOST:PORT"]),
        (with("advertise: '0.0.0.0:8003'"), ["cluster.advertise", "0.0.0.0", "null"]),
        (with("node: 'a b'"), ["cluster.node", "a b", "letters"]),
        (with("id: ''"), ["cluster.id", "no name", "same on every node"]),
        (with("listen: '127.0.0.1:8001'"), ["cluster.listen", "grpc.listen", "its own port"]),
        ("namespaces: {default: {replicas: 3}}".to_owned(), ["namespaces.default.replicas", "3", "between 1 and 2"]),
        (with("seeds: []\nnamespaces: {big: {payload_bytes: 3073KiB}}"), ["namespaces.big.payload_bytes", "3073KiB", "at most 3MiB"]),
        ("namespaces: {default: {replicas: 1, min_copies: 2}}".to_owned(), ["min_copies", "2", "between 1 and 1"]),
    ] {
        assert_says(&problem(&text, &[]), &says);
    }
    assert!(load(&with("seeds: []\nnamespaces: {big: {payload_bytes: 3MiB}}"), &[]).is_ok());
    assert!(load("namespaces: {big: {payload_bytes: 3073KiB}}", &[]).is_ok(), "alone there are no links");
    let set = set(&format!("cluster.keys=[{secret}]"));
    assert!(load("", &[set]).unwrap().cluster.is_on());
}
