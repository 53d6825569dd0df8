//! Who is on a channel.

use tidings_proto::v1;

use crate::client::Client;
use crate::error::Result;
use crate::failure::Effect;
use crate::query::Answer;

/// How many are on a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Users, by their tokens.
    pub users: u64,
    /// Sessions that show no user; they are not named.
    pub anonymous: u64,
    /// Connections of both.
    pub connections: u64,
}

/// A user on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// Its name.
    pub user: String,
    /// What its token says of it, as JSON; empty without.
    pub info: String,
    /// Its connections, in a [`PresencePage`]: none while it is expected back.
    pub connections: u32,
}

/// What a subscription is told of one channel: all who are there, or what changed since it was told last.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Presence {
    /// Of which channel.
    pub channel: String,
    /// How many are there now.
    pub counts: Counts,
    /// There are so many that only counts are told.
    pub counts_only: bool,
    /// `users` are all who are there: begin with these, whatever was told before.
    pub all: bool,
    /// With `all` who is there, else who joined, or has another info now.
    pub users: Vec<User>,
    /// Who left.
    pub left: Vec<String>,
}

/// Which users of a channel; made by [`Client::presence`], awaited for a [`PresencePage`].
#[derive(Clone, Debug)]
#[must_use = "a query does nothing until it is awaited"]
pub struct PresenceQuery {
    client: Client,
    request: v1::PresenceRequest,
}

impl PresenceQuery {
    pub(crate) fn new(client: Client, channel: String) -> Self {
        Self { client, request: v1::PresenceRequest { channel, ..v1::PresenceRequest::default() } }
    }

    /// Only users after this one: the last page's [`PresencePage::next`], to read on.
    pub fn after(mut self, user: impl Into<String>) -> Self {
        self.request.after = user.into();
        self
    }

    /// At most so many; 100 unless this is said, and at most what the broker's `limits.batch_messages` allows.
    pub fn limit(mut self, users: u32) -> Self {
        self.request.limit = users;
        self
    }
}

impl IntoFuture for PresenceQuery {
    type Output = Result<PresencePage>;
    type IntoFuture = Answer<PresencePage>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { client, request } = self;
            let page = client.call(Effect::Reads, request, |mut grpc, request| async move { grpc.presence(request).await }).await?;
            Ok(PresencePage {
                counts: page.counts.unwrap_or_default().into(),
                users: page.users.into_iter().map(User::from).collect(),
                next: Some(page.next).filter(|next| !next.is_empty()),
                counts_only: page.counts_only,
                full: page.full,
            })
        })
    }
}

/// A page of the users on a channel, by name, on whatever node they are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresencePage {
    /// How many are there in all.
    pub counts: Counts,
    /// The users.
    pub users: Vec<User>,
    /// What to give to [`PresenceQuery::after`] for the next page; none when this was the last.
    pub next: Option<String>,
    /// There are so many that joins and leaves are not told by name.
    pub counts_only: bool,
    /// There are more than a channel may have; those are neither counted nor listed.
    pub full: bool,
}

impl From<v1::PresenceCounts> for Counts {
    fn from(counts: v1::PresenceCounts) -> Self {
        Self { users: counts.users, anonymous: counts.anonymous, connections: counts.connections }
    }
}

impl From<v1::PresenceUser> for User {
    fn from(user: v1::PresenceUser) -> Self {
        Self { user: user.user, info: user.info, connections: user.connections }
    }
}

impl From<v1::Presence> for Presence {
    fn from(told: v1::Presence) -> Self {
        Self {
            channel: told.channel,
            counts: told.counts.unwrap_or_default().into(),
            counts_only: told.counts_only,
            all: told.all,
            users: told.users.into_iter().map(User::from).collect(),
            left: told.left,
        }
    }
}
