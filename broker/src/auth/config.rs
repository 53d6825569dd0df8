//! The keys' own keys.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use super::action::Action;
use super::certificate::KnownBy;
use super::grant::Policy;
use super::pattern::Pattern;
use super::{signed_url, token};

/// What the gate is built from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Backends by their keys.
    pub keys: Vec<Key>,
    /// Backends by who runs them.
    pub unix_peers: Vec<UnixPeer>,
    /// Backends by their certificates.
    pub certificates: Vec<Certificate>,
    /// Which tokens are believed.
    pub tokens: token::config::Config,
    /// Keys that sign addresses.
    pub signed_urls: Vec<signed_url::Key>,
    /// What namespaces allow.
    pub policy: Policy,
    /// Without any of these credentials everyone may do everything (`dev`), instead of what the namespaces allow.
    pub open: bool,
}

/// An API key: a name for people and the hash of the secret, never the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What the log and error messages call it; unique.
    pub name: String,
    /// SHA-256 of the key, 64 hexadecimal digits.
    pub sha256: KeyHash,
    /// What its holder may do.
    #[serde(default = "everything")]
    pub can: Vec<Action>,
    /// On which channels: names, or beginnings of names and a `*`.
    #[serde(default = "everywhere")]
    pub channels: Vec<Pattern>,
}

impl Key {
    /// A key that may do everything everywhere.
    #[must_use]
    pub fn new(name: impl Into<String>, sha256: KeyHash) -> Self {
        Self { name: name.into(), sha256, can: everything(), channels: everywhere() }
    }
}

/// A user of this machine whose processes may call over `grpc.unix` without a key, because the system says who they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnixPeer {
    /// What the log and error messages call it; unique.
    pub name: String,
    /// The user's number (`id -u`).
    pub uid: u32,
    /// What it may do.
    #[serde(default = "everything")]
    pub can: Vec<Action>,
    /// On which channels: names, or beginnings of names and a `*`.
    #[serde(default = "everywhere")]
    pub channels: Vec<Pattern>,
}

/// A backend that is known by its certificate, on listeners that ask for certificates (`tls.clients`). One of `uri`, `dns` and
/// `common_name` says which; it is compared as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// What the log and error messages call it; unique.
    pub name: String,
    /// A URI among the certificate's alternative names, such as a SPIFFE ID.
    #[serde(default)]
    pub uri: Option<String>,
    /// A DNS name among them.
    #[serde(default)]
    pub dns: Option<String>,
    /// The common name of its subject.
    #[serde(default)]
    pub common_name: Option<String>,
    /// What its holder may do.
    #[serde(default = "everything")]
    pub can: Vec<Action>,
    /// On which channels: names, or beginnings of names and a `*`.
    #[serde(default = "everywhere")]
    pub channels: Vec<Pattern>,
}

impl Certificate {
    /// By what it is known. `None` when that is nothing, or more than one thing.
    #[must_use]
    pub fn known_by(&self) -> Option<KnownBy> {
        let text = |name: &Option<String>| name.as_deref().filter(|name| !name.is_empty()).map(Into::into);
        let names =
            [text(&self.uri).map(KnownBy::Uri), text(&self.dns).map(KnownBy::Dns), text(&self.common_name).map(KnownBy::CommonName)];
        let mut names = names.into_iter().flatten();
        names.next().filter(|_| names.next().is_none())
    }
}

fn everything() -> Vec<Action> {
    Action::ALL.to_vec()
}

fn everywhere() -> Vec<Pattern> {
    vec![Pattern::everything()]
}

/// The SHA-256 of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// The hash of a key as a caller sends it.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(hex: &str) -> Option<Self> {
        let digits: &[u8; 64] = hex.as_bytes().try_into().ok()?;
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(hash))
    }
}

fn digit(ascii: u8) -> Option<u8> {
    char::from(ascii).to_digit(16).map(|value| value as u8)
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        // The text is not repeated in the error: people paste the secret itself here.
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom("not a SHA-256: 64 hexadecimal digits are needed; `tidings key NAME` makes a key and prints its hash")
        })
    }
}

impl JsonSchema for KeyHash {
    fn schema_name() -> Cow<'static, str> {
        "KeyHash".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$" })
    }
}
