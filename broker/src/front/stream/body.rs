//! A stream as a response body, where there is no socket to take: HTTP/2, and HTTP/1 requests with a body. The same
//! subscription and the same encoder; it is woken where it stands and reads the log itself.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::{Instant, Sleep};

use super::super::ground::{Ground, Stay, Watch as _};
use super::Stream;

use crate::auth::pattern::Pattern;
use crate::close::CloseReason;
use crate::control::{Entered, Told, Word};
use crate::error::Result;
use crate::journal::{Progress, Seated, SessionId, What};
use crate::limits::UserPlace;
use crate::log::{CursorText, GapReason, PageLimit};
use crate::message::ChannelName;
use crate::net::Frames;
use crate::session::{Joined, Marks, News, OutOfWindow, Presence, Subscription, out_of_window, retry_after};
use crate::shard::{Encoder, Woken};

/// One frame's worth of the log. A client that reads slower than this fills up waits at its window, not here.
const PAGE: PageLimit = PageLimit { entries: 512, bytes: 64 << 10 };

/// How often it is looked how the cluster is, for those who want to be told.
const CLUSTER_LOOK: Duration = Duration::from_secs(1);

/// When the timer is wanted next: for a heartbeat, for the end of the stay, to look how the cluster is.
fn next_look(beat_at: Instant, ends_at: Option<Instant>, cluster_told: Option<bool>) -> Instant {
    let look = cluster_told.map(|_| Instant::now() + CLUSTER_LOOK);
    [ends_at, look].into_iter().flatten().fold(beat_at, Instant::min)
}

pub(crate) struct StreamBody<G: Ground> {
    ground: G,
    session: SessionId,
    began: Duration,
    encoder: &'static dyn Encoder,
    subscription: Subscription,
    /// How far it has come, for who looks whether it keeps up.
    marks: Arc<Marks>,
    /// Where orders of backends find it.
    stay: Entered,
    presence: Option<Box<Presence>>,
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
    /// What it was told last of the cluster, whether it is degraded; none for a client that did not ask.
    cluster_told: Option<bool>,
    /// When the next heartbeat is due; before it the timer only looks how the cluster is.
    beat_at: Instant,
    ended: Option<CloseReason>,
    /// There was news while the peer took nothing.
    missed: bool,
    /// When the stay is over, because what its client showed does not count any longer.
    ends_at: Option<Instant>,
    seated: Seated,
    _user: Option<UserPlace>,
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
        let Stream { session, headers, greeting, mut subscription, starts, identity, presence, user, stay, tells_cluster } = stream;
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
        let cluster_told = tells_cluster.then(|| ground.hub().is_degraded());
        if let Some(is_degraded) = cluster_told {
            encoder.cluster(is_degraded, &mut first);
        }
        let is_live = subscription.is_live(ground.hub());
        if is_live {
            encoder.heartbeat(subscription.cursor().as_ref(), &mut first);
        }
        metrics.session_opened(front);
        let ends_at = stay.map(|stay| Instant::now() + stay);
        let beat_at = Instant::now() + ground.heartbeat_after();
        let heartbeat = Box::pin(tokio::time::sleep_until(next_look(beat_at, ends_at, cluster_told)));
        let mut ready = VecDeque::new();
        if !first.is_empty() {
            ready.push_back(first.into());
        }
        let marks = Marks::of(&subscription);
        let seated = ground.sit(session, front, &subscription, Some(&marks));
        let stay = ground.register().enter(session, identity.unwrap_or_default());
        let (ground, cursor_due) = (ground.clone(), !is_live);
        let began = ground.hub().clock().mono();
        let body = Self {
            session,
            began,
            ground,
            encoder,
            subscription,
            marks,
            stay,
            presence,
            watcher,
            ready,
            heartbeat,
            live: false,
            cursor_due,
            is_ahead: false,
            cluster_told,
            beat_at,
            ended: None,
            missed: false,
            ends_at,
            seated,
            _user: user,
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
        self.marks.set(&self.subscription);
        let (front, metrics) = (self.encoder.front(), self.ground.metrics());
        let now = self.ground.hub().clock().mono();
        let mut out = Vec::new();
        let mut messages = 0;
        for item in news {
            match item {
                News::Gap(channel, gap) => {
                    if let OutOfWindow::Close(reason) = out_of_window(self.ground.hub(), &channel, gap.reason) {
                        self.end(reason);
                        return true;
                    }
                    metrics.gap(front, gap.reason);
                    // What is passed over is no event in a client's life: it may be every other message.
                    if gap.reason != GapReason::Conflated {
                        self.ground.tell(self.session, front, What::Gap(channel.name.clone(), gap.reason));
                    }
                    self.encoder.gap(channel.slot, &channel.name, &gap, &mut out);
                    self.cursor_due = true;
                }
                News::Message(entry, own) => {
                    if let Some(cursor) = cursor.as_mut().filter(|_| self.encoder.wants_own_cursor()) {
                        // Its slot is in the cursor already, so this replaces and cannot be one too many.
                        let _ = cursor.insert(own.as_deref().cloned().unwrap_or_else(|| entry.slot_cursor()));
                        self.encoder.own_cursor(cursor, &mut out);
                    }
                    match own {
                        Some(own) => self.encoder.message(&entry, &CursorText::after(*own), &mut out),
                        None => out.extend_from_slice(&self.ground.encoded(self.encoder, &entry)),
                    }
                    if self.live {
                        metrics.latency(front, now.saturating_sub(entry.asked()), 1);
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

    /// Does what backends ordered about its client.
    fn obey(&mut self, told: Told) {
        let ended = match &told.word {
            _ if self.ended.is_some() => 0,
            Word::End(reason) => {
                self.end(*reason);
                1
            }
            Word::Unsubscribe(channels) => self.unsubscribe(channels),
        };
        told.done(ended);
    }

    /// Ends its subscriptions to these channels; without any it is over.
    fn unsubscribe(&mut self, channels: &Pattern) -> u64 {
        let names = self.subscription.channels().map(|channel| &channel.name).filter(|name| channels.covers(name));
        let names: Vec<ChannelName> = names.cloned().collect();
        let mut out = Vec::new();
        for name in &names {
            self.watcher.leave(name);
            self.seated.leave(name);
            self.subscription.remove(name);
            self.marks.set(&self.subscription);
            if let Some(presence) = &mut self.presence {
                presence.leave(name);
            }
            self.encoder.unsubscribed(name, &mut out);
            self.ground.tell(self.session, self.encoder.front(), What::Unsubscribed(name.clone()));
        }
        if !out.is_empty() {
            self.ready.push_back(out.into());
        }
        if !names.is_empty() && self.subscription.groups.is_empty() {
            self.end(CloseReason::Unsubscribed);
        }
        names.len() as u64
    }

    /// Tells how the cluster is when that changed and the client asked. `true` when there is something to be sent.
    fn tell_cluster(&mut self) -> bool {
        let is_degraded = self.ground.hub().is_degraded();
        if self.cluster_told.is_none_or(|told| told == is_degraded) {
            return false;
        }
        self.cluster_told = Some(is_degraded);
        let mut out = Vec::new();
        self.encoder.cluster(is_degraded, &mut out);
        self.ready.push_back(out.into());
        true
    }

    /// Ends it where its client's time is over.
    fn look_at_the_clock(&mut self) {
        if self.ended.is_none() && self.ends_at.is_some_and(|at| at <= Instant::now()) {
            self.end(CloseReason::TokenExpired);
        }
    }

    /// `true` when there was something to tell.
    fn tell_presence(&mut self, context: &mut Context<'_>) -> bool {
        let Some(presence) = self.presence.as_mut().filter(|presence| presence.has_ears()) else { return false };
        let (encoder, mut out) = (self.encoder, Vec::new());
        let told = presence.poll_told(context, |channel, notice| encoder.presence(channel, notice, &mut out));
        if !out.is_empty() {
            self.ready.push_back(out.into());
        }
        told.is_ready()
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
        let next = self.poll_piece(context);
        // Its connection asks only when its window has room, so one that is not heard from again does not keep up.
        let progress = self.seated.progress();
        let tell = if next.is_pending() { Progress::stands } else { Progress::handed };
        tell(progress);
        next
    }

    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.look_at_the_clock();
        while self.ended.is_none()
            && let Poll::Ready(told) = self.stay.poll_told(context)
        {
            self.obey(told);
        }
        if self.ended.is_none() {
            match self.watcher.poll_woken(context) {
                Poll::Ready(Woken::News) => self.missed = true,
                Poll::Ready(Woken::Ended(reason)) => self.end(reason),
                Poll::Pending => {}
            }
        }
        if self.ended.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn cut(&mut self, reason: CloseReason, limit: &'static str) {
        if self.ended.is_none() {
            self.ended = Some(reason);
            self.ground.tell(self.session, self.encoder.front(), What::Cut { limit });
        }
    }
}

impl<G: Ground> StreamBody<G> {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            self.look_at_the_clock();
            if let Some(told) = self.stay.take() {
                self.obey(told);
            }
            if let Some(bytes) = self.ready.pop_front() {
                self.beat_at = Instant::now() + self.ground.heartbeat_after();
                self.heartbeat.as_mut().reset(next_look(self.beat_at, self.ends_at, self.cluster_told));
                return Poll::Ready(Some(bytes));
            }
            if self.ended.is_some() {
                return Poll::Ready(None);
            }
            if !self.live {
                self.live = self.read();
                continue;
            }
            if let Poll::Ready(told) = self.stay.poll_told(context) {
                self.obey(told);
                continue;
            }
            let woken = if std::mem::take(&mut self.missed) { Poll::Ready(Woken::News) } else { self.watcher.poll_woken(context) };
            match woken {
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
            if self.tell_presence(context) {
                continue;
            }
            if self.heartbeat.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if self.tell_cluster() {
                continue;
            }
            let now = Instant::now();
            if self.beat_at > now {
                self.heartbeat.as_mut().reset(next_look(self.beat_at, self.ends_at, self.cluster_told));
            } else if self.ends_at.is_none_or(|at| at > now) {
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
