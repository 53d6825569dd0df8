//! Channels, who is on them, and a message to try them.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Query;
use crate::admin::Admin;
use crate::broker::{ChannelInfo, ChannelsQuery, HistoryQuery, Order};
use crate::error::{Error, ErrorCode, Result};
use crate::message::{ChannelName, Draft, EventName, Payload};
use crate::metrics::Source;
use crate::wire::{percent_decode, write_message, write_string};

/// Channels of one page without `limit`.
const PAGE: u64 = 50;
const PAGE_MAX: u64 = 200;
/// Sessions shown of one channel.
const SESSIONS_SHOWN: usize = 100;
/// Messages shown of one channel.
const MESSAGES_SHOWN: usize = 10;

/// `GET /api/channels`.
pub(super) async fn list(admin: &Admin, query: &Query) -> Result<Value> {
    let limit = query.number("limit", PAGE, PAGE_MAX)? as usize;
    let prefix = query.get("prefix").unwrap_or_default().to_owned();
    let asked = ChannelsQuery { prefix, after: query.get("after").map(str::to_owned), limit };
    let page = admin.broker.channels_everywhere(&asked).await;
    let names = page.channels.iter().map(|info| info.channel.clone()).collect();
    let counts = admin.inside.count_listening(names).await;
    let channels: Vec<Value> =
        page.channels.iter().zip(counts).map(|(info, count)| described(info, count.listeners, count.shards)).collect();
    Ok(json!({"channels": channels, "next": page.next, "silent_nodes": page.silent_nodes}))
}

fn described(info: &ChannelInfo, on_shards: usize, shards: usize) -> Value {
    json!({
        "channel": info.channel.as_str(),
        // What is known exactly of this node's shards takes the place of their number.
        "listeners": on_shards as u64 + info.listeners.saturating_sub(shards as u64),
        "listeners_here": on_shards as u64 + info.listeners_here.saturating_sub(shards as u64),
        "offset": info.offset,
        "messages": info.messages,
        "bytes": info.bytes,
        "cursor": info.cursor.encode(),
    })
}

/// `GET /api/channels/{name}`.
pub(super) async fn one(admin: &Admin, name: &str) -> Result<Vec<u8>> {
    let channel = ChannelName::parse(&percent_decode(name)?)?;
    // The page that holds it and nothing before it.
    let page = admin.broker.channels_everywhere(&ChannelsQuery { prefix: channel.to_string(), after: None, limit: 1 }).await;
    let info = page.channels.into_iter().find(|info| info.channel == channel);
    let info = info.ok_or_else(|| Error::new(ErrorCode::NotFound, "nobody listens to this channel, and nothing is kept of it"))?;
    let listening = admin.inside.listening(channel.clone(), SESSIONS_SHOWN).await;
    let counted = admin.inside.count_listening(vec![channel.clone()]).await.first().copied().unwrap_or_default();
    let newest = HistoryQuery { since: None, limit: MESSAGES_SHOWN, order: Order::NewestFirst };
    let history = admin.broker.history(&channel, &newest).await?;
    let mut value = described(&info, counted.listeners, counted.shards);
    value["on_shards"] = json!(listening);
    let mut out = super::json(&value)?;
    // Messages go in as every front writes them.
    out.truncate(out.len() - 2);
    out.extend_from_slice(b",\"newest\":[");
    for (nth, entry) in history.entries.iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        write_message(&mut out, entry);
    }
    out.extend_from_slice(b"]}\n");
    Ok(out)
}

/// What `POST /api/publish` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish<'a> {
    channel: String,
    text: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    event: Option<String>,
}

/// `POST /api/publish`.
pub(super) async fn publish(admin: &Admin, body: &[u8]) -> Result<Vec<u8>> {
    let published = append(admin, body).await.inspect_err(|error| admin.metrics.published(Source::InProcess, Err(error.code), 0))?;
    let mut out = b"{\"channel\":".to_vec();
    write_string(&mut out, published.channel.as_str());
    out.extend_from_slice(
        format!(",\"offset\":{},\"cursor\":\"{}\",\"copies\":{}}}\n", published.offset, published.cursor(), published.copies).as_bytes(),
    );
    Ok(out)
}

async fn append(admin: &Admin, body: &[u8]) -> Result<crate::broker::Published> {
    let asked: Publish<'_> = serde_json::from_slice(body).map_err(|why| Error::invalid(format!("the body is not understood: {why}")))?;
    let payload = match (asked.text, asked.data) {
        (Some(text), None) => Payload::text(&text),
        (None, Some(data)) => Payload::new(data.get().as_bytes(), Some("application/json"))?,
        _ => return Err(Error::invalid("give either `text` or `data`")),
    };
    let bytes = payload.bytes().len() as u64;
    let mut draft = Draft::new(ChannelName::parse(&asked.channel)?, payload);
    draft.event = asked.event.filter(|event| !event.is_empty()).map(|event| EventName::parse(&event)).transpose()?;
    let published = admin.broker.publish(draft).await?;
    admin.metrics.published(Source::InProcess, Ok(published.duplicate), bytes);
    Ok(published)
}
