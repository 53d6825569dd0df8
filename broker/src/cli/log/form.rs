//! The two forms of a line. Whatever a client chose is in them only escaped: no name and no sentence can begin a line of its
//! own, or colour somebody's terminal.

use std::io::Write as _;

use tracing::Level;

use super::fields::{Fields, Value};
use crate::cli::output::visible;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// For people: time, level, sentence, `name=value`.
    Human {
        /// Whether a terminal will show it.
        colours: bool,
    },
    /// One JSON object: `time`, `level`, `event`, the event's own fields, `message`, `target`.
    Json,
}

impl Form {
    /// Appends the line of an event that happened at `now_ms`, milliseconds since 1970.
    pub(super) fn write(self, fields: &Fields, now_ms: u64, out: &mut Vec<u8>) {
        match self {
            Self::Human { colours } => human(fields, now_ms, colours, out),
            Self::Json => json(fields, now_ms, out),
        }
        out.push(b'\n');
    }
}

fn human(fields: &Fields, now_ms: u64, colours: bool, out: &mut Vec<u8>) {
    let paint = |code: &'static str| if colours { code } else { "" };
    let (level, colour) = match fields.level {
        Level::ERROR => ("ERROR", "\x1b[31m"),
        Level::WARN => ("WARN ", "\x1b[33m"),
        Level::INFO => ("INFO ", "\x1b[32m"),
        Level::DEBUG => ("DEBUG", "\x1b[34m"),
        Level::TRACE => ("TRACE", "\x1b[35m"),
    };
    let (dim, off) = (paint("\x1b[2m"), paint("\x1b[0m"));
    say(out, format_args!("{dim}{}{off} {}{level}{off} ", time(now_ms), paint(colour)));
    say(out, format_args!("{}", visible(&fields.message)));
    for (name, value) in &fields.rest {
        let value = match value {
            Value::Plain(value) => value.clone(),
            Value::Text(text) if is_a_word(text) => text.clone(),
            Value::Text(text) => format!("{text:?}"),
        };
        say(out, format_args!(" {dim}{name}={off}{value}"));
    }
    // Lines of ours say in their sentence what they are about.
    if fields.event.is_empty() {
        say(out, format_args!(" {dim}({}){off}", visible(&fields.target)));
    }
}

/// Whether it stands for itself without quotes.
fn is_a_word(text: &str) -> bool {
    !text.is_empty() && visible(text) == text && !text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '=' | '\\'))
}

fn json(fields: &Fields, now_ms: u64, out: &mut Vec<u8>) {
    let level = fields.level.as_str().to_ascii_lowercase();
    say(out, format_args!("{{\"time\":\"{}\",\"level\":\"{level}\"", time(now_ms)));
    member(out, "event", &fields.event);
    for (name, value) in &fields.rest {
        match value {
            Value::Plain(value) => say(out, format_args!(",\"{name}\":{value}")),
            Value::Text(text) => member(out, name, text),
        }
    }
    member(out, "message", &fields.message);
    member(out, "target", &fields.target);
    out.push(b'}');
}

fn member(out: &mut Vec<u8>, name: &str, text: &str) {
    if !text.is_empty() {
        say(out, format_args!(",\"{name}\":"));
        serde_json::to_writer(&mut *out, text).expect("a string is always JSON, and memory takes every write");
    }
}

fn say(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes every write");
}

/// UTC with milliseconds (RFC 3339). The calendar is Howard Hinnant's `civil_from_days`.
fn time(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1000, unix_ms % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March, so that the leap day is the last.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year_of_era + era * 400 + year;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(message: &str, rest: Vec<(&'static str, Value)>) -> Fields {
        Fields { level: Level::INFO, target: "tidings::x".into(), event: "told".into(), message: message.into(), rest }
    }

    fn line(form: Form, fields: &Fields) -> String {
        let mut out = Vec::new();
        form.write(fields, 1_795_891_511_042, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
            (1_740_787_200_000, "2025-03-01T00:00:00.000Z"),
            (4_107_542_400_001, "2100-03-01T00:00:00.001Z"),
        ] {
            assert_eq!(time(unix_ms), text);
        }
    }

    #[test]
    fn a_line_of_json_is_an_object_with_the_fields_as_they_are() {
        let rest = vec![("channel", Value::Text("a\n\"b\"".into())), ("count", Value::Plain("3".into())), ("none", Value::Text("".into()))];
        let said = line(Form::Json, &fields("it was told", rest));
        assert_eq!(said.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&said).unwrap();
        let expected = serde_json::json!({
            "time": "2026-11-28T18:45:11.042Z", "level": "info", "event": "told", "channel": "a\n\"b\"", "count": 3,
            "message": "it was told", "target": "tidings::x",
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn a_line_for_people_quotes_what_is_no_word_and_lets_nothing_through_that_moves_a_cursor() {
        let rest = vec![
            ("channel", Value::Text("chat:1".into())),
            ("name", Value::Text("a \u{1b}[31m\nb".into())),
            ("n", Value::Plain("3".into())),
        ];
        let said = line(Form::Human { colours: false }, &fields("told\r\u{1b}[2J", rest));
        assert_eq!(said, "2026-11-28T18:45:11.042Z INFO  told\\r\\u{1b}[2J channel=chat:1 name=\"a \\u{1b}[31m\\nb\" n=3\n");
    }

    #[test]
    fn colours_are_for_terminals() {
        let coloured = line(Form::Human { colours: true }, &fields("told", Vec::new()));
        assert!(coloured.contains("\x1b[32mINFO \x1b[0m"), "{coloured:?}");
    }
}
