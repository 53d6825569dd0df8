//! Conversations on a shard: reading what clients say, doing it, and ending in good form.
//!
//! One rule keeps all of it bounded and in order: while something unsent waits for the socket, nothing is read and nothing
//! else is answered. A client that does not read its answers is not served more.

use std::ops::ControlFlow;
use std::task::{Context, Poll};

use tokio::net::TcpStream;

use super::inbound::{Conversation, Hands};
use super::session::{Listener, Session};
use super::state::{LAST_WORD_TICKS, State};
use super::tally::Tally;
use crate::close::CloseReason;
use crate::error::{Error, ErrorCode, Result};
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
        act: impl FnOnce(&mut Conversation, &mut Self, &mut Vec<u8>) -> (T, Option<CloseReason>),
    ) -> Option<T> {
        let mut conversation = self.session(key)?.conversation.take()?;
        let mut out = std::mem::take(&mut self.said);
        out.clear();
        let (outcome, ended) = act(&mut conversation, self, &mut out);
        let tick = self.tick;
        if let Some(session) = self.session(key) {
            session.conversation = Some(conversation);
            session.write(&out, 0, None, tick, tally);
            if let Some(reason) = ended {
                session.end(reason);
            }
        }
        // One large answer must not stay as a buffer for ever.
        out.shrink_to(self.bounds.page_bytes);
        self.said = out;
        Some(outcome)
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
        let stream = session.stream.clone();
        if let Some(reason) = session.ended {
            return self.hear_last_word(key, reason, &stream, input, context);
        }
        let Some(conversation) = &mut session.conversation else { return gone };
        let mut held = std::mem::take(&mut conversation.held);
        let bytes = if held.is_empty() {
            match poll_read(&stream, input, context) {
                Poll::Ready(0) => return gone,
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
            let mut is_over = false;
            let mut ended = None;
            let mut taken = 0;
            if !bytes.is_empty() {
                let Conversation { inbound, work, .. } = &mut *conversation;
                let mut hands = Hands::new(state, key, work, out);
                match inbound.read(bytes, &mut hands) {
                    ControlFlow::Continue(count) => taken = count,
                    ControlFlow::Break(()) => is_over = true,
                }
                ended = hands.ended();
            }
            // Also of a client that leaves in this moment: what it asked for last is at least begun.
            let finished = if ended.is_none() { conversation.work.poll(context, out, page_bytes) } else { false };
            if !is_over && ended.is_none() {
                conversation.held = bytes[taken..].to_vec();
            }
            ((is_over, taken > 0 || finished || ended.is_some()), ended)
        });
        match listened {
            None => gone,
            Some((true, _)) => {
                let Some(session) = self.session(key) else { return gone };
                // What could not be written of the answer to its farewell is not worth waiting for.
                let reason = session.ended.unwrap_or(CloseReason::ClientGone);
                ControlFlow::Break(Poll::Ready(reason))
            }
            Some((false, true)) => ControlFlow::Continue(()),
            Some((false, false)) => ControlFlow::Break(Poll::Pending),
        }
    }

    /// Everything is said from here: the client may say its last, for a moment.
    fn hear_last_word(
        &mut self,
        key: u32,
        reason: CloseReason,
        stream: &TcpStream,
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
        let heard = match poll_read(stream, input, context) {
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
        let front = session.encoder.front();
        session.cursor_due |= added.gap.is_some();
        if !added.is_live && !session.behind {
            (session.behind, session.replaying) = (true, true);
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
        Ok(added)
    }

    /// Takes a session out of a channel.
    pub(super) fn unsubscribe(&mut self, key: u32, name: &ChannelName) {
        let Some(session) = self.session(key) else { return };
        let Some(at) = session.subscription.remove(name) else { return };
        let place = session.places.remove(at);
        self.leave(place);
    }
}

fn left() -> Error {
    Error::new(ErrorCode::Internal, "the session is over")
}

/// Reads what is there. Ready with 0 when nothing will come any more.
fn poll_read(stream: &TcpStream, input: &mut [u8], context: &mut Context<'_>) -> Poll<usize> {
    loop {
        match stream.poll_read_ready(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(0),
            Poll::Ready(Ok(())) => {}
        }
        match stream.try_read(input) {
            Ok(count) => return Poll::Ready(count),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return Poll::Ready(0),
        }
    }
}
