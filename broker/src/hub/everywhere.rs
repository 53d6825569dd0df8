//! The channels that there are: on this node, and on all others.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Channel, Hub};
use crate::log::Cursor;
use crate::message::ChannelName;

/// Longest wait for another node's answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Which channels, by name.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Names that begin so.
    pub prefix: String,
    /// Names after this one.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// One channel, as one node knows it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub channel: ChannelName,
    /// The newest offset given.
    pub offset: u64,
    /// Messages kept.
    pub messages: u64,
    /// Bytes kept.
    pub bytes: u64,
    /// Shards and pulls that listen.
    pub listening: u64,
    /// Where it stands.
    pub cursor: Cursor,
}

/// Channels by name.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The first of them.
    pub rows: Vec<Row>,
    /// Whether there are more after the last.
    pub has_more: bool,
}

/// What another node told; `None` when it did not answer in time.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its name.
    pub node: String,
    /// Its channels.
    pub rows: Option<Rows>,
}

impl Hub {
    /// The channels with state on this node. The broker's own are not among them.
    #[must_use]
    pub fn channels_here(&self, wanted: &Wanted) -> Rows {
        let limit = wanted.limit.max(1);
        let mut found = self.channels_where(|name| {
            !name.is_internal()
                && name.as_str().starts_with(&wanted.prefix)
                && wanted.after.as_ref().is_none_or(|after| name.as_str() > after.as_str())
        });
        let has_more = found.len() > limit;
        if has_more {
            found.select_nth_unstable_by(limit, |a, b| a.name.cmp(&b.name));
            found.truncate(limit);
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Rows { rows: found.iter().filter_map(|channel| self.row(channel)).collect(), has_more }
    }

    fn row(&self, channel: &Channel) -> Option<Row> {
        let super::ChannelStats { channel, offset, messages, bytes, listening, cursor } = self.channel_stats(channel)?;
        Some(Row { channel, offset, messages, bytes, listening, cursor })
    }

    /// The same of every other node that is not known to have left or ended. Nobody on a node that is alone.
    #[must_use]
    pub fn channels_elsewhere(&self, wanted: &Wanted) -> BoxFuture<'static, Vec<Told>> {
        match self.peers() {
            Some(peers) => peers.channels(wanted, ANSWER_LIMIT),
            None => Box::pin(async { Vec::new() }),
        }
    }
}
