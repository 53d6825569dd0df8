//! How far those have come who are here without a socket that a shard owns. Their connections ask for what comes when they have room for
//! it, and nobody is told when they do not: so it is looked once a second who has not asked for all there is since the last look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::What;
use crate::metrics::Front;

/// How one of them gets on, told by whoever serves it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Something was handed to its connection, which has not asked for more since.
    owes: AtomicBool,
    /// It had everything at least once since the last look.
    stood: AtomicBool,
}

impl Progress {
    /// Its connection was given something. Whether it has room for more shows when it asks for it.
    pub fn handed(&self) {
        self.owes.store(true, Relaxed);
    }

    /// Its connection asked for more, and there is nothing more.
    pub fn stands(&self) {
        self.owes.store(false, Relaxed);
        self.stood.store(true, Relaxed);
    }
}

/// Whether something was published that was not looked at yet, for one whose connection asks for more than it has room for.
pub type HasNews = Box<dyn Fn() -> bool + Send>;

/// How many messages kept for it were not handed to its connection yet. Takes the locks of slots.
pub type Lacks = Arc<dyn Fn() -> u64 + Send + Sync>;

/// By what it is seen from elsewhere how one of them gets on.
#[derive(Default)]
pub struct Signs {
    /// For one whose connection asks for more than it has room for.
    pub has_news: Option<HasNews>,
    /// For one that may fall behind.
    pub lacks: Option<Lacks>,
}

/// What the looks saw of one.
pub(super) struct Looked {
    progress: Arc<Progress>,
    signs: Signs,
    behind_since: Option<Duration>,
    looked_at: Duration,
    /// Nobody looked yet: who has just come is given until the look after next.
    is_new: bool,
    /// It had everything at some time: who still reads what was there before it came has not fallen behind.
    has_stood: bool,
    /// It was told that it fell behind, and not yet that it caught up.
    has_fallen: bool,
}

impl Looked {
    pub(super) fn new(progress: Arc<Progress>, signs: Signs) -> Self {
        let (behind_since, looked_at, is_new) = (None, Duration::ZERO, true);
        Self { progress, signs, behind_since, looked_at, is_new, has_stood: false, has_fallen: false }
    }

    /// One look, each second. Gives what is to be told of it.
    pub(super) fn look(&mut self, now: Duration) -> Option<What> {
        let has_news = || self.signs.has_news.as_ref().is_some_and(|has_news| has_news());
        let (stood, is_new) = (self.progress.stood.swap(false, Relaxed), std::mem::take(&mut self.is_new));
        let is_behind = !stood && !is_new && (self.progress.owes.load(Relaxed) || has_news());
        self.has_stood |= stood;
        self.behind_since = is_behind.then(|| self.behind_since.unwrap_or(now));
        self.looked_at = now;
        if is_behind == self.has_fallen || !self.has_stood {
            return None;
        }
        self.has_fallen = is_behind;
        Some(if is_behind { What::FellBehind } else { What::CaughtUp })
    }

    /// Since when it has been behind as of the last look, and how to count what it lacks.
    pub(super) fn lagging(&self) -> Option<(Duration, &Lacks)> {
        Some((self.behind_since?, self.signs.lacks.as_ref()?))
    }

    /// For how long it had been behind at the last look.
    pub(super) fn behind(&self) -> Option<Duration> {
        self.behind_since.map(|since| self.looked_at.saturating_sub(since))
    }
}

/// How many are behind, by front in the order of [`Front::ALL`], and for how long the one that has been so for longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BehindCounts {
    /// How many.
    pub counts: [u64; Front::ALL.len()],
    /// For how long.
    pub longest: Duration,
    /// How many messages the one lacks that lacks most.
    pub lacked_most: u64,
}

impl BehindCounts {
    pub(super) fn add(&mut self, front: Front, behind: Duration) {
        self.counts[front.index()] += 1;
        self.longest = self.longest.max(behind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_asked_for_all_there_is_for_a_second_is_behind_until_it_does() {
        let (progress, second) = (Arc::<Progress>::default(), Duration::from_secs);
        let mut looked = Looked::new(progress.clone(), Signs::default());
        let mut look = |at: u64| {
            let told = looked.look(second(at)).map(|what| what.event());
            (looked.behind(), told)
        };
        progress.handed();
        assert_eq!(look(1), (None, None), "it came within the last second");
        // It reads what was there before it came, so it does not fall.
        assert_eq!((look(2), look(3), look(5)), ((Some(second(0)), None), (Some(second(1)), None), (Some(second(3)), None)));
        progress.stands();
        assert_eq!(look(6), (None, None));
        assert_eq!(look(7), (None, None), "it has everything");
        // Busy all the time, and up to date now and then.
        for at in 8..12 {
            progress.stands();
            progress.handed();
            assert_eq!(look(at), (None, None));
        }
        assert_eq!(look(12), (Some(second(0)), Some("session_fell_behind")));
        assert_eq!(look(13), (Some(second(1)), None), "told once");
        progress.stands();
        assert_eq!(look(14), (None, Some("session_caught_up")));
        assert_eq!(look(15), (None, None));
    }

    #[test]
    fn news_that_nobody_looks_at_are_a_sign_too() {
        let (progress, news) = (Arc::<Progress>::default(), Arc::new(AtomicBool::new(false)));
        let told = news.clone();
        let mut looked = Looked::new(progress.clone(), Signs { has_news: Some(Box::new(move || told.load(Relaxed))), lacks: None });
        let mut look = |at: u64| {
            looked.look(Duration::from_secs(at));
            looked.behind().is_some()
        };
        progress.handed();
        progress.stands();
        assert!(!look(1) && !look(2), "nothing is published");
        news.store(true, Relaxed);
        assert!(look(3));
        news.store(false, Relaxed);
        progress.stands();
        assert!(!look(4));
    }
}
