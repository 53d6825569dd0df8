//! Conversations on a shard: reading what clients say, doing it, and ending in good form.
//!
//! One rule keeps all of it bounded and in order: while something unsent waits for the socket, nothing is read and nothing
//! else is answered. A client that does not read its answers is not served more.
//!
//! Whoever ends it, and however: what the client asked before is done, for a while at least, and answered as far as it listens.

use std::ops::ControlFlow;
use std::task::{Context, Poll};

use super::inbound::{Conversation, Ended, Hands, LastWords, Phase};
use super::session::{Listener, Session, Touch};
use super::state::{FINISH_TICKS, LAST_WORD_TICKS, State};
use super::tally::Tally;
use crate::close::CloseReason;
use crate::error::{Error, ErrorCode, Result};
use crate::journal::What;
use crate::message::ChannelName;
use crate::session::{Added, Bounds, Since};

/// Rounds per wake-up, of one read each; a client that says more waits for the next.
const ROUNDS: usize = 8;

impl State {
    pub(super) fn session(&mut self, key: u32) -> Option<&mut Session> {
        match self.listeners.get_mut(key as usize) {
            Some(Listener::Session(session)) => Some(session),
            _ => None,
        }
    }

    /// Lets the front do something for a session's client, and writes what came of it. `None` when there is no
    /// conversation.
    fn with_hands<T>(
        &mut self,
        key: u32,
        tally: &mut Tally,
        act: impl FnOnce(&mut Conversation, &mut Self, &mut Vec<u8>) -> (T, Option<Ended>),
    ) -> Option<T> {
        let mut conversation = self.session(key)?.conversation.take()?;
        let mut out = std::mem::take(&mut self.said);
        out.clear();
        let (outcome, ended) = act(&mut conversation, self, &mut out);
        let reason = ended.map(|Ended { reason, words }| {
            conversation.phase = Phase::Finishing(words);
            reason
        });
        conversation.conclude(&mut out);
        let is_unfinished = matches!(conversation.phase, Phase::Finishing(_));
        let tick = self.tick;
        if let Some(session) = self.session(key) {
            session.conversation = Some(conversation);
            session.write(&out, 0, None, tick, tally);
            if let Some(reason) = reason {
                session.end(reason);
                if is_unfinished {
                    self.finish_in_time(key);
                }
            }
        }
        // One large answer must not stay as a buffer for ever.
        out.shrink_to(self.bounds.page_bytes);
        self.said = out;
        Some(outcome)
    }

    /// What is under way when a stay ends has so long.
    pub(super) fn finish_in_time(&mut self, key: u32) {
        let due = self.tick + FINISH_TICKS;
        if let Some(session) = self.session(key) {
            session.due = due;
            self.wheel.schedule(key, FINISH_TICKS as usize);
        }
    }

    /// The head, and the front's first words behind it.
    pub(super) fn begin_conversation(&mut self, key: u32, head: &[u8], tally: &mut Tally) {
        self.with_hands(key, tally, |conversation, state, out| {
            out.extend_from_slice(head);
            let Conversation { inbound, work, .. } = conversation;
            let mut hands = Hands::new(state, key, work, out);
            inbound.begin(&mut hands);
            ((), hands.ended())
        });
    }

    /// A heartbeat in both directions: whoever did not answer the last one is gone.
    pub(super) fn beat(&mut self, key: u32, tally: &mut Tally) {
        let Some(Listener::Session(session)) = self.listeners.get_mut(key as usize) else { return };
        let Some(conversation) = &session.conversation else { return };
        // It cannot be asked, and what it says is not read, as long as it does not take what is there for it.
        if session.rest.is_some() || !conversation.held.is_empty() {
            return;
        }
        if conversation.is_asked {
            return self.end_session(key, CloseReason::Unresponsive, tally);
        }
        session.forget_echoes(self.tick);
        let moved = !session.behind && (session.subscription.refresh(&self.hub) | std::mem::take(&mut session.is_ahead));
        let (encoder, cursor) = (session.encoder, if moved { session.subscription.cursor() } else { None });
        self.with_hands(key, tally, |conversation, state, out| {
            if cursor.is_some() {
                encoder.heartbeat(cursor.as_ref(), out);
            }
            conversation.is_asked = true;
            let Conversation { inbound, work, .. } = conversation;
            let mut hands = Hands::new(state, key, work, out);
            inbound.beat(&mut hands);
            ((), hands.ended())
        });
    }

    /// Reads, listens, answers. Ready when the stay is over for both sides.
    pub(super) fn converse(&mut self, key: u32, context: &mut Context<'_>, tally: &mut Tally) -> Poll<CloseReason> {
        let mut input = std::mem::take(&mut self.input);
        input.resize(super::INPUT_BYTES, 0);
        let mut outcome = Poll::Pending;
        for round in 0.. {
            if round == ROUNDS {
                context.waker().wake_by_ref();
                break;
            }
            match self.converse_once(key, &mut input, context, tally) {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(polled) => {
                    outcome = polled;
                    break;
                }
            }
        }
        self.input = input;
        outcome
    }

    /// One round. `Continue` when another may find something to do.
    fn converse_once(
        &mut self,
        key: u32,
        input: &mut [u8],
        context: &mut Context<'_>,
        tally: &mut Tally,
    ) -> ControlFlow<Poll<CloseReason>> {
        let gone = ControlFlow::Break(Poll::Ready(CloseReason::ClientGone));
        let Some(session) = self.session(key) else { return gone };
        if session.rest.is_some() {
            return ControlFlow::Break(Poll::Pending);
        }
        let ended = session.ended;
        let Some(conversation) = &mut session.conversation else { return gone };
        match (ended, &conversation.phase) {
            (None, _) => {}
            (Some(reason), Phase::Said { is_client_due: true }) => return self.hear_last_word(key, reason, input, context),
            (Some(reason), Phase::Said { is_client_due: false }) => return ControlFlow::Break(Poll::Ready(reason)),
            (Some(_), Phase::Open) => return self.finish(key, Some(Ended::by_client(Vec::new())), context, tally),
            (Some(_), Phase::Finishing(_)) => return self.finish(key, None, context, tally),
        }
        let mut held = std::mem::take(&mut conversation.held);
        let bytes = if held.is_empty() {
            match session.stream.poll_receive(context, input) {
                Poll::Ready(0) => return self.finish(key, Some(Ended::by_client(Vec::new())), context, tally),
                Poll::Ready(count) => {
                    conversation.is_asked = false;
                    &mut input[..count]
                }
                Poll::Pending => &mut [],
            }
        } else {
            &mut held[..]
        };
        let page_bytes = self.bounds.page_bytes;
        let listened = self.with_hands(key, tally, |conversation, state, out| {
            let mut ended = None;
            let mut taken = 0;
            if !bytes.is_empty() {
                let Conversation { inbound, work, .. } = &mut *conversation;
                let mut hands = Hands::new(state, key, work, out);
                taken = inbound.read(bytes, &mut hands);
                ended = hands.ended();
            }
            let mut finished = conversation.work.poll(context, out, page_bytes);
            if ended.is_none() {
                let Conversation { inbound, work, .. } = &mut *conversation;
                let mut hands = Hands::new(state, key, work, out);
                inbound.poll_over(context, &mut hands);
                finished |= inbound.resume(&mut hands);
                ended = hands.ended();
            }
            if ended.is_none() {
                conversation.held = bytes[taken..].to_vec();
            }
            (taken > 0 || finished || ended.is_some(), ended)
        });
        match listened {
            None => gone,
            Some(true) => ControlFlow::Continue(()),
            Some(false) => ControlFlow::Break(Poll::Pending),
        }
    }

    /// Goes on with the work that is under way at the end of a stay; `ended` ends it here.
    fn finish(&mut self, key: u32, ended: Option<Ended>, context: &mut Context<'_>, tally: &mut Tally) -> ControlFlow<Poll<CloseReason>> {
        let page_bytes = self.bounds.page_bytes;
        let finished = self.with_hands(key, tally, |conversation, _, out| {
            let finished = conversation.work.poll(context, out, page_bytes);
            (finished || conversation.work.is_done() || ended.is_some(), ended)
        });
        match finished {
            None => ControlFlow::Break(Poll::Ready(CloseReason::ClientGone)),
            Some(true) => ControlFlow::Continue(()),
            Some(false) => ControlFlow::Break(Poll::Pending),
        }
    }

    /// Everything is said from here: the client may say its last, for a moment.
    fn hear_last_word(
        &mut self,
        key: u32,
        reason: CloseReason,
        input: &mut [u8],
        context: &mut Context<'_>,
    ) -> ControlFlow<Poll<CloseReason>> {
        let over = ControlFlow::Break(Poll::Ready(reason));
        let tick = self.tick;
        let Some(session) = self.session(key) else { return over };
        let Some(conversation) = &mut session.conversation else { return over };
        let is_first = !std::mem::replace(&mut conversation.is_closing, true);
        if conversation.inbound.read_last(&mut std::mem::take(&mut conversation.held)).is_break() {
            return over;
        }
        let heard = match session.stream.poll_receive(context, input) {
            Poll::Pending => ControlFlow::Break(Poll::Pending),
            Poll::Ready(0) => return over,
            Poll::Ready(count) => match conversation.inbound.read_last(&mut input[..count]) {
                ControlFlow::Continue(()) => ControlFlow::Continue(()),
                ControlFlow::Break(()) => return over,
            },
        };
        if is_first {
            session.due = tick + LAST_WORD_TICKS;
            self.wheel.schedule(key, LAST_WORD_TICKS as usize);
        }
        heard
    }

    /// Lets a session listen to one more channel.
    pub(super) fn subscribe(&mut self, key: u32, name: &ChannelName, since: &Since, bounds: Bounds) -> Result<Added> {
        let session = self.session(key).ok_or_else(left)?;
        session.subscription.may_add(name, bounds)?;
        // Listen first, then join: what is committed in between comes by both ways and is told apart by its position.
        self.listen(key, std::slice::from_ref(name))?;
        let hub = self.hub.clone();
        let session = self.session(key).ok_or_else(left)?;
        let place = session.places.pop().ok_or_else(left)?;
        let added = match session.subscription.add(&hub, name, since) {
            Ok(added) => added,
            Err(error) => {
                self.leave(place);
                return Err(error);
            }
        };
        session.places.insert(added.at, place);
        session.settle();
        let front = session.encoder.front();
        session.cursor_due |= added.gap.is_some();
        if !added.is_live && !session.behind {
            (session.behind, session.replaying) = (true, true);
            if session.touch == Touch::Kept {
                session.touch = Touch::Joining;
            }
            self.behind.push_back(key);
            self.hub.inbox(self.number).rouse();
        }
        let shard = self.metrics.shard(self.number);
        if let Some(gap) = &added.gap {
            shard.gap(front, gap.reason);
        }
        if matches!(since, Since::Cursor(_)) {
            shard.resumed(front, added.recovered);
        }
        if let Some(session) = self.session(key) {
            let id = session.id;
            self.tell(id, front, What::Subscribed(name.clone()));
            if let Some(gap) = &added.gap {
                self.tell(id, front, What::Gap(name.clone(), gap.reason));
            }
        }
        Ok(added)
    }

    /// Takes a session out of a channel.
    pub(super) fn unsubscribe(&mut self, key: u32, name: &ChannelName) {
        let Some(session) = self.session(key) else { return };
        let Some(at) = session.subscription.remove(name) else { return };
        let place = session.places.remove(at);
        session.settle();
        if let Some(presence) = &mut session.presence {
            presence.leave(name);
        }
        let (id, front) = (session.id, session.encoder.front());
        self.leave(place);
        self.tell(id, front, What::Unsubscribed(name.clone()));
    }
}

impl Conversation {
    /// Says the last words, if nothing is left to be answered before.
    fn conclude(&mut self, out: &mut Vec<u8>) {
        if !self.work.is_done() {
            return;
        }
        if let Phase::Finishing(LastWords { bytes, is_client_due }) = &self.phase {
            out.extend_from_slice(bytes);
            self.phase = Phase::Said { is_client_due: *is_client_due };
        }
    }
}

fn left() -> Error {
    Error::new(ErrorCode::Internal, "the session is over")
}
