//! Who is on a channel, and how that is told.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};

/// What others may see of a user: one line of JSON, from its token.
pub type Info = Option<Arc<str>>;

/// Who is on a channel: a user, or a session that does not say whose it is. Users come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberId {
    /// By the name in its token.
    User(Arc<str>),
    /// By the session's name. It is counted and never shown.
    Session(Arc<str>),
}

impl MemberId {
    /// The user, if it is one.
    #[must_use]
    pub fn user(&self) -> Option<&Arc<str>> {
        match self {
            Self::User(name) => Some(name),
            Self::Session(_) => None,
        }
    }

    /// Its name, whichever it is.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        let (Self::User(name) | Self::Session(name)) = self;
        name
    }
}

/// One that is there, with what others may see of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub id: MemberId,
    /// What others may see.
    pub info: Info,
}

/// Longest name of a user or a session.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest info.
pub const INFO_BYTES_MAX: usize = 1024;

impl Member {
    /// Refuses what no token could say.
    ///
    /// # Errors
    /// `invalid_request` for a name that is empty, longer than 255 bytes or holds control characters, and for an info that is no
    /// JSON on one line or longer than 1 KiB.
    pub fn check(&self) -> Result<()> {
        let name = self.id.name();
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(Error::invalid(format!("a member's name has 1 to {NAME_BYTES_MAX} bytes and no control characters")));
        }
        let is_fine = |info: &str| {
            info.len() <= INFO_BYTES_MAX && !info.contains(['\r', '\n']) && serde_json::from_str::<serde::de::IgnoredAny>(info).is_ok()
        };
        if self.info.as_deref().is_some_and(|info| !is_fine(info)) {
            return Err(Error::invalid(format!("a member's info is JSON on one line of at most {INFO_BYTES_MAX} bytes")));
        }
        Ok(())
    }
}

/// A user, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: Arc<str>,
    /// What others may see.
    pub info: Info,
    /// Its connections, if they were asked for. None while it is expected back.
    pub connections: u32,
}

/// How many are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Users.
    pub users: u64,
    /// Sessions without a user.
    pub anonymous: u64,
    /// Connections of both.
    pub connections: u64,
}

impl Counts {
    /// Users and sessions without one.
    #[must_use]
    pub fn members(&self) -> u64 {
        self.users + self.anonymous
    }
}

/// What a listener is told of one channel: all of it, or what changed since it was told last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// How many are there now.
    pub counts: Counts,
    /// The channel is too large for more than counts.
    pub counts_only: bool,
    /// All users that are there: the listener begins with these, whatever it knew.
    pub here: Option<Vec<User>>,
    /// Users that came, or whose info is another one now.
    pub joined: Vec<User>,
    /// Users that went.
    pub left: Vec<Arc<str>>,
}

/// Which users of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only users after this one, in byte order.
    pub after: Option<Arc<str>>,
    /// At most this many; none for counts alone.
    pub limit: usize,
}

/// A page of the users of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// How many are there in all.
    pub counts: Counts,
    /// The channel is too large for joins and leaves to be told of it.
    pub counts_only: bool,
    /// There are more than one channel may have; those over the bound are neither counted nor listed.
    pub is_full: bool,
    /// Users, by name.
    pub users: Vec<User>,
    /// Give it as `after` for the next page; none when this was the last.
    pub next: Option<Arc<str>>,
}

/// A number for one user as it is shown: sums of these tell states apart, in whatever order they came about.
pub(super) fn digest_of(name: &str, info: Option<&str>) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&(name.len() as u64).to_le_bytes());
    hash.update(name.as_bytes());
    hash.update(info.unwrap_or_default().as_bytes());
    hash.digest()
}

/// A number for a whole state, never 0.
pub(super) fn digest_of_state(users: u64, parts: [u64; 3]) -> u64 {
    let mut hash = Xxh3::with_seed(users);
    parts.iter().for_each(|part| hash.update(&part.to_le_bytes()));
    hash.digest().max(1)
}
