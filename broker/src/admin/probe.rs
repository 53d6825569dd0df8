//! The self-probe: publishes a message through the broker and waits until a listener gets it, and every shard.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Readiness;
use crate::broker::{Broker, Delivery, Since, Subscribe};
use crate::error::{Error, ErrorCode, Result};
use crate::message::{ChannelName, Draft, Headers, Payload};
use crate::metrics::Metrics;

/// A probe that takes longer has failed. Shorter than the window it must pass in, so that a stuck broker is noticed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a probe's message is worth keeping.
const PROBE_TTL: Duration = Duration::from_secs(10);

/// Makes every shard listen to a channel. Resolves when they do, with what resolves when all have heard something: `None`, or
/// `false` there, when one of them cannot.
pub type Listen = Arc<dyn Fn(ChannelName) -> BoxFuture<'static, Option<BoxFuture<'static, bool>>> + Send + Sync>;

/// Probes every `every` and tells the readiness and the metrics, for ever.
pub async fn run(broker: Broker, shards: Listen, readiness: Readiness, metrics: Arc<Metrics>, every: Duration) {
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    // After a stall one probe is as good as ten.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let passed = match timeout(PROBE_TIMEOUT, probe(&broker, &shards)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::debug!(event = "probe_failed", %error, "the self-probe failed");
                false
            }
            Err(_) => {
                tracing::debug!(event = "probe_failed", "the self-probe did not come back within {PROBE_TIMEOUT:?}");
                false
            }
        };
        metrics.probed(passed);
        readiness.probed(passed);
    }
}

/// One message from the door to a listener and through every shard. They join anew each time, so joining is probed too.
async fn probe(broker: &Broker, shards: &Listen) -> Result<()> {
    let Some(channel) = broker.probe_channel() else {
        return Err(Error::new(ErrorCode::Overloaded, "this node takes no part in the cluster yet"));
    };
    let Some(shards) = shards(channel.clone()).await else { return Err(Error::new(ErrorCode::Internal, "a shard does not listen")) };
    let mut subscription = broker.subscribe(Subscribe::to(vec![channel.clone()], Since::Live)).await?;
    let draft =
        Draft { channel, id: None, event: None, payload: Payload::new(b"probe", None)?, headers: Headers::default(), ttl: Some(PROBE_TTL) };
    let published = broker.publish(draft).await?;
    while let Some(delivery) = subscription.next().await {
        if let Delivery::Messages(entries) = delivery
            && entries.iter().any(|entry| entry.pos == published.pos)
        {
            let all_heard = shards.await;
            return if all_heard { Ok(()) } else { Err(Error::new(ErrorCode::Internal, "a shard ended before the probe came through")) };
        }
    }
    Err(Error::new(ErrorCode::Internal, "the probe's subscription ended before its message came"))
}
