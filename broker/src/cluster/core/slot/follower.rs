//! The home and its followers: whom it waits for, and when it goes on without them.

use std::time::Duration;

use super::super::frame::{Frame, Stream, StreamAck};
use super::super::member::Departure;
use super::super::settings::Bug;
use super::{Context, Event, Output, Replica, Role};
use crate::log::{Epoch, SlotLog, Tag};

/// A follower that lacks fewer records than this may count.
const LAG_MAX: u64 = 256;
/// Of so many slots each calls its new follower a while after the one before.
const CALLS_SPREAD: u16 = 64;

impl Replica {
    pub(super) fn acked(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, ack: StreamAck) {
        let Role::Home(home) = &mut self.role else { return };
        let head = log.head().idx;
        let Some(flow) = home.flow(from).filter(|flow| flow.generation == ack.generation) else { return };
        flow.acked = flow.acked.max(ack.upto);
        if ack.is_eager && !std::mem::replace(&mut flow.is_eager, ack.is_eager) {
            let stream = Stream { generation: ack.generation, records: Vec::new(), commit: log.commit().idx };
            cx.out.push(Output::Send { to: from, frame: Frame::Stream(stream) });
        }
        flow.is_eager = ack.is_eager;
        flow.owes = (flow.acked < head).then_some(cx.now.mono);
        if !flow.has_orphans {
            // What it held beside the line it would have offered first.
            self.apart.forget(from);
        }
        let was_noted = home.note.as_ref().is_some_and(|note| note.follower == from);
        if was_noted {
            // It came in time. Those who noted it are told that it counts after all.
            home.note = None;
            home.is_noted = true;
            if let Some(flow) = home.flow(from) {
                flow.is_counted = false;
            }
        }
        self.count(log, cx, from);
        self.advance(log, cx);
    }

    /// Counts a follower that has caught up.
    fn count(&mut self, log: &SlotLog, cx: &mut Context<'_>, follower: Tag) {
        let Role::Home(home) = &mut self.role else { return };
        let (commit, head) = (log.commit().idx, log.head().idx);
        let Some(flow) = home.flow(follower).filter(|flow| flow.channels.is_none() && !flow.is_counted) else { return };
        if flow.acked < commit || head.saturating_sub(flow.acked) > LAG_MAX {
            return;
        }
        flow.is_counted = true;
        flow.owes = (flow.acked < head).then_some(cx.now.mono);
        home.alone_after = None;
        home.hold = None;
        if std::mem::take(&mut home.is_noted) {
            self.take_note_back(log, cx);
        } else {
            self.tell_counted(cx, follower);
        }
        cx.out.push(Event::Counted { follower }.into_output());
    }

    /// Tells a follower that it counts, and on whose word it may rely for that when this home is gone.
    fn tell_counted(&self, cx: &mut Context<'_>, follower: Tag) {
        let Role::Home(home) = &self.role else { return };
        let witnesses = cx.view.peers().filter(|peer| *peer != follower).collect();
        cx.send(follower, Frame::Counted { epoch: home.epoch, witnesses });
    }

    /// Tells everybody who counts so again. Who left the view since may have noted something; that is settled now.
    pub(super) fn tell_all_counted(&self, cx: &mut Context<'_>) {
        let Role::Home(home) = &self.role else { return };
        if cx.settings.has(Bug::StaleWitness) {
            return;
        }
        for flow in home.counted().filter(|flow| !flow.is_lost) {
            self.tell_still_counted(cx, flow.to);
        }
    }

    /// Tells one who counts so again, but for one that is being noted: it must not hear the contrary.
    pub(super) fn tell_still_counted(&self, cx: &mut Context<'_>, follower: Tag) {
        let Role::Home(home) = &self.role else { return };
        if home.note.as_ref().is_none_or(|note| note.follower != follower) {
            self.tell_counted(cx, follower);
        }
    }

    pub(super) fn note_acked(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, epoch: Epoch, idx: u64) {
        let Role::Home(home) = &mut self.role else { return };
        if let Some(note) = home.note.as_mut().filter(|note| home.epoch == epoch && note.from == idx)
            && !note.acked.contains(&from)
        {
            note.acked.push(from);
        }
        self.settle_note(log, cx);
    }

    /// Goes on without a follower once a later takeover would find out.
    pub(super) fn settle_note(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        let Role::Home(home) = &mut self.role else { return };
        let Some(note) = &home.note else { return };
        let others: Vec<Tag> = cx.view.peers().filter(|peer| *peer != note.follower).collect();
        let is_present = cx.view.is_present(note.follower);
        let is_known = if others.is_empty() {
            !is_present
        } else {
            // Those who cannot be reached cannot be told; one who was is enough for who asks all of them.
            let told = |peer: &Tag| note.acked.contains(peer);
            others.iter().any(told) && others.iter().all(|peer| told(peer) || self.lost.contains(peer))
        };
        // Whoever has ended takes nothing over.
        let is_known = is_known || !is_present && cx.view.departure(note.follower) != Departure::Silent;
        if !is_known && !note.acked.contains(&note.follower) && !cx.settings.has(Bug::NoNote) {
            return;
        }
        let (follower, from) = (note.follower, note.from);
        home.note = None;
        home.uncount(follower);
        let is_alone = home.counted().next().is_none();
        home.is_noted = is_alone;
        home.alone_after = is_alone.then_some(from - 1);
        if is_alone {
            cx.out.push(Event::Solo.into_output());
        } else {
            // Another one came to count meanwhile.
            self.take_note_back(log, cx);
        }
        self.advance(log, cx);
    }

    /// Tells everybody that this home is not alone after all.
    pub(super) fn take_note_back(&self, log: &SlotLog, cx: &mut Context<'_>) {
        let Role::Home(home) = &self.role else { return };
        cx.send_all(&Frame::Note { epoch: home.epoch, from: log.head().idx, solo: false });
        self.tell_all_counted(cx);
    }

    /// How long a new follower is not called while another one holds a copy: until slots have moved, which copies would be in the way of,
    /// and then not those of all slots at once.
    pub(super) fn calls_after(&self, cx: &Context<'_>) -> Duration {
        cx.settings.retry + cx.settings.retry * u32::from(self.slot.number() % CALLS_SPREAD) / 8
    }
}
