//! The circular walk: a hand goes round the listeners of each channel that has news, and everyone it visits gets all it
//! lacks in one write. New messages may come in at any time; the walk ends when a full round brought nothing new.

use std::time::Duration;

use bytes::Bytes;

use super::encoder::Form;
use super::ring::VACANT;
use super::session::{Listener, Rest, Session};
use super::state::{State, raise};
use super::tally::Tally;
use super::write::{Wrote, unsent};
use crate::close::CloseReason;
use crate::log::CursorText;

/// Visits of one turn, after which sockets and timers have theirs.
const SLICE: usize = 64;
/// Sessions per turn that read one page of the log each.
const PAGES: usize = 16;

/// The same bytes went to a run of sessions; what they are counted as is booked once for all.
#[derive(Clone, Copy)]
struct Run {
    first: usize,
    count: usize,
    form: Form,
    bytes: usize,
    sessions: u64,
}

impl State {
    /// One slice of work. `true` when there is more to do.
    // By itself in a profile, so that the counts of `tidings-bench` find it.
    #[inline(never)]
    pub(super) fn turn(&mut self, tally: &mut Tally) -> bool {
        let mut looked = self.take_inbox();
        let mut visits = SLICE;
        while visits > 0
            && let Some(local) = self.walking.pop_front()
        {
            if self.walk(local, &mut visits, tally) {
                self.walking.push_back(local);
                // In the middle of a round, what comes in rides on the writes that are still to be made.
                if visits > 0 {
                    looked = self.take_inbox();
                }
            }
        }
        for _ in 0..PAGES.min(self.behind.len()) {
            if let Some(key) = self.behind.pop_front() {
                self.serve(key, tally);
            }
        }
        self.relieve();
        let now = self.hub.clock().mono();
        tally.book(self.metrics.shard(self.number), now);
        !looked || !self.walking.is_empty() || !self.behind.is_empty() || !self.taken.is_empty()
    }

    /// Visits listeners of one channel. `true` when its walk must go on: with visits left when something came in meanwhile.
    fn walk(&mut self, local: u32, visits: &mut usize, tally: &mut Tally) -> bool {
        let mut run: Option<Run> = None;
        let mut came_in = false;
        loop {
            let Some(channel) = self.channels.get_mut(local as usize) else { return false };
            if channel.unvisited == 0 {
                self.book_run(local, run.take(), tally);
                let Some(channel) = self.channels.get_mut(local as usize) else { return false };
                channel.queued = false;
                let freed = channel.finish_walk();
                self.free(freed);
                return false;
            }
            if *visits == 0 || came_in {
                self.book_run(local, run, tally);
                return true;
            }
            if channel.hand >= channel.listeners.len() {
                self.book_run(local, run.take(), tally);
                let Some(channel) = self.channels.get_mut(local as usize) else { return false };
                let freed = channel.finish_lap();
                let sparse = channel.vacant * 4 > channel.listeners.len();
                self.free(freed);
                if sparse {
                    self.compact(local);
                }
                continue;
            }
            let key = channel.listeners[channel.hand];
            channel.hand += 1;
            channel.unvisited -= 1;
            if key == VACANT {
                continue;
            }
            *visits -= 1;
            self.visit(local, key, &mut run, tally);
            // After a visit, so that a publisher who never stops cannot keep the walk from going on.
            came_in = self.taken.is_empty() && self.hub.inbox(self.number).is_told();
        }
    }

    fn visit(&mut self, local: u32, key: u32, run: &mut Option<Run>, tally: &mut Tally) {
        let session = match self.listeners.get_mut(key as usize) {
            Some(Listener::Session(session)) => session,
            Some(Listener::Watch(watch)) => return raise(watch),
            None => return,
        };
        if session.behind || session.rest.is_some() || session.ended.is_some() {
            return;
        }
        if !session.is_plain {
            return self.visit_several(local, key, tally);
        }
        let Some(channel) = self.channels.get_mut(local as usize) else { return };
        let group = &mut session.subscription.groups[0];
        if group.own_since.is_some() {
            return self.visit_several(local, key, tally);
        }
        let after = group.pos.idx.max(group.members[0].from);
        if after < channel.base {
            return self.fall_behind(key);
        }
        let newest = channel.newest;
        let form = session.form;
        let Some(joined) = channel.joined(after, (form, session.encoder), self.bounds.page_bytes) else { return };
        group.pos = joined.upto;
        let (first, count, bytes) = (joined.first, joined.count, joined.bytes.len());
        let outcome = session.stream.send(&joined.bytes);
        tally.wrote();
        session.wrote_at = self.tick;
        match outcome {
            Wrote::All => {
                let upto = joined.upto.idx;
                if upto < newest {
                    channel.visit_all_again(upto);
                }
                match run {
                    Some(known) if (known.first, known.count, known.form) == (first, count, form) => known.sessions += 1,
                    _ => {
                        let before = run.replace(Run { first, count, form, bytes, sessions: 1 });
                        self.book_run(local, before, tally);
                    }
                }
            }
            Wrote::Part(sent) => {
                tally.delivered(form.front, 0, sent as u64);
                let rest = unsent(&joined.bytes, sent);
                let asked = channel.run(first, count).next().map(|entry| entry.asked());
                session.block(rest, count as u64, asked);
            }
            Wrote::Gone => session.end(CloseReason::ClientGone),
        }
    }

    /// A session on several channels: those of one slot are merged by index, so that nothing is delivered before
    /// something older of the same slot. And one whose cursor is its own, or that leaves something out.
    fn visit_several(&mut self, local: u32, key: u32, tally: &mut Tally) {
        let Some(Listener::Session(session)) = self.listeners.get_mut(key as usize) else { return };
        let mut place = 0;
        let Some(at) = session.subscription.groups.iter().position(|group| {
            let mine = session.places[place..place + group.members.len()].iter().any(|known| known.local == local);
            if !mine {
                place += group.members.len();
            }
            mine
        }) else {
            return;
        };
        let group = &session.subscription.groups[at];
        let places = &session.places[place..place + group.members.len()];
        let mut wanted: Vec<(u64, u32)> = Vec::new();
        for (member, known) in group.members.iter().zip(places) {
            let Some(channel) = self.channels.get(known.local as usize) else { return };
            let after = group.pos.idx.max(member.from);
            if after < channel.base {
                return self.fall_behind(key);
            }
            wanted.extend(channel.after(after).map(|entry| (entry.pos.idx, known.local)));
        }
        wanted.sort_unstable();
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        let mut oldest = None;
        let (mut messages, mut passed) = (0, 0);
        for (idx, local) in &wanted {
            let Some(channel) = self.channels.get_mut(*local as usize) else { continue };
            let Some(entry) = channel.after(idx - 1).next().cloned() else { continue };
            let own = session.subscription.groups[at].pass(&entry);
            passed += 1;
            if session.leaves_out(&entry) {
                continue;
            }
            if session.encoder.wants_own_cursor()
                && let Some(cursor) = session.subscription.cursor()
            {
                session.encoder.own_cursor(&cursor, &mut out);
            }
            if let Some(own) = own {
                session.encoder.message(&entry, &CursorText::after(own), &mut out);
            } else if let Some(encoded) = channel.encoded(*idx, session.encoder) {
                out.extend_from_slice(encoded);
            }
            oldest.get_or_insert(entry.asked());
            messages += 1;
            if out.len() >= self.bounds.page_bytes {
                break;
            }
        }
        let more = (passed < wanted.len()).then_some(session.subscription.groups[at].pos.idx);
        session.write(&out, messages, oldest, self.tick, tally);
        self.scratch = out;
        if let (Some(channel), Some(upto)) = (self.channels.get_mut(local as usize), more) {
            channel.visit_all_again(upto);
        }
    }

    fn book_run(&mut self, local: u32, run: Option<Run>, tally: &mut Tally) {
        let Some(Run { first, count, form, bytes, sessions }) = run else { return };
        tally.delivered(form.front, count as u64 * sessions, bytes as u64 * sessions);
        let Some(channel) = self.channels.get(local as usize) else { return };
        for entry in channel.run(first, count) {
            tally.latency(form.front, entry.asked(), sessions);
        }
    }
}

impl Session {
    /// Writes bytes of no message, behind what still waits for the socket: that may end in the middle of one.
    pub(super) fn write_behind(&mut self, bytes: &[u8], tick: u32, tally: &mut Tally) {
        match self.rest.as_mut() {
            Some(rest) if !bytes.is_empty() => {
                let mut all = rest.bytes.to_vec();
                all.extend_from_slice(bytes);
                rest.bytes = all.into();
            }
            Some(_) => {}
            None => self.write(bytes, 0, None, tick, tally),
        }
    }

    /// Writes bytes that belong to this session alone. `asked` is when the oldest message in them was asked for, if their delay
    /// counts.
    pub(super) fn write(&mut self, bytes: &[u8], messages: u64, asked: Option<Duration>, tick: u32, tally: &mut Tally) {
        if bytes.is_empty() {
            return;
        }
        tally.wrote();
        self.wrote_at = tick;
        match self.stream.send(bytes) {
            Wrote::All => {
                let front = self.encoder.front();
                if messages > 0 {
                    tally.delivered(front, messages, bytes.len() as u64);
                    if let Some(asked) = asked {
                        tally.latency(front, asked, messages);
                    }
                }
            }
            Wrote::Part(sent) => {
                if messages > 0 {
                    tally.delivered(self.encoder.front(), 0, sent as u64);
                }
                self.block(Bytes::copy_from_slice(&bytes[sent..]), messages, asked);
            }
            Wrote::Gone => self.end(CloseReason::ClientGone),
        }
    }

    /// The socket is full: its task waits until it drains.
    pub(super) fn block(&mut self, bytes: Bytes, messages: u64, asked: Option<Duration>) {
        let held = self.unsent.hold(&bytes, self.stream.encrypted());
        self.rest = Some(Box::new(Rest { bytes, messages, asked, _held: held }));
        self.wake();
    }

    /// The stay is over.
    pub(super) fn end(&mut self, reason: CloseReason) {
        self.ended.get_or_insert(reason);
        self.wake();
    }

    /// Gives up on what could not be written.
    pub(super) fn cut(&mut self) {
        self.rest = None;
        self.wake();
    }

    /// Lets go of what is still under way, so that the last words can be said. `false` when that would not help.
    pub(super) fn give_up_work(&mut self) -> bool {
        let Some(conversation) = self.conversation.as_mut().filter(|_| self.rest.is_none()) else { return false };
        if conversation.work.is_done() {
            return false;
        }
        conversation.work.give_up();
        self.wake();
        true
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
