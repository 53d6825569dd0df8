//! Tables.

use std::collections::BTreeMap;

use super::goals;
use super::record::{Report, short};
use super::summary::{Key, Row, Spread, rows};

/// Which figures a table shows, in this order, and how their column is called. Only those that some row has.
const COLUMNS: [(&str, &str); 29] = [
    ("deliveries_per_s", "deliveries/s"),
    ("messages_per_s", "messages/s"),
    ("connects_per_s", "connects/s"),
    ("resumed_in_s", "all resumed, s"),
    ("opened_in_s", "all open, s"),
    ("comings_per_s", "came and went/s"),
    ("server_us_per_delivery", "server µs/delivery"),
    ("server_us_per_message", "server µs/message"),
    ("server_us_per_connect", "server µs/connect"),
    ("writes_per_delivery", "writes/delivery"),
    ("bytes_per_delivery", "bytes/delivery"),
    ("link_frames_per_message", "frames between nodes/message"),
    ("link_bytes_per_message", "bytes between nodes/message"),
    ("p50_ms", "p50 ms"),
    ("p99_ms", "p99 ms"),
    ("p99.9_ms", "p99.9 ms"),
    ("max_ms", "max ms"),
    ("ack_p50_ms", "ack p50 ms"),
    ("ack_p99_ms", "ack p99 ms"),
    ("ack_p99.9_ms", "ack p99.9 ms"),
    ("pss_bytes_per_connection", "PSS B/connection"),
    ("rss_bytes_per_connection", "RSS B/connection"),
    ("kernel_bytes_per_connection_and_end", "kernel B/connection and end"),
    ("broadcast_ms", "one message to all, ms"),
    ("gapped_of_stalled", "stalled told of a gap"),
    ("generator_us_per_delivery", "generator µs/delivery"),
    ("generator_us_per_message", "generator µs/message"),
    ("server_cores", "server cores"),
    ("generator_cores", "generator cores"),
];

/// Figures that are set against the bare loops.
const RATIOS: [&str; 8] = [
    "deliveries_per_s",
    "messages_per_s",
    "connects_per_s",
    "server_us_per_delivery",
    "server_us_per_message",
    "p50_ms",
    "p99_ms",
    "pss_bytes_per_connection",
];
/// What they are set against, where it is there. Redis is the measure of publishing alone.
const BASES: [(&str, Option<&str>); 3] = [("bare", None), ("bare-join", None), ("redis", Some("publish"))];

/// The whole page.
pub(super) fn text(report: &Report, plots: &[String]) -> anyhow::Result<String> {
    let mut out = String::from("# Measured\n\n");
    let machine = |name: &str| report.machine.get(name).map_or("unknown", String::as_str);
    out.push_str(&format!(
        "{} with {} cores, {} MiB, Linux {}; commit {}. Up to {} rounds, servers interleaved; medians, and in brackets the range.\n\
         Server and generator share the machine. Rounds in which others used more than {} of a processor do not count.\n\n",
        machine("processor"),
        machine("cores"),
        machine("memory_mib"),
        machine("kernel"),
        machine("commit"),
        report.rounds,
        report.foreign_limit
    ));
    out.push_str("| server | version | what it is |\n|---|---|---|\n");
    for (id, facts) in &report.servers {
        out.push_str(&format!("| {id} | {} | {} |\n", facts.version, facts.about.trim().replace('\n', " ")));
    }
    for (id, why) in &report.left_out {
        out.push_str(&format!("| {id} | left out | {why} |\n"));
    }
    let rows = rows(report);
    out.push_str(&goals::table(&rows)?);
    for (scenario, about) in &report.scenarios {
        out.push_str(&format!("\n## {scenario}\n{}\n", about.trim()));
        let mut payloads: Vec<usize> = rows.keys().filter(|key| key.scenario == *scenario).map(|key| key.payload).collect();
        payloads.dedup();
        for payload in payloads {
            out.push_str(&format!("\n{payload} bytes\n\n"));
            let of: BTreeMap<&Key, &Row> = rows.iter().filter(|(key, _)| key.scenario == *scenario && key.payload == payload).collect();
            table(&mut out, &of);
        }
    }
    if !plots.is_empty() {
        out.push_str("\n## Plots\n");
        plots.iter().for_each(|plot| out.push_str(&format!("\n![{plot}]({plot}.svg)\n")));
    }
    Ok(out)
}

fn table(out: &mut String, rows: &BTreeMap<&Key, &Row>) {
    let columns: Vec<&(&str, &str)> = COLUMNS.iter().filter(|(name, _)| rows.values().any(|row| row.figures.contains_key(*name))).collect();
    let head: Vec<&str> = columns.iter().map(|(_, head)| *head).collect();
    out.push_str(&format!("| server | {} | rounds |\n|---|{}---|\n", head.join(" | "), "---|".repeat(columns.len())));
    for (key, row) in rows {
        let name = key.way.as_ref().map_or(key.server.clone(), |way| format!("{} {way}", key.server));
        let cells: Vec<String> =
            columns.iter().map(|(name, _)| row.figures.get(*name).map_or("–".to_owned(), |spread| cell(*spread))).collect();
        let rounds = match (row.disturbed, row.failures.len()) {
            (true, _) => format!("{} †", row.rounds),
            (false, 0) => row.rounds.to_string(),
            (false, failed) => format!("{}, {failed} not complete", row.rounds),
        };
        out.push_str(&format!("| {name} | {} | {rounds} |\n", cells.join(" | ")));
    }
    if rows.values().any(|row| row.disturbed) {
        out.push_str("\n† others used the machine in every round.\n");
    }
    for (key, row) in rows {
        if let Some(why) = row.failures.first() {
            out.push_str(&format!("\n{} was not complete: {why}\n", key.server));
        }
    }
    ratios(out, rows);
}

fn cell(spread: Spread) -> String {
    if spread.min == spread.max {
        return short(spread.median);
    }
    format!("{} ({}–{})", short(spread.median), short(spread.min), short(spread.max))
}

/// What each row is of the bare loops.
fn ratios(out: &mut String, rows: &BTreeMap<&Key, &Row>) {
    for (name, way) in BASES {
        let is_base = |key: &Key| key.server == name && key.way.as_deref() == way;
        let Some((_, base)) = rows.iter().find(|(key, row)| is_base(key) && !row.figures.is_empty()) else { continue };
        let has = |name: &str| base.figures.get(name).is_some_and(|spread| spread.median > 0.0);
        // Where messages are delivered, the rate of deliveries says it.
        let columns: Vec<&str> =
            RATIOS.into_iter().filter(|name| has(name) && (*name != "messages_per_s" || !has("deliveries_per_s"))).collect();
        let head: Vec<&str> = columns.iter().filter_map(|name| Some(COLUMNS.iter().find(|(known, _)| known == name)?.1)).collect();
        out.push_str(&format!("\n| ÷ {name} | {} |\n|---|{}\n", head.join(" | "), "---|".repeat(columns.len())));
        for (key, row) in rows.iter().filter(|(key, row)| !is_base(key) && !row.figures.is_empty()) {
            let ratio = |name: &&str| match (row.figures.get(*name), base.figures.get(*name)) {
                (Some(own), Some(base)) => format!("{:.2}", own.median / base.median),
                _ => "–".to_owned(),
            };
            let cells: Vec<String> = columns.iter().map(ratio).collect();
            let name = key.way.as_ref().map_or(key.server.clone(), |way| format!("{} {way}", key.server));
            out.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
        }
    }
}
