//! Operations without sockets.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tidings::broker::{self, Broker, Delivery, Limits, Since, Subscribe};
use tidings::clock::{Clock, Moment};
use tidings::config::Config;
use tidings::front::websocket::codec::{Decoder, Inflater, Input, Item, Rules, unmask};
use tidings::hub::{Bounds, CommitRule, Hub, Inbox, RuleBook};
use tidings::log::{Cursor, CursorText, Epoch, Line, NamespaceId, Pos, Retention, Slot, SlotCursor, SlotLog, Tag};
use tidings::message::{ChannelName, Draft, Headers, Payload};
use tidings::metrics::Metrics;
use tidings::wire::write_message;

use crate::counts::Counts;
use crate::counts::valgrind::{Threads, Tool};

/// Every operation.
const OPERATIONS: [&str; 10] = [
    "cursor_text",
    "cursor_parse",
    "admit",
    "encode",
    "append",
    "publish_at_the_hub",
    "append_and_deliver",
    "decode",
    "publish",
    "publish_and_pull",
];
/// Shards that listen in `append_and_deliver`.
const SHARDS: usize = 8;
/// How often each is done at first.
const SHORT: u64 = 100;
/// And then: so often that what differs from start to start (a clock that calibrates itself) is little beside it.
const LONG: u64 = 40_100;
const PAYLOAD: [u8; 128] = [b'x'; 128];
/// More than waits in any inbox here.
const INBOX: usize = 16;
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
    for tool in Tool::ALL {
        let of = |name: &str| counts.get(&format!("{name}.{}", tool.counts())).copied().unwrap_or_default();
        let each = (of("append_and_deliver") - of("publish_at_the_hub")) / SHARDS as f64;
        println!("deliver: {each:.2} {}", tool.counts());
        counts.insert(format!("deliver.{}", tool.counts()), each);
    }
    Ok(counts)
}

/// Slots without sockets and upkeep, and the inboxes of so many shards.
fn hub(shards: usize) -> (Hub, Arc<Metrics>) {
    let config = Config::default();
    let clock = Clock::start();
    let metrics = Metrics::new(shards.max(1), clock);
    let bounds = Bounds { channels: 1000, channels_silent: 1000, history_bytes: 1 << 30, dedupe_ids: 1 << 20 };
    let epoch = Epoch::from_bits(1 << 40 | 0xabc).expect("the tag is not zero");
    let inboxes = (0..shards).map(|_| Arc::new(Inbox::new(INBOX))).collect();
    let hub = Hub::new(RuleBook::new(&config.namespaces), inboxes, bounds, epoch, CommitRule::AtOnce, clock, metrics.clone());
    (hub, metrics)
}

/// A broker without shards: what a publish costs before anybody listens by a socket.
fn door() -> Broker {
    let (hub, metrics) = hub(0);
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
        // The difference is what the shards cost: a push under the slot's lock, a wake-up that nobody waits for, the taking.
        "publish_at_the_hub" | "append_and_deliver" => {
            let shards = if name == "append_and_deliver" { SHARDS } else { 0 };
            let (hub, _) = hub(shards);
            let place = hub.open(&channel)?;
            for shard in 0..shards {
                hub.listen(&place, shard, 0).context("a dead channel")?;
            }
            let (mut items, mut missed) = (Vec::new(), Vec::new());
            for _ in 0..times {
                black_box(hub.append_to(place.clone(), draft()?)?);
                for inbox in hub.inboxes() {
                    inbox.drain(&mut items, &mut missed);
                    anyhow::ensure!(items.len() == 1 && missed.is_empty(), "a shard was not told");
                    items.clear();
                    inbox.done(1);
                }
            }
        }
        "decode" => {
            let mask = [1, 2, 3, 4];
            let mut masked = PAYLOAD;
            unmask(&mut masked, mask, 0);
            // Text, whole, masked; the length stands in the two bytes that follow (RFC 6455, section 5.2).
            let frame = [&[0x81, 0xfe, 0, 128][..], &mask, &masked].concat();
            let rules = Rules { message_bytes_max: 64 << 10, has_deflate: true };
            let (mut decoder, mut inflater) = (Decoder::new(rules), Inflater::default());
            let mut read = vec![0; frame.len()];
            for _ in 0..times {
                read.copy_from_slice(&frame);
                let mut input = Input::new(black_box(&mut read));
                let item = decoder.next(&mut input, &mut inflater).map_err(|violation| anyhow::anyhow!("{violation:?}"))?;
                anyhow::ensure!(matches!(item, Some(Item::Text(text)) if text.len() == PAYLOAD.len()), "the message was not heard");
            }
        }
        "publish" | "publish_and_pull" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let broker = door();
                let subscribe = Subscribe::to(vec![channel.clone()], Since::Live);
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
