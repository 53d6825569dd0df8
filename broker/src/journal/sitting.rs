//! Who is here without a socket that a shard owns: held polls, streams over HTTP/2, gRPC. The shards know all others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use slab::Slab;

use super::progress::{BehindCounts, Lacks, Looked, Progress, Signs};
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
pub(super) struct Sittings {
    all: Arc<Mutex<Slab<(Sitting, Looked)>>>,
    /// As of the last look, how many messages the one lacks that lacks most.
    lacked_most: Arc<AtomicU64>,
}

/// Those of whom it is counted what they lack: who have been behind for longest. Each takes the locks of its slots.
const COUNTED_MAX: usize = 64;

/// That one of them is here. It has left when this is dropped.
pub struct Seated {
    here: Sittings,
    key: usize,
    progress: Arc<Progress>,
}

impl Sittings {
    pub(super) fn sit(&self, sitting: Sitting, signs: Signs) -> Seated {
        let progress = Arc::<Progress>::default();
        let key = self.all.lock().insert((sitting, Looked::new(progress.clone(), signs)));
        Seated { here: self.clone(), key, progress }
    }

    /// Of each for how long it had been behind at the last look, if it was.
    pub(super) fn newest(&self, limit: usize, wanted: impl Fn(&Sitting) -> bool) -> Vec<(Sitting, Option<Duration>)> {
        let all = self.all.lock();
        let found = all.iter().map(|(_, one)| one).filter(|(sitting, _)| wanted(sitting)).take(limit);
        found.map(|(sitting, looked)| (sitting.clone(), looked.behind())).collect()
    }

    /// Who fell behind and who caught up since the last look.
    pub(super) fn look(&self, now: Duration) -> Vec<(SessionId, Front, What)> {
        let mut all = self.all.lock();
        let told = all.iter_mut().filter_map(|(_, (sitting, looked))| Some((sitting.session, sitting.front, looked.look(now)?))).collect();
        let mut lagging: Vec<_> = all.iter().filter_map(|(_, (_, looked))| looked.lagging()).collect();
        if lagging.len() > COUNTED_MAX {
            lagging.select_nth_unstable_by_key(COUNTED_MAX, |(since, _)| *since);
            lagging.truncate(COUNTED_MAX);
        }
        let lagging: Vec<Lacks> = lagging.into_iter().map(|(_, lacks)| lacks.clone()).collect();
        // Not under the lock: they take those of slots.
        drop(all);
        self.lacked_most.store(lagging.iter().map(|lacks| lacks()).max().unwrap_or(0), Ordering::Relaxed);
        told
    }

    pub(super) fn behind(&self) -> BehindCounts {
        let mut counts = BehindCounts { lacked_most: self.lacked_most.load(Ordering::Relaxed), ..BehindCounts::default() };
        for (_, (sitting, looked)) in self.all.lock().iter() {
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
        if let Some((sitting, _)) = self.here.all.lock().get_mut(self.key) {
            sitting.channels.retain(|known| known != channel);
        }
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        let gone = self.here.all.lock().try_remove(self.key);
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
            all.sit(Sitting { session, front: Front::LongPoll, address: None, channels: Vec::new() }, Signs::default())
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
        let c = all.sit(Sitting { session, front: Front::Grpc, address: None, channels: channels.to_vec() }, Signs::default());
        c.leave(&channels[0]);
        assert_eq!(all.newest(1, |one| one.session == session)[0].0.channels, channels[1..]);
    }

    #[test]
    fn those_who_are_behind_are_counted_by_front_and_no_more_when_they_left() {
        let all = Sittings::default();
        let sit = |front: Front| {
            let session = SessionId::parse("a").unwrap();
            // As many as its name has letters.
            let lacks: Lacks = Arc::new(move || front.as_str().len() as u64);
            all.sit(Sitting { session, front, address: None, channels: Vec::new() }, Signs { has_news: None, lacks: Some(lacks) })
        };
        let (slow, slower, quick) = (sit(Front::Grpc), sit(Front::Sse), sit(Front::Sse));
        slower.progress().handed();
        let look = |at: u64| {
            all.look(Duration::from_secs(at));
            let BehindCounts { counts, longest, lacked_most } = all.behind();
            (counts[Front::Sse.index()], counts[Front::Grpc.index()], longest.as_secs(), lacked_most)
        };
        assert_eq!(look(1), (0, 0, 0, 0));
        assert_eq!(look(2), (1, 0, 0, 3));
        slow.progress().handed();
        quick.progress().handed();
        quick.progress().stands();
        assert_eq!(look(5), (1, 1, 3, 4), "of those who are behind the one that lacks most");
        drop(slower);
        assert_eq!(look(6), (0, 1, 1, 4));
    }
}
