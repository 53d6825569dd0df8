//! What nodes say to each other about one channel.

use std::sync::Arc;
use std::time::Duration;

use super::member::{Counts, Info, MemberId, Page, Query, User};
use crate::message::ChannelName;

/// One thing said about a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The channel.
    pub channel: ChannelName,
    /// What.
    pub what: What,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Edge → home: who is here.
    Report(Report),
    /// Home → edge: a report is missing, tell everything again.
    Resend,
    /// A node with listeners → home: it wants to be told of changes, and has heard news up to this number, 0 for none; or it
    /// does not want to any more.
    Watch(Option<u64>),
    /// Home → a node with listeners.
    News(News),
    /// Any node → home.
    Ask {
        /// Comes back in the answer.
        rid: u64,
        /// Which users.
        query: Query,
    },
    /// Home → who asked. Without a page, the asked one is not the home.
    Told {
        /// Of the question.
        rid: u64,
        /// The answer.
        page: Option<Page>,
    },
}

/// What an edge knows, or what changed of it. Reports of one edge and channel have numbers without holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The number of the report before.
    pub since: u64,
    /// The number of this one.
    pub version: u64,
    /// Whether more belongs to it.
    pub part: Part,
    /// At most [`super::BATCH`].
    pub standings: Vec<Standing>,
}

impl Report {
    /// There is nobody: what was reported before does not hold any more.
    #[must_use]
    pub fn nobody() -> Self {
        Self { since: 0, version: 0, part: Part::Whole { is_first: true, is_last: true }, standings: Vec::new() }
    }

    /// Whether it is [that](Report::nobody).
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.part == Part::Whole { is_first: true, is_last: true } && self.standings.is_empty()
    }
}

/// What a report is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What changed since the report before.
    Changes,
    /// All that there is: who is not mentioned from the first part to the last is not there.
    Whole {
        /// The first part.
        is_first: bool,
        /// The last part.
        is_last: bool,
    },
}

/// One member's connections on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who.
    pub id: MemberId,
    /// What others may see.
    pub info: Info,
    /// How many; none when it went.
    pub connections: u32,
    /// How long ago it went, if that is known. A home that did not know it expects it back for the rest of its grace.
    pub gone: Option<Duration>,
}

/// What changed on a channel, or all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// One more than that of the news before; what is whole may follow any.
    pub version: u64,
    /// How many are there now.
    pub counts: Counts,
    /// The rest.
    pub told: Told,
}

/// What is told beside the counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing, because the channel is too large.
    Counts,
    /// All users.
    All(Vec<User>),
    /// What changed since the news before; at most [`super::BATCH`] in all.
    Changes {
        /// Users that came, or whose info is another one now.
        joined: Vec<User>,
        /// Users that went.
        left: Vec<Arc<str>>,
    },
}
