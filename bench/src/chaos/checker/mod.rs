//! Judges a history: what was promised, and what came of it. Pure; the same history always gets the same verdict.
//!
//! It knows nothing of the broker's inside. What it may excuse, it excuses by what the run itself broke ([`Facts::holders_died`]
//! and [`Facts::is_divided`]), never by what a node says of itself.

mod end;
mod facts;
mod gaps;
mod healed;
mod misses;
mod order;
mod presence;
mod repeats;
#[cfg(test)]
mod tests;
mod unavailable;

use std::collections::BTreeMap;
use std::fmt;

use facts::Facts;
pub(crate) use facts::position;

use crate::chaos::history::Record;

/// How long a cluster whose links and processes are all well may take until it is whole: one home for each slot, every entry
/// held by as many nodes as it should be, every listener up to date.
pub(crate) const WHOLE_AFTER_US: u64 = 5_000_000;

/// How long an answer may be on its way: one that was read so soon after a death may be the dead node's.
const IN_FLIGHT_US: u64 = 500_000;

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Acknowledged, gone from every log, and a node that held it lived.
    Lost,
    /// A client did not get a message and was not told.
    Missed,
    /// A client got a message twice that was put into the log once.
    Repeated,
    /// A client got a message twice that its publisher sent to two nodes, without a split between them.
    RepeatedRetry,
    /// One epoch's messages came out of its order.
    Disordered,
    /// One position holds two messages, or two clients saw two orders without a split.
    Disagreed,
    /// A message stands before another that was acknowledged before it was published.
    OutOfTime,
    /// A client saw a message that is in no log, or that every node refused.
    Phantom,
    /// A client was told of a gap where there was none.
    FalseGap,
    /// A client's cursor went back within an epoch.
    CursorWentBack,
    /// Somebody who is on a channel is not listed, or twice, or with connections it does not have, or somebody is who is not there, long
    /// after everything was mended.
    PresenceWrong,
    /// Nobody took a publish for long although nothing was broken.
    Unavailable,
    /// Nodes still differ, or a listener is still not up to date, long after everything was mended.
    NotHealed,
}

impl Verdict {
    /// All of them.
    pub(crate) const ALL: [Self; 13] = [
        Self::Lost,
        Self::Missed,
        Self::Repeated,
        Self::RepeatedRetry,
        Self::Disordered,
        Self::Disagreed,
        Self::OutOfTime,
        Self::Phantom,
        Self::FalseGap,
        Self::CursorWentBack,
        Self::PresenceWrong,
        Self::Unavailable,
        Self::NotHealed,
    ];
}

/// A broken promise, when, and between whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    /// Microseconds since the run began.
    pub(crate) at: u64,
    pub(crate) words: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:.3} s: {}", self.verdict, self.at as f64 / 1e6, self.words)
    }
}

/// What a history came to.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    pub(crate) findings: Vec<Finding>,
    pub(crate) counts: Counts,
}

/// How much there was to judge: a run in which nothing happened proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) acked: u64,
    /// Of these, those that one node alone held at that moment.
    pub(crate) acked_alone: u64,
    pub(crate) unknown: u64,
    pub(crate) failed: u64,
    pub(crate) received: u64,
    pub(crate) late: u64,
    pub(crate) resumed: u64,
    pub(crate) gaps: u64,
    pub(crate) crashes: u64,
    pub(crate) faults: u64,
    /// Acknowledged messages that died with every node that held them, which was said.
    pub(crate) died_with_holders: u64,
    /// Answers of nodes to who is there.
    pub(crate) presence: u64,
    /// Retries that went to both sides of a split and came out as two messages of one id.
    pub(crate) split_retries: u64,
}

impl Judgement {
    /// How often each promise was broken.
    pub(crate) fn by_verdict(&self) -> BTreeMap<Verdict, usize> {
        let mut counts: BTreeMap<_, _> = Verdict::ALL.into_iter().map(|verdict| (verdict, 0)).collect();
        for finding in &self.findings {
            *counts.entry(finding.verdict).or_default() += 1;
        }
        counts
    }
}

/// Judges a history that is whole: it begins with its setup and ends with the logs of all nodes.
///
/// # Errors
/// When it is no such history.
pub(crate) fn judge(records: &[Record]) -> anyhow::Result<Judgement> {
    let facts = Facts::of(records)?;
    let mut judgement = Judgement { findings: Vec::new(), counts: facts.counts };
    end::judge(&facts, &mut judgement);
    misses::judge(&facts, &mut judgement);
    repeats::judge(&facts, &mut judgement);
    order::judge(&facts, &mut judgement);
    gaps::judge(&facts, &mut judgement);
    healed::judge(&facts, &mut judgement);
    presence::judge(&facts, &mut judgement);
    unavailable::judge(&facts, &mut judgement);
    judgement.findings.sort_by(|a, b| (a.at, a.verdict, &a.words).cmp(&(b.at, b.verdict, &b.words)));
    Ok(judgement)
}

impl Judgement {
    fn find(&mut self, verdict: Verdict, at: u64, words: String) {
        self.findings.push(Finding { verdict, at, words });
    }
}
