//! Copying the slot's log from its home: single channels for listeners here, or all of it.

use std::time::Duration;

use super::super::frame::{Channel, Frame, Stream, StreamAck, Sub, Sync, Wants};
use super::super::settings::{Bug, Settings};
use super::{Context, Event, Output, Replica, Role};
use crate::log::{ChannelKey, ChannelState, Copied, Entry, Epoch, Record, SlotLog, Tag};
use crate::message::ChannelName;

/// How many tries a wish without an answer is given before it is said again, and perhaps to somebody else.
const PATIENCE: u32 = 10;
/// So often at most that time doubles while the same one is asked in vain. What it was asked for before comes in the meantime and is of no use
/// any more: who asks anew each second never gets what takes longer, as one large message does over a slow link.
const PATIENCE_DOUBLES_MAX: u32 = 5;

#[derive(Debug, Default)]
pub(super) struct Receiver {
    generation: u32,
    source: Option<Tag>,
    kind: Kind,
    state: State,
    /// The stream of channels that the same source goes on with until it answers, by its generation.
    until_answered: Option<u32>,
    /// When the source was heard last, or asked.
    heard: Duration,
    /// How often in a row it was asked for the same and sent nothing of it in time.
    in_vain: u32,
    /// Parts of a state that is not whole yet.
    parts: Vec<Sync>,
    /// Who is the home, by the word of others; stronger than the view.
    redirect: Option<Tag>,
    /// Nothing is asked before.
    after: Duration,
    /// The home asked us to follow it.
    pub(super) follows: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Channels,
    Everything,
    Copy,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Asked,
    Live,
}

impl Receiver {
    pub(super) fn redirect(&self) -> Option<Tag> {
        self.redirect
    }

    pub(super) fn forget_redirect(&mut self) {
        self.redirect = None;
    }

    /// `from` said that it is not the home, and perhaps who is.
    pub(super) fn redirect_to(&mut self, home: Option<Tag>, from: Tag) {
        if home.is_some() {
            self.redirect = home;
        } else if self.redirect == Some(from) {
            self.redirect = None;
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.state == State::Asked || self.follows && self.state == State::Idle || self.after > Duration::ZERO && self.state == State::Idle
    }

    /// The source of a stream of channels that flows, and its generation.
    pub(super) fn live_channels(&self) -> Option<(Tag, u32)> {
        (self.state == State::Live && self.kind == Kind::Channels).then_some((self.source?, self.generation))
    }

    /// The same of a whole copy that is kept up to date.
    pub(super) fn live_everything(&self) -> Option<(Tag, u32)> {
        (self.state == State::Live && self.kind == Kind::Everything).then_some((self.source?, self.generation))
    }

    pub(super) fn link(&mut self, peer: Tag, cx: &Context<'_>) {
        if self.redirect == Some(peer) && !cx.view.is_present(peer) {
            self.redirect = None;
        }
        if self.source == Some(peer) && !cx.settings.has(Bug::NoResync) {
            self.stop();
        }
    }

    /// Whatever still comes of this stream is ignored.
    pub(super) fn stop(&mut self) {
        self.state = State::Idle;
        self.source = None;
        self.until_answered = None;
        self.parts.clear();
    }

    /// The stream is wished for anew.
    pub(super) fn ask_again(&mut self, cx: &Context<'_>) {
        self.stop();
        self.after = cx.now.mono;
    }

    /// How long the source may say nothing. Once a state has begun to come all of it is on its way, and it is told if the link loses that.
    fn patience(&self, settings: &Settings) -> Duration {
        let doubles = if self.parts.is_empty() { self.in_vain.min(PATIENCE_DOUBLES_MAX) } else { PATIENCE_DOUBLES_MAX };
        settings.retry * (PATIENCE << doubles)
    }

    /// Whether this is what flowed before the source was asked for something else, and flows until that comes.
    fn is_before(&self, from: Tag, generation: u32) -> bool {
        self.source == Some(from) && self.state == State::Asked && self.until_answered == Some(generation)
    }

    fn is_from(&self, from: Tag, generation: u32) -> bool {
        self.source == Some(from) && self.generation == generation && self.state != State::Idle
    }
}

impl Replica {
    /// Asks for what should be copied, if it is not under way.
    pub(super) fn receive(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        let wish = match &self.role {
            Role::Home(_) => None,
            Role::Claiming(claim) => match claim.wish() {
                Some(wish) => Some(wish),
                // What flows goes on while the claim is open.
                None => return,
            },
            Role::Guest => {
                let is_follower = self.place.is_some_and(|place| place.follower == Some(self.me));
                self.receiver.follows &= is_follower || self.is_whole;
                let kind = if self.is_whole || self.receiver.follows { Some(Kind::Everything) } else { None };
                let kind = kind.or((!self.interest.is_empty()).then_some(Kind::Channels));
                kind.and_then(|kind| Some((self.target(cx)?, kind)))
            }
        };
        let Some((source, kind)) = wish.filter(|(source, _)| self.can_reach(*source, cx)) else {
            if let (None, Some(source), State::Asked | State::Live) = (wish, self.receiver.source, self.receiver.state) {
                // Nothing is wanted any more.
                cx.send(source, Frame::Unsub { generation: self.receiver.generation, channels: Vec::new() });
            }
            if self.receiver.state == State::Asked || wish.is_none() {
                self.receiver.stop();
            }
            if let Some((source, _)) = wish
                && self.receiver.redirect == Some(source)
                && !cx.view.is_present(source)
            {
                self.receiver.redirect = None;
            }
            return;
        };
        let receiver = &mut self.receiver;
        let is_same = receiver.source == Some(source) && receiver.kind == kind;
        let silence = cx.now.mono.saturating_sub(receiver.heard);
        match receiver.state {
            State::Live if is_same && silence < cx.settings.mark * 3 => return,
            State::Asked if is_same && silence < receiver.patience(cx.settings) => return,
            State::Asked if is_same => receiver.redirect = None,
            State::Idle if cx.now.mono < receiver.after => return,
            _ => {}
        }
        self.ask(log, cx, source, kind);
    }

    fn ask(&mut self, log: &SlotLog, cx: &mut Context<'_>, source: Tag, kind: Kind) {
        let receiver = &mut self.receiver;
        let is_again = (receiver.state, receiver.source, receiver.kind) == (State::Asked, Some(source), kind);
        receiver.in_vain = if is_again { receiver.in_vain + 1 } else { 0 };
        let flows = receiver.live_channels().filter(|(from, _)| *from == source && !self.is_whole).map(|(_, generation)| generation);
        let until_answered = flows.or(receiver.until_answered.filter(|_| is_again));
        receiver.stop();
        receiver.generation += 1;
        receiver.until_answered = until_answered;
        (receiver.source, receiver.kind, receiver.state, receiver.heard) = (Some(source), kind, State::Asked, cx.now.mono);
        let line = match kind {
            _ if self.is_whole => Some(log.line().clone()),
            Kind::Channels if self.interest.holds_any() => Some(log.line().upto(log.commit().idx)),
            _ => None,
        };
        let channel = |(name, is_held): (&ChannelName, bool)| Channel { name: name.clone(), is_held };
        let wants = match kind {
            Kind::Everything => Wants::Everything,
            Kind::Copy => Wants::Copy,
            Kind::Channels => Wants::Channels(self.interest.iter().map(channel).collect()),
        };
        let sub = Sub {
            generation: receiver.generation,
            wants,
            commit: if line.is_some() { log.commit().idx } else { 0 },
            line,
            is_eager: self.interest.is_eager(),
            has_orphans: !self.orphans.is_empty(),
        };
        cx.send(source, Frame::Sub(sub));
    }

    /// One more channel for a stream that flows. While that is only asked for, what it begins with is awaited first: asked for anew with each
    /// new channel, it might never come.
    pub(super) fn ask_more(&mut self, cx: &mut Context<'_>, channel: ChannelName) {
        if let (Role::Guest, Some((source, generation))) = (&self.role, self.receiver.live_channels()) {
            cx.send(source, Frame::More { generation, channels: vec![channel] });
        }
    }

    pub(super) fn tell_eager(&mut self, log: &SlotLog, cx: &mut Context<'_>) {
        if let Some((source, generation)) = self.receiver.live_everything() {
            cx.send(source, Frame::StreamAck(StreamAck { generation, upto: log.head().idx, is_eager: true }));
        }
    }

    pub(super) fn not_home(&mut self, cx: &mut Context<'_>, from: Tag, generation: u32, home: Option<Tag>) {
        if !self.receiver.is_from(from, generation) {
            return;
        }
        let home = home.filter(|home| *home != self.me && *home != from && cx.view.is_present(*home));
        self.receiver.redirect_to(home, from);
        self.receiver.stop();
        self.receiver.after = if home.is_some() { cx.now.mono } else { cx.now.mono + cx.settings.retry };
        if let Role::Claiming(claim) = &mut self.role {
            claim.disappoint(from, cx.now.mono);
        }
    }

    pub(super) fn synced(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, sync: Sync) {
        if !self.receiver.is_from(from, sync.generation) {
            return;
        }
        self.receiver.heard = cx.now.mono;
        self.receiver.until_answered = None;
        let has_copy = self.serves_all() || self.interest.holds_any();
        if has_copy && sync.line.epoch() < log.epoch() && !cx.settings.has(Bug::FollowLower) {
            // An epoch that others have left: its home must hear of it and open a higher one.
            cx.send(from, Frame::Yield { line: log.line().clone() });
            self.receiver.stop();
            self.receiver.after = cx.now.mono + cx.settings.retry;
            return;
        }
        let is_last = sync.is_last;
        self.receiver.parts.push(sync);
        if is_last {
            self.take_over(log, cx);
        }
    }

    /// Takes over a state that is whole now.
    fn take_over(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        let mut parts = std::mem::take(&mut self.receiver.parts).into_iter();
        let Some(first) = parts.next() else { return };
        let Sync { line, mut fork, channels, floors, uncertain, covered, lost, tail: first_tail, .. } = first;
        let mut states: Vec<ChannelState> = channels;
        let mut tail = first_tail;
        for mut part in parts {
            tail.append(&mut part.tail);
            if let (Some(last), Some(next)) = (states.last_mut(), part.channels.first_mut())
                && last.name == next.name
            {
                last.entries.append(&mut next.entries);
                last.ids.append(&mut next.ids);
                part.channels.remove(0);
            }
            states.append(&mut part.channels);
        }
        let is_more = self.receiver.state == State::Live;
        let is_whole = self.receiver.kind != Kind::Channels;
        let turns = !is_more && (self.serves_all() || self.interest.holds_any());
        if self.is_whole {
            self.orphans.keep(log, fork);
        }
        if cx.settings.has(Bug::NoCut) {
            fork = fork.max(log.head().idx);
        }
        let names: Vec<ChannelName> = states.iter().map(|state| state.name.clone()).collect();
        let channels: Vec<(ChannelKey, ChannelState)> =
            states.into_iter().map(|state| (cx.channels.open(log, &state.name, cx.now), state)).collect();
        let mut evicted = Vec::new();
        let floors = is_whole.then_some(floors);
        let epoch = line.epoch();
        let copied = Copied { line, fork, channels, floors, uncertain, covered, lost };
        log.restore(copied, cx.now, cx.dedupe_room, &mut evicted);
        cx.out.extend(evicted.into_iter().map(Output::Evicted));
        self.note_epoch(epoch);
        self.receiver.state = State::Live;
        if turns && !cx.settings.has(Bug::NoTurn) {
            cx.out.push(Output::Turn);
        }
        if !is_whole {
            for name in names {
                if self.interest.hold(&name) {
                    cx.out.push(Output::Ready(name));
                }
            }
            // What was asked for while the answer was on its way.
            let missing: Vec<ChannelName> = self.interest.iter().filter(|(_, is_held)| !is_held).map(|(name, _)| name.clone()).collect();
            if let (false, Some((source, generation))) = (missing.is_empty() || is_more, self.receiver.live_channels()) {
                cx.send(source, Frame::More { generation, channels: missing });
            }
            return;
        }
        for record in tail.into_iter().filter(|record| record.idx() > log.head().idx).collect::<Vec<_>>() {
            let key = record.channel().map(|name| cx.channels.open(log, name, cx.now));
            log.accept(key, record, cx.now, Some(cx.dedupe_room));
        }
        self.note_epoch(log.epoch());
        self.is_whole = true;
        if let Some(source) = self.receiver.source {
            self.apart.forget(source);
        }
        self.granted = None;
        self.all_ready(log, cx);
        if self.receiver.kind == Kind::Copy {
            self.receiver.stop();
            self.copied(log, cx);
        } else if let Some(source) = self.receiver.source {
            // First the offer: who has acknowledged everything and offered nothing may be released.
            self.offer(cx);
            self.ack(log, cx, source);
        }
    }

    fn ack(&mut self, log: &SlotLog, cx: &mut Context<'_>, source: Tag) {
        let upto = log.head().idx + if cx.settings.has(Bug::AckAhead) { 5 } else { 0 };
        let ack = StreamAck { generation: self.receiver.generation, upto, is_eager: self.interest.is_eager() };
        cx.send(source, Frame::StreamAck(ack));
    }

    pub(super) fn streamed(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, stream: Stream) {
        let is_before = self.receiver.is_before(from, stream.generation);
        if !is_before && (!self.receiver.is_from(from, stream.generation) || self.receiver.state != State::Live) {
            return;
        }
        if !is_before {
            self.receiver.heard = cx.now.mono;
        }
        let is_whole = !is_before && self.receiver.kind == Kind::Everything;
        let has_records = !stream.records.is_empty();
        let room = (is_whole && !cx.settings.has(Bug::NoDedupe)).then_some(cx.dedupe_room);
        for record in stream.records {
            let idx = record.idx();
            if idx <= log.head().idx {
                continue;
            }
            if is_whole && idx != log.head().idx + 1 {
                // Cannot be on a link that keeps the order; whatever happened, the home knows better.
                self.receiver.ask_again(cx);
                return;
            }
            match &record {
                Record::Open { epoch, .. } => self.note_epoch(*epoch),
                // What they took apart is in the line.
                Record::Cover { ends, .. } if is_whole => ends.iter().for_each(|end| self.apart.forget(end.epoch.tag())),
                _ => {}
            }
            let key = match record.channel() {
                Some(name) if is_whole => Some(cx.channels.open(log, name, cx.now)),
                Some(name) if self.interest.is_held(name) => Some(cx.channels.open(log, name, cx.now)),
                // Given up a moment ago.
                Some(_) => continue,
                None => None,
            };
            if !log.accept(key, record, cx.now, room) {
                self.receiver.ask_again(cx);
                return;
            }
        }
        let commit = if is_whole { stream.commit.min(log.head().idx) } else { log.head().idx };
        commit_to(log, cx, commit);
        if is_whole {
            if has_records {
                self.ack(log, cx, from);
            }
        } else {
            log.pass(stream.commit);
        }
    }

    /// The home waits for our acknowledgements from now on.
    pub(super) fn now_counted(&mut self, from: Tag, epoch: Epoch, witnesses: Vec<Tag>) {
        if self.receiver.live_everything().is_none_or(|(source, _)| source != from) {
            return;
        }
        self.counted = Some(epoch);
        self.solo = self.solo.filter(|(of, _)| *of > epoch);
        // Those it does not name it has lost sight of, and has settled what they held.
        self.apart.keep_only(&witnesses);
        self.witnesses = witnesses;
    }

    pub(super) fn noted(&mut self, log: &SlotLog, cx: &mut Context<'_>, from: Tag, epoch: Epoch, idx: u64, solo: bool) {
        self.note_epoch(epoch);
        let is_theirs = self.place.is_some_and(|place| place.home == from);
        if !solo {
            self.apart.forget(from);
        } else if self.serves_all() {
            self.apart.note(cx.view, from);
        }
        if solo && self.is_home() && is_theirs && epoch < log.epoch() {
            // It stood still while its slot moved here, and is to hear of that before it goes on alone.
            cx.send(from, Frame::Yield { line: log.line().clone() });
        } else if solo {
            if self.solo.is_none_or(|(of, _)| of <= epoch) {
                self.solo = Some((epoch, idx));
            }
            if self.counted == Some(epoch) && self.receiver.source == Some(from) {
                self.counted = None;
            }
            cx.send(from, Frame::NoteAck { epoch, from: idx });
        } else {
            self.solo = self.solo.filter(|(of, _)| *of > epoch);
        }
    }

    /// This copy is not needed any more.
    pub(super) fn released(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, generation: u32) {
        if !self.receiver.is_from(from, generation) || !self.orphans.is_empty() || self.receiver.kind != Kind::Everything {
            return;
        }
        if !matches!(self.role, Role::Guest) {
            return;
        }
        self.is_whole = false;
        self.apart.clear();
        self.counted = None;
        self.receiver.follows = false;
        self.interest.hold_all();
        log.drop_uncommitted();
        self.receiver.ask_again(cx);
    }
}

/// Commits, and hands on what became visible. Where an epoch begins, or a loss is told, listeners are sent to the log first.
pub(super) fn commit_to(log: &mut SlotLog, cx: &mut Context<'_>, upto: u64) -> Vec<(ChannelKey, std::sync::Arc<Entry>)> {
    let before = log.commit().idx;
    if upto <= before {
        return Vec::new();
    }
    let (mut committed, mut evicted) = (Vec::new(), Vec::new());
    log.commit_to(upto, cx.now, &mut committed, &mut evicted);
    let turns = log.line().segments().iter().any(|segment| before < segment.start && segment.start <= upto);
    if (turns || log.tells_loss(before, upto)) && !cx.settings.has(Bug::NoTurn) {
        cx.out.push(Output::Turn);
    }
    cx.out.extend(committed.iter().map(|(key, entry)| Output::Committed { key: *key, entry: entry.clone() }));
    cx.out.extend(evicted.into_iter().map(Output::Evicted));
    committed
}

impl Event {
    pub(super) fn into_output(self) -> Output {
        Output::Event(self)
    }
}
