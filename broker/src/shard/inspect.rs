//! Who is on this shard, for people who look.

use super::Shard;
use super::ring::VACANT;
use super::session::{Listener, Session};
use super::state::State;
use crate::journal::SessionId;
use crate::message::ChannelName;
use crate::metrics::Front;

/// Channels shown of one session.
pub const CHANNELS_SHOWN: usize = 32;

/// A session as it stands now.
#[derive(Clone, Debug)]
pub struct Present {
    /// Its name.
    pub session: SessionId,
    /// Over which front.
    pub front: Front,
    /// The other end of its socket.
    pub address: Option<std::net::SocketAddr>,
    /// Which shard it is on.
    pub shard: usize,
    /// The first channels it listens to.
    pub channels: Vec<ChannelName>,
    /// How many it listens to.
    pub channel_count: usize,
    /// For how many seconds it has not been caught up, if it is not.
    pub behind_seconds: Option<u32>,
    /// What waits for its socket.
    pub unsent_bytes: usize,
}

/// Who listens to a channel on one shard.
#[derive(Clone, Debug, Default)]
pub struct Listening {
    /// How many, whoever they are.
    pub count: usize,
    /// The first of those on sockets of the shard's own; held polls and HTTP/2 streams are only counted.
    pub sessions: Vec<Present>,
}

impl Shard {
    /// Who listens to a channel here; at most `limit` of them are shown.
    #[must_use]
    pub fn listening(&self, channel: &ChannelName, limit: usize) -> Listening {
        self.0.cell.with(|state| {
            let Some(keys) = state.listeners_of(channel) else { return Listening::default() };
            let count = keys.clone().count();
            let sessions = keys.filter_map(|key| state.present(key)).take(limit).collect();
            Listening { count, sessions }
        })
    }

    /// How many listen to each of these channels here.
    #[must_use]
    pub fn count_listening(&self, channels: &[ChannelName]) -> Vec<usize> {
        self.0.cell.with(|state| channels.iter().map(|channel| state.listeners_of(channel).map_or(0, Iterator::count)).collect())
    }

    /// The sessions of this name that are here now, at most `limit`. Looks at everyone.
    #[must_use]
    pub fn find(&self, session: SessionId, limit: usize) -> Vec<Present> {
        self.0.cell.with(|state| {
            let keys = state.listeners.iter().filter_map(|(key, listener)| match listener {
                Listener::Session(known) if known.id == session => Some(key as u32),
                _ => None,
            });
            keys.take(limit).filter_map(|key| state.present(key)).collect()
        })
    }
}

impl State {
    fn listeners_of(&self, channel: &ChannelName) -> Option<impl Iterator<Item = u32> + Clone> {
        let local = self.local_of(channel)?;
        let channel = self.channels.get(local as usize)?;
        Some(channel.listeners.iter().copied().filter(|key| *key != VACANT))
    }

    fn present(&self, key: u32) -> Option<Present> {
        let Some(Listener::Session(session)) = self.listeners.get(key as usize) else { return None };
        let Session { id, stream, encoder, subscription, rest, behind_since, .. } = session;
        let channels = || subscription.channels().map(|channel| &channel.name);
        Some(Present {
            session: *id,
            front: encoder.front(),
            address: stream.peer_addr().ok(),
            shard: self.number,
            channels: channels().take(CHANNELS_SHOWN).cloned().collect(),
            channel_count: channels().count(),
            behind_seconds: behind_since.map(|since| self.tick.saturating_sub(since)),
            unsent_bytes: rest.as_ref().map_or(0, |rest| rest.bytes.len()),
        })
    }
}
