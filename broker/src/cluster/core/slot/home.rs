//! The home: gives positions, waits for its follower, commits, streams to whoever asked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use foldhash::HashSet;

use super::super::frame::{Ack, Ask, Done, Forward, Frame, Offer, Outcome, Standing, Stream, Terms};
use super::super::settings::Bug;
use super::asker::Asker;
use super::deferred::Deferred;
use super::orphans::Branch;
use super::publish::takes_nothing;
use super::receiver::commit_to;
use super::{Context, Event, Opening, Output, Replica, Role};
use crate::log::{Appended, Entry, Epoch, Line, Pos, Record, SlotLog, Tag, Waited};
use crate::message::ChannelName;

#[derive(Debug)]
pub(super) struct Home {
    pub(super) epoch: Epoch,
    pub(super) flows: Vec<Flow>,
    /// Appended and not committed: index, and whether it waits for a copy.
    pub(super) waiting: VecDeque<(u64, bool)>,
    /// Who is to be answered, ascending by index.
    pub(super) asked: VecDeque<Asked>,
    /// What has no position yet, for want of a follower.
    pub(super) deferred: Deferred,
    pub(super) note: Option<Note>,
    /// What stands behind this index no other node has acknowledged; `None` while one counts.
    pub(super) alone_after: Option<u64>,
    /// Others were told that this home commits alone.
    pub(super) is_noted: bool,
    /// Other open homes, to be sealed.
    pub(super) rivals: Vec<Tag>,
    /// Branches that are owed an answer: to whom, once what is committed, and what to say.
    pub(super) owed: Vec<(Tag, u64, Pos)>,
    /// Commits beyond this index wait for a follower until then.
    pub(super) hold: Option<(u64, Duration)>,
    pub(super) rounds: u32,
    /// Another one holds a copy meanwhile, so the follower that is wanted is called then and not before.
    pub(super) calls_at: Option<Duration>,
    /// When something was tried last: to yield, to seal rivals, to call the follower.
    pub(super) tried: Duration,
    pub(super) marked: Duration,
    pub(super) told: u64,
    pub(super) reopen_after: Duration,
}

/// A publish that waits for its answer.
#[derive(Debug)]
pub(super) struct Asked {
    idx: u64,
    asker: Asker,
    done: Done,
    /// With fewer copies it is not answered.
    copies_min: u32,
    since: Duration,
}

/// One stream to another node.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) to: Tag,
    pub(super) generation: u32,
    /// `None` for one that wants everything.
    pub(super) channels: Option<HashSet<ChannelName>>,
    /// A follower holds everything up to here.
    pub(super) acked: u64,
    /// Its acknowledgements are waited for.
    pub(super) is_counted: bool,
    pub(super) is_eager: bool,
    pub(super) has_orphans: bool,
    /// Its link is lost: nothing is sent until it asks again.
    pub(super) is_lost: bool,
    /// Too much waits for it; from this index on it needs the log.
    pub(super) is_lagging: bool,
    /// Since when it owes an acknowledgement.
    pub(super) owes: Option<Duration>,
    /// When it was asked for.
    pub(super) since: Duration,
    pub(super) offer: Vec<Arc<Entry>>,
}

impl Flow {
    /// Whether it is a follower's, and that one either counts or was given time to.
    fn is_followed(&self, now: Duration, patience: Duration) -> bool {
        self.channels.is_none() && (self.is_counted || now < self.since + patience)
    }
}

/// The follower is late: others are told before this home goes on without it.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) follower: Tag,
    pub(super) from: u64,
    pub(super) at: Duration,
    pub(super) acked: Vec<Tag>,
}

impl Home {
    pub(super) fn new(epoch: Epoch, head: u64) -> Self {
        Self {
            epoch,
            flows: Vec::new(),
            waiting: VecDeque::new(),
            asked: VecDeque::new(),
            deferred: Deferred::default(),
            note: None,
            alone_after: None,
            is_noted: false,
            rivals: Vec::new(),
            owed: Vec::new(),
            hold: None,
            rounds: 0,
            calls_at: None,
            tried: Duration::ZERO,
            marked: Duration::ZERO,
            told: head,
            reopen_after: Duration::ZERO,
        }
    }

    /// What the log holds beyond its commit waits here too.
    pub(super) fn note_uncommitted(&mut self, commit: u64, head: u64) {
        self.waiting = (commit + 1..=head).map(|idx| (idx, true)).collect();
    }

    pub(super) fn is_alone(&self) -> bool {
        let waits = self.hold.is_some() || self.note.is_some() || !self.deferred.is_empty();
        self.flows.is_empty() && self.waiting.is_empty() && self.rivals.is_empty() && !waits
    }

    pub(super) fn is_moving(&self) -> bool {
        !self.waiting.is_empty()
            || !self.deferred.is_empty()
            || !self.rivals.is_empty()
            || self.note.is_some()
            || self.hold.is_some()
            || self.counted().nth(1).is_some()
            || self.flows.iter().any(|flow| flow.channels.is_none() && !flow.is_counted && !flow.is_lagging)
    }

    fn rival(&mut self, tag: Tag) {
        if !self.rivals.contains(&tag) {
            self.rivals.push(tag);
            self.tried = Duration::ZERO;
        }
    }

    /// One more that waits for its answer. What its node sent again waits in place of what it sent before, so that no more wait than are
    /// unanswered there.
    fn ask(&mut self, asked: Asked) {
        let end = self.asked.partition_point(|known| known.idx <= asked.idx);
        let of_same = self.asked.range(..end).rev().take_while(|known| known.idx == asked.idx);
        match of_same.enumerate().find(|(_, known)| known.asker.is_again(&asked.asker)) {
            Some((back, _)) => self.asked[end - 1 - back] = asked,
            None => self.asked.insert(end, asked),
        }
    }

    pub(super) fn forget_asker(&mut self, gone: Asker) {
        self.asked.retain(|asked| asked.asker != gone);
        self.deferred.forget(|asker| *asker == gone);
    }

    pub(super) fn owe(&mut self, to: Tag, idx: u64, end: Pos) {
        self.owed.push((to, idx, end));
    }

    /// One more part of an offer; everything, once it is whole.
    pub(super) fn take_offer(&mut self, from: Tag, offer: Offer) -> Option<Branch> {
        let flow = self.flows.iter_mut().find(|flow| flow.to == from && flow.generation == offer.generation)?;
        flow.offer.extend(offer.run);
        flow.has_orphans = true;
        offer.is_last.then(|| Branch { run: std::mem::take(&mut flow.offer), ends: offer.ends, lost: offer.lost })
    }

    pub(super) fn flow(&mut self, to: Tag) -> Option<&mut Flow> {
        self.flows.iter_mut().find(|flow| flow.to == to)
    }

    pub(super) fn counted(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter().filter(|flow| flow.is_counted)
    }

    /// The next publish that can be answered: it is committed, and as many hold it as its publisher insists on. A home that was left
    /// alone meanwhile has it in its log and cannot say no any more, so the answer waits for another copy.
    fn next_answer(&mut self, commit: u64) -> Option<Asked> {
        let is_held = |asked: &Asked| self.copies(asked.idx) >= asked.copies_min;
        let at = self.asked.iter().take_while(|asked| asked.idx <= commit).position(is_held)?;
        self.asked.remove(at)
    }

    /// A follower is not waited for any more.
    pub(super) fn uncount(&mut self, follower: Tag) {
        self.calls_at = None;
        if let Some(flow) = self.flow(follower) {
            flow.is_counted = false;
            flow.owes = None;
        }
        self.flows.retain(|flow| !flow.is_lost || flow.is_counted);
    }

    /// Nodes that will hold what is appended now.
    pub(super) fn copies_to_be(&self) -> u32 {
        1 + self.counted().count() as u32
    }

    fn copies(&self, idx: u64) -> u32 {
        1 + self.counted().filter(|flow| flow.acked >= idx && !flow.is_lost).count() as u32
    }

    /// How far the log may be committed.
    fn committable(&mut self, head: u64, now: Duration, bug_early: bool) -> u64 {
        let held = self.counted().map(|flow| flow.acked).min();
        let held = match (held, self.hold) {
            (Some(held), _) => held,
            (None, Some((upto, until))) if now < until => upto,
            (None, _) => head,
        };
        let held = if bug_early { head } else { held };
        let mut upto = 0;
        while let Some((idx, waits)) = self.waiting.front()
            && (*idx <= held || !waits)
        {
            upto = *idx;
            self.waiting.pop_front();
        }
        upto
    }
}

impl Replica {
    /// A publish from another node.
    pub(super) fn forwarded(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, forward: Forward) {
        if !self.is_home() {
            self.want_home(log, cx);
        }
        let publish = (from, forward.rid, forward.flight);
        if self.would_overtake(cx, publish) || takes_nothing(cx) {
            return self.send_publish_back(cx, publish, None);
        }
        if !self.is_home() {
            return self.postpone(cx, from, Frame::Forward(forward));
        }
        let Forward { rid, flight, ask, since, terms } = forward;
        self.append(log, cx, Asker::There { peer: from, rid, flight }, since, ask, terms);
    }

    /// Gives a message, which is on its way since a moment, its position.
    pub(super) fn append_now(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, asker: Asker, since: Duration, ask: Ask, terms: Terms) {
        let Role::Home(home) = &mut self.role else { return };
        let before = log.head().idx;
        let done = match ask {
            Ask::Publish(draft) => {
                let key = cx.channels.open(log, &draft.channel, cx.now);
                let waited = Waited::between(since, cx.now.mono);
                let Appended { pos, offset, id, duplicate, trail } = log.append_after(waited, key, draft, cx.now, cx.dedupe_room);
                Done { pos, offset, id, copies: 1, duplicate, trail }
            }
            Ask::Clear(channel) => {
                let key = cx.channels.open(log, &channel, cx.now);
                let pos = log.clear(key);
                let (id, trail) = (crate::message::MessageId::Auto(0), log.trail_of(pos.epoch));
                Done { pos, offset: 0, id, copies: 1, duplicate: false, trail }
            }
        };
        let idx = done.pos.idx;
        if log.head().idx > before {
            home.waiting.push_back((idx, terms.replicas > 1));
            if home.counted().next().is_none() {
                home.alone_after.get_or_insert(before);
            }
            self.stream(log, cx, before);
        }
        let Role::Home(home) = &mut self.role else { return };
        let copies_min = if cx.settings.has(Bug::FewerCopies) { 0 } else { terms.copies_min };
        if terms.ack == Ack::Appended || cx.settings.has(Bug::AckBeforeCopy) {
            let copies = home.copies(idx);
            self.answer(cx, asker, Outcome::Done(Done { copies, ..done }));
        } else {
            home.ask(Asked { idx, asker, done, copies_min, since: cx.now.mono });
        }
        self.advance(log, cx);
    }

    /// What was appended after an index by the home itself waits and goes out.
    pub(super) fn appended(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, before: u64) {
        let Role::Home(home) = &mut self.role else { return };
        if log.head().idx > before && home.counted().next().is_none() {
            home.alone_after.get_or_insert(before);
        }
        let known = home.waiting.back().map_or(before, |(idx, _)| before.max(*idx));
        home.waiting.extend((known + 1..=log.head().idx).map(|idx| (idx, true)));
        self.stream(log, cx, before);
        self.advance(log, cx);
    }

    /// Streams what was appended after an index to followers.
    fn stream(&mut self, log: &SlotLog, cx: &mut Context<'_>, before: u64) {
        let Role::Home(home) = &mut self.role else { return };
        let is_streamed = |flow: &&mut Flow| flow.channels.is_none() && !flow.is_lost && !flow.is_lagging;
        for flow in home.flows.iter_mut().filter(is_streamed) {
            let stream = Stream { generation: flow.generation, records: log.uncommitted(before), commit: log.commit().idx };
            cx.out.push(Output::Send { to: flow.to, frame: Frame::Stream(stream) });
            flow.owes.get_or_insert(cx.now.mono);
        }
        home.told = log.commit().idx;
    }

    /// Commits as far as possible, delivers, and answers.
    pub(super) fn advance(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        let Role::Home(home) = &mut self.role else { return };
        let upto = home.committable(log.head().idx, cx.now.mono, cx.settings.has(Bug::CommitEarly));
        let before = log.commit().idx;
        if upto > before {
            let controls: Vec<Record> = if home.flows.is_empty() { Vec::new() } else { controls(log, before, upto) };
            let committed = commit_to(log, cx, upto);
            for flow in home.flows.iter().filter(|flow| !flow.is_lost && !flow.is_lagging) {
                let Some(channels) = &flow.channels else {
                    if flow.is_eager {
                        let stream = Stream { generation: flow.generation, records: Vec::new(), commit: upto };
                        cx.out.push(Output::Send { to: flow.to, frame: Frame::Stream(stream) });
                    }
                    continue;
                };
                let is_theirs = |record: &&Record| record.channel().is_none_or(|channel| channels.contains(channel));
                let mut records: Vec<Record> = controls.iter().filter(is_theirs).cloned().collect();
                records.extend(
                    committed
                        .iter()
                        .filter(|(_, entry)| channels.contains(&entry.channel))
                        .map(|(_, entry)| Record::Message(entry.clone())),
                );
                if records.is_empty() {
                    continue;
                }
                records.sort_unstable_by_key(Record::idx);
                let stream = Stream { generation: flow.generation, records, commit: upto };
                cx.out.push(Output::Send { to: flow.to, frame: Frame::Stream(stream) });
            }
        }
        let commit = log.commit().idx;
        while let Role::Home(home) = &mut self.role
            && let Some(Asked { idx, asker, done, .. }) = home.next_answer(commit)
        {
            let copies = home.copies(idx);
            self.answer(cx, asker, Outcome::Done(Done { copies, ..done }));
        }
        if let Role::Home(home) = &mut self.role {
            let due: Vec<(Tag, u64, Pos)> = home.owed.extract_if(.., |(_, idx, _)| *idx <= commit).collect();
            for (to, _, end) in due {
                if let Some(flow) = home.flow(to) {
                    flow.has_orphans = false;
                }
                cx.send(to, Frame::OfferAck { end });
            }
        }
    }

    pub(super) fn answer(&mut self, cx: &mut Context<'_>, asker: Asker, outcome: Outcome) {
        match asker {
            Asker::Here(number) => self.publish_answered(cx, number, outcome),
            Asker::There { peer, rid, flight } => cx.send(peer, Frame::ForwardAck { rid, flight, outcome }),
        }
    }

    pub(super) fn home_link(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, peer: Tag, is_up: bool) {
        let Role::Home(home) = &mut self.role else { return };
        if !is_up {
            let is_gone = |asker: &Asker| matches!(asker, Asker::There { peer: of, .. } if *of == peer);
            home.asked.retain(|asked| !is_gone(&asked.asker));
            home.deferred.forget(is_gone);
        }
        for flow in home.flows.iter_mut().filter(|flow| flow.to == peer) {
            // Whatever was sent may be lost; it asks again.
            flow.is_lost = true;
            flow.offer.clear();
            flow.owes.get_or_insert(cx.now.mono);
        }
        home.flows.retain(|flow| !flow.is_lost || flow.is_counted);
        self.settle_note(log, cx);
    }

    pub(super) fn tick_home(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        self.tell_of_the_gone(log, cx);
        let Role::Home(home) = &mut self.role else { return };
        let (now, settings) = (cx.now.mono, cx.settings);
        for flow in home.flows.extract_if(.., |flow| !flow.is_counted && !cx.view.is_present(flow.to)) {
            // It may live and believe that its stream flows; when it wakes up it asks again.
            if settings.has(Bug::SilentDrop) {
                continue;
            }
            cx.out.push(Output::Send { to: flow.to, frame: Frame::NotHome { generation: flow.generation, home: Some(self.me) } });
        }
        home.rivals.retain(|rival| cx.view.is_present(*rival));
        // Whoever asked has given up by now.
        home.asked.retain(|asked| now < asked.since + settings.publish);
        if home.hold.is_some_and(|(_, until)| until <= now) {
            home.hold = None;
        }
        let is_late = |flow: &&Flow| {
            let owes = flow.owes.is_some_and(|since| since + settings.ack <= now);
            flow.is_counted && (owes || flow.is_lost || !cx.view.is_present(flow.to))
        };
        let late = home.flows.iter().find(is_late).map(|flow| flow.to);
        let is_alone = !home.counted().any(|flow| !is_late(&flow));
        if let Some(late) = late.filter(|_| !is_alone) {
            // Nobody need be told of one copy less while another one is waited for: whoever has that is asked by all.
            home.uncount(late);
            if home.note.take_if(|note| note.follower == late).is_some() {
                self.take_note_back(log, cx);
            }
        } else if let Some(follower) = late.filter(|_| home.note.is_none()) {
            home.note = Some(Note { follower, from: log.commit().idx + 1, at: Duration::ZERO, acked: Vec::new() });
        }
        let Role::Home(home) = &mut self.role else { return };
        if let Some(note) = home.note.as_mut().filter(|note| note.at + settings.retry <= now) {
            note.at = now;
            let frame = Frame::Note { epoch: home.epoch, from: note.from, solo: true };
            cx.send_all(&frame);
        }
        self.settle_note(log, cx);
        let Role::Home(home) = &mut self.role else { return };
        let commit = log.commit().idx;
        let marks = home.marked + settings.mark <= now;
        if marks {
            home.marked = now;
        }
        let tells = std::mem::replace(&mut home.told, commit) < commit;
        for flow in home.flows.iter().filter(|flow| !flow.is_lost && !flow.is_lagging) {
            if marks || tells && flow.channels.is_none() && !flow.is_eager {
                let stream = Stream { generation: flow.generation, records: Vec::new(), commit };
                cx.out.push(Output::Send { to: flow.to, frame: Frame::Stream(stream) });
            }
        }
        self.advance(log, cx);
    }

    /// What a home has to bring about with others: to be relieved, to be the only one, to be followed.
    pub(super) fn settle(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        self.reopen(log, cx);
        let me = self.me;
        let Role::Home(home) = &mut self.role else { return };
        let now = cx.now.mono;
        let is_called = home.calls_at.take_if(|at| *at <= now).is_some();
        let Some(place) = self.place else { return };
        if home.tried + cx.settings.retry > now && !is_called {
            return;
        }
        home.tried = now;
        if place.home != me {
            cx.send(place.home, Frame::Yield { line: log.line().clone() });
            return;
        }
        home.rounds += 1;
        for rival in &home.rivals {
            cx.out.push(Output::Send { to: *rival, frame: Frame::Claim { round: home.rounds, seal: true } });
        }
        let follower = place.follower;
        // Not where the one that was to hold a copy meanwhile does not come.
        let is_copied = home.counted().next().is_some() || home.hold.is_some();
        match follower.filter(|_| home.calls_at.is_none() || !is_copied) {
            Some(follower) if !home.flows.iter().any(|flow| flow.to == follower && flow.is_followed(now, cx.settings.retry * 10)) => {
                cx.send(follower, Frame::Opened { line: log.line().clone() });
            }
            _ => {}
        }
        // A copy more than is wanted is let go once those that are wanted count.
        let is_enough = follower.is_none_or(|follower| home.flows.iter().any(|flow| flow.to == follower && flow.is_counted));
        if is_enough {
            let commit = log.commit().idx;
            let is_surplus = |flow: &mut Flow| {
                flow.channels.is_none() && Some(flow.to) != follower && !flow.has_orphans && !flow.is_lost && flow.acked >= commit
            };
            // From here on it is not waited for: what it lacks, the follower that is wanted holds.
            for flow in home.flows.extract_if(.., is_surplus) {
                cx.out.push(Output::Send { to: flow.to, frame: Frame::Release { generation: flow.generation } });
            }
            self.advance(log, cx);
        }
    }

    /// Opens a higher epoch on its own line when a higher one was heard of.
    pub(super) fn reopen(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        let is_placed = self.is_placed();
        let seen = self.seen;
        let Role::Home(home) = &mut self.role else { return };
        if !is_placed || seen <= Some(home.epoch) || cx.now.mono < home.reopen_after || !cx.view.may_act() {
            return;
        }
        self.open_next(log, cx, false);
    }

    pub(super) fn open_next(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, is_uncertain: bool) {
        let epoch = self.next_epoch();
        let Role::Home(home) = &mut self.role else { return };
        home.reopen_after = cx.now.mono + cx.settings.retry * 2;
        home.epoch = epoch;
        // A note names the epoch that went solo; the new one has its own.
        home.note = None;
        self.seen = Some(epoch);
        let before = log.head().idx;
        log.open_epoch(epoch, is_uncertain);
        cx.out.push(Event::Opened { epoch, is_uncertain, is_forced: false, opening: Opening::Merged }.into_output());
        self.appended(log, cx, before);
        cx.send_all(&Frame::Opened { line: log.line().clone() });
        self.tell_all_counted(cx);
    }

    /// Another open home shows its line. Where that one holds all that this one has there is nothing to merge: this one follows, and
    /// takes over from it as from any incumbent. Else the other one is to seal.
    pub(super) fn meet_rival(&mut self, log: &SlotLog, cx: &mut Context<'_>, from: Tag, line: &Line) {
        let is_part = log.line().common_prefix(line) == log.head().idx && log.epoch() < line.epoch();
        match &mut self.role {
            Role::Home(_) if is_part => {
                self.yield_to(log, cx, from);
                self.is_wanted = true;
                self.claim_after = Duration::ZERO;
            }
            Role::Home(home) => {
                home.rival(from);
                self.note_line(log, cx.view, from, line);
            }
            _ => {}
        }
    }

    /// A rival answers. Once it has sealed it follows whoever has the higher epoch, which is this one already, or is opened now.
    pub(super) fn rival_stood(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, standing: &Standing) {
        let Role::Home(home) = &mut self.role else { return };
        if standing.is_open {
            return;
        }
        let was_rival = home.rivals.iter().position(|rival| *rival == from).map(|at| home.rivals.swap_remove(at)).is_some();
        let is_higher = standing.line.as_ref().is_some_and(|line| line.epoch().tag() == from && line.epoch() > home.epoch);
        if was_rival && is_higher {
            self.open_next(log, cx, false);
        }
    }

    /// Seals the epoch: the successor orders what comes now.
    pub(super) fn yield_to(&mut self, log: &SlotLog, cx: &mut Context<'_>, successor: Tag) {
        let is_broken = cx.settings.has(Bug::AppendAfterSeal);
        if is_broken {
            return;
        }
        let Role::Home(home) = std::mem::replace(&mut self.role, Role::Guest) else { return };
        self.granted = Some(successor);
        self.is_whole = true;
        self.note_epoch(log.epoch());
        for asked in home.asked {
            if let Asker::There { peer, rid, flight } = asked.asker {
                self.send_publish_back(cx, (peer, rid, flight), Some(successor));
            }
        }
        self.send_deferred_back(cx, home.deferred, successor);
        for flow in home.flows {
            // Streams end here; who takes part in the move knows already.
            if flow.to != successor {
                cx.send(flow.to, Frame::NotHome { generation: flow.generation, home: Some(successor) });
            }
        }
        // What stands here goes to the successor at once, or, where it had an epoch beside this one, some time later.
        self.publishes.give_up_answers();
        self.receiver.redirect_to(Some(successor), successor);
        self.receiver.ask_again(cx);
        cx.out.push(Event::Sealed { successor }.into_output());
    }

    /// Commits of a new epoch wait a moment for a follower, if one is to be expected.
    pub(super) fn hold_commits(&mut self, cx: &mut Context<'_>) {
        let follower = self.place.and_then(|place| place.follower);
        let is_expected = follower.is_some_and(|follower| self.can_reach(follower, cx));
        let until = cx.now.mono + cx.settings.ack;
        if let (Role::Home(home), true) = (&mut self.role, is_expected) {
            home.hold = Some((home.waiting.back().map_or(home.told, |(idx, _)| *idx), until));
        }
    }
}

/// The records between two indices that are no messages and yet of use to those who copy channels.
fn controls(log: &SlotLog, after: u64, upto: u64) -> Vec<Record> {
    let waiting = log.uncommitted(after).into_iter().take_while(|record| record.idx() <= upto);
    let is_of_use = |record: &Record| match record {
        Record::Open { .. } | Record::Clear { .. } => true,
        Record::Cover { lost, .. } => !lost.is_empty(),
        Record::Message(_) => false,
    };
    waiting.filter(is_of_use).collect()
}
