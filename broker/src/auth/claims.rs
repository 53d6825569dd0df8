//! What a token says of its bearer, once it was proven.

use std::sync::Arc;

use serde_json::value::RawValue;

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

/// A proven token or signed address.
#[derive(Clone, Debug)]
pub struct Claims {
    /// The user (`sub`).
    pub user: Option<Arc<str>>,
    /// The token's own name (`jti`), by which it can be revoked.
    pub id: Option<Box<str>>,
    /// What it may do.
    pub grants: Box<[Grant]>,
    /// What others may see of the user: JSON.
    pub info: Option<Box<RawValue>>,
    /// Until when it counts, in seconds since 1970, the leeway included. Its bearer's stay ends then.
    pub until: u64,
}
