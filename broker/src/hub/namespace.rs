//! Namespaces: what a channel keeps and accepts, by the part of its name before the first `:`.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::auth::grant::{Permissions, Who};
use crate::config::units::{self, HumanDuration, Size};
use crate::message::PayloadKind;

/// The entry for channels without a namespace, or with one that is not listed.
pub const DEFAULT: &str = "default";

/// What the channels of one namespace keep and accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Namespace")]
pub struct Config {
    /// What each channel keeps for those who resume or ask for history.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<History>")]
    pub history: History,
    /// Largest payload a publisher may send: up to 16MiB, in a cluster up to 3MiB.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub payload_bytes: usize,
    /// What payloads may be: json, text (other UTF-8), binary.
    pub payload_kinds: Vec<PayloadKind>,
    /// What is allowed here without a grant of a token or a scope of a key: granted (nothing), token (whoever has a valid one), anyone. Or keys: backends alone may, by their scopes, whatever a token says.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Permissions>")]
    pub allow: Permissions,
    /// Whether it is known who is on a channel: every subscriber that shows a token is there by its `sub`, every other one is counted. Who may ask is a matter of `allow` and of grants.
    pub presence: bool,
    /// Whether subscribers that ask for it are told who joins and leaves.
    pub join_leave: bool,
    /// What becomes of a listener that reads so slowly that messages it lacks leave the history: `gap` (it is told, and goes on with what is kept) or `close` (it is closed as `lagged`, and told when it comes back).
    pub lagging: Lagging,
    /// Whether a listener that is behind gets only the newest message of a channel, after a gap with the reason `conflated`: for channels where only the newest value counts. Who keeps up gets all of them, and so does who asks for the history.
    pub conflate: bool,
    /// Whether a WebSocket client hears what it published itself, where it listens. With `false` everybody else does.
    pub echo: bool,
    /// In `default` only: whether namespaces that are not listed are as this one; else they are closed to all but keys.
    pub unlisted: bool,
    /// In a cluster: nodes that hold a message before subscribers see it, 1 or 2. With 2 it survives the loss of one node and costs a round trip between two more; a second node that does not answer in time is not waited for.
    pub replicas: u32,
    /// In a cluster: when a publisher is answered, `committed` (subscribers may see it, and `replicas` nodes hold it) or `appended` (its place is given: sooner, and lost if that node dies in that moment).
    pub ack: Ack,
    /// In a cluster: a message that fewer nodes than this would hold is refused, rather than taken with fewer copies.
    pub min_copies: u32,
}

/// When a publisher is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ack {
    /// When the node that orders the channel has it.
    Appended,
    /// When as many nodes hold it as should and can.
    #[default]
    Committed,
}

/// What becomes of a listener that fell out of a channel's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lagging {
    /// It is told what it missed and goes on with what is kept.
    #[default]
    Gap,
    /// It is closed; when it comes back it is told what it missed.
    Close,
}

impl Config {
    /// With everything allowed to anyone.
    #[must_use]
    pub fn open(self) -> Self {
        let anyone = Who::Anyone;
        let allow = Permissions { subscribe: anyone, publish: anyone, history: anyone, presence: anyone, own: Vec::new() };
        Self { allow, unlisted: true, ..self }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            history: History::default(),
            payload_bytes: 64 << 10,
            payload_kinds: PayloadKind::ALL.to_vec(),
            allow: Permissions::default(),
            presence: false,
            join_leave: false,
            lagging: Lagging::Gap,
            conflate: false,
            echo: true,
            unlisted: false,
            replicas: 2,
            ack: Ack::Committed,
            min_copies: 1,
        }
    }
}

/// What each channel keeps: whichever bound is reached first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Most messages kept; 0 keeps none: only who listens gets a message, and is closed when more than a moment behind.
    pub size: u32,
    /// Longest time a message is kept.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub ttl: Duration,
    /// Most bytes kept, names and headers included.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub bytes: u64,
}

impl Default for History {
    fn default() -> Self {
        Self { size: 1000, ttl: Duration::from_secs(600), bytes: 4 << 20 }
    }
}

/// All namespaces by name; always holds [`DEFAULT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Namespaces(BTreeMap<String, Config>);

impl Namespaces {
    /// The namespace's own entry, else the default one. Takes what [`crate::message::ChannelName::namespace`] gives.
    #[must_use]
    pub fn get(&self, namespace: Option<&str>) -> &Config {
        let listed = namespace.and_then(|name| self.0.get(name));
        listed.unwrap_or_else(|| self.0.get(DEFAULT).expect("every way to make one adds the default entry"))
    }

    /// The entry of this very name.
    pub(crate) fn listed_mut(&mut self, name: &str) -> Option<&mut Config> {
        self.0.get_mut(name)
    }

    /// Adds or replaces one.
    pub fn insert(&mut self, name: impl Into<String>, config: Config) {
        self.0.insert(name.into(), config);
    }

    /// Name and entry of each, sorted by name, the default one included.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Config)> {
        self.0.iter().map(|(name, config)| (&**name, config))
    }
}

impl Default for Namespaces {
    fn default() -> Self {
        Self(BTreeMap::from([(DEFAULT.to_owned(), Config::default())]))
    }
}

impl<'de> Deserialize<'de> for Namespaces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A name with nothing under it is null: the built-in defaults, as for any section.
        let given = BTreeMap::<String, Option<Config>>::deserialize(deserializer)?;
        let mut all = Self::default();
        all.0.extend(given.into_iter().map(|(name, config)| (name, config.unwrap_or_default())));
        Ok(all)
    }
}
