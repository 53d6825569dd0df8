//! What was to be reached, and whether it was.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;

use super::record::short;
use super::summary::{Key, Row};

/// Kept beside the scenarios, and compiled in so that a report can be read anywhere.
const GOALS: &str = include_str!("../../goals.yaml");

/// One line of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Goal {
    scenario: String,
    #[serde(default = "small")]
    payload: usize,
    servers: Vec<String>,
    /// The way to publish, where the scenario compares them.
    way: Option<String>,
    figure: String,
    /// Servers to whose figure the ratio counts; the best of those that are there.
    #[serde(default)]
    of: Vec<String>,
    at_most: Option<f64>,
    at_least: Option<f64>,
}

fn small() -> usize {
    128
}

impl Goal {
    fn median(&self, rows: &BTreeMap<Key, Row>, server: &str, way: Option<&String>) -> Option<f64> {
        let key = Key { scenario: self.scenario.clone(), payload: self.payload, server: server.to_owned(), way: way.cloned() };
        rows.get(&key)?.figures.get(&self.figure).map(|spread| spread.median)
    }

    /// What the figure is held against, and whose it is.
    fn base(&self, rows: &BTreeMap<Key, Row>) -> Option<(f64, &str)> {
        let all = self.of.iter().filter_map(|server| Some((self.median(rows, server, None)?, server.as_str())));
        if self.at_least.is_some() { all.max_by(|a, b| a.0.total_cmp(&b.0)) } else { all.min_by(|a, b| a.0.total_cmp(&b.0)) }
    }

    fn holds(&self, value: f64) -> bool {
        self.at_most.is_none_or(|most| value <= most) && self.at_least.is_none_or(|least| value >= least)
    }

    fn row(&self, rows: &BTreeMap<Key, Row>, server: &str) -> Option<String> {
        let own = self.median(rows, server, self.way.as_ref())?;
        let (value, against) = match self.of.is_empty() {
            true => (own, String::new()),
            false => self.base(rows).map(|(base, name)| (own / base, format!(" ÷ {name}")))?,
        };
        let (sign, bound) = match (self.at_most, self.at_least) {
            (Some(most), _) => ("≤", most),
            (None, least) => ("≥", least?),
        };
        let held = if self.holds(value) { "yes" } else { "**no**" };
        Some(format!("| {} | {server} | {}{against} | {sign} {} | {} | {held} |\n", self.scenario, self.figure, short(bound), short(value)))
    }
}

/// The table of all goals for which there are figures; empty without one.
pub(super) fn table(rows: &BTreeMap<Key, Row>) -> anyhow::Result<String> {
    let goals: Vec<Goal> = serde_saphyr::from_str(GOALS).context("bench/goals.yaml")?;
    let lines: String = goals.iter().flat_map(|goal| goal.servers.iter().filter_map(|server| goal.row(rows, server))).collect();
    if lines.is_empty() {
        return Ok(lines);
    }
    Ok(format!("\n## Goals\n\n| scenario | server | figure (medians) | goal | reached | holds |\n|---|---|---|---|---|---|\n{lines}"))
}

#[cfg(test)]
mod tests {
    use super::super::summary::Spread;
    use super::*;

    #[test]
    fn a_ratio_is_held_against_the_best_that_is_there() {
        let row = |median: f64| Row {
            figures: BTreeMap::from([("deliveries_per_s".to_owned(), Spread { median, min: median, max: median })]),
            ..Row::default()
        };
        let key = |server: &str| Key { scenario: "backlog-1k".into(), payload: 128, server: server.into(), way: None };
        let rows = BTreeMap::from([(key("tidings-sse"), row(400.0)), (key("nats"), row(250.0)), (key("nchan-ws"), row(100.0))]);
        let table = table(&rows).unwrap();
        assert!(table.contains("| backlog-1k | tidings-sse | deliveries_per_s ÷ nats | ≥ 2.00 | 1.60 | **no** |"), "{table}");
    }

    #[test]
    fn every_goal_of_the_file_has_a_line() {
        let goals: Vec<Goal> = serde_saphyr::from_str(GOALS).unwrap();
        let one = |figure: &str| (figure.to_owned(), Spread { median: 1.0, min: 1.0, max: 1.0 });
        for goal in &goals {
            let row = Row { figures: BTreeMap::from([one(&goal.figure)]), ..Row::default() };
            let key = |server: &String, way: Option<&String>| Key {
                scenario: goal.scenario.clone(),
                payload: goal.payload,
                server: server.clone(),
                way: way.cloned(),
            };
            let all =
                goal.servers.iter().map(|server| key(server, goal.way.as_ref())).chain(goal.of.iter().map(|server| key(server, None)));
            let rows = all.map(|key| (key, row.clone())).collect();
            assert!(goal.servers.iter().all(|server| goal.row(&rows, server).is_some()), "{goal:?}");
        }
    }
}
