//! Subscribers that are gRPC calls: many to a connection, on a thread with a runtime of its own.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tokio::task::{JoinSet, LocalSet};
use tonic::transport::{Channel, Endpoint};

use super::reader::Part;
use super::tally::Tally;
use super::{Plan, Seen, Shared};
use crate::check::{Checker, Rules};

/// Calls of one connection: as many as the broker takes without making any wait.
const CALLS: usize = 250;
/// How soon a thread notices what it is told.
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn run(plan: &Plan, shared: &Arc<Shared>, part: &Part) -> anyhow::Result<Seen> {
    anyhow::ensure!(plan.stalled == 0, "calls do not stall");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tally = Rc::new(RefCell::new(Tally::new(shared, part.number, part.connections.len(), plan.first == 1)?));
    LocalSet::new().block_on(&runtime, async {
        let mut calls = JoinSet::new();
        for chunk in part.connections.clone().collect::<Vec<_>>().chunks(CALLS) {
            let way = plan.front_of(0);
            let endpoint = Endpoint::from_shared(format!("http://{}", way.address))?.tcp_nodelay(true);
            let client = BrokerClient::new(endpoint.connect().await.context("connecting over gRPC")?);
            for number in chunk {
                let channel = number / plan.per_channel;
                let rules = Rules::new(plan.payload);
                let checker = Checker::new(channel as u32, plan.first);
                calls.spawn_local(listen(client.clone(), plan.channels[channel].clone(), rules, checker, Rc::clone(&tally)));
            }
        }
        let closing = async {
            while !shared.closing.load(Ordering::Acquire) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            Some(ended) = calls.join_next() => ended.context("a call panicked")?,
            () = closing => Ok(()),
        }
    })?;
    let latency = tally.borrow().latency.clone();
    Ok(Seen { latency, gapped: 0 })
}

async fn listen(
    mut client: BrokerClient<Channel>,
    channel: String,
    rules: Rules,
    mut checker: Checker,
    tally: Rc<RefCell<Tally>>,
) -> anyhow::Result<()> {
    use v1::subscribe_reply::Reply;
    let request = v1::SubscribeRequest { channels: vec![channel], ..Default::default() };
    let mut replies = client.subscribe(request).await?.into_inner();
    while let Some(reply) = replies.message().await? {
        match reply.reply {
            Some(Reply::Subscribed(_)) => tally.borrow().opened(),
            Some(Reply::Message(message)) => {
                let mut tally = tally.borrow_mut();
                tally.read(message.data.len());
                tally.take(&mut checker, &rules, &message.data).map_err(|fault| anyhow::anyhow!("a call: {fault:?}"))?;
                tally.tell();
            }
            Some(other) => bail!("a call was told {other:?}"),
            None => {}
        }
    }
    bail!("the broker ended a call")
}
