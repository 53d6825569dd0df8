//! The self-probe: publishes a message through the broker and waits until a listener gets it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::Readiness;
use crate::broker::{Broker, Delivery, Since, Subscribe};
use crate::error::{Error, ErrorCode, Result};
use crate::message::{ChannelName, Draft, Headers, Payload};
use crate::metrics::Metrics;

/// A probe that takes longer has failed. Shorter than the window it must pass in, so that a stuck broker is noticed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a probe's message is worth keeping.
const PROBE_TTL: Duration = Duration::from_secs(10);

/// Probes every `every` and tells the readiness and the metrics, until stopped.
pub async fn run(broker: Broker, readiness: Readiness, metrics: Arc<Metrics>, every: Duration, stop: CancellationToken) {
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    // After a stall one probe is as good as ten.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            outcome = timeout(PROBE_TIMEOUT, probe(&broker)) => outcome,
        };
        let passed = match outcome {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the self-probe failed");
                false
            }
            Err(_) => {
                tracing::debug!("the self-probe did not come back within {PROBE_TIMEOUT:?}");
                false
            }
        };
        metrics.probed(passed);
        readiness.probed(passed);
    }
}

/// One message from the door to a listener. It joins anew each time, so joining is probed too.
async fn probe(broker: &Broker) -> Result<()> {
    let channel = ChannelName::internal("self");
    let mut subscription = broker.subscribe(Subscribe { channels: vec![channel.clone()], since: Since::Live })?;
    let draft =
        Draft { channel, id: None, event: None, payload: Payload::new(b"probe", None)?, headers: Headers::default(), ttl: Some(PROBE_TTL) };
    let published = broker.publish(draft).await?;
    while let Some(delivery) = subscription.next().await {
        if let Delivery::Messages(entries) = delivery
            && entries.iter().any(|entry| entry.pos == published.pos)
        {
            return Ok(());
        }
    }
    Err(Error::new(ErrorCode::Internal, "the probe's subscription ended before its message came"))
}
