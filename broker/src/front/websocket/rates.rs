//! How much one connection may ask for in a second.

use std::time::Duration;

use super::request::What;
use crate::error::Error;
use crate::front::config::WebSocketConfig;
use crate::limits::{Bucket, rate_exceeded};
use crate::metrics::Rate;

/// What is refused is counted in so many bytes, so that a connection keeps one word for it.
pub(super) const REFUSED_UNIT: usize = 16;
/// What a connection may have refused between two heartbeats, in seconds of its rate of bytes.
const REFUSED_SECONDS: u64 = 120;

/// The buckets of one connection.
#[derive(Debug)]
pub(super) struct Rates {
    publishes: Bucket,
    subscribes: Bucket,
    bytes: Bucket,
}

impl Rates {
    pub(super) fn new(config: &WebSocketConfig) -> Self {
        Self {
            publishes: Bucket::new(config.publish_rate.into()),
            subscribes: Bucket::new(config.subscribe_rate.into()),
            bytes: Bucket::new(config.byte_rate),
        }
    }

    /// One more message of so many bytes, whatever it says.
    ///
    /// # Errors
    /// Which rate it exceeds, and what its client is told.
    pub(super) fn take_bytes(&mut self, config: &WebSocketConfig, bytes: usize, now: Duration) -> Result<(), (Rate, Error)> {
        self.bytes.take(bytes as u64, now).map_err(too_many(Rate::ConnectionBytes, config.byte_rate))
    }

    /// Whether a connection must end of which so many [`REFUSED_UNIT`]s were refused since the last heartbeat: to read them costs as much as if they were
    /// taken, a refusal makes nobody send less, and what is compressed costs its sender a thousandth of it.
    pub(super) fn is_too_much_refused(config: &WebSocketConfig, refused: u32) -> bool {
        config.byte_rate > 0 && u64::from(refused) * REFUSED_UNIT as u64 > config.byte_rate.saturating_mul(REFUSED_SECONDS)
    }

    /// One more request.
    ///
    /// # Errors
    /// As [`Rates::take_bytes`].
    pub(super) fn take(&mut self, config: &WebSocketConfig, what: &What<'_>, now: Duration) -> Result<(), (Rate, Error)> {
        match what {
            What::Publish(_) | What::History(_) | What::Presence(_) => {
                self.publishes.take(1, now).map_err(too_many(Rate::ConnectionPublishes, config.publish_rate.into()))
            }
            What::Subscribe(..) | What::Unsubscribe(_) | What::Auth(_) => {
                self.subscribes.take(1, now).map_err(too_many(Rate::ConnectionSubscribes, config.subscribe_rate.into()))
            }
            What::Ping => Ok(()),
        }
    }
}

fn too_many(rate: Rate, limit: u64) -> impl Fn(Duration) -> (Rate, Error) {
    move |wait| (rate, rate_exceeded(rate, limit, wait))
}
