//! Which plots a report has.

use std::collections::{BTreeMap, BTreeSet};

use super::record::Report;
use super::summary::{Key, Row, rows};
use super::svg::{Axis, Scale, Series, bars, columns, lines};

/// Rates that differ by less are the same.
const SAME: f64 = 1.2;

/// All plots that the report has figures for, by name.
pub(super) fn all(report: &Report) -> Vec<(String, String)> {
    let rows = rows(report);
    let mut plots = Vec::new();
    let scenarios: BTreeSet<(&str, usize)> = rows.keys().map(|key| (key.scenario.as_str(), key.payload)).collect();
    for (scenario, payload) in scenarios {
        let of: BTreeMap<&Key, &Row> = rows.iter().filter(|(key, _)| key.scenario == scenario && key.payload == payload).collect();
        let name = |what: &str| format!("{scenario}-{payload}-{what}");
        let title = |what: &str| format!("{scenario}, {payload} bytes: {what}");
        if let Some(svg) = latency(&title, &of) {
            plots.push((name("latency"), svg));
        }
        let costs = [("server_us_per_delivery", "delivery"), ("server_us_per_message", "message")];
        for (figure, what) in costs {
            if let Some(svg) = cost(&title(&format!("processor time of the server for each {what}")), figure, &of) {
                plots.push((name(&format!("cost-of-a-{what}")), svg));
            }
        }
    }
    let sizes = [
        ("channels", "server_us_per_message", "channels", "cost of a message against channels", "µs of processor"),
        ("memory", "pss_bytes_per_connection", "idle", "memory of the server for each idle connection", "PSS, bytes"),
        ("flat", "server_us_per_delivery", "flat", "cost of a delivery against subscribers", "µs of processor"),
    ];
    for (name, figure, prefix, title, unit) in sizes {
        if let Some(svg) = against_size(&rows, figure, prefix, title, unit) {
            plots.push((name.to_owned(), svg));
        }
    }
    plots
}

/// Values with what they are called.
type Named = Vec<(&'static str, f64)>;

/// Latency against throughput; where all have the same throughput, because the scenario gives it, only latency.
fn latency(name: &impl Fn(&str) -> String, rows: &BTreeMap<&Key, &Row>) -> Option<String> {
    const QUANTILES: [(&str, &str); 3] = [("p50", "p50_ms"), ("p99", "p99_ms"), ("p99.9", "p99.9_ms")];
    let ms = Axis { title: "ms".to_owned(), scale: Scale::Log };
    let found: Vec<(String, f64, Named)> = rows
        .iter()
        .filter_map(|(key, row)| {
            let at = |(label, figure): (&'static str, &str)| Some((label, row.figures.get(figure)?.median));
            let values: Named = QUANTILES.into_iter().filter_map(at).collect();
            let rate = row.figures.get("deliveries_per_s")?.median;
            (!values.is_empty()).then(|| (key.server.clone(), rate, values))
        })
        .collect();
    let rates = || found.iter().map(|(_, rate, _)| *rate);
    let (slowest, fastest) = (rates().reduce(f64::min)?, rates().reduce(f64::max)?);
    if fastest < slowest * SAME {
        let columns_of: Vec<(String, Named)> = found.into_iter().map(|(server, _, values)| (server, values)).collect();
        return columns(&name("latency (p50, p99, p99.9)"), &ms, &columns_of);
    }
    let series =
        |(name, rate, values): (String, f64, Named)| Series { name, points: values.into_iter().map(|(_, value)| (rate, value)).collect() };
    let series: Vec<Series> = found.into_iter().map(series).collect();
    let across = Axis { title: "deliveries per second".to_owned(), scale: Scale::Linear };
    lines(&name("deliveries per second against latency (p50, p99, p99.9)"), &across, &ms, &series)
}

fn cost(title: &str, figure: &str, rows: &BTreeMap<&Key, &Row>) -> Option<String> {
    let found: Vec<(String, f64, f64, f64)> = rows
        .iter()
        .filter_map(|(key, row)| {
            let spread = row.figures.get(figure)?;
            let name = key.way.as_ref().map_or(key.server.clone(), |way| format!("{} {way}", key.server));
            Some((name, spread.median, spread.min, spread.max))
        })
        .collect();
    bars(title, "µs", &found)
}

/// Scenarios of one family, each with its number of connections at the end of its name (`idle-10k`), as one line for
/// each server.
fn against_size(rows: &BTreeMap<Key, Row>, figure: &str, prefix: &str, title: &str, unit: &str) -> Option<String> {
    let mut series: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for (key, row) in rows {
        let name = key.scenario.strip_prefix("large-").unwrap_or(&key.scenario);
        let Some(size) = name.strip_prefix(prefix).and_then(|rest| count(rest.trim_start_matches('-'))) else { continue };
        if let Some(spread) = row.figures.get(figure) {
            series.entry(&key.server).or_default().push((size, spread.median));
        }
    }
    let series: Vec<Series> = series
        .into_iter()
        .map(|(name, mut points)| {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Series { name: name.to_owned(), points }
        })
        .collect();
    let across = Axis { title: "connections".to_owned(), scale: Scale::Log };
    lines(title, &across, &Axis { title: unit.to_owned(), scale: Scale::Linear }, &series)
}

/// `500`, `10k`, `1m` as numbers.
fn count(text: &str) -> Option<f64> {
    let (digits, times) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1e3),
        None => text.strip_suffix('m').map_or((text, 1.0), |digits| (digits, 1e6)),
    };
    digits.parse::<f64>().ok().map(|number| number * times)
}
