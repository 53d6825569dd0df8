//! A stream as a response body, where there is no socket to take: HTTP/2, and HTTP/1 requests with a body. The same
//! subscription and the same encoder; it is woken where it stands and reads the log itself.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::{Instant, Sleep};

use super::super::ground::{Ground, Stay, Watch as _};
use super::Stream;

use crate::close::CloseReason;
use crate::error::Result;
use crate::journal::{SessionId, What};
use crate::log::{PageLimit, SlotCursor};
use crate::net::Frames;
use crate::session::{Joined, News, OutOfWindow, Subscription, out_of_window, retry_after};
use crate::shard::{Encoder, Woken};

/// One frame's worth of the log. A client that reads slower than this fills up waits at its window, not here.
const PAGE: PageLimit = PageLimit { entries: 512, bytes: 64 << 10 };

pub(crate) struct StreamBody<G: Ground> {
    ground: G,
    session: SessionId,
    began: Duration,
    encoder: &'static dyn Encoder,
    subscription: Subscription,
    watcher: G::Watcher,
    ready: VecDeque<Bytes>,
    heartbeat: Pin<Box<Sleep>>,
    /// At the head and waiting; only what comes then counts as delayed by us.
    live: bool,
    /// A gap or nothing at all was told, and no message's cursor lies behind it: one is due at the head, so that the
    /// client is not told the same again when it comes back.
    cursor_due: bool,
    /// The position lies behind the last cursor the client was told; the next heartbeat tells it.
    is_ahead: bool,
    ended: Option<CloseReason>,
    /// When the stay is over, because what its client showed does not count any longer.
    ends_at: Option<Instant>,
}

/// A stream that has joined.
pub(in crate::front) struct Begun<G: Ground> {
    /// Of the response.
    pub(in crate::front) headers: HeaderMap,
    /// What follows them.
    pub(in crate::front) body: StreamBody<G>,
}

impl<G: Ground> StreamBody<G> {
    pub(in crate::front) fn begin(ground: &G, encoder: &'static dyn Encoder, stream: Stream) -> Result<Begun<G>> {
        let Stream { session, headers, greeting, mut subscription, starts, stay } = stream;
        // Listen first, then join: nothing is lost between the two.
        let watcher = ground.watch(&subscription, Stay::Stream)?;
        subscription.renew(ground.hub())?;
        let Joined { gaps, recovered } = subscription.join(ground.hub(), &starts)?;
        let front = encoder.front();
        let metrics = ground.metrics();
        if starts.has_cursor() {
            metrics.resumed(front, recovered);
        }
        let opened = What::Opened {
            channels: subscription.channels().map(|channel| &channel.name).collect(),
            resumed: starts.has_cursor().then_some(recovered),
            address: ground.address(),
        };
        ground.tell(session, front, opened);
        let mut first = greeting;
        for (channel, gap) in &gaps {
            metrics.gap(front, gap.reason);
            ground.tell(session, front, What::Gap(channel.name.clone(), gap.reason));
            encoder.gap(channel.slot, &channel.name, gap, &mut first);
        }
        let is_live = subscription.is_live(ground.hub());
        if is_live {
            encoder.heartbeat(subscription.cursor().as_ref(), &mut first);
        }
        metrics.session_opened(front);
        let ends_at = stay.map(|stay| Instant::now() + stay);
        let after = ground.heartbeat_after();
        let heartbeat = Box::pin(tokio::time::sleep(stay.map_or(after, |stay| stay.min(after))));
        let mut ready = VecDeque::new();
        if !first.is_empty() {
            ready.push_back(first.into());
        }
        let (ground, cursor_due) = (ground.clone(), !is_live);
        let began = ground.hub().clock().mono();
        let body = Self {
            session,
            began,
            ground,
            encoder,
            subscription,
            watcher,
            ready,
            heartbeat,
            live: false,
            cursor_due,
            is_ahead: false,
            ended: None,
            ends_at,
        };
        Ok(Begun { headers, body })
    }

    /// Reads one page and encodes it. `true` when it reached the head.
    fn read(&mut self) -> bool {
        let mut cursor = self.subscription.cursor();
        let Ok((news, at_head)) = self.subscription.read(self.ground.hub(), PAGE) else {
            self.end(CloseReason::Stopped);
            return true;
        };
        let (front, metrics) = (self.encoder.front(), self.ground.metrics());
        let now = self.ground.hub().clock().mono();
        let mut out = Vec::new();
        let mut messages = 0;
        for item in news {
            match item {
                News::Gap(channel, _) if out_of_window(&channel) == OutOfWindow::Close => {
                    self.end(CloseReason::TooSlow);
                    return true;
                }
                News::Gap(channel, gap) => {
                    metrics.gap(front, gap.reason);
                    self.ground.tell(self.session, front, What::Gap(channel.name.clone(), gap.reason));
                    self.encoder.gap(channel.slot, &channel.name, &gap, &mut out);
                    self.cursor_due = true;
                }
                News::Message(entry) => {
                    if let Some(cursor) = cursor.as_mut().filter(|_| self.encoder.wants_own_cursor()) {
                        // Its slot is in the cursor already, so this replaces and cannot be one too many.
                        let _ = cursor.insert(SlotCursor::new(entry.slot, entry.pos));
                        self.encoder.own_cursor(cursor, &mut out);
                    }
                    out.extend_from_slice(&self.ground.encoded(self.encoder, &entry));
                    if self.live {
                        metrics.latency(front, now.saturating_sub(entry.accepted.mono), 1);
                    }
                    messages += 1;
                }
            }
        }
        if at_head && std::mem::take(&mut self.cursor_due) {
            self.encoder.heartbeat(self.subscription.cursor().as_ref(), &mut out);
        } else {
            self.is_ahead = true;
        }
        if !out.is_empty() {
            metrics.delivered(front, messages, out.len() as u64);
            self.ready.push_back(out.into());
        }
        at_head
    }

    fn end(&mut self, reason: CloseReason) {
        if self.ended.is_none() {
            self.ended = Some(reason);
            let mut out = Vec::new();
            let retry = retry_after(reason, || self.ground.retry_hint());
            self.encoder.farewell(reason, retry, &mut out);
            self.ready.push_back(out.into());
        }
    }

    fn beat(&mut self) {
        let moved = self.live && (self.subscription.refresh(self.ground.hub()) || std::mem::take(&mut self.is_ahead));
        let cursor = if moved { self.subscription.cursor() } else { None };
        let mut out = Vec::new();
        self.encoder.heartbeat(cursor.as_ref(), &mut out);
        self.ready.push_back(out.into());
    }
}

impl<G: Ground> Frames for StreamBody<G> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if self.ended.is_none() && self.ends_at.is_some_and(|at| at <= Instant::now()) {
                self.end(CloseReason::TokenExpired);
            }
            if let Some(bytes) = self.ready.pop_front() {
                let next = Instant::now() + self.ground.heartbeat_after();
                self.heartbeat.as_mut().reset(self.ends_at.map_or(next, |at| at.min(next)));
                return Poll::Ready(Some(bytes));
            }
            if self.ended.is_some() {
                return Poll::Ready(None);
            }
            if !self.live {
                self.live = self.read();
                continue;
            }
            match self.watcher.poll_woken(context) {
                Poll::Ready(Woken::News) => {
                    let at_head = self.read();
                    self.live = at_head;
                    continue;
                }
                Poll::Ready(Woken::Ended(reason)) => {
                    self.end(reason);
                    continue;
                }
                Poll::Pending => {}
            }
            if self.heartbeat.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if self.ends_at.is_none_or(|at| at > Instant::now()) {
                self.beat();
            }
        }
    }
}

impl<G: Ground> Drop for StreamBody<G> {
    fn drop(&mut self) {
        let reason = self.ended.unwrap_or(CloseReason::ClientGone);
        let front = self.encoder.front();
        self.ground.metrics().session_closed(front, reason);
        let lasted = self.ground.hub().clock().mono().saturating_sub(self.began);
        self.ground.tell(self.session, front, What::Closed { reason, lasted });
    }
}
