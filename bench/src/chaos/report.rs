//! Says what was done and what came of it, run by run, and all together.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use crate::chaos::checker::{Judgement, Verdict};
use crate::chaos::plan::{Plan, Step};

/// Findings shown of one run; the rest are in its history.
const SHOWN: usize = 12;

#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    broken: Vec<String>,
    verdicts: BTreeMap<Verdict, usize>,
    acked: u64,
    received: u64,
    faults: u64,
}

impl Report {
    pub(crate) fn begin(&self, name: &str, plan: &Plan) {
        println!("\n--- {name}");
        let faults = plan.steps.iter().filter_map(|step| if let Step::Break(fault) = step { Some(fault.to_string()) } else { None });
        println!("    {}", faults.collect::<Vec<_>>().join("; "));
    }

    pub(crate) fn judged(&mut self, name: &str, judged: anyhow::Result<Judgement>, kept: Option<&Path>) {
        let is_good = match judged {
            Ok(judgement) => self.judgement(&judgement),
            Err(why) => {
                println!("    it could not be played: {why:#}");
                false
            }
        };
        if let Some(kept) = kept {
            println!("    kept in {}", kept.display());
        }
        println!("test {name} ... {}", if is_good { "ok" } else { "FAILED" });
        if is_good {
            self.passed += 1;
        } else {
            self.broken.push(name.to_owned());
        }
    }

    /// A run that must be found bad.
    pub(crate) fn control(&mut self, name: &str, judgement: &Judgement) {
        let found = judgement.by_verdict();
        let missing: Vec<_> =
            [Verdict::Missed, Verdict::Repeated, Verdict::NotHealed].into_iter().filter(|verdict| found[verdict] == 0).collect();
        println!("test {name} ... {}", if missing.is_empty() { "ok" } else { "FAILED" });
        if missing.is_empty() {
            self.passed += 1;
        } else {
            self.broken.push(format!("{name}: not found: {missing:?}"));
        }
    }

    fn judgement(&mut self, judgement: &Judgement) -> bool {
        let counts = &judgement.counts;
        println!(
            "    {} acked ({} in one copy), {} unknown, {} failed, {} received ({} late), {} resumed, {} gaps, {} crashes, {} faults, {} died with their holders, {} retries on both sides of a split, {} answers to who is there",
            counts.acked,
            counts.acked_alone,
            counts.unknown,
            counts.failed,
            counts.received,
            counts.late,
            counts.resumed,
            counts.gaps,
            counts.crashes,
            counts.faults,
            counts.died_with_holders,
            counts.split_retries,
            counts.presence
        );
        (self.acked, self.received, self.faults) =
            (self.acked + counts.acked, self.received + counts.received, self.faults + counts.faults);
        let broken: Vec<_> = judgement.by_verdict().into_iter().filter(|(_, count)| *count > 0).collect();
        for (verdict, count) in &broken {
            *self.verdicts.entry(*verdict).or_default() += count;
            println!("    {verdict:?}: {count}");
        }
        for finding in judgement.findings.iter().take(SHOWN) {
            println!("    {finding}");
        }
        // A run in which nobody got anything shows nothing.
        broken.is_empty() && counts.acked > 0 && counts.received > 0
    }

    /// The last words, and how the process ends.
    pub(crate) fn end(&self) -> ExitCode {
        println!("\n{} acked, {} received, {} faults in all", self.acked, self.received, self.faults);
        for verdict in Verdict::ALL {
            println!("    {verdict:?}: {}", self.verdicts.get(&verdict).copied().unwrap_or(0));
        }
        for name in &self.broken {
            println!("FAILED: {name}");
        }
        let (word, failed) = (if self.broken.is_empty() { "ok" } else { "FAILED" }, self.broken.len());
        println!("test result: {word}. {} passed; {failed} failed", self.passed);
        if self.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
