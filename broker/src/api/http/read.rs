//! The calls that look or tidy up: history, clear, list of channels.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::query::{Query, complaint};
use super::{HttpApi, answer};
use crate::auth::{Action, Pass};
use crate::broker::{ChannelsQuery, HistoryPage, HistoryQuery, Order};
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
/// Most pages of history that are being written at once on one thread. One may be six times as large as its messages, and counts nowhere before it is whole.
const PAGES_AT_ONCE: usize = 2;

/// The turns of those who write pages of history: since others have theirs between the steps of one, all who ask would have begun one else.
type Turns = Arc<Semaphore>;

thread_local! {
    /// Each thread has its own: a shard that has much to do, or stands still, holds up nobody elsewhere.
    static TURNS: Turns = turns();
}

fn turns() -> Turns {
    Arc::new(Semaphore::new(PAGES_AT_ONCE))
}

/// `GET /v1/channels/{channel}/messages` → `{"messages":[…],"cursor"[,"gap"]}`.
pub(super) async fn history(api: &HttpApi, pass: &Pass, channel: &ChannelName, query: &str) -> Result<Response<Full<Bytes>>> {
    let query = Query::parse(query, &["since", "limit", "order"])?;
    let query = parse_history(query.get("since"), query.count("limit", LIMIT_DEFAULT, LIMIT_MAX)?, query.get("order"))?;
    let page = page(api, pass, channel, &query).await?;
    Ok(answer::json(written(TURNS.with(Arc::clone), channel, &page).await))
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
    let channel = ChannelName::parse(&channel)?;
    let page = page(api, pass, &channel, &parse_history(since.as_deref(), limit, order.as_deref())?).await?;
    // Whoever asks so may be left standing while its client does not read, and would keep half a page and a turn as long.
    Ok(written_at_once(&channel, &page))
}

async fn page(api: &HttpApi, pass: &Pass, channel: &ChannelName, query: &HistoryQuery) -> Result<HistoryPage> {
    pass.check_page(Action::History, channel)?;
    api.broker.history(channel, query).await
}

/// The page in JSON, when it is its turn, and in steps between which others have theirs.
async fn written(turns: Turns, channel: &ChannelName, page: &HistoryPage) -> Vec<u8> {
    // Nobody closes it.
    let _turn = turns.acquire().await.ok();
    let mut writing = Writing::begin(page);
    while !writing.step() {
        tokio::task::yield_now().await;
    }
    writing.end(channel)
}

/// The same at once.
fn written_at_once(channel: &ChannelName, page: &HistoryPage) -> Vec<u8> {
    let mut writing = Writing::begin(page);
    while !writing.step() {}
    writing.end(channel)
}

/// A page that is half written.
struct Writing<'a> {
    page: &'a HistoryPage,
    next: usize,
    out: Vec<u8>,
}

impl<'a> Writing<'a> {
    fn begin(page: &'a HistoryPage) -> Self {
        let bytes: usize = page.entries.iter().map(|entry| entry.payload.bytes().len() + MESSAGE_BYTES).sum();
        // At once: to grow is to copy all of it.
        let mut out = Vec::with_capacity(bytes + MESSAGE_BYTES);
        out.extend_from_slice(b"{\"messages\":[");
        Self { page, next: 0, out }
    }

    /// Goes on for a moment. `true` when all messages are written.
    fn step(&mut self) -> bool {
        let until = self.out.len() + WRITTEN_AT_A_TIME;
        while let Some(entry) = self.page.entries.get(self.next) {
            if self.out.len() >= until {
                return false;
            }
            if self.next > 0 {
                self.out.push(b',');
            }
            wire::write_message(&mut self.out, entry);
            self.next += 1;
        }
        true
    }

    fn end(self, channel: &ChannelName) -> Vec<u8> {
        let Self { page, mut out, .. } = self;
        out.extend_from_slice(b"],\"cursor\":");
        wire::write_string(&mut out, &page.cursor.to_string());
        if let Some(gap) = &page.gap {
            out.extend_from_slice(b",\"gap\":");
            wire::write_gap(&mut out, channel, gap);
        }
        out.push(b'}');
        out
    }
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

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::*;
    use crate::clock::Moment;
    use crate::log::{Entry, Epoch, Pos, Slot, Tag, Trail, Waited};
    use crate::message::{Headers, MessageId, Payload};

    /// Of ten messages, each as large as what is written at a time.
    fn page(channel: &ChannelName) -> HistoryPage {
        let pos = Pos { epoch: Epoch::new(1, Tag::new(42).unwrap()), idx: 7 };
        let entry = Arc::new(Entry {
            slot: Slot::of(channel),
            pos,
            channel: channel.clone(),
            offset: 3,
            id: MessageId::Auto(1),
            event: None,
            payload: Payload::text(&"x".repeat(WRITTEN_AT_A_TIME)),
            headers: Headers::default(),
            accepted: Moment { mono: Duration::ZERO, unix_ms: 0 },
            waited: Waited::NONE,
            expires: Duration::ZERO,
            adopted: None,
            trail: Trail::NONE,
        });
        HistoryPage { entries: vec![entry; 10], cursor: Cursor::single(Slot::of(channel), pos), gap: None }
    }

    fn goes_on(page: &mut Pin<Box<impl Future>>) -> bool {
        page.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[test]
    fn however_many_ask_for_pages_few_are_half_written() {
        let (turns, channel) = (turns(), ChannelName::parse("news").unwrap());
        let page = page(&channel);
        let mut asked: Vec<_> = (0..40).map(|_| Box::pin(written(turns.clone(), &channel, &page))).collect();
        let mut done = Vec::new();
        while !asked.is_empty() {
            // All have their turn, as on one thread.
            let before = asked.len();
            asked.retain_mut(goes_on);
            if asked.len() < before {
                done.push(before - asked.len());
            }
        }
        // Those who began together end together.
        assert_eq!(done, [PAGES_AT_ONCE; 20]);
        // Who goes away in the middle of his page gives his turn to the next.
        let mut gone: Vec<_> = (0..PAGES_AT_ONCE).map(|_| Box::pin(written(turns.clone(), &channel, &page))).collect();
        assert!(gone.iter_mut().all(goes_on));
        drop(gone);
        assert_eq!(turns.available_permits(), PAGES_AT_ONCE);
    }
}
