//! The table of limits in docs/SECURITY.md, held against the configuration, the metrics and the log.

use std::collections::BTreeMap;

use serde_json::Value;
use tidings::config::Config;

const PAGE: &str = include_str!("../../../docs/SECURITY.md");
const OPERATING: &str = include_str!("../../../docs/OPERATING.md");
/// Keys of these sections bound something, but for those that say where, who or how.
const SECTIONS: [&str; 10] = ["admin", "grpc", "http", "limits", "log", "poll", "presence", "shard", "tokens", "websocket"];
const NO_BOUNDS: [&str; 31] = [
    "admin.keys",
    "admin.listen",
    "admin.probe_interval",
    "admin.tls.certificate",
    "admin.tls.clients",
    "admin.tls.key",
    "grpc.listen",
    "grpc.tls.certificate",
    "grpc.tls.clients",
    "grpc.tls.key",
    "grpc.unix",
    "http.listen",
    "http.trusted_proxies",
    "http.client_header",
    "http.tls.certificate",
    "http.tls.key",
    "http.tls.clients",
    "log.format",
    "log.level",
    "poll.wait",
    "presence.grace",
    "shard.heartbeat_max",
    "shard.heartbeat_min",
    "tokens.keys",
    "tokens.jwks_url",
    "tokens.audience",
    "tokens.issuer",
    "tokens.leeway",
    "tokens.cookie",
    "tokens.revoked_for",
    "websocket.compress_bytes",
];

/// One row: key, default, metric, log.
struct Row<'a> {
    key: &'a str,
    default: &'a str,
    metric: &'a str,
    log: &'a str,
}

fn rows() -> Vec<Row<'static>> {
    let section = PAGE.split("\n## Limits\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the section is there");
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let mut rows = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, _, key, default, hears, metric, log, _] = cells[..] else { panic!("six cells are due: {cells:?}") };
        // A heading.
        if key.is_empty() {
            continue;
        }
        assert!(!hears.is_empty() && !metric.is_empty() && !log.is_empty(), "{key} says all of it");
        let bare = |cell: &'static str| cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).unwrap_or(cell);
        rows.push(Row { key: bare(key), default: bare(default), metric, log });
    }
    assert!(rows.len() > 40, "only {} rows were found", rows.len());
    rows
}

/// Every value of the configuration, by its path.
fn leaves() -> BTreeMap<String, Value> {
    fn walk(value: &Value, path: String, all: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    walk(value, if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, all);
                }
            }
            value => drop(all.insert(path, value.clone())),
        }
    }
    let mut all = BTreeMap::new();
    walk(&serde_json::to_value(Config::default()).unwrap(), String::new(), &mut all);
    all
}

/// What stands in backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_row_names_a_key_its_default_a_metric_and_a_line_that_there_are() {
    let leaves = leaves();
    let causes = PAGE.split("\n## What is logged and counted\n").nth(1).expect("the section is there");
    for Row { key, default, metric, log } in rows() {
        let value = leaves.get(key).unwrap_or_else(|| panic!("there is no key `{key}`"));
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(default, text, "the default of `{key}`");
        let mut labels = "";
        for name in quoted(metric) {
            if name.starts_with("tidings_") {
                labels = OPERATING
                    .lines()
                    .find(|line| line.starts_with(&format!("| `{name}")))
                    .unwrap_or_else(|| panic!("{key}: no metric `{name}`"));
            } else if !metric.contains("tidings_bound_used") {
                let label = format!("`{name}`");
                let is_cause = labels.starts_with("| `tidings_auth_calls_refused_total") && causes.contains(&label);
                assert!(labels.contains(&label) || is_cause, "{key}: no label `{name}`");
            }
        }
        for name in quoted(log) {
            assert!(OPERATING.contains(&format!("`{name}`")), "{key}: no line `{name}`");
        }
    }
}

#[test]
fn every_bound_of_a_listener_and_of_the_node_has_a_row() {
    let rows = rows();
    for key in leaves().into_keys().filter(|key| SECTIONS.iter().any(|section| key.starts_with(&format!("{section}.")))) {
        let is_listed = rows.iter().any(|row| row.key == key);
        assert_eq!(is_listed, !NO_BOUNDS.contains(&&*key), "`{key}`: each bound has one row in docs/SECURITY.md, and nothing else has");
    }
}
