//! The counts that were, and what may become of them.

use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::counts::Counts;

/// How much worse a count may become.
const WORSE_MAX: f64 = 1.1;
/// Below this a difference is noise: a tenth of an allocation that happens now and then.
const NOISE: f64 = 0.05;
/// What two counts move by without a reason. `delivery` comes from threads that wake each other up: 302 to 330 for one build. `deliver` is
/// an eighth of the difference between two counts that each move by a hundred and more, as the keys of hash maps are random;
/// `append_and_deliver` holds the sum to the usual bound.
const NOISE_MORE: f64 = 30.0;
/// Of what an accepted publish pays to the journal and the log, which is nothing: the clients around it write lines of their own, and not always in as many
/// instructions. A single look at the journal for each publish was counted as 59, a line of the log as 41.
const NOISE_OF_NOTHING: f64 = 5.0;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Baseline {
    /// The compiler the counts are of; another one may count a little differently.
    rustc: String,
    counts: Counts,
}

/// Makes these the counts to hold.
pub(crate) fn write(path: &Path, counts: Counts) -> anyhow::Result<()> {
    let counts = counts.into_iter().map(|(name, count)| (name, (count.max(0.0) * 100.0).round() / 100.0)).collect();
    let text = serde_json::to_string_pretty(&Baseline { rustc: rustc(), counts })? + "\n";
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// Holds them against the file; fails with a line for each that is worse.
pub(crate) fn check(path: &Path, counts: &Counts) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let baseline: Baseline = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    if baseline.rustc != rustc() {
        println!("the baseline is of {}, this is {}", baseline.rustc, rustc());
    }
    let found = compare(&baseline.counts, counts);
    found.better.iter().for_each(|line| println!("better: {line}"));
    if found.worse.is_empty() {
        println!("all {} counts hold", counts.len());
        return Ok(());
    }
    bail!(
        "worse than {}:\n  {}\nIf that is meant: cargo build --release -p tidings -p tidings-bench && target/release/tidings-bench counts check --write",
        path.display(),
        found.worse.join("\n  ")
    )
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    worse: Vec<String>,
    better: Vec<String>,
}

fn compare(baseline: &Counts, counts: &Counts) -> Found {
    let mut found = Found::default();
    for (name, count) in counts {
        let Some(known) = baseline.get(name) else {
            found.worse.push(format!("{name}: {count:.2}, and the baseline does not know it"));
            continue;
        };
        let noise = match name.as_str() {
            "deliver.instructions" | "delivery.instructions" => NOISE_MORE,
            "http_publish_journal.instructions" | "http_publish_log.instructions" => NOISE_OF_NOTHING,
            _ => NOISE,
        };
        let line = || format!("{name}: {count:.2}, was {known:.2} ({:+.0} %)", (count / known.max(NOISE) - 1.0) * 100.0);
        if *count > known.max(0.0) * WORSE_MAX + noise {
            found.worse.push(line());
        } else if *count < known / WORSE_MAX - noise {
            found.better.push(line());
        }
    }
    let gone = baseline.keys().filter(|name| !counts.contains_key(*name));
    found.worse.extend(gone.map(|name| format!("{name}: is not counted any more")));
    found
}

fn rustc() -> String {
    let output = std::process::Command::new("rustc").arg("--version").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, f64)]) -> Counts {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn a_tenth_more_is_worse_and_a_little_is_not() {
        let baseline = counts(&[("a", 1000.0), ("b", 1000.0), ("c", 0.0), ("d", 1000.0)]);
        let found = compare(&baseline, &counts(&[("a", 1099.0), ("b", 1101.0), ("c", 0.04), ("d", 800.0)]));
        assert_eq!((found.worse.len(), found.better.len()), (1, 1), "{found:?}");
        assert!(found.worse[0].starts_with("b: 1101.00, was 1000.00 (+10 %)"), "{found:?}");
    }

    #[test]
    fn what_moves_by_itself_is_worse_only_beyond_that() {
        let baseline = counts(&[("deliver.instructions", 170.0)]);
        let worse = |count| compare(&baseline, &counts(&[("deliver.instructions", count)])).worse.len();
        assert_eq!((worse(191.0), worse(218.0)), (0, 1));
        let baseline = counts(&[("http_publish_log.instructions", 0.0)]);
        let worse = |count| compare(&baseline, &counts(&[("http_publish_log.instructions", count)])).worse.len();
        assert_eq!((worse(0.4), worse(41.0)), (0, 1));
    }

    #[test]
    fn a_count_that_is_new_or_gone_must_be_said() {
        assert_eq!(compare(&counts(&[("a", 1.0)]), &counts(&[("b", 1.0)])).worse.len(), 2);
    }
}
