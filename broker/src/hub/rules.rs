//! The rules of every namespace, by number, so that a channel's rules are one index away.

use std::collections::HashMap;
use std::time::Duration;

use super::namespace::{self, DEFAULT, Lagging};
use crate::cluster::core::frame::{Ack, Terms};
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
    /// Whether listeners that are behind get the newest message only.
    pub conflates: bool,
    /// Largest payload, in bytes.
    pub payload_bytes: usize,
    /// In a cluster: when a publisher is answered, and with how many copies.
    pub terms: Terms,
    /// What payloads may be.
    pub payload_kinds: Kinds,
    /// Whether it is known who is on a channel.
    pub presence: bool,
    /// Whether those who ask are told who joins and leaves.
    pub join_leave: bool,
    /// Whether a client hears what it published itself.
    pub echo: bool,
    /// What becomes of a listener that fell out of the history.
    pub lagging: Lagging,
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
        let ack = match config.ack {
            namespace::Ack::Appended => Ack::Appended,
            namespace::Ack::Committed => Ack::Committed,
        };
        let terms = Terms { ack, replicas: config.replicas, copies_min: config.min_copies };
        Self {
            retention: if has_history { kept } else { TAIL },
            has_history,
            conflates: config.conflate,
            payload_bytes: config.payload_bytes,
            payload_kinds: config.payload_kinds.iter().copied().collect(),
            presence: config.presence,
            join_leave: config.presence && config.join_leave,
            lagging: config.lagging,
            echo: config.echo,
            terms,
        }
    }
}

impl Rules {
    fn with(self, config: &namespace::Config) -> Self {
        Self { retention: self.retention, has_history: self.has_history, conflates: self.conflates, ..Self::from(config) }
    }
}

/// All rules. Number 0 is the default namespace.
#[derive(Clone, Debug)]
pub struct RuleBook {
    rules: Vec<Rules>,
    by_name: HashMap<String, NamespaceId>,
    /// No longer listed; their numbers stay theirs.
    retired: HashMap<String, NamespaceId>,
    /// Whether all of them let clients hear themselves, so that nobody has to look.
    echoes_everywhere: bool,
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
        Self::of_rules(rules, by_name, HashMap::new())
    }

    /// The rules that another configuration names. What was known keeps its number, since channels remember it, and its
    /// history: that of a channel is laid out when it is made.
    #[must_use]
    pub fn changed_to(&self, namespaces: &namespace::Namespaces) -> Self {
        let mut rules = self.rules.clone();
        let mut retired = self.retired.clone();
        retired.extend(self.by_name.clone());
        let mut by_name = HashMap::new();
        rules[0] = self.rules[0].clone().with(namespaces.get(None));
        for (name, config) in namespaces.iter().filter(|(name, _)| *name != DEFAULT) {
            let id = match retired.remove(name) {
                Some(id) => {
                    let known = &mut rules[usize::from(id.0)];
                    *known = known.clone().with(config);
                    id
                }
                None => {
                    rules.push(Rules::from(config));
                    NamespaceId((rules.len() - 1) as u16)
                }
            };
            by_name.insert(name.to_owned(), id);
        }
        Self::of_rules(rules, by_name, retired)
    }

    fn of_rules(rules: Vec<Rules>, by_name: HashMap<String, NamespaceId>, retired: HashMap<String, NamespaceId>) -> Self {
        let echoes_everywhere = rules.iter().all(|rules| rules.echo);
        Self { rules, by_name, retired, echoes_everywhere }
    }

    /// Whether a client hears what it publishes to this channel itself.
    #[must_use]
    pub fn echoes(&self, channel: &ChannelName) -> bool {
        self.echoes_everywhere || self.of(channel).1.echo
    }

    /// Every namespace that is listed, with its number; the default one first.
    pub fn names(&self) -> impl Iterator<Item = (&str, NamespaceId)> {
        std::iter::once((DEFAULT, NamespaceId(0))).chain(self.by_name.iter().map(|(name, id)| (&**name, *id)))
    }

    /// The namespace of a channel and its rules; the default one when the name has none or an unlisted one.
    #[must_use]
    pub fn of(&self, channel: &ChannelName) -> (NamespaceId, &Rules) {
        let id = channel.namespace().and_then(|name| self.by_name.get(name)).copied().unwrap_or(NamespaceId(0));
        (id, &self.rules[usize::from(id.0)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    #[test]
    fn other_rules_leave_numbers_and_histories_as_they_are() {
        let with = |names: &[(&str, usize, u32)]| {
            let mut namespaces = namespace::Namespaces::default();
            for (name, payload_bytes, size) in names {
                let mut config = namespace::Config { payload_bytes: *payload_bytes, ..Default::default() };
                config.history.size = *size;
                namespaces.insert(*name, config);
            }
            namespaces
        };
        let of = |book: &RuleBook, name: &str| {
            let (id, rules) = book.of(&channel(name));
            (id.0, rules.payload_bytes, rules.retention.size)
        };
        let before = RuleBook::new(&with(&[("default", 1, 10), ("a", 2, 20), ("b", 3, 30)]));
        let after = before.changed_to(&with(&[("default", 5, 50), ("b", 6, 60), ("c", 7, 70)]));
        assert_eq!(["x", "a:x", "b:x", "c:x"].map(|name| of(&after, name)), [(0, 5, 10), (0, 5, 10), (2, 6, 30), (3, 7, 70)]);
        let again = after.changed_to(&with(&[("a", 8, 80)]));
        assert_eq!(["a:x", "c:x"].map(|name| of(&again, name).0), [1, 0], "a name that comes back has its number again");
    }
}
