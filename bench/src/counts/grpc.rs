//! A message through `PublishStream`: HTTP/2, decoding, append, ack. The broker is under valgrind, the client is not.
//!
//! Each message waits for the ack of the one before it. That is the dearest way to publish and the only one that counts the
//! same each time: how many of several are read at once depends on how busy the machine is.

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, ensure};
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::counts::Counts;
use crate::counts::fanout::{LOCAL, RUNS, start_node};
use crate::counts::valgrind::{Threads, Tool};

const SHORT: u64 = 100;
const LONG: u64 = 1_100;

/// The broker's side: tells its address and serves until its standard input ends. gRPC is on a thread of its own, since the
/// first one is not counted.
pub(crate) fn node() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let node = start_node(Some(LOCAL)).await?;
        println!("{}", node.addresses().grpc.context("no gRPC listener")?);
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        anyhow::Ok(())
    })
}

/// Counts what a publish costs.
pub(crate) fn count() -> anyhow::Result<Counts> {
    let mut counts = Counts::new();
    for tool in Tool::ALL {
        // Waking up once more than needed, as threads do on a busy machine, only ever adds.
        let least = |messages: u64| (0..RUNS).try_fold(f64::INFINITY, |least, _| anyhow::Ok(total(tool, messages)?.min(least)));
        let each = (least(LONG)? - least(SHORT)?) / (LONG - SHORT) as f64;
        println!("grpc_publish: {each:.2} {}", tool.counts());
        counts.insert(format!("grpc_publish.{}", tool.counts()), each);
    }
    Ok(counts)
}

/// What the broker's process cost in all.
fn total(tool: Tool, messages: u64) -> anyhow::Result<f64> {
    let mut run = tool.spawn(&["grpc-node"])?;
    let mut lines = BufReader::new(run.child.stdout.take().context("no output")?).lines();
    let address = lines.next().context("the broker did not start")??;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let published = runtime.block_on(publish(&address, messages));
    // Its standard input ends here, and with it the broker.
    drop(run.child.stdin.take());
    let total = run.total(Threads::ButTheFirst);
    published.and(total)
}

async fn publish(address: &str, messages: u64) -> anyhow::Result<()> {
    let mut client = BrokerClient::new(Endpoint::from_shared(format!("http://{address}"))?.connect().await?);
    let (requests, outgoing) = tokio::sync::mpsc::channel(1);
    let mut acks = client.publish_stream(ReceiverStream::new(outgoing)).await?.into_inner();
    for seq in 1..=messages {
        let publish = v1::PublishRequest {
            channel: "prices".to_owned(),
            data: vec![b'x'; 128].into(),
            content_type: "text/plain".to_owned(),
            ..Default::default()
        };
        requests.send(v1::PublishStreamRequest { seq, publish: Some(publish) }).await?;
        let ack = acks.next().await.context("the broker ended the stream")??;
        let is_published = matches!(ack.outcome, Some(v1::publish_ack::Outcome::Result(_)));
        ensure!(ack.seq == seq && is_published, "message {seq} was answered with {ack:?}");
    }
    Ok(())
}
