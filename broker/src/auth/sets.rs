//! When a key set is fetched: asked for by whoever meets a key that is not known, by many at once and never often.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// Least time between two fetches, whoever asks.
pub const PAUSE: Duration = Duration::from_secs(10);
/// Longest wait of one who asked.
const PATIENCE: Duration = Duration::from_secs(4);
/// A fetch that ended so long ago may have ended after the caller looked for its key, and before it asked.
const JUST_NOW: Duration = Duration::from_secs(1);

/// Between those who ask and the one who fetches.
#[derive(Debug)]
pub struct Sets {
    wanted: Notify,
    /// How many fetches have ended.
    ended: watch::Sender<u64>,
    /// When the last one began, in milliseconds of the clock and never 0; 0 before the first.
    began: AtomicU64,
    /// When the last one ended, in the same way.
    ended_at: AtomicU64,
}

impl Default for Sets {
    fn default() -> Self {
        Self { wanted: Notify::new(), ended: watch::Sender::new(0), began: AtomicU64::new(0), ended_at: AtomicU64::new(0) }
    }
}

impl Sets {
    /// Asks for a fetch. `false` when the last one is too fresh for another.
    pub fn ask(&self, now: Duration) -> bool {
        let began = self.began.load(Ordering::Relaxed);
        let is_due = began == 0 || now >= Duration::from_millis(began) + PAUSE;
        if is_due {
            self.wanted.notify_one();
        }
        is_due
    }

    /// Asks for a fetch, or joins one that is under way, and waits for its end. `true` when one ended meanwhile, or
    /// just before.
    pub async fn learn(&self, now: Duration) -> bool {
        let mut ended = self.ended.subscribe();
        let is_under_way = self.began.load(Ordering::Relaxed) != 0 && self.is_under_way();
        if !is_under_way && !self.ask(now) {
            let ended_at = self.ended_at.load(Ordering::Relaxed);
            return ended_at != 0 && now < Duration::from_millis(ended_at) + JUST_NOW;
        }
        tokio::time::timeout(PATIENCE, ended.changed()).await.is_ok_and(|changed| changed.is_ok())
    }

    /// Lets the one who fetches look at what is wanted now.
    pub fn wake(&self) {
        self.wanted.notify_one();
    }

    /// Waits until somebody asks.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// A fetch begins.
    pub fn begin(&self, now: Duration) {
        self.began.store(stamp(now), Ordering::Relaxed);
        self.ended.send_if_modified(|count| {
            *count |= 1;
            false
        });
    }

    /// It ended, however.
    pub fn end(&self, now: Duration) {
        self.ended_at.store(stamp(now), Ordering::Relaxed);
        self.ended.send_modify(|count| *count = (*count | 1) + 1);
    }

    /// Odd while one is under way.
    fn is_under_way(&self) -> bool {
        *self.ended.borrow() % 2 == 1
    }
}

fn stamp(now: Duration) -> u64 {
    (now.as_millis() as u64).max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_are_one_fetch_and_the_next_is_ten_seconds_away() {
        let sets = Arc::new(Sets::default());
        let now = Duration::from_secs(100);
        let asking: Vec<_> = (0..50)
            .map(|_| {
                tokio::spawn({
                    let sets = sets.clone();
                    async move { sets.learn(now).await }
                })
            })
            .collect();
        sets.wanted().await;
        sets.begin(now);
        let late = tokio::spawn({
            let sets = sets.clone();
            async move { sets.learn(now + PAUSE / 2).await }
        });
        tokio::task::yield_now().await;
        sets.end(now + Duration::from_secs(1));
        for asked in asking {
            assert!(asked.await.unwrap());
        }
        assert!(late.await.unwrap(), "who comes while it is under way waits for it");
        assert!(sets.learn(now + Duration::from_secs(1)).await, "it came after the caller looked, and before it asked");
        assert!(!sets.learn(now + PAUSE / 2).await, "no other so soon");
        assert!(!sets.ask(now + PAUSE / 2) && sets.ask(now + PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        assert!(!Sets::default().learn(Duration::from_secs(1)).await);
    }
}
