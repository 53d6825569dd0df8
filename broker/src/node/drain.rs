//! Leaving gently: readiness off, no new connections, held polls answered, streams released in waves.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::Embedded;
use crate::close::CloseReason;

/// Time kept at the end of the grace for last bytes to leave.
const LAST_BYTES: Duration = Duration::from_millis(500);
/// Longest wait for threads that were told to end; one that is stuck is left behind.
const STOP: Duration = Duration::from_secs(2);
/// How often it is looked whether everyone has gone.
const LOOK: Duration = Duration::from_millis(20);

impl Embedded {
    /// Leaves within `drain.grace`, and two seconds more for a shard that is stuck: takes nobody in any more, answers held
    /// polls, releases streams in waves, and stops. Publishing goes on until then; who serves HTTP with
    /// [`Embedded::http_service`] keeps serving meanwhile, or its clients hear nothing of it.
    pub async fn drain(&self) {
        self.leave(std::future::ready(())).await;
    }

    /// As [`Embedded::drain`]; waits for `others` too.
    pub(super) async fn leave(&self, others: impl Future<Output = ()>) {
        let began = Instant::now();
        let drain = self.config.load().drain.clone();
        let deadline = began + drain.grace;
        self.readiness.drain();
        if !drain.notice.is_zero() {
            sleep_until((began + drain.notice).min(deadline)).await;
        }
        // First the slots and then the clients: who comes back to another node finds everything there.
        let is_handed_over = self.cluster.hand_over(began, began + drain.grace / 2).await;
        if is_handed_over {
            self.cluster.leave();
        }
        self.draining.cancel();
        // Waves spread over what is left, so that the other nodes are not stormed.
        let waves = drain.waves.max(1);
        let spread = deadline.saturating_duration_since(Instant::now()).saturating_sub(LAST_BYTES);
        let first = Instant::now();
        for wave in 0..waves {
            // Who has nobody left to release need not wait for the next wave.
            if timeout_at(first + spread * wave / waves, self.all_gone()).await.is_ok() && wave > 0 {
                break;
            }
            // A shard that is stuck answers nobody, and must not hold up the others' next wave.
            let _ = timeout_at(first + spread * (wave + 1) / waves, self.release(wave as usize, waves as usize)).await;
        }
        let finished = async {
            others.await;
            self.all_gone().await;
        };
        if timeout_at(deadline, finished).await.is_err() {
            tracing::warn!(event = "drain_cut", connections = self.connections(), "the grace is over; what is still open is cut");
        }
        if !is_handed_over {
            // All have been let go; a network that heals by then still saves what only this node holds.
            self.cluster.wait_for_others(began, began + drain.grace.saturating_sub(LAST_BYTES)).await;
            self.cluster.leave();
        }
        self.cluster.stop().await;
        self.stop().await;
    }

    /// Ends at once: every connection is cut. Takes two seconds at most.
    pub async fn stop(&self) {
        self.end();
        let all = futures_util::future::join_all(self.shards.iter().map(|shard| shard.stop()));
        if tokio::time::timeout(STOP, all).await.is_err() {
            tracing::error!(event = "shard_hangs", "a shard did not end within {STOP:?} and is left behind");
        }
    }

    /// Tells everything to end.
    pub(super) fn end(&self) {
        self.draining.cancel();
        self.stopped.cancel();
        self.guests.end_wave(0, 1, CloseReason::Stopped);
        self.broker.close();
    }

    async fn release(&self, wave: usize, waves: usize) {
        self.guests.end_wave(wave, waves, CloseReason::Draining);
        let all = self.shards.iter().map(|shard| shard.end_wave(wave, waves, CloseReason::Draining));
        futures_util::future::join_all(all).await;
    }

    async fn all_gone(&self) {
        while self.connections() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn connections(&self) -> usize {
        self.shards.iter().map(|shard| shard.load.connections()).sum::<usize>() + self.guests.count()
    }
}
