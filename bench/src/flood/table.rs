//! What came of it, as a table of Markdown.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use crate::flood::honest::Noticed;

/// What was noticed in the slices of one kind, one for each round.
#[derive(Default)]
pub(crate) struct Slices(Vec<Noticed>);

impl Slices {
    pub(crate) fn push(&mut self, noticed: Noticed) {
        self.0.push(noticed);
    }

    /// The median of the rounds' quantiles, in microseconds: what else the machine did in one of them does not count.
    fn messages(&self, quantile: f64) -> u64 {
        self.median(|noticed| &noticed.messages, quantile)
    }

    /// The same of visits.
    fn visits(&self, quantile: f64) -> u64 {
        self.median(|noticed| &noticed.visits, quantile)
    }

    fn median(&self, of: impl Fn(&Noticed) -> &Histogram<u64>, quantile: f64) -> u64 {
        let mut each: Vec<u64> = self.0.iter().map(|noticed| of(noticed).value_at_quantile(quantile)).collect();
        each.sort_unstable();
        let half = each.len() / 2;
        match each.len() {
            0 => 0,
            count if count % 2 == 0 => u64::midpoint(each[half - 1], each[half]),
            _ => each[half],
        }
    }

    /// How many visits the figures stand on.
    fn visit_count(&self) -> u64 {
        self.0.iter().map(|noticed| noticed.visits.len()).sum()
    }
}

/// One flood.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) quiet: Slices,
    pub(crate) flood: Slices,
    /// While the same flood went elsewhere; empty when it did not.
    pub(crate) elsewhere: Slices,
    /// Most resident memory while it went on, in bytes.
    pub(crate) memory: u64,
    /// What the flooders did, in their own unit.
    pub(crate) done: u64,
    /// How long they did, in seconds.
    pub(crate) seconds: f64,
    /// Processor time that the broker used meanwhile, in seconds.
    pub(crate) busy: f64,
    /// The same of this program, flooders and honest clients together.
    pub(crate) generator: f64,
    /// Honest clients that came and were not served.
    pub(crate) turned_away: u64,
}

impl Row {
    pub(crate) fn new(name: &'static str) -> Self {
        let (quiet, flood, elsewhere) = Default::default();
        Self { name, quiet, flood, elsewhere, memory: 0, done: 0, seconds: 0.0, busy: 0.0, generator: 0.0, turned_away: 0 }
    }

    /// How much slower the slowest hundredth of messages is than in the quiet.
    pub(crate) fn messages_ratio(&self) -> f64 {
        ratio(self.quiet.messages(0.99), self.flood.messages(0.99))
    }

    /// How much slower the slowest hundredth of visits is than in the quiet, or while the same flood goes elsewhere if that is slower: what they
    /// lose there is the flooders' and the processors', which the broker cannot give back.
    pub(crate) fn visits_ratio(&self) -> f64 {
        ratio(self.quiet.visits(0.99).max(self.elsewhere.visits(0.99)), self.flood.visits(0.99))
    }

    fn visits_ratio_elsewhere(&self) -> f64 {
        ratio(self.elsewhere.visits(0.99), self.flood.visits(0.99))
    }
}

fn ratio(before: u64, after: u64) -> f64 {
    after as f64 / before.max(1) as f64
}

/// All of them.
pub(crate) fn of(rows: &[Row], at_rest: u64) -> String {
    let mut text = format!(
        "\n| flood | a second | broker, cores | generator, cores | message p50 quiet → flood | p99 quiet → elsewhere → flood | to quiet | visits of each | \
         visit p50 quiet → elsewhere → flood | p99 | to quiet | to elsewhere | turned away | most memory (at rest {} MiB) |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        at_rest >> 20
    );
    for row in rows {
        let three = |of: &dyn Fn(&Slices) -> u64| {
            let [quiet, elsewhere, flood] = [&row.quiet, &row.elsewhere, &row.flood].map(of);
            if elsewhere == 0 { format!("{quiet} → - → {flood} µs") } else { format!("{quiet} → {elsewhere} → {flood} µs") }
        };
        // A table that grows in memory takes every line.
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.2} | {:.2} | {} → {} µs | {} | {:.2} | {} | {} | {} | {:.2} | {} | {} | {} MiB |",
            row.name,
            row.done as f64 / row.seconds,
            row.busy / row.seconds,
            row.generator / row.seconds,
            row.quiet.messages(0.5),
            row.flood.messages(0.5),
            three(&|slices| slices.messages(0.99)),
            row.messages_ratio(),
            row.quiet.visit_count().min(row.flood.visit_count()),
            three(&|slices| slices.visits(0.5)),
            three(&|slices| slices.visits(0.99)),
            ratio(row.quiet.visits(0.99), row.flood.visits(0.99)),
            if row.elsewhere.visit_count() == 0 { "-".to_owned() } else { format!("{:.2}", row.visits_ratio_elsewhere()) },
            row.turned_away,
            row.memory >> 20,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(visits: &[u64]) -> anyhow::Result<Slices> {
        let mut slices = Slices::default();
        for micros in visits {
            let mut noticed = Noticed::nothing()?;
            noticed.visits.record_n(*micros, 200)?;
            slices.push(noticed);
        }
        Ok(slices)
    }

    #[test]
    fn one_bad_round_decides_nothing_and_most_of_them_do() -> anyhow::Result<()> {
        let mut row = Row::new("some");
        row.elsewhere = slices(&[100, 100, 900])?;
        row.flood = slices(&[110, 9000, 120])?;
        assert_eq!((row.elsewhere.visits(0.99), row.flood.visits(0.99), row.flood.visit_count()), (100, 120, 600));
        assert!(row.visits_ratio() < 2.0);
        row.flood = slices(&[110, 9000, 300])?;
        assert!((2.9..3.1).contains(&row.visits_ratio()), "{}", row.visits_ratio());
        row.quiet = slices(&[150])?;
        assert!((1.9..2.1).contains(&row.visits_ratio()), "nor is the quiet to be beaten");
        assert_eq!(slices(&[100, 200])?.visits(0.5), 150);
        Ok(())
    }
}
