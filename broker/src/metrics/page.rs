//! Families that are written out by hand at each scrape, because their series come and go.

use std::fmt::Write as _;

use super::export::head;

/// A count with the name of what it counts: one of a closed list, and the list is whole.
pub type Named = (&'static str, u64);

/// The text, and the family that is being written.
pub(super) struct Page<'a> {
    text: &'a mut String,
    area: &'static str,
    help: &'static [(&'static str, &'static str)],
    name: String,
}

impl<'a> Page<'a> {
    /// For families whose names begin alike.
    pub(super) fn new(text: &'a mut String, area: &'static str, help: &'static [(&'static str, &'static str)]) -> Self {
        Self { text, area, help, name: String::new() }
    }

    pub(super) fn family(&mut self, name: &str, kind: &str) {
        self.name = format!("{}{name}", self.area);
        let help = self.help.iter().find(|(known, _)| *known == self.name).map_or("", |(_, help)| help);
        head(self.text, &self.name, help, kind);
    }

    /// Writing to a string cannot fail.
    pub(super) fn line(&mut self, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(&self.name);
        for (at, (name, label)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{name}=\"{}\"", if at == 0 { '{' } else { ',' }, escaped(label));
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    pub(super) fn gauge(&mut self, name: &str, value: f64) {
        self.family(name, "gauge");
        self.line(&[], value);
    }

    pub(super) fn counter(&mut self, name: &str, value: u64) {
        self.family(name, "counter");
        self.line(&[], value as f64);
    }

    pub(super) fn named(&mut self, name: &str, kind: &str, label: &str, values: &[Named]) {
        self.family(name, kind);
        for (value, count) in values {
            self.line(&[(label, value)], *count as f64);
        }
    }
}

/// A label's value as the text format wants it: an operator chose it, and may have chosen anything.
fn escaped(label: &str) -> std::borrow::Cow<'_, str> {
    if label.contains(['\\', '"', '\n']) {
        label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
    } else {
        label.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_may_hold_what_would_end_it() {
        assert_eq!(escaped("a\"b\\c\nd"), r#"a\"b\\c\nd"#);
        assert_eq!(escaped("orders"), "orders");
    }
}
