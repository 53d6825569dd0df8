//! The rules of every namespace, by number, so that a channel's rules are one index away.

use std::collections::HashMap;
use std::time::Duration;

use super::namespace::{self, DEFAULT};
use crate::log::{NamespaceId, Retention};
use crate::message::{ChannelName, PayloadKind};

/// What a channel without history keeps: the small bound within which a listener may be slow, or read the log instead of
/// being pushed to. Past it, it is closed.
const TAIL: Retention = Retention { size: 256, ttl: Duration::from_secs(60), bytes: 256 << 10 };

/// What the hub enforces for the channels of one namespace.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What is kept.
    pub retention: Retention,
    /// Whether users may come back to it; without history only the tail is kept, for those who listen now.
    pub has_history: bool,
    /// Largest payload, in bytes.
    pub payload_bytes: usize,
    /// What payloads may be.
    pub payload_kinds: Kinds,
}

/// A set of kinds of payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// Whether the kind is among them.
    #[must_use]
    pub fn has(self, kind: PayloadKind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }
}

impl FromIterator<PayloadKind> for Kinds {
    fn from_iter<I: IntoIterator<Item = PayloadKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |bits, kind| bits | 1 << kind as u8))
    }
}

impl From<&namespace::Config> for Rules {
    fn from(config: &namespace::Config) -> Self {
        let history = &config.history;
        let has_history = history.size > 0;
        let kept = Retention { size: history.size, ttl: history.ttl, bytes: history.bytes };
        Self {
            retention: if has_history { kept } else { TAIL },
            has_history,
            payload_bytes: config.payload_bytes,
            payload_kinds: config.payload_kinds.iter().copied().collect(),
        }
    }
}

/// All rules. Number 0 is the default namespace.
#[derive(Clone, Debug)]
pub struct RuleBook {
    rules: Vec<Rules>,
    by_name: HashMap<String, NamespaceId>,
}

impl RuleBook {
    /// The rules that the configuration names.
    #[must_use]
    pub fn new(namespaces: &namespace::Namespaces) -> Self {
        let mut rules = vec![Rules::from(namespaces.get(None))];
        let mut by_name = HashMap::new();
        for (name, config) in namespaces.iter().filter(|(name, _)| *name != DEFAULT) {
            by_name.insert(name.to_owned(), NamespaceId(rules.len() as u16));
            rules.push(Rules::from(config));
        }
        Self { rules, by_name }
    }

    /// The namespace of a channel and its rules; the default one when the name has none or an unlisted one.
    #[must_use]
    pub fn of(&self, channel: &ChannelName) -> (NamespaceId, &Rules) {
        let id = channel.namespace().and_then(|name| self.by_name.get(name)).copied().unwrap_or(NamespaceId(0));
        (id, &self.rules[usize::from(id.0)])
    }
}
