//! Listening: the broker's pull subscription as a stream of replies.

use std::collections::VecDeque;
use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream;
use parking_lot::Mutex;
use prost::Message;
use tidings_proto::v1;
use tidings_proto::v1::subscribe_reply::Reply;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use super::outgoing::{self, Endless, Outgoing};
use super::unread::{Held, SHARE_BYTES, Share, Unread};
use super::{GrpcServices, convert};
use crate::auth::{Action, Pass};
use crate::broker::{Delivery, Since, Subscribe, Subscription, retry_after};
use crate::close::CloseReason;
use crate::control::{Entered, Told, Word};
use crate::error::{Error, Result};
use crate::journal::{Seated, SessionId, Signs, Sitting, What};
use crate::limits::UserPlace;
use crate::log::{Cursor, CursorText, Entry, GapReason};
use crate::message::ChannelName;
use crate::metrics::Front;

/// How often it is looked how the cluster is, for those who want to be told.
const CLUSTER_LOOK: Duration = Duration::from_secs(1);

/// What a reply takes beside its payload, about.
const REPLY_BYTES: usize = 512;

/// Replies of one delivery that are no more are part of what every stream costs.
const REPLIES_BYTES_FREE: usize = 4 << 10;

/// What a listener is told.
pub(super) type Replies = Pin<Box<dyn Stream<Item = Result<v1::SubscribeReply, Status>> + Send>>;

/// Reads a subscribe.
fn asked(request: &v1::SubscribeRequest) -> Result<Subscribe> {
    use v1::subscribe_request::Since as Wire;
    if request.channels.is_empty() {
        return Err(Error::invalid("name at least one channel in `channels`"));
    }
    let channels = request.channels.iter().map(|name| ChannelName::parse(name)).collect::<Result<_>>()?;
    let since = match &request.since {
        None | Some(Wire::Earliest(false)) => Since::Live,
        Some(Wire::Earliest(true)) => Since::Earliest,
        Some(Wire::Last(count)) => Since::Last(*count),
        Some(Wire::Cursor(text)) => Since::Cursor(convert::cursor(text)?.ok_or_else(|| Error::invalid("`cursor` is given but empty"))?),
    };
    Ok(Subscribe { presence: request.presence, ..Subscribe::to(channels, since) })
}

impl GrpcServices {
    /// Joins, and gives out what comes until one side ends it.
    ///
    /// # Errors
    /// What the broker says against the channels or the cursor.
    pub(super) async fn listen(
        &self,
        (pass, session): (&Pass, SessionId),
        request: &v1::SubscribeRequest,
        origin: Option<SocketAddr>,
        (unread, outgoing): (Arc<Unread>, Option<Arc<Outgoing>>),
        drain: CancellationToken,
    ) -> Result<Replies> {
        self.broker.check_subscribe_channels(request.channels.len())?;
        let asked = Subscribe { member: pass.member(session.as_str()), ..asked(request)? };
        let looks_back = matches!(asked.since, Since::Earliest | Since::Last(_));
        for channel in &asked.channels {
            pass.check(Action::Subscribe, channel)?;
            if looks_back {
                pass.check(Action::History, channel)?;
            }
            if asked.presence {
                pass.check(Action::Presence, channel)?;
            }
        }
        let place = pass.take_place()?;
        let sitting = Sitting { session, front: Front::Grpc, address: origin, channels: asked.channels.clone() };
        let mut subscription = self.broker.subscribe(asked).await?;
        let mut listener = Listener {
            entered: self.control.register().enter(session, pass.identity().unwrap_or_default()),
            stay: Stay::open(self.clone(), sitting, (unread.clone(), outgoing.clone()), place, &mut subscription),
            cursor: subscription.cursor(),
            subscription,
            replies: VecDeque::new(),
            share: unread.share(),
            held: None,
            waiting: Vec::new(),
            heartbeat: rand::random_range(self.heartbeat.clone()),
            silence_ends: None,
            cursor_due: false,
            is_closed: false,
            ends_at: pass.left().map(|left| Instant::now() + left),
            cluster_told: None,
            look_at: Instant::now() + CLUSTER_LOOK,
            timer: Box::pin(sleep_until(Instant::now())),
            drained: Box::pin(drain.cancelled_owned()),
        };
        listener.say(Reply::Subscribed(v1::Subscribed {}));
        if request.tells_cluster {
            listener.tell_cluster();
        }
        let listener = Arc::new(Mutex::new(listener));
        if let Some(outgoing) = outgoing {
            // Not held by it: the listener knows its answer, too.
            let endless: Arc<Mutex<dyn Endless>> = listener.clone();
            outgoing.is_of(Arc::downgrade(&endless));
        }
        Ok(Box::pin(stream::poll_fn(move |context| listener.lock().poll_followed(context).map(|reply| reply.map(Ok)))))
    }
}

impl GrpcServices {
    /// Tells that a listener was not let in.
    pub(super) fn refused(&self, session: SessionId, origin: Option<SocketAddr>, error: &Error) {
        self.journal.tell(session, Front::Grpc, What::refused(error, origin), self.clock.now().unix_ms);
    }
}

/// One subscription on its way to one client.
struct Listener {
    stay: Stay,
    /// Where orders of backends find it.
    entered: Entered,
    subscription: Subscription,
    /// Where the client stands once it has read all `replies`.
    cursor: Cursor,
    /// Not yet taken by the connection. Refilled only when empty, so it is bounded by one delivery.
    replies: VecDeque<v1::SubscribeReply>,
    /// What of the connection it may have, and what `replies` and `waiting` are of that if they are many.
    share: Share,
    held: Option<Held>,
    /// Messages that follow `replies`, for which the connection had no room.
    waiting: Vec<Arc<Entry>>,
    heartbeat: Duration,
    /// When it is told that all is well, if nothing else is to tell; none until it is asked for more.
    silence_ends: Option<Instant>,
    /// A gap was told, and the cursor still lies before it; at the head a fresh one follows.
    cursor_due: bool,
    is_closed: bool,
    /// When what the caller showed does not count any longer.
    ends_at: Option<Instant>,
    /// What it was told last of the cluster, whether it is degraded; none for a caller that did not ask.
    cluster_told: Option<bool>,
    look_at: Instant,
    /// For whatever is due first.
    timer: Pin<Box<Sleep>>,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Endless for Listener {
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.is_closed
            && let Poll::Ready(reason) = self.poll_ended(context)
        {
            if let Some(reason) = reason {
                self.close(reason);
            }
        }
        if self.is_closed { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Listener {
    /// As [`Listener::poll_next`], and tells how the client gets on: whoever asks waits when there is nothing, and has everything then.
    fn poll_followed(&mut self, context: &mut Context<'_>) -> Poll<Option<v1::SubscribeReply>> {
        let reply = self.poll_next(context);
        let progress = self.stay.seated.progress();
        if reply.is_pending() {
            progress.stands();
        } else {
            progress.handed();
            self.silence_ends = None;
        }
        reply
    }

    /// The next reply; `None` after the last.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<v1::SubscribeReply>> {
        // Behind a gap with nothing after it a fresh cursor comes at once, or a client that comes back is told again.
        let silence = if self.cursor_due { Duration::ZERO } else { self.heartbeat };
        let silence_ends = *self.silence_ends.get_or_insert_with(|| Instant::now() + silence);
        if self.replies.is_empty() && !self.waiting.is_empty() {
            let entries = std::mem::take(&mut self.waiting);
            self.take(entries);
        }
        while self.replies.is_empty() && !self.is_closed {
            if let Poll::Ready(reason) = self.poll_ended(context) {
                if let Some(reason) = reason {
                    self.close(reason);
                }
                continue;
            }
            match self.subscription.poll_next(context) {
                Poll::Ready(delivery) => self.deliver(delivery),
                Poll::Pending => ready!(self.poll_due(silence_ends, context)),
            }
        }
        let reply = self.replies.pop_front();
        if self.replies.is_empty() && self.waiting.is_empty() {
            self.held = None;
        }
        Poll::Ready(reply)
    }

    /// Ready when it has to end, and why, or when it has done what a backend ordered.
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<Option<CloseReason>> {
        if self.drained.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(CloseReason::Draining));
        }
        if let Poll::Ready(told) = self.entered.poll_told(context) {
            self.obey(told);
            return Poll::Ready(None);
        }
        if self.ends_at.is_some_and(|ends_at| ends_at <= Instant::now()) {
            return Poll::Ready(Some(CloseReason::TokenExpired));
        }
        Poll::Pending
    }

    /// Queues what comes of a delivery.
    fn deliver(&mut self, delivery: Option<Delivery>) {
        match delivery {
            Some(Delivery::Messages(entries)) => self.take(entries),
            Some(Delivery::Gap { channel, gap }) => {
                self.stay.services.metrics.off_shard().gap(Front::Grpc, gap.reason);
                // What is passed over is no event in a client's life: it may be every other message.
                if gap.reason != GapReason::Conflated {
                    self.stay.tell(What::Gap(channel.clone(), gap.reason));
                }
                // The cursor stays: who is cut off here is told again, rather than never.
                self.say(Reply::Gap(convert::gap(&channel, &gap)));
                self.cursor_due = true;
            }
            Some(Delivery::Presence { channel, notice }) => self.say(Reply::Presence(convert::notice(&channel, notice))),
            Some(Delivery::Closed(reason)) => self.close(reason),
            None => self.close(CloseReason::Stopped),
        }
    }

    /// Ready when something was due, by the clock, while nothing came.
    fn poll_due(&mut self, silence_ends: Instant, context: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        if silence_ends <= now {
            // Moved on in quiet channels too: a cursor that only grows old could meet a gap that is none.
            self.cursor = self.subscription.refresh();
            self.cursor_due = false;
            self.say(Reply::Heartbeat(v1::Heartbeat {}));
            return Poll::Ready(());
        }
        if self.cluster_told.is_some() && self.look_at <= now {
            self.look_at = now + CLUSTER_LOOK;
            if self.cluster_told != Some(self.stay.services.broker.is_degraded()) {
                self.tell_cluster();
            }
            return Poll::Ready(());
        }
        let look_at = self.cluster_told.is_some().then_some(self.look_at);
        let due = [self.ends_at, look_at].into_iter().flatten().fold(silence_ends, Instant::min);
        if self.timer.deadline() != due {
            self.timer.as_mut().reset(due);
        }
        self.timer.as_mut().poll(context)
    }

    /// Does what a backend ordered about the one who listens.
    fn obey(&mut self, told: Told) {
        let ended = match &told.word {
            Word::End(reason) => {
                self.close(*reason);
                1
            }
            Word::Unsubscribe(channels) => {
                let names: Vec<ChannelName> = self.subscription.channels().filter(|name| channels.covers(name)).cloned().collect();
                let is_over = !names.is_empty() && names.len() == self.subscription.channels().count();
                for name in &names {
                    self.subscription.leave(name);
                    self.stay.seated.leave(name);
                    self.stay.tell(What::Unsubscribed(name.clone()));
                    self.say(Reply::Unsubscribed(convert::unsubscribed(name)));
                }
                if is_over {
                    self.close(CloseReason::Unsubscribed);
                }
                names.len() as u64
            }
        };
        told.done(ended);
    }

    /// Queues how the cluster is.
    fn tell_cluster(&mut self) {
        let is_degraded = self.stay.services.broker.is_degraded();
        self.cluster_told = Some(is_degraded);
        let condition = if is_degraded { "degraded" } else { "whole" };
        self.say(Reply::Cluster(v1::ClusterCondition { condition: condition.to_owned() }));
    }

    /// Queues messages: as many as the connection has room for, and the others when those are taken.
    fn take(&mut self, mut entries: Vec<Arc<Entry>>) {
        let size = |entry: &Arc<Entry>| REPLY_BYTES + entry.payload.bytes().len();
        let bytes: usize = entries.iter().map(size).sum();
        self.held = None;
        if bytes > REPLIES_BYTES_FREE {
            self.held = self.share.hold_of_all(bytes);
            if self.held.is_none() {
                let mut left = SHARE_BYTES;
                let fit = entries.iter().take_while(|entry| {
                    let fits = size(entry) <= left;
                    left = left.saturating_sub(size(entry));
                    fits
                });
                self.waiting = entries.split_off(fit.count().max(1));
                // All of it, since what waits is kept from being forgotten.
                self.held = Some(self.share.hold_beside(bytes));
            }
        }
        self.messages(&entries);
    }

    /// Queues messages, each with the cursor that goes on right after it: a client cut off between two of them resumes
    /// without losing or repeating one.
    fn messages(&mut self, entries: &[Arc<Entry>]) {
        for entry in entries {
            let at = self.subscription.own().cloned().unwrap_or_else(|| entry.slot_cursor());
            let text = CursorText::after(at.clone());
            // Its slot is in the cursor since the join, so this replaces and cannot be one too many.
            let _ = self.cursor.insert(at);
            self.say(Reply::Message(convert::message_at(entry, &text)));
        }
        self.stay.count(entries, &self.replies);
    }

    fn close(&mut self, reason: CloseReason) {
        self.is_closed = true;
        self.stay.reason = reason;
        let retry = reason.may_retry();
        let hint = || rand::random_range(self.stay.services.retry_after.clone());
        let after = if retry { retry_after(reason, hint) } else { Duration::ZERO };
        self.say(Reply::Closed(v1::Closed {
            code: reason.as_str().to_owned(),
            message: reason.sentence().to_owned(),
            retry,
            retry_after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
        }));
    }

    fn say(&mut self, reply: Reply) {
        self.replies.push_back(v1::SubscribeReply { cursor: self.cursor.to_string(), reply: Some(reply) });
    }
}

/// A client's stay, counted when it begins and, whatever ends it, when it ends.
struct Stay {
    services: GrpcServices,
    session: SessionId,
    began: Duration,
    reason: CloseReason,
    seated: Seated,
    /// Whether it ended at a bound is known there.
    carried: (Arc<Unread>, Option<Arc<Outgoing>>),
    _place: Option<UserPlace>,
}

impl Stay {
    fn open(
        services: GrpcServices,
        sitting: Sitting,
        carried: (Arc<Unread>, Option<Arc<Outgoing>>),
        place: Option<UserPlace>,
        subscription: &mut Subscription,
    ) -> Self {
        let metrics = services.metrics.off_shard();
        metrics.session_opened(Front::Grpc);
        let (session, resumed) = (sitting.session, subscription.resumed());
        if let Some(recovered) = resumed {
            metrics.resumed(Front::Grpc, recovered);
        }
        let signs = Signs { has_news: Some(Box::new(subscription.has_news())), lacks: Some(Arc::new(subscription.lacks())) };
        let opened = What::Opened { channels: sitting.channels.iter().collect(), resumed, address: sitting.address };
        let seated = services.journal.sit(sitting, signs);
        let stay =
            Self { began: services.clock.mono(), session, services, reason: CloseReason::ClientGone, seated, carried, _place: place };
        stay.tell(opened);
        stay
    }

    fn tell(&self, what: What) {
        self.services.journal.tell(self.session, Front::Grpc, what, self.services.clock.now().unix_ms);
    }

    /// Tells at which bound it ended, if it did without a word.
    fn tell_cut(&mut self) {
        let (unread, outgoing) = &self.carried;
        let (reason, limit) = if unread.is_pushed_out() {
            (CloseReason::TooSlow, "limits.unsent_bytes")
        } else if outgoing.as_ref().is_some_and(|outgoing| outgoing.is_given_up()) {
            (CloseReason::ClientGone, outgoing::LIMIT)
        } else {
            return;
        };
        // One that had its last words ended by them.
        if self.reason == CloseReason::ClientGone {
            self.reason = reason;
            self.tell(What::Cut { limit });
        }
    }

    fn count(&self, entries: &[Arc<Entry>], replies: &VecDeque<v1::SubscribeReply>) {
        let metrics = self.services.metrics.off_shard();
        let bytes: usize = replies.iter().map(Message::encoded_len).sum();
        metrics.delivered(Front::Grpc, entries.len() as u64, bytes as u64);
        let now = self.services.clock.mono();
        for entry in entries {
            metrics.latency(Front::Grpc, now.saturating_sub(entry.asked()), 1);
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.tell_cut();
        self.services.metrics.off_shard().session_closed(Front::Grpc, self.reason);
        self.tell(What::Closed { reason: self.reason, lasted: self.services.clock.mono().saturating_sub(self.began) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    fn since(since: Option<v1::subscribe_request::Since>) -> Result<Since> {
        asked(&v1::SubscribeRequest { channels: vec!["a".into()], since, ..Default::default() }).map(|asked| asked.since)
    }

    #[test]
    fn every_start_is_understood() {
        use v1::subscribe_request::Since as Wire;
        assert!(matches!(since(None), Ok(Since::Live)));
        assert!(matches!(since(Some(Wire::Earliest(false))), Ok(Since::Live)));
        assert!(matches!(since(Some(Wire::Earliest(true))), Ok(Since::Earliest)));
        assert!(matches!(since(Some(Wire::Last(3))), Ok(Since::Last(3))));
        assert_eq!(since(Some(Wire::Cursor("no cursor".into()))).err().unwrap().code, ErrorCode::InvalidCursor);
        assert_eq!(since(Some(Wire::Cursor(String::new()))).err().unwrap().code, ErrorCode::InvalidRequest);
    }
}
