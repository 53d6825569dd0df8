//! Long-poll: `GET /poll`. Stateless: everything is in the request's cursor, so any node answers the next poll.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::config::PollConfig;
use super::cors::Cors;
use super::ground::{Ground, Stay, Watch as _};
use super::presence;
use super::request::{self, Request, header as text_of, may_listen};
use crate::auth::Pass;
use crate::close::CloseReason;
use crate::control::{Entered, Told, Word};
use crate::error::{Error, ErrorCode, Result};
use crate::hub::{ATTEND_LIMIT, Channel};
use crate::journal::{Names, SessionId, What};
use crate::log::{CursorText, Entry, Gap, PageLimit, SlotCursor};
use crate::message::ChannelName;
use crate::metrics::Front;
use crate::presence::Notice;
use crate::session::{Bounds, Glance, Joined, News, Presence, Subscription};
use crate::shard::Woken;
use crate::wire::{write_cluster, write_gap, write_message_at, write_notice, write_unsubscribed};

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
    /// A backend asks the client to come back, elsewhere perhaps.
    Reconnect,
}

/// What a held poll waits with.
struct Waiting<'a> {
    /// Where orders of backends find it.
    stay: Entered,
    presence: Option<&'a mut Presence>,
    deadline: Instant,
}

/// What a held poll hears.
enum Heard {
    Woken(Woken),
    Told(Told),
}

/// What one answer holds.
#[derive(Default)]
struct Batch {
    /// Each with the cursor to tell with it when its own would say too little.
    messages: Vec<(std::sync::Arc<Entry>, Option<Box<SlotCursor>>)>,
    gaps: Vec<(std::sync::Arc<Channel>, Gap)>,
    /// Channels that a backend ended the subscription to.
    unsubscribed: Vec<ChannelName>,
    /// Who is there, who came and who went.
    notices: Vec<(ChannelName, Notice)>,
    /// What names the states that the client has seen then.
    told: String,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.gaps.is_empty() && self.notices.is_empty() && self.unsubscribed.is_empty()
    }
}

/// Counts the poll as a session for as long as it is held, however it ends.
struct Held<'a, G: Ground> {
    ground: &'a G,
    session: SessionId,
    /// Whether the client brought that name.
    is_named: bool,
    channels: Names,
    began: Duration,
    reason: CloseReason,
    /// In its answer.
    messages: u64,
}

impl<G: Ground> Drop for Held<'_, G> {
    fn drop(&mut self) {
        self.ground.metrics().session_closed(FRONT, self.reason);
        let lasted = self.ground.hub().clock().mono().saturating_sub(self.began);
        self.ground.tell(self.session, FRONT, What::Closed { reason: self.reason, lasted });
        let polled = What::Polled {
            channels: std::mem::take(&mut self.channels),
            address: self.ground.address(),
            is_named: self.is_named,
            messages: self.messages,
            since_ms: self.ground.hub().clock().now().unix_ms,
        };
        self.ground.tell(self.session, FRONT, polled);
    }
}

impl LongPoll {
    /// Answers `GET /poll`.
    pub(crate) async fn answer<G: Ground>(&self, ground: &G, parts: &Parts, pass: Result<Pass>) -> Response<Bytes> {
        let asked = request::session_asked(parts);
        let named = asked.clone().ok().flatten();
        let session = named.unwrap_or_else(request::fresh_session);
        let answered = match asked.and(pass) {
            Ok(pass) => self.poll(ground, parts, &pass, (session, named.is_some())).await,
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

    async fn poll<G: Ground>(
        &self,
        ground: &G,
        parts: &Parts,
        pass: &Pass,
        (session, is_named): (SessionId, bool),
    ) -> Result<Response<Bytes>> {
        let request = Request::parse(parts.uri.query().unwrap_or_default())?;
        let wait_max = self.config.wait_max.as_secs();
        let wait = request.number("wait", 0, wait_max)?.map_or(self.config.wait, Duration::from_secs);
        let etag = entity_tag(&parts.headers);
        let starts = request.starts(etag.filter(|_| request.get("since").is_none()))?;

        may_listen(pass, &request.channels, &starts)?;
        let _place = pass.take_place()?;
        // Who comes back after that is told that the token has expired.
        let wait = pass.left().map_or(wait, |left| left.min(wait));

        let wanted = if request.channels.len() > self.bounds.channels { &[] } else { &*request.channels };
        let _attendance = ground.hub().attend(wanted, ATTEND_LIMIT).await?;
        let _glance = Glance::at(ground.hub(), &request.channels);
        let mut subscription = Subscription::open(ground.hub(), &request.channels, self.bounds)?;
        let mut presence = enter(ground, parts, pass, session, &request, &subscription)?;
        let Joined { gaps, recovered } = subscription.join(ground.hub(), &starts)?;
        // Only now: who was refused above never was a session.
        ground.metrics().session_opened(FRONT);
        let channels: Names = subscription.channels().map(|channel| &channel.name).collect();
        let opened =
            What::Opened { channels: channels.clone(), resumed: starts.has_cursor().then_some(recovered), address: ground.address() };
        ground.tell(session, FRONT, opened);
        let began = ground.hub().clock().mono();
        let mut held = Held { ground, session, is_named, channels, began, reason: CloseReason::ClientGone, messages: 0 };
        for (channel, gap) in &gaps {
            ground.metrics().gap(FRONT, gap.reason);
            ground.tell(session, FRONT, What::Gap(channel.name.clone(), gap.reason));
        }
        if starts.has_cursor() {
            ground.metrics().resumed(FRONT, recovered);
        }
        let mut batch = Batch { gaps, ..Batch::default() };
        self.read(ground, &mut subscription, &mut batch)?;
        if let Some(presence) = &mut presence {
            presence.read(|channel, notice| batch.notices.push((channel.clone(), notice.clone())));
        }
        let may_wait = !starts.is_live() && !wait.is_zero() && batch.is_empty() && parts.method != Method::HEAD;
        let _seated = may_wait.then(|| ground.sit(session, FRONT, &subscription, None));
        let hearing = presence.as_deref_mut().filter(|presence| presence.has_ears());
        let ended = if may_wait {
            let stay = ground.register().enter(session, pass.identity().unwrap_or_default());
            let waiting = Waiting { stay, presence: hearing, deadline: Instant::now() + wait };
            match self.hold(ground, &mut subscription, waiting, &mut batch).await? {
                Ok(ended) => ended,
                Err(reason) => {
                    held.reason = reason;
                    // It was let in, so nothing was refused.
                    return Ok(super::error_response(&ended_by(reason)));
                }
            }
        } else {
            HoldEnded::AtOnce
        };
        if let Some(presence) = presence.as_ref().filter(|_| !batch.notices.is_empty()) {
            batch.told = told(presence);
        }
        held.reason = match ended {
            HoldEnded::Draining => CloseReason::Draining,
            HoldEnded::Reconnect => CloseReason::Reconnect,
            HoldEnded::AtOnce | HoldEnded::News | HoldEnded::TimeUp => CloseReason::Finished,
        };
        held.messages = batch.messages.len() as u64;
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
            let is_degraded = request.is_set("cluster").then(|| ground.hub().is_degraded());
            deliver(ground, &batch, &cursor, is_degraded, ended)
        };
        let headers = response.headers_mut();
        // A cursor is base64: always a valid header value.
        if let (Ok(value), Ok(tag)) = (HeaderValue::from_str(&cursor), HeaderValue::from_str(&format!("\"{cursor}\""))) {
            headers.insert(CURSOR, value);
            headers.insert(header::ETAG, tag);
        }
        if held.reason.may_retry() {
            let seconds = ground.retry_hint().as_secs().max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        Ok(response)
    }

    /// Waits until there is something, the time is up, the node leaves, or a backend ends it: for good with a reason.
    async fn hold<G: Ground>(
        &self,
        ground: &G,
        subscription: &mut Subscription,
        Waiting { stay, mut presence, deadline }: Waiting<'_>,
        batch: &mut Batch,
    ) -> Result<Result<HoldEnded, CloseReason>> {
        let mut watcher = ground.watch(subscription, Stay::Poll)?;
        // Handles that somebody listens with cannot die; and what came before is found by this read.
        subscription.renew(ground.hub())?;
        let mut found = HoldEnded::AtOnce;
        loop {
            self.read(ground, subscription, batch)?;
            if !batch.is_empty() {
                return Ok(Ok(found));
            }
            let woken = poll_fn(|context| {
                if let Poll::Ready(told) = stay.poll_told(context) {
                    return Poll::Ready(Heard::Told(told));
                }
                let mut tell = |channel: &ChannelName, notice: &Notice| batch.notices.push((channel.clone(), notice.clone()));
                if presence.as_mut().is_some_and(|presence| presence.poll_told(context, &mut tell).is_ready()) {
                    return Poll::Ready(Heard::Woken(Woken::News));
                }
                watcher.poll_woken(context).map(Heard::Woken)
            });
            match timeout_at(deadline, woken).await {
                Ok(Heard::Woken(Woken::News)) => found = HoldEnded::News,
                Ok(Heard::Woken(Woken::Ended(_))) => return Ok(Ok(HoldEnded::Draining)),
                Ok(Heard::Told(told)) => match &told.word {
                    Word::End(reason) => {
                        let reason = *reason;
                        told.done(1);
                        return Ok(if reason.may_retry() { Ok(HoldEnded::Reconnect) } else { Err(reason) });
                    }
                    Word::Unsubscribe(channels) => {
                        let names = subscription.channels().map(|channel| &channel.name).filter(|name| channels.covers(name));
                        batch.unsubscribed = names.cloned().collect();
                        told.done(batch.unsubscribed.len() as u64);
                        if !batch.unsubscribed.is_empty() {
                            return Ok(Ok(HoldEnded::AtOnce));
                        }
                    }
                },
                Err(_) => return Ok(Ok(HoldEnded::TimeUp)),
            }
        }
    }

    fn read(&self, ground: &impl Ground, subscription: &mut Subscription, batch: &mut Batch) -> Result<()> {
        let limit = PageLimit { entries: self.config.messages, bytes: self.config.bytes };
        let (news, _) = subscription.read(ground.hub(), limit)?;
        for item in news {
            match item {
                News::Message(entry, own) => batch.messages.push((entry, own)),
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

/// What a poll is answered that a backend ended for good.
fn ended_by(reason: CloseReason) -> Error {
    let code = if reason == CloseReason::Revoked { ErrorCode::Revoked } else { ErrorCode::Disconnected };
    Error::new(code, reason.sentence())
}

fn deliver(ground: &impl Ground, batch: &Batch, cursor: &str, is_degraded: Option<bool>, ended: HoldEnded) -> Response<Bytes> {
    let mut out = b"{\"messages\":[".to_vec();
    for (at, (entry, own)) in batch.messages.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let cursor = own.as_deref().map_or_else(|| entry.cursor(), |own| CursorText::after(own.clone()));
        write_message_at(&mut out, entry, &cursor);
    }
    out.extend_from_slice(b"],\"cursor\":\"");
    out.extend_from_slice(cursor.as_bytes());
    out.push(b'"');
    if let Some(is_degraded) = is_degraded {
        out.extend_from_slice(b",\"cluster\":");
        write_cluster(&mut out, is_degraded);
    }
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
    if !batch.unsubscribed.is_empty() {
        out.extend_from_slice(b",\"unsubscribed\":[");
        for (at, channel) in batch.unsubscribed.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_unsubscribed(&mut out, channel);
        }
        out.push(b']');
    }
    if !batch.notices.is_empty() {
        out.extend_from_slice(b",\"presence\":{\"told\":\"");
        out.extend_from_slice(batch.told.as_bytes());
        out.extend_from_slice(b"\",\"notices\":[");
        for (at, (channel, notice)) in batch.notices.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_notice(&mut out, channel, notice);
        }
        out.extend_from_slice(b"]}");
    }
    out.extend_from_slice(b"}\n");
    let now = ground.hub().clock().mono();
    if ended == HoldEnded::News {
        for (entry, _) in &batch.messages {
            ground.metrics().latency(FRONT, now.saturating_sub(entry.asked()), 1);
        }
    }
    ground.metrics().delivered(FRONT, batch.messages.len() as u64, out.len() as u64);
    let mut response = Response::new(Bytes::from(out));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Lets the client of a poll be seen, and be told of others since `presence=`: `1` for all there is, else what the last answer
/// said under `told`.
fn enter<G: Ground>(
    ground: &G,
    parts: &Parts,
    pass: &Pass,
    session: SessionId,
    request: &Request,
    subscription: &Subscription,
) -> Result<Option<Box<Presence>>> {
    let asked = request.get("presence").filter(|asked| asked.len() >= TOLD_DIGITS);
    let Some(asked) = asked else {
        return presence::enter(ground.hub(), parts, pass, session, request, subscription);
    };
    let numbers = asked.split('.').map(|number| u64::from_str_radix(number, 16).ok()).collect::<Option<Vec<u64>>>();
    let names: Vec<&ChannelName> = subscription.channels().map(|channel| &channel.name).collect();
    let numbers = numbers
        .filter(|numbers| numbers.len() == names.len())
        .ok_or_else(|| Error::invalid("`presence` is `1`, `0`, or what the last answer for these channels said under `told`"))?;
    let mut entered = None;
    let member = pass.member(session.as_str());
    for (name, told) in names.into_iter().zip(numbers) {
        presence::may_be_told(pass, ground.hub(), name)?;
        if parts.method != Method::HEAD {
            Presence::enter(&mut entered, ground.hub(), name, member.as_ref(), Some(told))?;
        }
    }
    Ok(entered)
}

/// Digits of one number in `told`.
const TOLD_DIGITS: usize = 16;

/// What the client has seen of each channel, in their order.
fn told(presence: &Presence) -> String {
    let numbers: Vec<String> = presence.told().map(|(_, told)| format!("{told:0width$x}", width = TOLD_DIGITS)).collect();
    numbers.join(".")
}

/// The cursor inside `If-None-Match: "…"` (RFC 9110, section 13.1.2), for clients that repeat the tag they got.
fn entity_tag(headers: &HeaderMap) -> Option<&str> {
    let tag = text_of(headers, "if-none-match")?;
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    // A list of tags is somebody else's cache: only the one tag we gave is a cursor.
    tag.strip_prefix('"')?.strip_suffix('"').filter(|tag| !tag.is_empty() && !tag.contains('"'))
}
