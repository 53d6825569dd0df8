//! Who is here without a socket that a shard owns: held polls, streams over HTTP/2, gRPC. The shards know all others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use slab::Slab;

use super::progress::{BehindCounts, HasNews, Looked, Progress};
use super::{SessionId, What};
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
#[derive(Clone, Default)]
pub(super) struct Sittings(Arc<Mutex<Slab<(Sitting, Looked)>>>);

/// That one of them is here. It has left when this is dropped.
pub struct Seated {
    all: Sittings,
    key: usize,
    progress: Arc<Progress>,
}

impl Sittings {
    pub(super) fn sit(&self, sitting: Sitting, has_news: Option<HasNews>) -> Seated {
        let progress = Arc::<Progress>::default();
        let key = self.0.lock().insert((sitting, Looked::new(progress.clone(), has_news)));
        Seated { all: self.clone(), key, progress }
    }

    /// Of each for how long it had been behind at the last look, if it was.
    pub(super) fn newest(&self, limit: usize, wanted: impl Fn(&Sitting) -> bool) -> Vec<(Sitting, Option<Duration>)> {
        let all = self.0.lock();
        let found = all.iter().map(|(_, one)| one).filter(|(sitting, _)| wanted(sitting)).take(limit);
        found.map(|(sitting, looked)| (sitting.clone(), looked.behind())).collect()
    }

    /// Who fell behind and who caught up since the last look.
    pub(super) fn look(&self, now: Duration) -> Vec<(SessionId, Front, What)> {
        let mut all = self.0.lock();
        all.iter_mut().filter_map(|(_, (sitting, looked))| Some((sitting.session, sitting.front, looked.look(now)?))).collect()
    }

    pub(super) fn behind(&self) -> BehindCounts {
        let mut counts = BehindCounts::default();
        for (_, (sitting, looked)) in self.0.lock().iter() {
            if let Some(behind) = looked.behind() {
                counts.add(sitting.front, behind);
            }
        }
        counts
    }
}

impl Seated {
    /// Where it is told how it gets on.
    #[must_use]
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// It does not listen to this channel any more.
    pub fn leave(&self, channel: &ChannelName) {
        if let Some((sitting, _)) = self.all.0.lock().get_mut(self.key) {
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

impl std::fmt::Debug for Seated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seated").field("key", &self.key).finish_non_exhaustive()
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
            all.sit(Sitting { session, front: Front::LongPoll, address: None, channels: Vec::new() }, None)
        };
        let names = |limit| {
            let found = all.newest(limit, |_| true);
            found.iter().map(|(one, _)| one.session.to_string()).collect::<Vec<_>>()
        };
        let (a, _b) = (sit("a"), sit("b"));
        drop(a);
        assert_eq!(names(9), ["b"]);
        assert!(names(0).is_empty());
        let channels = ["x", "y"].map(|name| ChannelName::parse(name).unwrap());
        let session = SessionId::parse("c").unwrap();
        let c = all.sit(Sitting { session, front: Front::Grpc, address: None, channels: channels.to_vec() }, None);
        c.leave(&channels[0]);
        assert_eq!(all.newest(1, |one| one.session == session)[0].0.channels, channels[1..]);
    }

    #[test]
    fn those_who_are_behind_are_counted_by_front_and_no_more_when_they_left() {
        let all = Sittings::default();
        let sit = |front| {
            let session = SessionId::parse("a").unwrap();
            all.sit(Sitting { session, front, address: None, channels: Vec::new() }, None)
        };
        let (slow, slower, quick) = (sit(Front::Grpc), sit(Front::Sse), sit(Front::Sse));
        slower.progress().handed();
        let look = |at: u64| {
            all.look(Duration::from_secs(at));
            let BehindCounts { counts, longest } = all.behind();
            (counts[Front::Sse.index()], counts[Front::Grpc.index()], longest.as_secs())
        };
        assert_eq!(look(1), (0, 0, 0));
        assert_eq!(look(2), (1, 0, 0));
        slow.progress().handed();
        quick.progress().handed();
        quick.progress().stands();
        assert_eq!(look(5), (1, 1, 3));
        drop(slower);
        assert_eq!(look(6), (0, 1, 1));
    }
}
