//! Long-poll: `GET /poll`. Stateless: everything is in the request's cursor, so any node answers the next poll.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::config::PollConfig;
use super::cors::Cors;
use super::ground::{Ground, Stay, Watch as _};
use super::request::{self, Request, header as text_of, may_listen};
use crate::auth::Pass;
use crate::close::CloseReason;
use crate::error::Result;
use crate::hub::{ATTEND_LIMIT, Channel};
use crate::journal::{SessionId, What};
use crate::log::{Entry, Gap, PageLimit};
use crate::metrics::Front;
use crate::session::{Bounds, Joined, News, Subscription};
use crate::shard::Woken;
use crate::wire::{write_gap, write_message};

const CURSOR: HeaderName = HeaderName::from_static("tidings-cursor");
const FRONT: Front = Front::LongPoll;

/// The front of one node.
#[derive(Clone, Debug)]
pub struct LongPoll {
    /// Its keys.
    pub config: PollConfig,
    /// How much one request may ask for.
    pub bounds: Bounds,
    /// Who may read across origins.
    pub cors: Cors,
}

/// How a held poll came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HoldEnded {
    /// It was not held: there was something, or the client did not want to wait.
    AtOnce,
    /// Something came while it was held. Only then is the message's age a delay of ours.
    News,
    TimeUp,
    Draining,
}

/// What one answer holds.
#[derive(Default)]
struct Batch {
    messages: Vec<std::sync::Arc<Entry>>,
    gaps: Vec<(std::sync::Arc<Channel>, Gap)>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.gaps.is_empty()
    }
}

/// Counts the poll as a session for as long as it is held, however it ends.
struct Held<'a, G: Ground> {
    ground: &'a G,
    session: SessionId,
    began: Duration,
    reason: CloseReason,
}

impl<G: Ground> Drop for Held<'_, G> {
    fn drop(&mut self) {
        self.ground.metrics().session_closed(FRONT, self.reason);
        let lasted = self.ground.hub().clock().mono().saturating_sub(self.began);
        self.ground.tell(self.session, FRONT, What::Closed { reason: self.reason, lasted });
    }
}

impl LongPoll {
    /// Answers `GET /poll`.
    pub(crate) async fn answer<G: Ground>(&self, ground: &G, parts: &Parts, pass: Result<Pass>) -> Response<Bytes> {
        let asked = request::session(parts);
        let session = asked.clone().unwrap_or_else(|_| request::fresh_session());
        let answered = match asked.and_then(|session| Ok((session, pass?))) {
            Ok((session, pass)) => self.poll(ground, parts, &pass, session).await,
            Err(error) => Err(error),
        };
        let mut response = answered.unwrap_or_else(|error| {
            ground.refused(session, FRONT, &error);
            super::error_response(&error)
        });
        request::tell_session(session, response.headers_mut());
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.cors.apply(&parts.headers, response.headers_mut());
        response
    }

    async fn poll<G: Ground>(&self, ground: &G, parts: &Parts, pass: &Pass, session: SessionId) -> Result<Response<Bytes>> {
        let request = Request::parse(parts.uri.query().unwrap_or_default())?;
        let wait_max = self.config.wait_max.as_secs();
        let wait = request.number("wait", 0, wait_max)?.map_or(self.config.wait, Duration::from_secs);
        let etag = entity_tag(&parts.headers);
        let starts = request.starts(etag.filter(|_| request.get("since").is_none()))?;

        may_listen(pass, &request.channels, &starts)?;
        // Who comes back after that is told that the token has expired.
        let wait = pass.left().map_or(wait, |left| left.min(wait));

        let wanted = if request.channels.len() > self.bounds.channels { &[] } else { &*request.channels };
        let _attendance = ground.hub().attend(wanted, ATTEND_LIMIT).await?;
        let mut subscription = Subscription::open(ground.hub(), &request.channels, self.bounds)?;
        let Joined { gaps, recovered } = subscription.join(ground.hub(), &starts)?;
        // Only now: who was refused above never was a session.
        ground.metrics().session_opened(FRONT);
        let opened = What::Opened {
            channels: subscription.channels().map(|channel| &channel.name).collect(),
            resumed: starts.has_cursor().then_some(recovered),
            address: ground.address(),
        };
        ground.tell(session, FRONT, opened);
        let mut held = Held { ground, session, began: ground.hub().clock().mono(), reason: CloseReason::ClientGone };
        for (channel, gap) in &gaps {
            ground.metrics().gap(FRONT, gap.reason);
            ground.tell(session, FRONT, What::Gap(channel.name.clone(), gap.reason));
        }
        if starts.has_cursor() {
            ground.metrics().resumed(FRONT, recovered);
        }
        let mut batch = Batch { gaps, ..Batch::default() };
        self.read(ground, &mut subscription, &mut batch)?;
        let may_wait = !starts.is_live() && !wait.is_zero() && batch.is_empty() && parts.method != Method::HEAD;
        let ended = if may_wait { self.hold(ground, &mut subscription, &mut batch, wait).await? } else { HoldEnded::AtOnce };
        let is_draining = ended == HoldEnded::Draining;
        held.reason = if is_draining { CloseReason::Draining } else { CloseReason::Finished };
        if batch.is_empty() {
            // What came to quiet channels' slots need not be looked at again.
            subscription.refresh(ground.hub());
        }
        let cursor = subscription.cursor().map_or_else(String::new, |cursor| cursor.encode());
        let mut response = if batch.is_empty() && !starts.is_live() {
            let is_conditional = parts.headers.contains_key(header::IF_NONE_MATCH);
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = if is_conditional { StatusCode::NOT_MODIFIED } else { StatusCode::NO_CONTENT };
            response
        } else {
            deliver(ground, &batch, &cursor, ended)
        };
        let headers = response.headers_mut();
        // A cursor is base64: always a valid header value.
        if let (Ok(value), Ok(tag)) = (HeaderValue::from_str(&cursor), HeaderValue::from_str(&format!("\"{cursor}\""))) {
            headers.insert(CURSOR, value);
            headers.insert(header::ETAG, tag);
        }
        if is_draining {
            let seconds = ground.retry_hint().as_secs().max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        Ok(response)
    }

    /// Waits until there is something, the time is up, or the node leaves.
    async fn hold<G: Ground>(&self, ground: &G, subscription: &mut Subscription, batch: &mut Batch, wait: Duration) -> Result<HoldEnded> {
        let deadline = Instant::now() + wait;
        let mut watcher = ground.watch(subscription, Stay::Poll)?;
        // Handles that somebody listens with cannot die; and what came before is found by this read.
        subscription.renew(ground.hub())?;
        let mut found = HoldEnded::AtOnce;
        loop {
            self.read(ground, subscription, batch)?;
            if !batch.is_empty() {
                return Ok(found);
            }
            match timeout_at(deadline, poll_fn(|context| watcher.poll_woken(context))).await {
                Ok(Woken::News) => found = HoldEnded::News,
                Ok(Woken::Ended(_)) => return Ok(HoldEnded::Draining),
                Err(_) => return Ok(HoldEnded::TimeUp),
            }
        }
    }

    fn read(&self, ground: &impl Ground, subscription: &mut Subscription, batch: &mut Batch) -> Result<()> {
        let limit = PageLimit { entries: self.config.messages, bytes: self.config.bytes };
        let (news, _) = subscription.read(ground.hub(), limit)?;
        for item in news {
            match item {
                News::Message(entry) => batch.messages.push(entry),
                // A poll is always behind a little, so a gap here is never a slow client's close.
                News::Gap(channel, gap) => {
                    ground.metrics().gap(FRONT, gap.reason);
                    batch.gaps.push((channel, gap));
                }
            }
        }
        Ok(())
    }
}

fn deliver(ground: &impl Ground, batch: &Batch, cursor: &str, ended: HoldEnded) -> Response<Bytes> {
    let mut out = b"{\"messages\":[".to_vec();
    for (at, entry) in batch.messages.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_message(&mut out, entry);
    }
    out.extend_from_slice(b"],\"cursor\":\"");
    out.extend_from_slice(cursor.as_bytes());
    out.push(b'"');
    if let Some((channel, gap)) = batch.gaps.first() {
        out.extend_from_slice(b",\"gap\":");
        write_gap(&mut out, &channel.name, gap);
    }
    // The first gap stands alone for the many clients with one channel; who has several gets all of them.
    if batch.gaps.len() > 1 {
        out.extend_from_slice(b",\"gaps\":[");
        for (at, (channel, gap)) in batch.gaps.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_gap(&mut out, &channel.name, gap);
        }
        out.push(b']');
    }
    out.extend_from_slice(b"}\n");
    let now = ground.hub().clock().mono();
    if ended == HoldEnded::News {
        for entry in &batch.messages {
            ground.metrics().latency(FRONT, now.saturating_sub(entry.accepted.mono), 1);
        }
    }
    ground.metrics().delivered(FRONT, batch.messages.len() as u64, out.len() as u64);
    let mut response = Response::new(Bytes::from(out));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The cursor inside `If-None-Match: "…"` (RFC 9110, section 13.1.2), for clients that repeat the tag they got.
fn entity_tag(headers: &HeaderMap) -> Option<&str> {
    let tag = text_of(headers, "if-none-match")?;
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    // A list of tags is somebody else's cache: only the one tag we gave is a cursor.
    tag.strip_prefix('"')?.strip_suffix('"').filter(|tag| !tag.is_empty() && !tag.contains('"'))
}
