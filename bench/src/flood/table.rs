//! What came of it, as a table of Markdown.

use std::fmt::Write as _;

use crate::flood::honest::Noticed;

/// One flood.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) quiet: Noticed,
    pub(crate) flood: Noticed,
    /// Most resident memory while it went on, in bytes.
    pub(crate) memory: u64,
    /// What the flooders did a second, in their own unit.
    pub(crate) rate: f64,
    /// Cores that the broker used while it went on.
    pub(crate) busy: f64,
    /// Cores that this program used meanwhile, flooders and honest clients together.
    pub(crate) generator: f64,
    /// Honest clients that came and were not served.
    pub(crate) turned_away: u64,
}

impl Row {
    pub(crate) fn new(name: &'static str) -> anyhow::Result<Self> {
        let (quiet, flood) = (Noticed::nothing()?, Noticed::nothing()?);
        Ok(Self { name, quiet, flood, memory: 0, rate: 0.0, busy: 0.0, generator: 0.0, turned_away: 0 })
    }

    /// How much slower the slowest hundredth of messages is.
    pub(crate) fn ratio(&self) -> f64 {
        ratio(self.quiet.messages.value_at_quantile(0.99), self.flood.messages.value_at_quantile(0.99))
    }
}

fn ratio(before: u64, after: u64) -> f64 {
    after as f64 / before.max(1) as f64
}

/// All of them.
pub(crate) fn of(rows: &[Row], at_rest: u64) -> String {
    let mut text = format!(
        "\n| flood | a second | broker, cores | generator, cores | message p50 quiet → flood | p99 quiet → flood | ratio | visit p99 quiet → flood | ratio | \
         turned away | most memory (at rest {} MiB) |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
        at_rest >> 20
    );
    for row in rows {
        let at = |noticed: &Noticed, quantile| noticed.messages.value_at_quantile(quantile);
        let visit = |noticed: &Noticed| noticed.visits.value_at_quantile(0.99);
        // A table that grows in memory takes every line.
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.2} | {:.2} | {} → {} µs | {} → {} µs | {:.2} | {} → {} µs | {:.2} | {} | {} MiB |",
            row.name,
            row.rate,
            row.busy,
            row.generator,
            at(&row.quiet, 0.5),
            at(&row.flood, 0.5),
            at(&row.quiet, 0.99),
            at(&row.flood, 0.99),
            row.ratio(),
            visit(&row.quiet),
            visit(&row.flood),
            ratio(visit(&row.quiet), visit(&row.flood)),
            row.turned_away,
            row.memory >> 20,
        );
    }
    text
}
