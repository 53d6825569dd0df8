//! Messages of a branch that the slot's line does not include, kept until the home has taken them over.

use std::sync::Arc;

use super::super::frame::{Frame, Offer};
use super::super::settings::Bug;
use super::{Context, Event, Output, Replica, Role};
use crate::log::{Entry, Lost, LostOf, Pos, SlotLog, Tag, add_lost};

/// A branch, or what is left of it.
#[derive(Debug, Default)]
pub(super) struct Branch {
    /// In the branch's order; branches one after the other.
    pub(super) run: Vec<Arc<Entry>>,
    /// Last positions of the branches' stretches.
    pub(super) ends: Vec<Pos>,
    /// What has left them.
    pub(super) lost: Vec<Lost>,
}

#[derive(Debug, Default)]
pub(super) struct Orphans {
    branch: Branch,
    /// Who was offered all of it in this generation of the stream.
    offered: Option<(Tag, u32)>,
}

impl Orphans {
    pub(super) fn is_empty(&self) -> bool {
        self.branch.ends.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.branch.run.iter()
    }

    /// Keeps what a log holds beyond its fork from the line it is to follow, and remembers what it held there once.
    pub(super) fn keep(&mut self, log: &SlotLog, fork: u64) {
        let line = log.line();
        let (run, lost) = (log.beyond(fork), log.lost_beyond(fork));
        if run.is_empty() && lost.is_empty() {
            return;
        }
        let branch = &mut self.branch;
        branch.run.extend(run);
        lost.into_iter().for_each(|lost| add_lost(&mut branch.lost, lost));
        for segment in line.segments() {
            if let Some(end) = line.end(segment.epoch).filter(|end| *end > fork) {
                branch.ends.retain(|known| known.epoch != segment.epoch);
                branch.ends.push(Pos { epoch: segment.epoch, idx: end });
            }
        }
        self.offered = None;
    }

    pub(super) fn drain(&mut self) -> Branch {
        self.offered = None;
        std::mem::take(&mut self.branch)
    }

    /// What nobody may read any more goes. That it was there is told all the same.
    pub(super) fn expire(&mut self, log: &SlotLog, cx: &mut Context<'_>) {
        let Branch { run, lost, .. } = &mut self.branch;
        if run.is_empty() || !run.iter().all(|entry| entry.is_expired(cx.now)) {
            return;
        }
        cx.out.push(Output::Event(Event::OrphansLost { count: run.len() }));
        for entry in std::mem::take(run) {
            note_expired(log, cx, &entry, lost);
        }
    }
}

/// A message of a branch is too old to be taken over.
fn note_expired(log: &SlotLog, cx: &Context<'_>, entry: &Entry, lost: &mut Vec<Lost>) {
    if log.is_missed(cx.channels.find(&entry.channel), entry) {
        add_lost(lost, Lost { of: LostOf::Channel(entry.channel.clone()), upto: entry.pos });
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
        let Branch { run, ends, lost } = &self.orphans.branch;
        // A branch of which nothing is left is offered too, for what it had lost.
        let mut pages: Vec<Vec<Arc<Entry>>> = run.chunks(cx.settings.page_records).map(<[_]>::to_vec).collect();
        if pages.is_empty() {
            pages.push(Vec::new());
        }
        let count = pages.len();
        for (nth, run) in pages.into_iter().enumerate() {
            let offer = Offer { generation, run, ends: ends.clone(), lost: lost.clone(), is_last: nth + 1 == count };
            cx.send(source, Frame::Offer(offer));
        }
        if cx.settings.has(Bug::DropOrphans) {
            self.orphans.drain();
        }
    }

    /// Home: takes a branch over once the offer is whole.
    pub(super) fn offered(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, offer: Offer) {
        let Role::Home(home) = &mut self.role else { return };
        let Some(branch) = home.take_offer(from, offer) else { return };
        let Some(last) = branch.ends.last().copied() else { return };
        self.adopt(log, cx, branch);
        self.apart.forget(from);
        if let Role::Home(home) = &mut self.role {
            home.owe(from, log.head().idx, last);
        }
        self.advance(log, cx);
    }

    pub(super) fn adopt_own(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        let branch = self.orphans.drain();
        if !branch.ends.is_empty() {
            self.adopt(log, cx, branch);
        }
    }

    fn adopt(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, branch: Branch) {
        let Branch { mut run, ends, mut lost } = branch;
        let before = log.head().idx;
        run.retain(|entry| !log.includes(entry.birth()) && !log.includes(entry.pos) && !cx.settings.has(Bug::NoAdoption));
        // What is part of the line was told on the line.
        lost.retain(|lost| !log.includes(lost.upto));
        for entry in run.extract_if(.., |entry| entry.is_expired(cx.now)) {
            note_expired(log, cx, &entry, &mut lost);
        }
        if !lost.is_empty() && !cx.settings.has(Bug::NoLost) {
            log.append_lost(lost);
        }
        let mut count = 0;
        for entry in run {
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
        let is_ours = self.orphans.branch.ends.last() == Some(&end) && self.orphans.offered.is_some_and(|(to, _)| to == from);
        if is_ours {
            self.orphans.drain();
            // The wish says that nothing is left to take over, so that it may be released.
            self.receiver.ask_again(cx);
        }
    }
}
