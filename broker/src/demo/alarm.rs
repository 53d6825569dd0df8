//! When a figure becomes an alarm, and when the alarm is over. Pure: figures and times come in.

use serde::Serialize;

/// What is too much, and for how many samples in a row it must be so before anybody is told.
///
/// The way back has a lower limit and a longer wait: a figure that swings around one limit must not ring the bell each time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// The figure's name.
    pub(super) name: &'static str,
    /// Raised above this.
    pub(super) raise_percent: f64,
    /// Cleared below this.
    pub(super) clear_percent: f64,
    /// Samples in a row above the one limit.
    pub(super) raise_after: u32,
    /// Samples in a row below the other.
    pub(super) clear_after: u32,
}

/// An alarm that is on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Raised {
    rule: &'static str,
    /// Milliseconds since 1970.
    since: u64,
    limit_percent: f64,
}

/// The moment at which an alarm goes on or off.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Crossing {
    /// Milliseconds since 1970.
    pub(super) time: u64,
    /// The rule's name.
    pub(super) rule: &'static str,
    /// `raised` or `cleared`.
    pub(super) state: &'static str,
    value_percent: f64,
    limit_percent: f64,
}

/// One rule and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    rule: Rule,
    since: Option<u64>,
    beyond: u32,
}

impl Watch {
    pub(super) fn new(rule: Rule) -> Self {
        Self { rule, since: None, beyond: 0 }
    }

    /// Takes the next sample.
    pub(super) fn see(&mut self, value_percent: f64, time: u64) -> Option<Crossing> {
        let (is_beyond, needed, limit_percent) = if self.since.is_some() {
            (value_percent < self.rule.clear_percent, self.rule.clear_after, self.rule.clear_percent)
        } else {
            (value_percent > self.rule.raise_percent, self.rule.raise_after, self.rule.raise_percent)
        };
        self.beyond = if is_beyond { self.beyond + 1 } else { 0 };
        if self.beyond < needed.max(1) {
            return None;
        }
        self.beyond = 0;
        self.since = if self.since.is_some() { None } else { Some(time) };
        let state = if self.since.is_some() { "raised" } else { "cleared" };
        Some(Crossing { time, rule: self.rule.name, state, value_percent, limit_percent })
    }

    pub(super) fn raised(&self) -> Option<Raised> {
        self.since.map(|since| Raised { rule: self.rule.name, since, limit_percent: self.rule.raise_percent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(values: &[f64]) -> Vec<(usize, &'static str)> {
        let mut watch = Watch::new(Rule { name: "cpu", raise_percent: 90.0, clear_percent: 80.0, raise_after: 3, clear_after: 2 });
        let seen = values.iter().enumerate().filter_map(|(at, value)| Some((at, watch.see(*value, at as u64)?.state)));
        seen.collect()
    }

    #[test]
    fn one_peak_is_no_alarm() {
        assert_eq!(states(&[99.0, 99.0, 10.0, 99.0, 99.0, 10.0]), []);
    }

    #[test]
    fn what_stays_too_high_is_raised_once_and_cleared_once() {
        assert_eq!(states(&[95.0, 95.0, 95.0, 99.0, 99.0, 70.0, 70.0, 10.0, 10.0]), [(2, "raised"), (6, "cleared")]);
    }

    #[test]
    fn swinging_between_the_limits_changes_nothing() {
        assert_eq!(states(&[91.0, 91.0, 91.0, 85.0, 79.0, 85.0, 79.0, 91.0]), [(2, "raised")]);
    }

    #[test]
    fn a_figure_that_is_not_a_number_counts_as_neither() {
        assert_eq!(states(&[95.0, 95.0, f64::NAN, 95.0, 95.0, 95.0, f64::NAN, 70.0, 70.0]), [(5, "raised"), (8, "cleared")]);
    }
}
