//! What a session's own small task does: notice that the client left, and go on when its full socket has drained.

use std::task::{Context, Poll};

use super::pipe::Pipe;
use super::session::{Listener, Session};
use super::state::State;
use super::tally::Tally;
use super::write::{Wrote, unsent};
use crate::close::CloseReason;
use crate::journal::What;

/// Reads of client bytes per wake-up; a client that sends more is read on the next round.
const READS: usize = 8;

impl State {
    /// Resolves when the stay is over and everything is written that could be.
    pub(super) fn attend(&mut self, key: u32, context: &mut Context<'_>, tally: &mut Tally) -> Poll<CloseReason> {
        let Some(Listener::Session(session)) = self.listeners.get_mut(key as usize) else {
            return Poll::Ready(CloseReason::Stopped);
        };
        let has_conversation = session.conversation.is_some();
        if !has_conversation && poll_left(&mut session.stream, context).is_ready() {
            session.rest = None;
            return Poll::Ready(*session.ended.get_or_insert(CloseReason::ClientGone));
        }
        if session.rest.is_some() {
            match session.poll_rest(context, tally) {
                Poll::Pending => {
                    let (id, front) = (session.id, session.encoder.front());
                    if self.late.enter(key, session, self.tick, self.metrics.shard(self.number)) {
                        self.tell(id, front, What::FellBehind);
                    }
                }
                Poll::Ready(Wrote::Gone) => {
                    session.rest = None;
                    let reason = *session.ended.get_or_insert(CloseReason::ClientGone);
                    if !has_conversation {
                        return Poll::Ready(reason);
                    }
                }
                Poll::Ready(_) if session.ended.is_none() => {
                    // Whatever came meanwhile is read from the ring or the log.
                    session.behind = true;
                    self.behind.push_back(key);
                    self.hub.inbox(self.number).rouse();
                }
                Poll::Ready(_) => {}
            }
        }
        // After the rest: what was answered must be out before more is asked.
        if has_conversation && let Poll::Ready(reason) = self.converse(key, context, tally) {
            return Poll::Ready(reason);
        }
        // After the client was listened to: what it shows from now on is what orders find it by.
        self.obey(key, context, tally);
        self.tell_presence(key, context, tally);
        let Some(session) = self.session(key) else { return Poll::Ready(CloseReason::Stopped) };
        // A conversation ends when both sides have said their last.
        if let (Some(reason), None, None) = (session.ended, &session.rest, &session.conversation) {
            return Poll::Ready(reason);
        }
        match &mut session.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl State {
    /// Tells who is there and who came and went, unless something else waits for the socket: then it is told after that.
    fn tell_presence(&mut self, key: u32, context: &mut Context<'_>, tally: &mut Tally) {
        let tick = self.tick;
        let Some(session) = self.session(key) else { return };
        if session.rest.is_some() || session.ended.is_some() {
            return;
        }
        let encoder = session.encoder;
        let Some(presence) = session.presence.as_mut().filter(|presence| presence.has_ears()) else { return };
        let mut out = Vec::new();
        while presence.poll_told(context, |channel, notice| encoder.presence(channel, notice, &mut out)).is_ready() {}
        if !out.is_empty() {
            session.write(&out, 0, None, tick, tally);
            if session.rest.is_some() {
                // Looked at again at once, which is how it waits for the socket.
                context.waker().wake_by_ref();
            }
        }
    }
}

impl Session {
    /// Writes the rest as the socket takes it.
    fn poll_rest(&mut self, context: &mut Context<'_>, tally: &mut Tally) -> Poll<Wrote> {
        while let Some(rest) = self.rest.as_mut() {
            match self.stream.poll_send_ready(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Wrote::Gone),
                Poll::Ready(Ok(())) => {}
            }
            tally.wrote();
            match self.stream.send_when_ready(&rest.bytes) {
                Wrote::All => {
                    let front = self.encoder.front();
                    tally.delivered(front, rest.messages, rest.counted(rest.bytes.len()));
                    if let Some(asked) = rest.asked {
                        tally.latency(front, asked, rest.messages);
                    }
                    self.rest = None;
                }
                Wrote::Part(sent) => {
                    tally.delivered(self.encoder.front(), 0, rest.counted(sent));
                    rest.bytes = unsent(&rest.bytes, sent);
                }
                Wrote::Gone => return Poll::Ready(Wrote::Gone),
            }
        }
        Poll::Ready(Wrote::All)
    }
}

/// Ready when the client closed its side. A stream is one-way, so whatever a client sends on it is thrown away.
fn poll_left(stream: &mut Pipe, context: &mut Context<'_>) -> Poll<()> {
    let mut thrown_away = [0; 1024];
    for _ in 0..READS {
        if std::task::ready!(stream.poll_receive(context, &mut thrown_away)) == 0 {
            return Poll::Ready(());
        }
    }
    context.waker().wake_by_ref();
    Poll::Pending
}
