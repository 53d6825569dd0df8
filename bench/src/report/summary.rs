//! Medians and ranges over rounds.

use std::collections::BTreeMap;

use super::record::{Record, Report};

/// What names a row: scenario, payload, server, way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) scenario: String,
    pub(super) payload: usize,
    pub(super) server: String,
    pub(super) way: Option<String>,
}

/// A median and the range it is from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// All rounds of one row.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) figures: BTreeMap<String, Spread>,
    /// Rounds the figures are from.
    pub(super) rounds: usize,
    /// No round was undisturbed: these are the disturbed ones.
    pub(super) disturbed: bool,
    /// Why rounds were not complete.
    pub(super) failures: Vec<String>,
}

/// All rows of a report. Disturbed rounds count only where there is nothing else.
pub(super) fn rows(report: &Report) -> BTreeMap<Key, Row> {
    let mut groups: BTreeMap<Key, Vec<&Record>> = BTreeMap::new();
    for record in &report.records {
        let (scenario, server, way) = (record.scenario.clone(), record.server.clone(), record.way.clone());
        groups.entry(Key { scenario, payload: record.payload, server, way }).or_default().push(record);
    }
    groups.into_iter().map(|(key, records)| (key, row(&records))).collect()
}

fn row(records: &[&Record]) -> Row {
    let complete: Vec<&&Record> = records.iter().filter(|record| record.failed.is_none()).collect();
    let mut calm: Vec<&&Record> = complete.iter().copied().filter(|record| !record.disturbed).collect();
    let disturbed = calm.is_empty() && !complete.is_empty();
    if disturbed {
        calm = complete;
    }
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, value) in calm.iter().flat_map(|record| &record.figures) {
        values.entry(name.clone()).or_default().push(*value);
    }
    Row {
        figures: values.into_iter().filter_map(|(name, values)| Some((name, spread(values)?))).collect(),
        rounds: calm.len(),
        disturbed,
        failures: records.iter().filter_map(|record| record.failed.clone()).collect(),
    }
}

fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
    Some(Spread { median, min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(vec![4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(spread(vec![]), None);
    }

    fn record(value: f64, disturbed: bool, failed: Option<&str>) -> Record {
        let figures = BTreeMap::from([("x".to_owned(), value)]);
        Record {
            scenario: "s".into(),
            payload: 1,
            server: "a".into(),
            round: 0,
            attempt: 1,
            way: None,
            failed: failed.map(str::to_owned),
            disturbed,
            figures,
        }
    }

    #[test]
    fn disturbed_and_incomplete_rounds_give_no_figures() {
        let records = vec![record(1.0, false, None), record(9.0, true, None), record(7.0, false, Some("lost"))];
        let rows = rows(&Report { records, ..Report::default() });
        let row = rows.values().next().unwrap();
        assert_eq!((row.figures["x"].max, row.rounds, row.failures.len(), row.disturbed), (1.0, 1, 1, false));
    }
}
