//! Namespaces: a row for each that the configuration lists.

use super::page::Page;

/// One namespace.
#[derive(Clone, Debug, Default)]
pub struct NamespaceFigures {
    /// Its name, as the configuration has it.
    pub name: String,
    /// Messages kept, since the start.
    pub published: u64,
    /// Their bytes.
    pub published_bytes: u64,
    /// Channels with state.
    pub channels: u64,
    /// Of these, those with listeners.
    pub listened: u64,
    /// Messages in its histories.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Each family with its one line of help.
const HELP: [(&str, &str); 6] = [
    ("tidings_namespace_publishes_kept_total", "Publishes of this node that were kept, by namespace."),
    ("tidings_namespace_publishes_kept_bytes_total", "Their payload bytes."),
    ("tidings_namespace_channels", "Channels with state, by namespace, as of the last round of ten seconds."),
    ("tidings_namespace_channels_listened", "Of these, channels that somebody on this node listens to."),
    ("tidings_namespace_history_messages", "Messages in histories, by namespace, as of the last round."),
    ("tidings_namespace_history_bytes", "Their bytes."),
];

/// Appends all families.
pub(super) fn append(namespaces: &[NamespaceFigures], text: &mut String) {
    let mut out = Page::new(text, "tidings_namespace_", &HELP);
    let mut rows = |name, kind, pick: fn(&NamespaceFigures) -> u64| {
        out.family(name, kind);
        for namespace in namespaces {
            out.line(&[("namespace", &namespace.name)], pick(namespace) as f64);
        }
    };
    rows("publishes_kept_total", "counter", |of| of.published);
    rows("publishes_kept_bytes_total", "counter", |of| of.published_bytes);
    rows("channels", "gauge", |of| of.channels);
    rows("channels_listened", "gauge", |of| of.listened);
    rows("history_messages", "gauge", |of| of.messages);
    rows("history_bytes", "gauge", |of| of.bytes);
}
