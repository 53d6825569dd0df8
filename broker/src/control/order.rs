//! What a backend may order about clients, and what became of it.

use std::sync::Arc;

use crate::auth::pattern::Pattern;
use crate::auth::{Revocation, Revoked};
use crate::close::CloseReason;
use crate::journal::SessionId;
use crate::metrics::Ordered;

/// Whom an order is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// All stays of this user (`sub`).
    User(Arc<str>),
    /// All stays that began with the token of this id (`jti`).
    Token(Arc<str>),
    /// All stays of this name. Clients choose it, so several may bear it.
    Session(SessionId),
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Their stays end.
    Disconnect {
        /// Whose.
        whom: Whom,
        /// Whether they are to come back.
        reconnect: bool,
    },
    /// Their subscriptions to these channels end.
    Unsubscribe {
        /// Whose.
        whom: Whom,
        /// To which channels.
        channels: Pattern,
    },
    /// What they show counts no longer, and the stays end that began with it.
    Revoke(Revocation),
}

impl Order {
    /// Its name.
    #[must_use]
    pub fn kind(&self) -> Ordered {
        match self {
            Self::Disconnect { .. } => Ordered::Disconnect,
            Self::Unsubscribe { .. } => Ordered::Unsubscribe,
            Self::Revoke(_) => Ordered::Revoke,
        }
    }

    /// Whom it is about.
    #[must_use]
    pub fn whom(&self) -> Whom {
        match self {
            Self::Disconnect { whom, .. } | Self::Unsubscribe { whom, .. } => whom.clone(),
            Self::Revoke(Revocation { what: Revoked::User(user, _), .. }) => Whom::User(user.clone()),
            Self::Revoke(Revocation { what: Revoked::Token(id), .. }) => Whom::Token(id.clone()),
        }
    }

    /// What each of them is told.
    #[must_use]
    pub fn word(&self) -> Word {
        match self {
            Self::Disconnect { reconnect: true, .. } => Word::End(CloseReason::Reconnect),
            Self::Disconnect { reconnect: false, .. } => Word::End(CloseReason::Disconnected),
            Self::Unsubscribe { channels, .. } => Word::Unsubscribe(channels.clone()),
            Self::Revoke(_) => Word::End(CloseReason::Revoked),
        }
    }
}

/// What one stay is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// It is over.
    End(CloseReason),
    /// It does not listen to these channels any more.
    Unsubscribe(Pattern),
}

/// What one node did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Stays that ended; of an [`Order::Unsubscribe`], subscriptions.
    pub ended: u64,
    /// Stays that were told and had not obeyed when the answer was due: they take nothing at the moment, and end before they
    /// are given anything more.
    pub pending: u64,
}

/// A node that has done it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Its name.
    pub node: String,
    /// What it did.
    pub done: Done,
}

/// A node that has not, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Its name.
    pub node: String,
    /// Why.
    pub why: String,
}

/// What became of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The nodes that have done it, the one that was asked first.
    pub reached: Vec<Reached>,
    /// The nodes of the cluster that have not.
    pub missed: Vec<Missed>,
    /// Of a revocation: until when it counts, in seconds since 1970.
    pub until: Option<u64>,
}

impl Outcome {
    /// All that ended, on all nodes that were reached.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.reached.iter().map(|reached| reached.done.ended).sum()
    }
}
