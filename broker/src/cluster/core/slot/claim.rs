//! Taking a slot over: ask everyone, get the best copy, let an incumbent seal, open an epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::frame::{Frame, Standing};
use super::super::member::Departure;
use super::super::settings::Bug;
use super::home::Home;
use super::receiver::Kind;
use super::{Context, Event, Opening, Output, Replica, Role};
use crate::log::{Epoch, Line, SlotLog, Tag};

/// So often at most a claim asks everyone anew: where nodes stop or vanish again and again it would never be the home of anything.
const ANEW_MAX: u32 = 8;

/// Instead of a claim's round, in an answer that nobody asked for.
const UNASKED: u32 = 0;

#[derive(Debug)]
pub(super) struct Claim {
    round: u32,
    /// Since when whoever does not answer keeps silent.
    since: Duration,
    /// When the last input came: this node may have stood still since.
    ticked: Duration,
    /// How often everyone was asked anew.
    anew: u32,
    /// Who was there when everyone was asked.
    peers: Vec<Tag>,
    asked: Duration,
    replies: BTreeMap<Tag, Standing>,
    phase: Phase,
    /// What came before the slot is open, as much as [`Settings::early`](super::super::Settings::early) says.
    early: Vec<(Tag, Frame)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Everyone who is not down says what it holds.
    Asking,
    /// An incumbent serves on while this node copies what it has.
    Warming(Tag),
    /// It was asked to seal.
    Sealing(Tag),
    /// Nobody is open: the best copy is fetched.
    Pulling(Tag),
}

impl Claim {
    /// Whom to copy from.
    pub(super) fn wish(&self) -> Option<(Tag, Kind)> {
        match self.phase {
            Phase::Asking | Phase::Sealing(_) => None,
            Phase::Warming(from) => Some((from, Kind::Everything)),
            Phase::Pulling(from) => Some((from, Kind::Copy)),
        }
    }

    /// Who orders the slot meanwhile.
    pub(super) fn incumbent(&self) -> Option<Tag> {
        if let Phase::Warming(incumbent) = self.phase { Some(incumbent) } else { None }
    }

    pub(super) fn link(&mut self, peer: Tag, is_up: bool, now: Duration) {
        if !is_up && self.phase != Phase::Asking && self.partner() == Some(peer) {
            self.start_over(Duration::ZERO, now);
        }
    }

    /// Everyone has to be asked again, as if last asked at `asked`, and is given time from now on.
    fn start_over(&mut self, asked: Duration, now: Duration) {
        self.phase = Phase::Asking;
        self.replies.clear();
        (self.asked, self.since) = (asked, now);
    }

    /// Whom we hoped to copy from will not have it.
    pub(super) fn disappoint(&mut self, from: Tag, now: Duration) {
        if self.partner() == Some(from) {
            self.start_over(now, now);
        }
    }

    /// Whether somebody else than this one sealed for it.
    fn was_handed_over_by_another(&self, than: Tag) -> bool {
        matches!(self.phase, Phase::Sealing(incumbent) if incumbent != than)
    }

    fn partner(&self) -> Option<Tag> {
        match self.phase {
            Phase::Asking => None,
            Phase::Warming(tag) | Phase::Sealing(tag) | Phase::Pulling(tag) => Some(tag),
        }
    }
}

impl Replica {
    pub(super) fn claim(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        self.rounds += 1;
        let claim = Claim {
            round: self.rounds,
            since: cx.now.mono,
            ticked: cx.now.mono,
            anew: 0,
            peers: cx.view.peers().collect(),
            asked: cx.now.mono,
            replies: BTreeMap::new(),
            phase: Phase::Asking,
            early: Vec::new(),
        };
        self.role = Role::Claiming(Box::new(claim));
        self.is_wanted = false;
        cx.send_all(&Frame::Claim { round: self.rounds, seal: false });
        self.tick_claim(log, cx);
    }

    /// After a stop all silence is this node's own, and what it was told before is old: it asks anew, and is patient anew. Called before
    /// every input.
    pub(super) fn notice_pause(&mut self, cx: &Context<'_>) {
        let Role::Claiming(claim) = &mut self.role else { return };
        let now = cx.now.mono;
        let was_stopped = now.saturating_sub(std::mem::replace(&mut claim.ticked, now)) > cx.settings.pause;
        if !was_stopped || claim.anew >= ANEW_MAX || cx.settings.has(Bug::Impatience) {
            return;
        }
        // With an incumbent it speaks as before: nothing is taken from that one which it does not give.
        if matches!(claim.phase, Phase::Warming(_) | Phase::Sealing(_)) {
            claim.anew += 1;
            claim.since = now;
            return;
        }
        self.ask_anew(cx);
    }

    /// Asks everyone anew. What comes of the questions before is ignored.
    fn ask_anew(&mut self, cx: &Context<'_>) {
        self.rounds += 1;
        let Role::Claiming(claim) = &mut self.role else { return };
        claim.anew += 1;
        claim.round = self.rounds;
        claim.peers = cx.view.peers().collect();
        claim.start_over(Duration::ZERO, cx.now.mono);
    }

    /// Whether somebody went since everyone was asked with whom nothing was agreed. Until its end it may have told the others of what it
    /// alone holds, and they answered before.
    fn lost_a_writer(&self, cx: &Context<'_>) -> bool {
        let Role::Claiming(claim) = &self.role else { return false };
        let is_gone = |peer: &Tag| !cx.view.is_present(*peer);
        let speaks_with_home = matches!(claim.phase, Phase::Warming(home) | Phase::Sealing(home) if !is_gone(&home));
        !speaks_with_home && claim.anew < ANEW_MAX && claim.peers.iter().any(is_gone)
    }

    /// The claim is given up: what waited for it is sent where it belongs.
    fn give_up_claim(&mut self, cx: &mut Context<'_>, home: Option<Tag>, after: Duration) {
        let Role::Claiming(claim) = std::mem::replace(&mut self.role, Role::Guest) else { return };
        self.claim_after = cx.now.mono + after;
        if home.is_some() {
            self.receiver.redirect_to(home, self.me);
        }
        if self.receiver.live_channels().is_some() && self.interest.iter().any(|(_, is_held)| !is_held) {
            // Somebody came meanwhile, to whose channel the stream that still flows does not belong.
            self.receiver.ask_again(cx);
        }
        for (from, frame) in claim.early {
            self.send_back(cx, from, frame, home);
        }
    }

    pub(super) fn tick_claim(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        if !self.is_placed() {
            let home = self.place.map(|place| place.home);
            self.give_up_claim(cx, home, Duration::ZERO);
            self.receiver.forget_redirect();
            return;
        }
        if !cx.view.may_act() {
            return;
        }
        if self.lost_a_writer(cx) {
            self.ask_anew(cx);
        }
        let Role::Claiming(claim) = &mut self.role else { return };
        let now = cx.now.mono;
        if let Some(partner) = claim.partner()
            && !cx.view.is_present(partner)
        {
            claim.start_over(Duration::ZERO, now);
        }
        let round = claim.round;
        if claim.asked + cx.settings.retry <= now && matches!(claim.phase, Phase::Asking | Phase::Sealing(_)) {
            claim.asked = now;
            match claim.phase {
                Phase::Sealing(incumbent) => cx.send(incumbent, Frame::Claim { round, seal: true }),
                _ => {
                    let silent: Vec<Tag> = cx.view.peers().filter(|peer| !claim.replies.contains_key(peer)).collect();
                    for peer in silent {
                        if !claim.peers.contains(&peer) {
                            claim.peers.push(peer);
                        }
                        cx.send(peer, Frame::Claim { round, seal: false });
                    }
                }
            }
        }
        match claim.phase {
            Phase::Asking => self.weigh(log, cx),
            Phase::Warming(_) => self.warm(log, cx),
            Phase::Sealing(_) | Phase::Pulling(_) => {}
        }
    }

    /// Lets the incumbent seal once everything it has flows here.
    pub(super) fn warm(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        let Role::Claiming(claim) = &self.role else { return };
        let Phase::Warming(from) = claim.phase else { return };
        // What flows is complete up to a moment ago, and stays so: the rest comes before its answer does.
        if self.is_whole && self.receiver.live_everything().is_some_and(|(source, _)| source == from) {
            self.seal(log, cx, from);
        }
    }

    fn seal(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, incumbent: Tag) {
        let Role::Claiming(claim) = &mut self.role else { return };
        (claim.phase, claim.asked) = (Phase::Sealing(incumbent), cx.now.mono);
        if cx.settings.has(Bug::NoSeal) {
            self.open(log, cx, false);
            return;
        }
        let round = claim.round;
        cx.send(incumbent, Frame::Claim { round, seal: true });
    }

    /// Decides once everyone has answered who may.
    fn weigh(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        let Role::Claiming(claim) = &mut self.role else { return };
        let silent = cx.view.peers().filter(|peer| !claim.replies.contains_key(peer)).count();
        let is_forced = silent > 0;
        if is_forced && cx.now.mono < claim.since + cx.settings.refusal {
            return;
        }
        claim.replies.retain(|peer, _| cx.view.is_present(*peer));
        let key = |line: &Line| (line.epoch(), line.head().idx);
        let copies = claim.replies.iter().filter(|(_, standing)| !standing.is_open);
        let best = copies.filter_map(|(peer, standing)| Some((key(standing.line.as_ref()?), *peer))).max();
        let own = self.is_whole.then(|| key(log.line()));
        let better = best.filter(|(theirs, _)| own.is_none_or(|own| own < *theirs));
        let incumbents = claim.replies.iter().filter(|(_, standing)| standing.is_open);
        let newest = incumbents.max_by_key(|(_, standing)| standing.line.as_ref().map(Line::epoch));
        if let Some((&incumbent, standing)) = newest {
            if standing.is_placed {
                // Views differ. It serves meanwhile, and says so when that changes.
                let again = cx.settings.retry * 5;
                self.give_up_claim(cx, Some(incumbent), again);
                return;
            }
            let latest = better.map(|(theirs, _)| theirs).or(own).map(|(epoch, _)| epoch);
            // It gives nothing to who has a later epoch than its own: what it took beside that one is merged once it has sealed.
            let is_behind = standing.line.as_ref().is_some_and(|line| Some(line.epoch()) < latest);
            if is_behind && better.is_none() {
                return self.seal(log, cx, incumbent);
            }
            if !is_behind {
                claim.phase = Phase::Warming(incumbent);
                for (from, frame) in std::mem::take(&mut claim.early) {
                    self.send_back(cx, from, frame, Some(incumbent));
                }
                // A follower has all of it already.
                if self.receiver.live_everything().is_none_or(|(source, _)| source != incumbent) {
                    self.receiver.ask_again(cx);
                }
                return self.warm(log, cx);
            }
        }
        match better {
            Some((_, peer)) => {
                claim.phase = Phase::Pulling(peer);
                self.receiver.ask_again(cx);
            }
            None => self.open(log, cx, is_forced),
        }
    }

    /// A copy that was pulled is here.
    pub(super) fn copied(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        let Role::Claiming(claim) = &mut self.role else { return };
        let Phase::Pulling(from) = claim.phase else { return };
        if claim.replies.values().any(|standing| standing.is_open) {
            // Somebody who serves it, or has until now: nothing is taken from that one which it does not give.
            if let Some(standing) = claim.replies.get_mut(&from) {
                // What it said before may have been more.
                standing.line = Some(log.line().clone());
            }
            claim.phase = Phase::Asking;
            return self.weigh(log, cx);
        }
        let is_forced = cx.view.peers().any(|peer| !claim.replies.contains_key(&peer));
        self.open(log, cx, is_forced);
    }

    /// Somebody says what it holds.
    pub(super) fn stood(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, round: u32, standing: Standing) {
        let heard = standing.line.as_ref().map(Line::epoch).max(standing.seen);
        heard.into_iter().for_each(|epoch| self.note_epoch(epoch));
        let claim = match &mut self.role {
            Role::Claiming(claim) if claim.round == round => claim,
            Role::Home(_) => {
                let shows = |seen: &Epoch| standing.line.as_ref().is_some_and(|line| line.epoch() >= *seen);
                if let Some(seen) = standing.seen.filter(|seen| *seen > log.epoch() && !shows(seen)) {
                    self.apart.note_unheard(cx, seen.tag());
                }
                return self.rival_stood(log, cx, from, &standing);
            }
            _ => return,
        };
        let phase = claim.phase;
        let head = standing.line.as_ref().map(|line| (line.epoch(), line.head().idx));
        let is_part = standing.line.as_ref().is_none_or(|line| log.includes(line.head()));
        let (is_open, is_placed) = (standing.is_open, standing.is_placed);
        claim.replies.insert(from, standing);
        match phase {
            Phase::Asking => self.tick_claim(log, cx),
            Phase::Sealing(incumbent) if incumbent == from && !is_open => {
                // Its stream came first, so nothing is missing; unless the stream was interrupted.
                if head.is_none_or(|head| head <= (log.epoch(), log.head().idx)) {
                    if is_part {
                        self.apart.forget(from);
                    } else {
                        self.apart.note(cx.view, from);
                    }
                    self.open(log, cx, false);
                } else {
                    claim.phase = Phase::Pulling(from);
                    self.receiver.ask_again(cx);
                }
            }
            Phase::Sealing(incumbent) if incumbent == from && is_placed => self.give_up_claim(cx, Some(incumbent), cx.settings.retry * 5),
            _ => {}
        }
    }

    fn open(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, is_forced: bool) {
        let Role::Claiming(claim) = std::mem::replace(&mut self.role, Role::Guest) else { return };
        let is_held = self.is_whole || claim.replies.values().any(|standing| standing.line.is_some());
        let opening = match claim.phase {
            Phase::Sealing(_) => Opening::Moved,
            _ if is_held => Opening::TakenOver,
            _ => Opening::First,
        };
        let own = self.standing(log, cx, self.me);
        // Without a copy: who wrote the slot before is gone with it, or lives behind a cut.
        let is_known = self.seen.is_some();
        let mut is_uncertain = if self.is_whole { !self.rules_out_loss(log.epoch(), &own, &claim, cx, is_forced) } else { is_known };
        is_uncertain |= self.apart.take_gone(cx);
        if cx.settings.has(Bug::NoFailoverGap) {
            is_uncertain = false;
        }
        let epoch = self.next_epoch();
        self.receiver.stop();
        self.receiver.forget_redirect();
        self.receiver.follows = false;
        (self.counted, self.granted, self.solo) = (None, None, None);
        if self.is_whole {
            log.open_epoch(epoch, is_uncertain);
        } else {
            let mut evicted = Vec::new();
            if self.interest.holds_any() {
                cx.out.push(Output::Turn);
            }
            log.renew(epoch, is_uncertain, cx.now, &mut evicted);
            cx.out.extend(evicted.into_iter().map(Output::Evicted));
        }
        self.is_whole = true;
        self.seen = Some(epoch);
        let mut home = Home::new(epoch, log.head().idx);
        home.note_uncommitted(log.commit().idx, log.head().idx);
        // Who handed the slot over holds all of it, and follows until another one does. Whoever is to be that one is called once listeners
        // everywhere are served: it serves its own from what it copies.
        let later = self.place.and_then(|place| place.follower).filter(|follower| claim.was_handed_over_by_another(*follower));
        home.calls_at = later.map(|_| cx.now.mono + self.calls_after(cx));
        self.role = Role::Home(Box::new(home));
        cx.out.push(Event::Opened { epoch, is_uncertain, is_forced, opening }.into_output());
        cx.send_all(&Frame::Opened { line: log.line().clone() });
        self.advance(log, cx);
        self.hold_commits(cx);
        self.all_ready(log, cx);
        self.adopt_own(log, cx);
        self.publishes.give_up_answers();
        for (from, frame) in claim.early {
            match frame {
                Frame::Sub(sub) => self.subscribed(log, cx, from, sub),
                Frame::Forward(forward) => self.forwarded(log, cx, from, forward),
                _ => {}
            }
        }
    }

    /// An epoch higher than all that were heard of.
    pub(super) fn next_epoch(&self) -> Epoch {
        Epoch::new(self.seen.map_or(0, Epoch::term) + 1, self.me)
    }

    /// Whether nothing can have been acknowledged that the copy at hand lacks.
    fn rules_out_loss(&self, last: Epoch, own: &Standing, claim: &Claim, cx: &Context<'_>, is_forced: bool) -> bool {
        if is_forced || self.seen > Some(last) {
            return false;
        }
        let writer = last.tag();
        if writer == self.me {
            return own.is_counted;
        }
        if let Some(standing) = claim.replies.get(&writer) {
            // It speaks for itself; and it does not write any more, or it would have been asked to seal.
            return standing.is_counted || standing.line.is_none() && self.counted == Some(last);
        }
        if cx.settings.replicas < 2 {
            // There are other copies only while a slot moves, and its home lets them go without waiting for them.
            return false;
        }
        let is_asked = |witness: &Tag| *witness == writer || *witness == self.me || claim.replies.contains_key(witness);
        // Its home waited for this copy, or told one of those who say now that they know of nothing.
        let is_sure = |standing: &Standing| {
            let is_counted = standing.is_counted && standing.line.as_ref().is_some_and(|line| line.epoch() == last);
            is_counted && standing.witnesses.iter().all(is_asked)
        };
        let is_noted = |standing: &Standing| standing.solo.is_some_and(|(of, _)| of >= last);
        let everyone = || claim.replies.values().chain([own]);
        everyone().any(is_sure) && cx.view.departure(writer) == Departure::Ended && !everyone().any(is_noted)
    }

    /// Somebody wants to be the home.
    pub(super) fn claimed(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, round: u32, seal: bool) {
        if seal && self.is_home() && !self.is_placed() {
            self.yield_to(log, cx, from);
        }
        let mut standing = self.standing(log, cx, from);
        standing.is_open &= !(seal && cx.settings.has(Bug::AppendAfterSeal));
        cx.send(from, Frame::Standing { round, standing });
    }

    /// An epoch was opened by somebody else.
    pub(super) fn opened(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, line: Line) {
        let epoch = line.epoch();
        let is_news = self.seen.is_none_or(|seen| epoch >= seen);
        // Whoever the slot was taken from may follow meanwhile: its home calls again when somebody else is to.
        let is_handed_over =
            self.seen.is_none_or(|seen| epoch > seen) && took_from(&line).is_some_and(|of| of != from && cx.view.is_present(of));
        self.note_epoch(epoch);
        match &mut self.role {
            Role::Home(_) => {
                if self.is_placed() {
                    self.meet_rival(log, cx, from, &line);
                } else {
                    self.note_line(log, cx.view, from, &line);
                }
            }
            Role::Claiming(claim) => {
                // Ask again: whoever just opened is an incumbent now.
                if is_news && matches!(claim.phase, Phase::Asking | Phase::Pulling(_)) {
                    claim.replies.remove(&from);
                    (claim.phase, claim.asked) = (Phase::Asking, Duration::ZERO);
                    self.receiver.stop();
                    self.tick_claim(log, cx);
                }
            }
            Role::Guest => {
                if !is_news {
                    // Its home has to open one above all that were heard of, or nobody who heard of them could follow.
                    let standing = self.standing(log, cx, from);
                    return cx.send(from, Frame::Standing { round: UNASKED, standing });
                }
                self.receiver.redirect_to(Some(from), from);
                self.receiver.follows |= !is_handed_over && self.place.is_some_and(|place| place.follower == Some(self.me));
                self.solo = self.solo.filter(|(of, _)| *of >= epoch);
                if self.is_placed() && self.place.is_some_and(|place| place.home != from) {
                    self.is_wanted = true;
                }
            }
        }
    }

    /// An open home says that the slot should be ours.
    pub(super) fn yielded(&mut self, log: &SlotLog, cx: &mut Context<'_>, from: Tag, line: &Line) {
        self.note_epoch(line.epoch());
        match &self.role {
            Role::Home(_) if self.is_placed() => self.meet_rival(log, cx, from, line),
            Role::Guest => {
                // Our own view may be a moment behind.
                self.is_wanted = true;
                self.claim_after = Duration::ZERO;
            }
            _ => {}
        }
    }

    /// Somebody needs the home, which should be here.
    pub(super) fn want_home(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        if matches!(self.role, Role::Guest) && self.is_placed() {
            self.is_wanted = true;
            if cx.view.may_act() && cx.now.mono >= self.claim_after {
                self.claim(log, cx);
            }
        }
    }

    /// A wish or a publish that came while this node is not the home.
    pub(super) fn postpone(&mut self, cx: &mut Context<'_>, from: Tag, frame: Frame) {
        if let Role::Claiming(claim) = &mut self.role {
            match claim.phase {
                Phase::Warming(incumbent) => return self.send_back(cx, from, frame, Some(incumbent)),
                _ if claim.early.len() < cx.settings.early => {
                    claim.early.push((from, frame));
                    return;
                }
                _ => return self.send_back(cx, from, frame, None),
            }
        }
        let source = self.receiver.live_everything().or(self.receiver.live_channels()).map(|(source, _)| source);
        let home = self.receiver.redirect().or(source).or(self.place.map(|place| place.home));
        self.send_back(cx, from, frame, home.filter(|home| *home != self.me));
    }
}

/// Who wrote the epoch before the last one.
fn took_from(line: &Line) -> Option<Tag> {
    let before = line.segments().iter().rev().nth(1)?;
    Some(before.epoch.tag())
}
