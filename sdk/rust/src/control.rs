//! Orders about clients of the broker: that their connections end, that their subscriptions do, that their tokens count no longer.

use std::time::{Duration, SystemTime};

use tidings_proto::v1;
use tidings_proto::v1::clients::Whom;
use tidings_proto::v1::revoke_request::What;

use crate::client::Client;
use crate::error::Result;
use crate::failure::Effect;
use crate::query::Answer;

/// Whom an order is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients(Whom);

impl Clients {
    /// All that show a token, or a signed address, of this user.
    pub fn of_user(user: impl Into<String>) -> Self {
        Self(Whom::User(user.into()))
    }

    /// All that show the token of this id (`jti`).
    pub fn of_token(id: impl Into<String>) -> Self {
        Self(Whom::TokenId(id.into()))
    }

    /// Those of this session. Clients choose its name, and several may bear the same.
    pub fn of_session(name: impl Into<String>) -> Self {
        Self(Whom::Session(name.into()))
    }
}

/// What is not believed any more, although its signature is right; made by [`Client::revoke_user`] and
/// [`Client::revoke_token`], awaited for a [`Controlled`].
#[derive(Clone, Debug)]
#[must_use = "nothing is revoked until it is awaited"]
pub struct Revoke {
    client: Client,
    request: v1::RevokeRequest,
}

impl Revoke {
    pub(crate) fn user(client: Client, user: String) -> Self {
        Self { client, request: v1::RevokeRequest { what: Some(What::User(user)), ..Default::default() } }
    }

    pub(crate) fn token(client: Client, id: String) -> Self {
        Self { client, request: v1::RevokeRequest { what: Some(What::TokenId(id)), ..Default::default() } }
    }

    /// It is remembered until then: when the last token expires that it is about. Unless this is said, for as long as the
    /// broker's `tokens.revoked_for` says.
    pub fn until(mut self, expiry: SystemTime) -> Self {
        self.request.until = seconds(expiry);
        self
    }

    /// Of a user, only what was issued up to this moment, instead of up to now by the broker's clock.
    pub fn issued_until(mut self, moment: SystemTime) -> Self {
        self.request.issued_until = seconds(moment);
        self
    }
}

/// A moment before 1970 is no other than 1970.
fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl IntoFuture for Revoke {
    type Output = Result<Controlled>;
    type IntoFuture = Answer<Controlled>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { client, request } = self;
            let done = client.call(Effect::Changes, request, |mut grpc, request| async move { grpc.revoke(request).await }).await?;
            Ok(done.into())
        })
    }
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Controlled {
    /// Connections that ended, on all nodes that were reached; when it was about subscriptions, those.
    pub ended: u64,
    /// The nodes that have done it, the one that was asked first.
    pub reached: Vec<NodeReached>,
    /// The nodes of the cluster that have not, as far as is known. What is revoked they learn as soon as they are reached again;
    /// the other orders are to be given again then.
    pub missed: Vec<NodeMissed>,
    /// Of a revocation: until when it counts.
    pub until: Option<SystemTime>,
}

/// A node that has done it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeReached {
    /// Its name.
    pub node: String,
    /// What ended there.
    pub ended: u64,
    /// Connections that take nothing at the moment: they end before anything more is sent to them.
    pub pending: u64,
}

/// A node that has not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeMissed {
    /// Its name.
    pub node: String,
    /// Why.
    pub reason: String,
}

impl Client {
    /// Ends connections of clients, on every node; with `reconnect` they are told to come back, else not to, by themselves. Needs a
    /// key with the scope `control` for every channel.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub async fn disconnect(&self, clients: Clients, reconnect: bool) -> Result<Controlled> {
        let request = v1::DisconnectRequest { clients: Some(clients.into()), reconnect };
        let done = self.call(Effect::Changes, request, |mut grpc, request| async move { grpc.disconnect(request).await }).await?;
        Ok(done.into())
    }

    /// Ends subscriptions of clients to a channel, or to all whose names begin so when a `*` stands at the end, on every node. It is
    /// no ban: who may subscribe may do so again. Needs a key with the scope `control` for these channels.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub async fn unsubscribe(&self, clients: Clients, channel: impl Into<String>) -> Result<Controlled> {
        let request = v1::UnsubscribeRequest { clients: Some(clients.into()), channel: channel.into() };
        let done = self.call(Effect::Changes, request, |mut grpc, request| async move { grpc.unsubscribe(request).await }).await?;
        Ok(done.into())
    }

    /// Revokes what a user shows: all tokens and signed addresses that were issued up to now, and all that do not say when. They are
    /// refused from then on, on every node, and the connections end that showed them. Needs a key with the scope `control` for
    /// every channel.
    pub fn revoke_user(&self, user: impl Into<String>) -> Revoke {
        Revoke::user(self.clone(), user.into())
    }

    /// Revokes the token of this id (`jti`), as [`Client::revoke_user`].
    pub fn revoke_token(&self, id: impl Into<String>) -> Revoke {
        Revoke::token(self.clone(), id.into())
    }
}

impl From<Clients> for v1::Clients {
    fn from(clients: Clients) -> Self {
        Self { whom: Some(clients.0) }
    }
}

impl From<v1::ControlResult> for Controlled {
    fn from(done: v1::ControlResult) -> Self {
        let v1::ControlResult { ended, reached, missed, until } = done;
        let reached = reached.into_iter().map(|v1::NodeReached { node, ended, pending }| NodeReached { node, ended, pending });
        let missed = missed.into_iter().map(|v1::NodeMissed { node, reason }| NodeMissed { node, reason });
        let until = if until > 0 { SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(until)) } else { None };
        Self { ended, reached: reached.collect(), missed: missed.collect(), until }
    }
}
