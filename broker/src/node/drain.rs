//! Leaving gently: readiness off, no new connections, held polls answered, streams released in waves.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::Node;
use crate::close::CloseReason;

/// Time kept at the end of the grace for last bytes to leave.
const LAST_BYTES: Duration = Duration::from_millis(500);
/// How often it is looked whether everyone has gone.
const LOOK: Duration = Duration::from_millis(20);

impl Node {
    /// Leaves within `drain.grace`. Publishing goes on until the gRPC calls in flight are answered.
    pub async fn drain(self) {
        let began = Instant::now();
        let deadline = began + self.config.drain.grace;
        self.readiness.drain();
        if !self.config.drain.notice.is_zero() {
            sleep_until((began + self.config.drain.notice).min(deadline)).await;
        }
        self.draining.cancel();
        // Waves spread over what is left, so that the other nodes are not stormed.
        let waves = self.config.drain.waves.max(1);
        let spread = deadline.saturating_duration_since(Instant::now()).saturating_sub(LAST_BYTES);
        let first = Instant::now();
        for wave in 0..waves {
            // Who has nobody left to release need not wait for the next wave.
            if timeout_at(first + spread * wave / waves, self.all_gone()).await.is_ok() && wave > 0 {
                break;
            }
            for shard in self.shards.iter() {
                shard.end_wave(wave as usize, waves as usize, CloseReason::Draining).await;
            }
        }
        let finished = async {
            self.grpc.wait().await;
            self.all_gone().await;
        };
        if timeout_at(deadline, finished).await.is_err() {
            tracing::warn!(connections = self.connections(), "the grace is over; what is still open is cut");
        }
        self.stop().await;
    }

    /// Ends at once: every connection is cut.
    pub async fn stop(&self) {
        self.draining.cancel();
        self.stopped.cancel();
        for shard in self.shards.iter() {
            shard.stop().await;
        }
    }

    async fn all_gone(&self) {
        while self.connections() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn connections(&self) -> usize {
        self.shards.iter().map(|shard| shard.load.connections()).sum()
    }
}
