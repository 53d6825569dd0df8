//! The calls that look or tidy up: history, clear, list of channels.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use serde::Deserialize;

use super::query::{Query, complaint};
use super::{HttpApi, answer};
use crate::auth::{Action, Pass};
use crate::broker::{ChannelsQuery, HistoryQuery, Order};
use crate::error::{Error, ErrorCode, Result};
use crate::log::Cursor;
use crate::message::ChannelName;
use crate::wire;

/// Messages or channels in an answer when the caller names no limit.
pub(super) const LIMIT_DEFAULT: usize = 100;
/// Most messages or channels in one answer; more come page by page.
pub(super) const LIMIT_MAX: usize = 1_000;
/// Bytes of a page that are written before others on the same thread have their turn: a page of large messages takes milliseconds.
const WRITTEN_AT_A_TIME: usize = 64 << 10;
/// What a message takes in a page besides its payload, about.
const MESSAGE_BYTES: usize = 256;

/// `GET /v1/channels/{channel}/messages` → `{"messages":[…],"cursor"[,"gap"]}`.
pub(super) async fn history(api: &HttpApi, pass: &Pass, channel: &ChannelName, query: &str) -> Result<Response<Full<Bytes>>> {
    let query = Query::parse(query, &["since", "limit", "order"])?;
    let query = parse_history(query.get("since"), query.count("limit", LIMIT_DEFAULT, LIMIT_MAX)?, query.get("order"))?;
    Ok(answer::json(page(api, pass, channel, &query).await?))
}

/// The same query as an object of JSON: `{"channel","since"?,"limit"?,"order"?}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    channel: String,
    since: Option<String>,
    limit: Option<usize>,
    order: Option<String>,
}

/// A page of history asked for in JSON, as [`history`] answers it.
pub(super) async fn described_history(api: &HttpApi, pass: &Pass, query: &str) -> Result<Vec<u8>> {
    // The library would take an array for the fields in their order.
    if !query.trim_ascii_start().starts_with('{') {
        return Err(Error::invalid("a history query is an object of JSON"));
    }
    let Described { channel, since, limit, order } = serde_json::from_str(query).map_err(|why| complaint("a history query", &why))?;
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Error::invalid(format!("`limit` is a number from 1 to {LIMIT_MAX}")));
    }
    page(api, pass, &ChannelName::parse(&channel)?, &parse_history(since.as_deref(), limit, order.as_deref())?).await
}

async fn page(api: &HttpApi, pass: &Pass, channel: &ChannelName, query: &HistoryQuery) -> Result<Vec<u8>> {
    pass.check_page(Action::History, channel)?;
    let page = api.broker.history(channel, query).await?;
    // At once: to grow is to copy all of it.
    let mut out =
        Vec::with_capacity(page.entries.iter().map(|entry| entry.payload.bytes().len() + MESSAGE_BYTES).sum::<usize>() + MESSAGE_BYTES);
    out.extend_from_slice(b"{\"messages\":[");
    let mut written = 0;
    for (n, entry) in page.entries.iter().enumerate() {
        if out.len() - written >= WRITTEN_AT_A_TIME {
            written = out.len();
            tokio::task::yield_now().await;
        }
        if n > 0 {
            out.push(b',');
        }
        wire::write_message(&mut out, entry);
    }
    out.extend_from_slice(b"],\"cursor\":");
    wire::write_string(&mut out, &page.cursor.to_string());
    if let Some(gap) = &page.gap {
        out.extend_from_slice(b",\"gap\":");
        wire::write_gap(&mut out, channel, gap);
    }
    out.push(b'}');
    Ok(out)
}

/// `DELETE /v1/channels/{channel}/messages` → `{"cursor"}`, the position of the clear.
pub(super) async fn clear(api: &HttpApi, pass: &Pass, channel: &ChannelName, query: &str) -> Result<Response<Full<Bytes>>> {
    Query::parse(query, &[])?;
    pass.check(Action::Admin, channel)?;
    let cursor = api.broker.clear(channel).await?;
    let mut out = b"{\"cursor\":".to_vec();
    wire::write_string(&mut out, &cursor.to_string());
    out.push(b'}');
    Ok(answer::json(out))
}

/// `GET /v1/channels` → `{"channels":[{"channel","offset","messages","bytes","listeners","cursor"}…][,"next"][,"silent_nodes"]}`, by name;
/// `next` is what to give as `after` for the next page, and `silent_nodes` are those that did not answer in time.
pub(super) async fn channels(api: &HttpApi, pass: &Pass, query: &str) -> Result<Response<Full<Bytes>>> {
    let query = Query::parse(query, &["prefix", "after", "limit"])?;
    pass.check_all_of(Action::Admin, query.get("prefix").unwrap_or_default())?;
    let asked = ChannelsQuery {
        prefix: query.get("prefix").unwrap_or_default().to_owned(),
        after: query.get("after").map(str::to_owned),
        limit: query.count("limit", LIMIT_DEFAULT, LIMIT_MAX)?,
    };
    let page = api.broker.channels_everywhere(&asked).await;
    let mut out = b"{\"channels\":[".to_vec();
    for (n, info) in page.channels.iter().enumerate() {
        out.extend_from_slice(if n == 0 { b"{\"channel\":" } else { b",{\"channel\":" });
        wire::write_string(&mut out, info.channel.as_str());
        let counts = [("offset", info.offset), ("messages", info.messages), ("bytes", info.bytes), ("listeners", info.listeners)];
        for (name, count) in counts {
            out.push(b',');
            wire::write_string(&mut out, name);
            out.push(b':');
            wire::write_number(&mut out, count);
        }
        out.extend_from_slice(b",\"cursor\":");
        wire::write_string(&mut out, &info.cursor.to_string());
        out.push(b'}');
    }
    out.push(b']');
    if let Some(next) = &page.next {
        out.extend_from_slice(b",\"next\":");
        wire::write_string(&mut out, next);
    }
    for (n, node) in page.silent_nodes.iter().enumerate() {
        out.extend_from_slice(if n == 0 { b",\"silent_nodes\":[" } else { b"," });
        wire::write_string(&mut out, node);
    }
    if !page.silent_nodes.is_empty() {
        out.push(b']');
    }
    out.push(b'}');
    Ok(answer::json(out))
}

fn parse_history(since: Option<&str>, limit: usize, order: Option<&str>) -> Result<HistoryQuery> {
    let since = match since {
        None | Some("earliest") => None,
        Some(text) => {
            let cursor = Cursor::parse(text).map_err(|why| Error::new(ErrorCode::InvalidCursor, format!("`since`: {why}")))?;
            Some(cursor)
        }
    };
    let order = match order {
        None | Some("asc") => Order::OldestFirst,
        Some("desc") => Order::NewestFirst,
        Some(_) => return Err(Error::invalid("`order` is `asc` (oldest first) or `desc` (newest first)")),
    };
    Ok(HistoryQuery { since, limit, order })
}
