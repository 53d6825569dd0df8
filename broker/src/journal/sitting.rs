//! Who is here without a socket that a shard owns: held polls, streams over HTTP/2, gRPC. The shards know all others.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use slab::Slab;

use super::SessionId;
use crate::message::ChannelName;
use crate::metrics::Front;

/// One of them.
#[derive(Clone, Debug)]
pub struct Sitting {
    /// Its name.
    pub session: SessionId,
    /// Over which front.
    pub front: Front,
    /// The other end of its connection, if it is known.
    pub address: Option<SocketAddr>,
    /// What it listens to: as many channels as one may.
    pub channels: Vec<ChannelName>,
}

/// All of them: as many as there are connections and streams, which are bounded.
#[derive(Clone, Debug, Default)]
pub(super) struct Sittings(Arc<Mutex<Slab<Sitting>>>);

/// That one of them is here. It has left when this is dropped.
#[derive(Debug)]
pub struct Seated {
    all: Sittings,
    key: usize,
}

impl Sittings {
    pub(super) fn sit(&self, sitting: Sitting) -> Seated {
        let key = self.0.lock().insert(sitting);
        Seated { all: self.clone(), key }
    }

    pub(super) fn newest(&self, limit: usize, wanted: impl Fn(&Sitting) -> bool) -> Vec<Sitting> {
        self.0.lock().iter().map(|(_, sitting)| sitting).filter(|sitting| wanted(sitting)).take(limit).cloned().collect()
    }
}

impl Seated {
    /// It does not listen to this channel any more.
    pub fn leave(&self, channel: &ChannelName) {
        if let Some(sitting) = self.all.0.lock().get_mut(self.key) {
            sitting.channels.retain(|known| known != channel);
        }
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        let gone = self.all.0.lock().try_remove(self.key);
        // Not under the lock: names may be freed with it.
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_left_is_not_here() {
        let all = Sittings::default();
        let sit = |name: &str| {
            let session = SessionId::parse(name).unwrap();
            all.sit(Sitting { session, front: Front::LongPoll, address: None, channels: Vec::new() })
        };
        let (a, _b) = (sit("a"), sit("b"));
        drop(a);
        assert_eq!(all.newest(9, |_| true).iter().map(|one| one.session.to_string()).collect::<Vec<_>>(), ["b"]);
        assert!(all.newest(0, |_| true).is_empty());
        let channels = ["x", "y"].map(|name| ChannelName::parse(name).unwrap());
        let session = SessionId::parse("c").unwrap();
        let c = all.sit(Sitting { session, front: Front::Grpc, address: None, channels: channels.to_vec() });
        c.leave(&channels[0]);
        assert_eq!(all.newest(1, |one| one.session == session)[0].channels, channels[1..]);
    }
}
