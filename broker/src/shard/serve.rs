//! Reading the log for a session that is behind: after joining with history, after its socket was full, after the inbox
//! was. One page at a time, and never a queue: the session keeps its position and nothing else.

use super::inbound::{LastWords, Phase};
use super::session::Listener;
use super::state::State;
use super::tally::Tally;
use crate::close::CloseReason;
use crate::journal::What;
use crate::log::{CursorText, GapReason, PageLimit};
use crate::session::{News, OutOfWindow, out_of_window};

/// Entries in one page; its bytes are bounded by `shard.page_bytes`.
const PAGE_ENTRIES: usize = 1024;

impl State {
    /// Gives a session that is behind its next page; it stays in the queue until it stands at the head.
    pub(super) fn serve(&mut self, key: u32, tally: &mut Tally) {
        let Some(Listener::Session(session)) = self.listeners.get_mut(key as usize) else { return };
        if !session.behind || session.rest.is_some() || session.ended.is_some() {
            return;
        }
        let front = session.encoder.front();
        let shard = self.metrics.shard(self.number);
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();

        // Often the ring still has it all, already encoded; unless only the newest is wanted.
        if session.is_plain
            && !session.subscription.groups[0].members[0].channel.conflates
            && let Some(channel) = self.channels.get_mut(session.places[0].local as usize)
        {
            let group = &mut session.subscription.groups[0];
            let after = group.pos.idx.max(group.members[0].from);
            // A position of another epoch may be of a branch that the line has left: the log knows.
            let is_of_the_epoch = || channel.run(0, 1).next().is_some_and(|entry| entry.pos.epoch == group.pos.epoch);
            let is_of_the_ring = !self.hub.is_shared() || group.own_since.is_none() && is_of_the_epoch();
            if is_of_the_ring && after >= channel.base && after < channel.newest {
                if let Some(joined) = channel.joined(after, (session.form, session.encoder), self.bounds.page_bytes) {
                    out.extend_from_slice(&joined.bytes);
                    group.pos = joined.upto;
                    let (first, count) = (joined.first, joined.count);
                    let asked = channel.run(first, count).next().map(|entry| entry.asked());
                    session.write(&out, count as u64, asked, self.tick, tally);
                }
                if session.rest.is_none() {
                    self.behind.push_back(key);
                }
                self.scratch = out;
                return;
            }
        }

        let limit = PageLimit { entries: PAGE_ENTRIES, bytes: self.bounds.page_bytes };
        let id = session.id;
        let mut told = Vec::new();
        let mut cursor = session.subscription.cursor();
        let at_head = match session.subscription.read(&self.hub, limit) {
            Ok((news, at_head)) => {
                let mut messages = 0;
                let mut asked = None;
                for item in news {
                    match item {
                        News::Gap(channel, gap) => match out_of_window(&self.hub, &channel, gap.reason) {
                            OutOfWindow::Declare => {
                                shard.gap(front, gap.reason);
                                session.encoder.gap(channel.slot, &channel.name, &gap, &mut out);
                                // What is passed over is no event in a client's life: it may be every other message.
                                if gap.reason != GapReason::Conflated {
                                    told.push((channel.name.clone(), gap.reason));
                                }
                                session.cursor_due = true;
                            }
                            OutOfWindow::Close(reason) => {
                                self.scratch = out;
                                return self.end_session(key, reason, tally);
                            }
                        },
                        News::Message(entry, _) if session.leaves_out(&entry) => {}
                        News::Message(entry, own) => {
                            if let Some(cursor) = cursor.as_mut().filter(|_| session.encoder.wants_own_cursor()) {
                                // Its slot is in the cursor already, so this replaces and cannot be one too many.
                                let _ = cursor.insert(own.as_deref().cloned().unwrap_or_else(|| entry.slot_cursor()));
                                session.encoder.own_cursor(cursor, &mut out);
                            }
                            match own {
                                Some(own) => session.encoder.message(&entry, &CursorText::after(*own), &mut out),
                                None => out.extend_from_slice(&self.cache.message(session.encoder, &entry)),
                            }
                            asked.get_or_insert(entry.asked());
                            messages += 1;
                        }
                    }
                }
                if at_head && std::mem::take(&mut session.cursor_due) {
                    session.encoder.heartbeat(session.subscription.cursor().as_ref(), &mut out);
                } else {
                    session.is_ahead = true;
                }
                shard.page_read(messages);
                // A replayed message was asked for long ago; its age is no delay of ours.
                let asked = asked.filter(|_| !session.replaying);
                session.write(&out, messages, asked, self.tick, tally);
                at_head
            }
            // Cannot be while the shard listens; if it is, the client had better start anew.
            Err(_) => {
                self.scratch = out;
                return self.end_session(key, CloseReason::Stopped, tally);
            }
        };
        self.scratch = out;
        let mut caught_up = false;
        if at_head {
            (session.behind, session.replaying) = (false, false);
            // With a full socket it is not there yet.
            caught_up = session.rest.is_none() && self.late.catch_up(key, session, shard);
        } else if session.rest.is_none() && session.ended.is_none() {
            self.behind.push_back(key);
        }
        for (channel, reason) in told {
            self.tell(id, front, What::Gap(channel, reason));
        }
        if caught_up {
            self.tell(id, front, What::CaughtUp);
        }
    }

    /// Says farewell and ends the stay; the session's task closes the socket once the last byte is out.
    pub(super) fn end_session(&mut self, key: u32, reason: CloseReason, tally: &mut Tally) {
        let retry = crate::session::retry_after(reason, || self.retry_hint());
        let Some(Listener::Session(session)) = self.listeners.get_mut(key as usize) else { return };
        if session.ended.is_some() {
            return;
        }
        let mut out = Vec::new();
        session.encoder.farewell(reason, retry, &mut out);
        let mut is_unfinished = false;
        if let Some(conversation) = &mut session.conversation {
            is_unfinished = !conversation.work.is_done();
            conversation.phase = if is_unfinished {
                Phase::Finishing(LastWords { bytes: std::mem::take(&mut out), is_client_due: true })
            } else {
                Phase::Said { is_client_due: true }
            };
        }
        session.write_behind(&out, self.tick, tally);
        session.end(reason);
        if is_unfinished {
            self.finish_in_time(key);
        }
    }

    /// Makes room when the unsent rests of all sessions hold too much: who has been behind for longest is cut, and may come
    /// back with its cursor.
    pub(super) fn relieve(&mut self) {
        while self.unsent.bytes() > self.bounds.unsent_bytes {
            let holds = |key: &u32| matches!(self.listeners.get(*key as usize), Some(Listener::Session(session)) if session.rest.is_some());
            let Some(key) = self.late.by_age().find(holds) else { return };
            let Some(session) = self.session(key) else { return };
            session.conversation = None;
            session.end(CloseReason::TooSlow);
            session.cut();
            let (id, front) = (session.id, session.encoder.front());
            self.tell(id, front, What::Cut { limit: "limits.unsent_bytes" });
        }
    }

    /// How long a client should wait before it comes back: each draws its own, so that they do not come all at once.
    pub(super) fn retry_hint(&self) -> std::time::Duration {
        let (min, max) = (self.bounds.retry_min, self.bounds.retry_max.max(self.bounds.retry_min));
        rand::random_range(min..=max)
    }
}
