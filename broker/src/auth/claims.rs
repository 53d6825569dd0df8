//! What a token says of its bearer, once it was proven.

use std::sync::Arc;

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::action::{Action, Actions};
use super::pattern::Pattern;
use crate::message::ChannelName;

/// What its bearer may do on some channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which channels.
    pub pattern: Pattern,
    /// What.
    pub can: Actions,
}

impl Grant {
    /// Whether it allows this.
    #[must_use]
    pub fn allows(&self, action: Action, channel: &ChannelName) -> bool {
        self.can.has(action) && self.pattern.covers_for_users(channel)
    }
}

/// By what a token or signed address is told from others, once it was proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user (`sub`).
    pub user: Option<Arc<str>>,
    /// The token's own name (`jti`).
    pub id: Option<Arc<str>>,
    /// When it was issued (`iat`), in seconds since 1970.
    pub issued: Option<u64>,
}

/// Which key has signed a token or an address: the same key in another configuration is the same, anything else is not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignedBy([u8; 32]);

impl SignedBy {
    /// The key with these parts.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            // With its length, so that no two lists of parts read the same.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

impl std::fmt::Debug for SignedBy {
    /// Not what it is: some of the parts are secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignedBy")
    }
}

/// By whom a token was issued, and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Between {
    /// `iss`.
    pub issuer: Option<Box<str>>,
    /// `aud`; none when it does not say.
    pub audience: Box<[Box<str>]>,
}

/// A proven token or signed address.
#[derive(Clone, Debug)]
pub struct Claims {
    /// The user (`sub`).
    pub user: Option<Arc<str>>,
    /// The token's own name (`jti`), by which it can be revoked.
    pub id: Option<Arc<str>>,
    /// When it was issued (`iat`), in seconds since 1970. A signed address does not say.
    pub issued: Option<u64>,
    /// The key that has signed it. Once that is not known any more, neither is its bearer.
    pub signed_by: SignedBy,
    /// Whether it is a signed address: that grants what it names, and nothing besides.
    pub is_address: bool,
    /// By whom it was issued, and for whom, if it says: another configuration may ask for others. A signed address does not say.
    pub between: Option<Box<Between>>,
    /// What it may do.
    pub grants: Box<[Grant]>,
    /// What others may see of the user: JSON.
    pub info: Option<Box<RawValue>>,
    /// Until when it counts, in seconds since 1970, the leeway included. Its bearer's stay ends then.
    pub until: u64,
}

impl Claims {
    /// By what it is told from others; none when it names neither a user nor itself.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        (self.user.is_some() || self.id.is_some()).then(|| Identity { user: self.user.clone(), id: self.id.clone(), issued: self.issued })
    }
}
