//! Messages of a branch that the slot's line does not include, kept until the home has taken them over.

use std::sync::Arc;

use super::super::frame::{Frame, Offer};
use super::super::settings::Bug;
use super::{Context, Event, Output, Replica, Role};
use crate::log::{Entry, Pos, SlotLog, Tag};

#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// In the branch's order; branches one after the other.
    run: Vec<Arc<Entry>>,
    /// Last positions of the branches' stretches.
    ends: Vec<Pos>,
    /// Who was offered all of it in this generation of the stream.
    offered: Option<(Tag, u32)>,
}

impl Orphans {
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.run.iter()
    }

    /// Keeps what a log holds beyond its fork from the line it is to follow.
    pub(super) fn keep(&mut self, log: &SlotLog, fork: u64) {
        let line = log.line();
        let run = log.beyond(fork);
        if run.is_empty() {
            return;
        }
        self.run.extend(run);
        for segment in line.segments() {
            if let Some(end) = line.end(segment.epoch).filter(|end| *end > fork) {
                self.ends.retain(|known| known.epoch != segment.epoch);
                self.ends.push(Pos { epoch: segment.epoch, idx: end });
            }
        }
        self.offered = None;
    }

    pub(super) fn drain(&mut self) -> (Vec<Arc<Entry>>, Vec<Pos>) {
        self.offered = None;
        (std::mem::take(&mut self.run), std::mem::take(&mut self.ends))
    }

    /// What nobody may read any more needs no home.
    pub(super) fn expire(&mut self, cx: &mut Context<'_>) {
        if !self.ends.is_empty() && self.run.iter().all(|entry| entry.is_expired(cx.now)) {
            cx.out.push(Output::Event(Event::OrphansLost { count: self.run.len() }));
            self.drain();
        }
    }
}

impl Replica {
    /// Offers them to the source of a whole copy.
    pub(super) fn offer(&mut self, cx: &mut Context<'_>) {
        let Some((source, generation)) = self.receiver.live_everything() else { return };
        if self.orphans.is_empty() || self.orphans.offered == Some((source, generation)) {
            return;
        }
        self.orphans.offered = Some((source, generation));
        let pages: Vec<Vec<Arc<Entry>>> = self.orphans.run.chunks(cx.settings.page_records).map(<[_]>::to_vec).collect();
        let count = pages.len();
        for (nth, run) in pages.into_iter().enumerate() {
            let offer = Offer { generation, run, ends: self.orphans.ends.clone(), is_last: nth + 1 == count };
            cx.send(source, Frame::Offer(offer));
        }
        if cx.settings.has(Bug::DropOrphans) {
            self.orphans.drain();
        }
    }

    /// Home: takes a branch over once the offer is whole.
    pub(super) fn offered(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, offer: Offer) {
        let Role::Home(home) = &mut self.role else { return };
        let Some((run, end)) = home.take_offer(from, offer) else { return };
        let Some(last) = end.last().copied() else { return };
        self.adopt(log, cx, run, end);
        if let Role::Home(home) = &mut self.role {
            home.owe(from, log.head().idx, last);
        }
        self.advance(log, cx);
    }

    pub(super) fn adopt_own(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        let (run, ends) = self.orphans.drain();
        if !ends.is_empty() {
            self.adopt(log, cx, run, ends);
        }
    }

    fn adopt(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, run: Vec<Arc<Entry>>, ends: Vec<Pos>) {
        let before = log.head().idx;
        let mut count = 0;
        for entry in run {
            if entry.is_expired(cx.now) || log.includes(entry.birth()) || log.includes(entry.pos) || cx.settings.has(Bug::NoAdoption) {
                continue;
            }
            let key = cx.channels.open(log, &entry.channel, cx.now);
            count += usize::from(log.adopt(key, &entry, cx.now, cx.dedupe_room).is_some());
        }
        log.append_cover(ends);
        if count > 0 {
            cx.out.push(Output::Event(Event::Adopted { count }));
        }
        self.appended(log, cx, before);
    }

    pub(super) fn offer_acked(&mut self, cx: &mut Context<'_>, from: Tag, end: Pos) {
        let is_ours = self.orphans.ends.last() == Some(&end) && self.orphans.offered.is_some_and(|(to, _)| to == from);
        if is_ours {
            self.orphans.drain();
            // The wish says that nothing is left to take over, so that it may be released.
            self.receiver.ask_again(cx);
        }
    }
}
