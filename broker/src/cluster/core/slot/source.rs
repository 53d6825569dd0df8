//! The home as a source: who asked for what of its slot, and the state each begins with.

use foldhash::HashSet;

use super::super::frame::{Channel, Frame, Sub, Sync, Wants};
use super::super::settings::Bug;
use super::home::Flow;
use super::{Context, Replica, Role};
use crate::log::{ChannelState, Line, SlotLog, Tag};
use crate::message::ChannelName;

impl Replica {
    /// Somebody asks for the home's stream.
    pub(super) fn subscribed(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, sub: Sub) {
        if sub.wants == Wants::Copy {
            return self.give_copy(log, cx, from, &sub);
        }
        if matches!(sub.wants, Wants::Part(_)) {
            // Not put together by who carried it.
            return;
        }
        if !self.is_home() {
            self.want_home(log, cx);
        }
        if let Some(line) = &sub.line {
            self.note_epoch(line.epoch());
        }
        self.reopen(log, cx);
        let Role::Home(home) = &mut self.role else { return self.postpone(cx, from, Frame::Sub(sub)) };
        if sub.line.as_ref().is_some_and(|line| line.epoch() > home.epoch) {
            // Another home is open somewhere. It has to be merged before anybody can follow both.
            cx.send(from, Frame::NotHome { generation: sub.generation, home: None });
            return;
        }
        self.apart.note_follower(log, cx.view, from, &sub);
        let before = home.flows.iter().position(|flow| flow.to == from).map(|at| home.flows.swap_remove(at));
        let (channels, wanted) = match &sub.wants {
            Wants::Channels(channels) => (Some(channels.iter().map(|channel| channel.name.clone()).collect()), Some(channels.as_slice())),
            _ => (None, None),
        };
        let was_counted = before.is_some_and(|flow| flow.is_counted);
        home.flows.push(Flow {
            to: from,
            generation: sub.generation,
            channels,
            acked: 0,
            is_counted: was_counted,
            is_eager: sub.is_eager,
            has_orphans: sub.has_orphans,
            is_lost: false,
            is_lagging: false,
            owes: Some(cx.now.mono).filter(|_| was_counted),
            since: cx.now.mono,
            offer: Vec::new(),
        });
        send_state(log, cx, from, &sub, wanted);
        if was_counted {
            // While it asked anew it may not have listened.
            self.tell_still_counted(cx, from);
        }
    }

    /// A copy for who takes over; whoever has one gives it.
    fn give_copy(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, sub: &Sub) {
        if !self.serves_all() || self.is_home() {
            cx.send(from, Frame::NotHome { generation: sub.generation, home: None });
            return;
        }
        // What is not committed belongs to it: it may be on two nodes already.
        send_state(log, cx, from, sub, None);
    }

    pub(super) fn more(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, generation: u32, channels: Vec<ChannelName>) {
        let Role::Home(home) = &mut self.role else {
            cx.send(from, Frame::NotHome { generation, home: None });
            return;
        };
        let Some(flow) = home.flow(from).filter(|flow| flow.generation == generation) else { return };
        let Some(known) = &mut flow.channels else { return };
        known.extend(channels.iter().cloned());
        if flow.is_lagging {
            // It lacks records of its other channels, and will ask for all of them anew.
            return;
        }
        let wanted: Vec<Channel> = channels.into_iter().map(|name| Channel { name, is_held: false }).collect();
        let sub = Sub {
            generation,
            wants: Wants::Channels(Vec::new()),
            // Everything of its other channels was streamed to it.
            line: Some(log.line().clone()),
            commit: log.commit().idx,
            is_eager: false,
            has_orphans: false,
        };
        send_state(log, cx, from, &sub, Some(&wanted));
    }

    pub(super) fn unsubscribed(&mut self, from: Tag, generation: u32, channels: &[ChannelName]) {
        let Role::Home(home) = &mut self.role else { return };
        let Some(flow) = home.flow(from).filter(|flow| flow.generation == generation) else { return };
        if let Some(known) = flow.channels.as_mut().filter(|_| !channels.is_empty()) {
            known.retain(|name| !channels.contains(name));
        }
        let is_over = channels.is_empty() || flow.channels.as_ref().is_some_and(HashSet::is_empty);
        if is_over && !flow.is_counted {
            home.flows.retain(|flow| flow.to != from);
        }
    }

    pub(super) fn lagging(&mut self, _cx: &mut Context<'_>, peer: Tag) {
        if let Role::Home(home) = &mut self.role
            && let Some(flow) = home.flow(peer)
        {
            flow.is_lagging = true;
        }
    }

    /// What it missed comes from the log: it is told to ask again with what it has.
    pub(super) fn drained(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, peer: Tag) {
        let me = self.me;
        if cx.settings.has(Bug::NoRefill) {
            return;
        }
        let Role::Home(home) = &mut self.role else { return };
        if let Some(flow) = home.flow(peer).filter(|flow| flow.is_lagging) {
            flow.is_lost = true;
            let generation = flow.generation;
            cx.send(peer, Frame::NotHome { generation, home: Some(me) });
        }
        home.flows.retain(|flow| !flow.is_lost || flow.is_counted);
        self.settle_note(log, cx);
    }
}

/// State of what is wanted, as of the commit, in parts.
fn send_state(log: &mut SlotLog, cx: &mut Context<'_>, to: Tag, sub: &Sub, wanted: Option<&[Channel]>) {
    let fork = sub.line.as_ref().map_or(0, |line| log.line().common_prefix(line));
    let keep = sub.commit.min(fork).min(log.commit().idx);
    let states: Vec<ChannelState> = match wanted {
        Some(channels) => channels
            .iter()
            .map(|channel| {
                let key = cx.channels.open(log, &channel.name, cx.now);
                log.channel_state(key, if channel.is_held { keep } else { 0 }, false, cx.now)
            })
            .collect(),
        None => cx.channels.all().into_iter().map(|key| log.channel_state(key, keep, true, cx.now)).collect(),
    };
    let line = log.line().upto(log.commit().idx);
    send_parts(log, cx, to, sub.generation, line, fork, states, wanted.is_none());
}

#[expect(clippy::too_many_arguments, reason = "one call, of a frame's parts")]
fn send_parts(
    log: &SlotLog,
    cx: &mut Context<'_>,
    to: Tag,
    generation: u32,
    line: Line,
    fork: u64,
    states: Vec<ChannelState>,
    is_whole: bool,
) {
    let floors = if is_whole { log.closed_floors() } else { Vec::new() };
    let (covered, lost) = (log.covered(), log.lost());
    let mut parts: Vec<Vec<ChannelState>> = vec![Vec::new()];
    let mut room = cx.settings.page_records;
    for mut state in states {
        loop {
            let rest = if state.entries.len() > room {
                let entries = state.entries.split_off(room);
                Some(ChannelState { entries, ids: Vec::new(), ..state.clone() })
            } else {
                None
            };
            room -= state.entries.len();
            if let Some(part) = parts.last_mut() {
                part.push(state);
            }
            let Some(next) = rest else { break };
            state = next;
            parts.push(Vec::new());
            room = cx.settings.page_records;
        }
    }
    let count = parts.len();
    for (nth, channels) in parts.into_iter().enumerate() {
        let sync = Sync {
            generation,
            line: line.clone(),
            fork,
            channels,
            floors: floors.clone(),
            uncertain: log.uncertain().to_vec(),
            covered: covered.clone(),
            lost: lost.clone(),
            tail: if is_whole && nth + 1 == count { log.uncommitted(log.commit().idx) } else { Vec::new() },
            is_last: nth + 1 == count,
        };
        cx.send(to, Frame::Sync(sync));
    }
}
