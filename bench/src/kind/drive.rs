//! Publishing at a pace.

use std::time::Duration;

use crate::clock::{micros, sleep_until};
use crate::crowd::Crowd;
use crate::payload::{Batch, Said};
use crate::publish::Publisher;

/// Most messages handed over at once when the pace fell behind.
const BATCH: u64 = 256;

/// What decides when the next message goes out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// So many a second, so many at a time, whatever becomes of them.
    Rate(f64, u64),
    /// When fewer than this are on their way to someone.
    Outstanding(u64),
}

/// Publishes round robin over channels; remembers how far it came.
pub(super) struct Driver {
    channels: u64,
    payload: usize,
    /// Messages published until now.
    pub(super) sent: u64,
}

impl Driver {
    pub(super) fn new(channels: usize, payload: usize) -> Self {
        Self { channels: channels as u64, payload, sent: 0 }
    }

    /// The next message, due at this time.
    fn next(&mut self, due: u64) -> Said {
        let said = Said { channel: (self.sent % self.channels) as u32, number: self.sent / self.channels + 1, due };
        self.sent += 1;
        said
    }

    /// Publishes for a while, or so many messages. Returns when the first message was due.
    pub(super) fn run(
        &mut self,
        publisher: &mut dyn Publisher,
        crowd: &Crowd,
        pace: Pace,
        (length, most): (Duration, Option<u64>),
    ) -> anyhow::Result<u64> {
        let began = micros();
        let most = most.unwrap_or(u64::MAX).saturating_add(self.sent);
        match pace {
            Pace::Rate(rate, burst) => {
                let count = ((rate * length.as_secs_f64()).round() as u64).min(most - self.sent);
                self.at_rate(publisher, (rate, burst), count, || crowd.check())?;
            }
            Pace::Outstanding(outstanding) => {
                let mut batch = Batch::new(self.payload)?;
                crowd.wake(std::thread::current());
                while micros() - began < length.as_micros() as u64 && self.sent < most {
                    crowd.check()?;
                    let room = (crowd.completed() + outstanding).min(most).saturating_sub(self.sent);
                    if room == 0 {
                        std::thread::park_timeout(Duration::from_millis(20));
                        continue;
                    }
                    batch.clear();
                    (0..room).for_each(|_| batch.push(self.next(micros())));
                    publisher.publish(&batch)?;
                }
            }
        }
        Ok(began)
    }

    /// Publishes `count` messages at a rate, in bursts; each carries the time at which it was due, so that a wait counts.
    pub(super) fn at_rate(
        &mut self,
        publisher: &mut dyn Publisher,
        (rate, burst): (f64, u64),
        count: u64,
        check: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let began = micros();
        let due = |number: u64| began + ((number / burst * burst) as f64 * 1e6 / rate) as u64;
        let mut batch = Batch::new(self.payload)?;
        let mut done = 0;
        while done < count {
            sleep_until(due(done));
            check()?;
            batch.clear();
            let now = micros();
            while done < count && due(done) <= now && (batch.len() as u64) < BATCH {
                batch.push(self.next(due(done)));
                done += 1;
            }
            publisher.publish(&batch)?;
        }
        Ok(())
    }
}
