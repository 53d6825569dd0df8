//! May this caller do this here, and which rule says so? Pure: everything it looks at is handed in.
//!
//! The rules, in their order; the first that speaks decides:
//! 1. Without any credential configured, in `dev`, everyone may do everything.
//! 2. A backend may do what its scopes say, everywhere they say.
//! 3. A namespace that is not listed is closed to everyone else, unless `namespaces.default.unlisted` opens it.
//! 4. What a namespace keeps for `keys` nobody else may do there, whatever a token says.
//! 5. A token's grants: what they name, its bearer may do.
//! 6. A user's own channels (`…#user`, or a template under `own`): the user may listen, read their history and see who is there.
//! 7. The namespace: what it allows to `token`s or to `anyone`, they may do; of a channel with an owner, nobody else.
//!
//! A signed address is no token to the last two: it opens the channels it names, and what is open to anyone.
//!
//! What no rule allows is denied.

use std::collections::HashMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::{Action, Actions};
use super::certificate::KnownBy;
use super::claims::Claims;
use super::config::KeyHash;
use super::pattern::{Pattern, Template, owner};
use crate::config::units;
use crate::message::ChannelName;

/// To whom a namespace allows something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Only backends, by the scopes of their keys, whatever a token says: no browser.
    Keys,
    /// Only those who were granted it: by their token's `channels`, or a backend by its scopes.
    #[default]
    Granted,
    /// Everyone with a valid token.
    Token,
    /// Everyone who reaches the listener.
    Anyone,
}

/// What a namespace allows without a grant, and what it allows to no token at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Permissions {
    /// Who may listen, and resume from where it was.
    pub subscribe: Who,
    /// Who may publish.
    pub publish: Who,
    /// Who may read what is kept from before.
    pub history: Who,
    /// Who may ask who is there.
    pub presence: Who,
    /// Channels of one user each, such as "user:{sub}" or "user:{sub}:*": the user of a token may listen there and read what is kept. A channel that ends in a hash sign and a user is that user's without being listed.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Vec<Template>>")]
    pub own: Vec<Template>,
}

impl Permissions {
    fn who(&self, action: Action) -> Who {
        match action {
            Action::Subscribe => self.subscribe,
            Action::Publish => self.publish,
            Action::History => self.history,
            Action::Presence => self.presence,
            Action::Admin | Action::Control => Who::Granted,
        }
    }
}

/// What every namespace allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// For channels without a namespace, and for unlisted ones where those are allowed.
    pub default: Permissions,
    /// By name.
    pub namespaces: HashMap<String, Permissions>,
    /// Whether a namespace that is not listed is as the default one, instead of closed.
    pub unlisted: bool,
}

impl Policy {
    /// The permissions of a channel; none when its namespace is closed.
    fn of(&self, channel: &ChannelName) -> Option<&Permissions> {
        match channel.namespace() {
            None => Some(&self.default),
            Some(name) => self.namespaces.get(name).or_else(|| self.unlisted.then_some(&self.default)),
        }
    }
}

/// A backend that showed a key, or that the system vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// What the log calls it.
    pub name: Box<str>,
    /// How it has proven who it is, by which a connection finds it in another configuration.
    pub proof: Proof,
    /// What it may do.
    pub can: Actions,
    /// Where.
    pub channels: Box<[Pattern]>,
}

/// What makes somebody a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// An API key of this hash.
    Key(KeyHash),
    /// The system says that this user of the machine runs it.
    Peer(u32),
    /// A certificate of this name.
    Certificate(KnownBy),
}

/// Who asks, as far as it was proven.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Whoever this is: nothing here asks for a credential.
    Everyone,
    /// Nobody known: no credential was shown.
    Anyone,
    /// The bearer of a token or of a signed address.
    Token(Arc<Claims>),
    /// A backend.
    Backend(Arc<Backend>),
}

/// Which rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule<'a> {
    /// Allowed: nothing here asks for a credential.
    Open,
    /// Allowed: the backend's scope.
    Scope(&'a Backend, &'a Pattern),
    /// Allowed: the token's grant.
    Grant(&'a Pattern),
    /// Allowed: the channel is named after the user.
    Owner,
    /// Allowed: the channel is one of the user's own.
    Own(&'a Template),
    /// Allowed: by the namespace, to these.
    Namespace(Who),
    /// Denied: the backend's scopes do not reach so far.
    NoScope(&'a Backend),
    /// Denied: the namespace is not listed.
    Unlisted,
    /// Denied: the namespace keeps it for keys.
    OnlyKeys,
    /// Denied: the channel is another user's.
    NotOwner,
    /// Denied: the token does not grant it, and the namespace does not allow it to every token.
    NoGrant,
    /// Denied: the namespace wants a credential.
    NoCredential,
}

impl Rule<'_> {
    /// Whether it allows.
    #[must_use]
    pub fn allows(self) -> bool {
        matches!(self, Self::Open | Self::Scope(..) | Self::Grant(_) | Self::Owner | Self::Own(_) | Self::Namespace(_))
    }

    /// Its name, for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Scope(..) => "scope",
            Self::Grant(_) => "grant",
            Self::Owner => "owner",
            Self::Own(_) => "own",
            Self::Namespace(Who::Anyone) => "namespace_anyone",
            Self::Namespace(_) => "namespace_token",
            Self::NoScope(_) => "no_scope",
            Self::Unlisted => "unlisted_namespace",
            Self::OnlyKeys => "only_keys",
            Self::NotOwner => "not_owner",
            Self::NoGrant => "no_grant",
            Self::NoCredential => "no_credential",
        }
    }

    /// A sentence for whoever asked.
    #[must_use]
    pub fn sentence(self, action: Action, channel: &ChannelName) -> String {
        let namespace = channel.namespace().unwrap_or("default");
        match self {
            Self::Open => "nothing here asks for a credential (dev)".to_owned(),
            Self::Scope(backend, pattern) => format!("the scope `{pattern}` of `{}` allows {action}", backend.name),
            Self::Grant(pattern) => format!("the token's grant for `{pattern}` allows {action}"),
            Self::Owner => "the channel is named after the user".to_owned(),
            Self::Own(template) => format!("the channel is the user's own, by `{template}` of the namespace `{namespace}`"),
            Self::Namespace(Who::Anyone) => format!("the namespace `{namespace}` allows {action} to anyone"),
            Self::Namespace(_) => format!("the namespace `{namespace}` allows {action} to every token"),
            Self::NoScope(backend) => format!("`{}` has no scope for {action} on `{channel}`", backend.name),
            Self::Unlisted => format!("the namespace `{namespace}` is not listed under `namespaces`, and those that are not are closed"),
            Self::OnlyKeys => {
                format!("the namespace `{namespace}` allows {action} to nobody but backends with a key, whatever a token says")
            }
            Self::NotOwner => format!("`{channel}` is the channel of one user, and this is not that user"),
            Self::NoGrant => {
                format!("the token has no grant for {action} on `{channel}`, and the namespace `{namespace}` allows it not to every token")
            }
            Self::NoCredential => {
                format!("the namespace `{namespace}` allows {action} to nobody without a credential: send a token or a key")
            }
        }
    }
}

/// Finds the rule that decides.
#[must_use]
pub fn decide<'a>(caller: &'a Caller, action: Action, channel: &ChannelName, policy: &'a Policy) -> Rule<'a> {
    match caller {
        Caller::Everyone => return Rule::Open,
        Caller::Backend(backend) => {
            let scope = backend.channels.iter().find(|pattern| backend.can.has(action) && pattern.covers(channel));
            if let Some(pattern) = scope {
                return Rule::Scope(backend, pattern);
            }
        }
        Caller::Anyone | Caller::Token(_) => {}
    }
    let Some(permissions) = policy.of(channel) else { return Rule::Unlisted };
    let who = permissions.who(action);
    if who == Who::Keys && matches!(caller, Caller::Anyone | Caller::Token(_)) {
        return Rule::OnlyKeys;
    }
    let owner = owner(channel);
    if let Caller::Token(claims) = caller
        && let Some(rule) = by_token(claims, action, channel, owner, permissions)
    {
        return rule;
    }
    let is_token = matches!(caller, Caller::Token(claims) if !claims.is_address);
    if owner.is_none() && (who == Who::Anyone || (who == Who::Token && is_token)) {
        return Rule::Namespace(who);
    }
    match caller {
        Caller::Backend(backend) => Rule::NoScope(backend),
        Caller::Anyone => Rule::NoCredential,
        _ if owner.is_some() => Rule::NotOwner,
        _ => Rule::NoGrant,
    }
}

/// Whether [`decide`] could allow this on some channel or other.
#[must_use]
pub fn may_somewhere(caller: &Caller, action: Action, policy: &Policy) -> bool {
    let mut everywhere = std::iter::once(&policy.default).chain(policy.namespaces.values()).map(|permissions| permissions.who(action));
    match caller {
        Caller::Everyone => true,
        Caller::Backend(backend) if backend.can.has(action) => true,
        Caller::Token(claims) => {
            let is_granted = claims.grants.iter().any(|grant| grant.can.has(action));
            let is_own = claims.user.is_some() && is_for_owners(action);
            everywhere.any(|who| match who {
                Who::Keys => false,
                Who::Granted => is_granted || (is_own && !claims.is_address),
                Who::Token => is_granted || !claims.is_address,
                Who::Anyone => true,
            })
        }
        Caller::Backend(_) | Caller::Anyone => everywhere.any(|who| who == Who::Anyone),
    }
}

/// What a user may do on a channel of its own.
fn is_for_owners(action: Action) -> bool {
    matches!(action, Action::Subscribe | Action::History | Action::Presence)
}

fn by_token<'a>(
    claims: &'a Claims,
    action: Action,
    channel: &ChannelName,
    owner: Option<&str>,
    permissions: &'a Permissions,
) -> Option<Rule<'a>> {
    if let Some(grant) = claims.grants.iter().find(|grant| grant.allows(action, channel)) {
        return Some(Rule::Grant(&grant.pattern));
    }
    // An address was handed out for the channels it names, and may have gone further than its user.
    let user = claims.user.as_deref().filter(|_| !claims.is_address)?;
    if !is_for_owners(action) {
        return None;
    }
    if owner == Some(user) {
        return Some(Rule::Owner);
    }
    // A channel with an owner by its name belongs to nobody else, whatever a template says.
    let own = permissions.own.iter().find(|template| owner.is_none() && template.covers(channel, user));
    own.map(Rule::Own)
}

#[cfg(test)]
mod tests;
