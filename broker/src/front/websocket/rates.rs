//! How much one connection may ask for in a second.

use std::time::Duration;

use super::request::What;
use crate::error::Error;
use crate::front::config::WebSocketConfig;
use crate::limits::{Bucket, rate_exceeded};
use crate::metrics::Rate;

/// So many times its rate of bytes a connection may be refused in a second, and twice as many at once.
const REFUSED_TIMES: u64 = 8;

/// The buckets of one connection.
#[derive(Debug)]
pub(super) struct Rates {
    publishes: Bucket,
    subscribes: Bucket,
    bytes: Bucket,
    /// Bytes of what was refused.
    refused: Bucket,
}

impl Rates {
    pub(super) fn new(config: &WebSocketConfig) -> Self {
        Self {
            publishes: Bucket::new(config.publish_rate.into()),
            subscribes: Bucket::new(config.subscribe_rate.into()),
            bytes: Bucket::new(config.byte_rate),
            refused: Bucket::new(config.byte_rate.saturating_mul(REFUSED_TIMES)),
        }
    }

    /// One more message of so many bytes, whatever it says.
    ///
    /// # Errors
    /// Which rate it exceeds, and what its client is told.
    pub(super) fn take_bytes(&mut self, config: &WebSocketConfig, bytes: usize, now: Duration) -> Result<(), (Rate, Error)> {
        self.bytes.take(bytes as u64, now).map_err(too_many(Rate::ConnectionBytes, config.byte_rate))
    }

    /// A message of so many bytes was refused. `false` when so much was that the connection must end: to read it costs as much as if it
    /// were taken, a refusal makes nobody send less, and what is compressed costs its sender a thousandth of it.
    pub(super) fn may_refuse(&mut self, bytes: usize, now: Duration) -> bool {
        self.refused.take(bytes as u64, now).is_ok()
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
