//! What other nodes alone hold. Whoever took messages alone says so to everyone it meets, before the slower business of merging lines
//! begins: if it ends before that is done, those who live on know that something may be lost, and say so.

use std::time::Duration;

use super::super::frame::{Frame, Sub, Wants};
use super::super::settings::Bug;
use super::super::view::View;
use super::{Context, Replica, Role};
use crate::log::{Line, SlotLog, Tag};

/// Processes that are remembered: more than a cluster has nodes, but for those that start again and again while nobody is there to merge with.
const HOLDERS_MAX: usize = 64;
/// Processes that went and are remembered.
const TOLD_MAX: usize = 8;

/// Processes that hold, or may hold, messages of the slot that the copy here lacks. A copy's only: who has none knows nothing anyway. Each
/// is forgotten when what it had is in the line, or when it is gone.
#[derive(Debug, Default)]
pub(super) struct Apart {
    holders: Vec<Tag>,
    /// Writers of later epochs of whom others heard, who show nothing of them, and when they said so. They may be heard any moment.
    unheard: Vec<(Tag, Duration)>,
    /// Some of those that went, and of which that was told. What they said before and comes late is no news.
    told: Vec<Tag>,
}

impl Apart {
    pub(super) fn note(&mut self, view: &View, holder: Tag) {
        if view.is_present(holder) {
            self.told.retain(|told| *told != holder);
        }
        if !self.holders.contains(&holder) && !self.told.contains(&holder) {
            self.holders.push(holder);
            let over = self.holders.len().saturating_sub(HOLDERS_MAX);
            self.holders.drain(..over);
        }
    }

    /// Somebody has heard of an epoch of this writer and has nothing of it.
    pub(super) fn note_unheard(&mut self, cx: &Context<'_>, writer: Tag) {
        let is_known = self.told.contains(&writer) || self.unheard.iter().any(|(known, _)| *known == writer);
        if !is_known && !cx.view.is_present(writer) && self.unheard.len() < HOLDERS_MAX {
            self.unheard.push((writer, cx.now.mono));
        }
    }

    /// Who wants to follow may hold more than it will find here.
    pub(super) fn note_follower(&mut self, log: &SlotLog, view: &View, from: Tag, sub: &Sub) {
        let goes_beyond = |line: &Line| log.line().common_prefix(line) < line.head().idx;
        if sub.wants == Wants::Everything && (sub.has_orphans || sub.line.as_ref().is_some_and(goes_beyond)) {
            self.note(view, from);
        }
    }

    /// What this one held is here, or with a home that others follow as well.
    pub(super) fn forget(&mut self, holder: Tag) {
        self.holders.retain(|known| *known != holder);
    }

    /// Who is none of these is nobody to think of any more.
    pub(super) fn keep_only(&mut self, holders: &[Tag]) {
        self.holders.retain(|known| holders.contains(known));
        self.unheard.clear();
    }

    pub(super) fn clear(&mut self) {
        self.holders.clear();
        self.unheard.clear();
    }

    /// Whether one of them is gone with what it held. That is asked once: whoever asks tells of it.
    pub(super) fn take_gone(&mut self, cx: &Context<'_>) -> bool {
        let told = self.told.len();
        self.told.extend(self.holders.extract_if(.., |holder| !cx.view.is_present(*holder)));
        // Who is heard meanwhile shows its line itself.
        self.unheard.retain(|(writer, _)| !cx.view.is_present(*writer));
        let is_over = |(_, since): &mut (Tag, Duration)| *since + cx.settings.down <= cx.now.mono;
        self.told.extend(self.unheard.extract_if(.., is_over).map(|(writer, _)| writer));
        let has_gone = self.told.len() > told;
        let over = self.told.len().saturating_sub(TOLD_MAX);
        self.told.drain(..over);
        has_gone && !cx.settings.has(Bug::ForgetApart)
    }
}

impl Replica {
    /// Another one shows its line, which it writes, or has until a moment ago.
    pub(super) fn note_line(&mut self, log: &SlotLog, view: &View, from: Tag, line: &Line) {
        if self.serves_all() && !log.includes(line.head()) {
            self.apart.note(view, from);
        }
    }

    /// Tells these what this home took alone, if it did: while they were cut off they could not hear of it.
    pub(super) fn tell_alone(&mut self, log: &SlotLog, cx: &mut Context<'_>, peers: &[Tag]) {
        let Role::Home(home) = &mut self.role else { return };
        // Whoever is to have the slot, or to follow, hears of the line at once.
        home.tried = Duration::ZERO;
        if cx.settings.has(Bug::NoNote) {
            return;
        }
        // Where one copy is wanted each is alone, and nobody asks.
        let is_degraded = self.place.is_some_and(|place| place.follower.is_some());
        let Some(after) = home.alone_after.filter(|after| is_degraded && log.head().idx > *after) else { return };
        // So it is taken back when somebody follows.
        home.is_noted = true;
        for peer in peers {
            cx.send(*peer, Frame::Note { epoch: home.epoch, from: after + 1, solo: true });
        }
    }

    /// A home whose line lacks what others took with them says so.
    pub(super) fn tell_of_the_gone(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        if cx.view.may_act() && self.apart.take_gone(cx) {
            self.open_next(log, cx, true);
        }
    }
}
