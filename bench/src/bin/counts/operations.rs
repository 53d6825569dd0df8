//! Operations without sockets.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tidings::broker::{self, Broker, Delivery, Limits, Since, Subscribe};
use tidings::clock::{Clock, Moment};
use tidings::config::Config;
use tidings::hub::{Bounds, CommitRule, Hub, RuleBook};
use tidings::log::{Cursor, CursorText, Epoch, Line, NamespaceId, Pos, Retention, Slot, SlotCursor, SlotLog, Tag};
use tidings::message::{ChannelName, Draft, Headers, Payload};
use tidings::metrics::Metrics;
use tidings::wire::write_message;

use crate::Counts;
use crate::valgrind::{Threads, Tool};

/// Every operation.
const OPERATIONS: [&str; 7] = ["cursor_text", "cursor_parse", "admit", "encode", "append", "publish", "publish_and_pull"];
/// How often each is done at first.
const SHORT: u64 = 100;
/// And then: so often that what differs from start to start (a clock that calibrates itself) is little beside it.
const LONG: u64 = 40_100;
const PAYLOAD: [u8; 128] = [b'x'; 128];
const NOW: Moment = Moment { mono: Duration::from_secs(1), unix_ms: 0 };

/// Counts them all.
pub(crate) fn count() -> anyhow::Result<Counts> {
    let mut counts = Counts::new();
    for name in OPERATIONS {
        for tool in Tool::ALL {
            let total = |times: u64| tool.spawn(&["operation", name, &times.to_string()])?.total(Threads::All);
            let each = (total(LONG)? - total(SHORT)?) / (LONG - SHORT) as f64;
            println!("{name}: {each:.2} {}", tool.counts());
            counts.insert(format!("{name}.{}", tool.counts()), each);
        }
    }
    Ok(counts)
}

/// A broker without shards, sockets and upkeep: what a publish costs before anybody listens by a socket.
fn door() -> Broker {
    let config = Config::default();
    let clock = Clock::start();
    let metrics = Metrics::new(1, clock);
    let bounds = Bounds { channels: 1000, channels_silent: 1000, history_bytes: 1 << 30, dedupe_ids: 1 << 20 };
    let epoch = Epoch::from_bits(1 << 40 | 0xabc).expect("the tag is not zero");
    let hub = Hub::new(RuleBook::new(&config.namespaces), Vec::new(), bounds, epoch, CommitRule::AtOnce, clock, metrics.clone());
    let limits = Limits { publish_wait: Duration::from_secs(1), subscribe: broker::Bounds { channels: 1, slots: 1 }, page_messages: 1000 };
    Broker::new(Arc::new(hub), limits, metrics)
}

/// Does one of them so many times.
pub(crate) fn run(name: &str, times: u64) -> anyhow::Result<()> {
    let slot = Slot::new(9).context("a slot")?;
    let epoch = Epoch::new(1, Tag::new(0xabc).context("a tag")?);
    let pos = |idx: u64| Pos { epoch, idx };
    let channel = ChannelName::parse("prices")?;
    let draft = || {
        let payload = Payload::new(&PAYLOAD, Some("text/plain"))?;
        anyhow::Ok(Draft { channel: channel.clone(), id: None, event: None, payload, headers: Headers::default(), ttl: None })
    };
    match name {
        "cursor_text" => (0..times).for_each(|idx| {
            black_box(CursorText::of(slot, black_box(pos(1_000_000 + idx))));
        }),
        "cursor_parse" => {
            let text = CursorText::of(slot, pos(1_000_000));
            for _ in 0..times {
                black_box(Cursor::parse(black_box(&text))?);
            }
        }
        "admit" => {
            let line = Line::begin(epoch);
            let mut cursor = SlotCursor::new(slot, pos(0));
            for idx in 1..=times {
                black_box(line.admit(&mut cursor, black_box(pos(idx)), None));
            }
        }
        "encode" => {
            let mut log = SlotLog::new(slot, epoch);
            let retention = Retention { size: 1, ttl: Duration::from_secs(60), bytes: 4 << 20 };
            let key = log.open_channel(channel.clone(), NamespaceId(0), retention, NOW);
            let (mut committed, mut evicted): (Vec<(_, Arc<_>)>, _) = (Vec::new(), Vec::new());
            let appended = log.append(key, draft()?, NOW, usize::MAX);
            log.commit_to(appended.pos.idx, NOW, &mut committed, &mut evicted);
            let (_, entry) = committed.first().context("a message")?;
            let mut out = Vec::new();
            for _ in 0..times {
                out.clear();
                write_message(&mut out, black_box(entry));
                black_box(&out);
            }
        }
        "append" => {
            let mut log = SlotLog::new(slot, epoch);
            let retention = Retention { size: 1000, ttl: Duration::from_secs(60), bytes: 4 << 20 };
            let key = log.open_channel(channel.clone(), NamespaceId(0), retention, NOW);
            let (mut committed, mut evicted) = (Vec::new(), Vec::new());
            for _ in 0..times {
                let appended = log.append(key, draft()?, NOW, usize::MAX);
                log.commit_to(appended.pos.idx, NOW, &mut committed, &mut evicted);
                committed.clear();
                evicted.clear();
            }
        }
        "publish" | "publish_and_pull" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let broker = door();
                let subscribe = Subscribe { channels: vec![channel.clone()], since: Since::Live };
                let mut listener = if name == "publish" { None } else { Some(broker.subscribe(subscribe).await?) };
                for _ in 0..times {
                    black_box(broker.publish(draft()?).await?);
                    if let Some(listener) = &mut listener {
                        anyhow::ensure!(matches!(listener.next().await, Some(Delivery::Messages(_))), "the listener ended");
                    }
                }
                anyhow::Ok(())
            })?;
        }
        other => bail!("there is no operation {other}"),
    }
    Ok(())
}
