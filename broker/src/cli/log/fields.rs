//! What one event says: its name, its sentence, and its fields in the order in which they were given.

use std::error::Error;
use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// A field's value, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Text, whoever it came from: to be quoted.
    Text(String),
    /// A number or a truth value: JSON as it stands.
    Plain(String),
}

/// One event.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) level: Level,
    /// The module, or what the event says it belongs to.
    pub(super) target: String,
    /// The stable name of what happened; empty where a line has none (those of other crates).
    pub(super) event: String,
    /// One sentence for people.
    pub(super) message: String,
    pub(super) rest: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Reads an event.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut fields = Self {
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            event: String::new(),
            message: String::new(),
            rest: Vec::new(),
        };
        event.record(&mut fields);
        fields
    }

    /// An event of the log's own.
    pub(super) fn own(event: &str, message: &str, rest: Vec<(&'static str, Value)>) -> Self {
        Self {
            level: Level::WARN,
            target: concat!("tidings", "::log").to_owned(),
            event: event.to_owned(),
            message: message.to_owned(),
            rest,
        }
    }

    /// What events of its kind are called.
    pub(super) fn kind(&self) -> &str {
        if self.event.is_empty() { &self.target } else { &self.event }
    }

    fn text(&mut self, name: &'static str, text: String) {
        match name {
            "event" => self.event = text,
            "message" => self.message = text,
            // Of crates that log through `log`: what it belongs to comes as a field.
            "log.target" => self.target = text,
            _ if name.starts_with("log.") => {}
            _ => self.rest.push((name, Value::Text(text))),
        }
    }

    fn plain(&mut self, name: &'static str, value: impl fmt::Display) {
        if !name.starts_with("log.") {
            self.rest.push((name, Value::Plain(value.to_string())));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field.name(), format!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field.name(), value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON knows no infinities.
        if value.is_finite() {
            self.plain(field.name(), value);
        } else {
            self.text(field.name(), value.to_string());
        }
    }
}
