//! Presence on one node: its edges, the rooms it is home of, its boards, and what it says to other nodes.

use std::time::Duration;

use foldhash::{HashMap, HashSet};

use super::board::Board;
use super::edge::Edge;
use super::frame::{Frame, News, Part, Report, What};
use super::member::{Info, MemberId, Notice, Page, Query};
use super::room::{Room, Tally};
use super::{ASK_AGAIN, BEAT, Bug, LINGER, SETTLE, Settings};
use crate::error::{Error, ErrorCode, Result};
use crate::log::{Slot, Tag};
use crate::message::ChannelName;

/// Between two looks at everything.
const SWEEP: Duration = Duration::from_secs(1);
/// Questions of others that wait for a room to settle; each asks again.
const WAITING_MAX: usize = 1000;

/// The cluster, as this node sees it.
pub trait Places {
    /// This node.
    fn me(&self) -> Tag;
    /// Who orders a slot; `None` while nobody does.
    fn home(&self, slot: Slot) -> Option<Tag>;
    /// Whether a node is not down.
    fn is_present(&self, tag: Tag) -> bool;
}

/// What everything that happens is told with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The time.
    pub now: Duration,
    /// The cluster.
    pub places: &'a dyn Places,
    /// Bounds and times.
    pub settings: &'a Settings,
    /// Members that the rest of this node holds, for channels that are not of this [`Node`].
    pub held_elsewhere: usize,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("now", &self.now).field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// Say it to another node, in this order.
    Send(Tag, Frame),
    /// There is something to read for the listeners of this channel.
    Tell(ChannelName),
    /// The answer to a question that was asked here.
    Answer(u64, Page),
}

/// A question that was asked here and is answered by another node.
#[derive(Debug)]
struct Asked {
    channel: ChannelName,
    query: Query,
    again_at: Duration,
}

/// A question that waits for a room to settle.
#[derive(Debug)]
struct Waiting {
    from: Tag,
    rid: u64,
    channel: ChannelName,
    query: Query,
    since: Duration,
}

/// What it holds, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Members of the channels this node is home of.
    pub members: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

/// Presence of some channels on one node.
#[derive(Debug, Default)]
pub struct Node {
    edges: HashMap<ChannelName, Edge>,
    rooms: HashMap<ChannelName, Room>,
    boards: HashMap<ChannelName, Board>,
    /// Edges with something to report.
    changed: HashSet<ChannelName>,
    /// Rooms with something to tell, or to wait for.
    stirred: HashSet<ChannelName>,
    asked: HashMap<u64, Asked>,
    waiting: Vec<Waiting>,
    /// Members with connections here.
    connected: usize,
    /// Members of all edges and rooms.
    held: usize,
    view_at: Option<Duration>,
    swept_at: Duration,
    tally: Tally,
    out: Vec<Output>,
}

impl Node {
    /// What is to be done since this was asked last.
    pub fn outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    /// Whether there is nobody and nothing to look after.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.edges.is_empty() && self.rooms.is_empty() && self.boards.is_empty() && self.asked.is_empty() && self.waiting.is_empty()
    }

    /// Members with connections here.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.connected
    }

    /// Members of all its edges and rooms, those included that may be back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// The same, counted anew.
    #[cfg(test)]
    pub(super) fn count_held(&self) -> usize {
        self.edges.values().map(Edge::held).sum::<usize>() + self.rooms.values().map(Room::held).sum::<usize>()
    }

    /// How many more may be held, by the bound of the whole node.
    fn room_left(&self, cx: Context<'_>) -> usize {
        cx.settings.members_held.saturating_sub(self.held + cx.held_elsewhere)
    }

    fn is_short(&self, cx: Context<'_>) -> bool {
        self.room_left(cx) <= cx.settings.members_held / 10
    }

    /// How long who went is expected back: not at all when there is no room for those who are there.
    fn grace(&self, cx: Context<'_>) -> Duration {
        if self.is_short(cx) { Duration::ZERO } else { cx.settings.grace }
    }

    /// What came and went since this was asked last.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// What the rooms hold.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let of = |sum: Totals, room: &Room| {
            let members = if room.is_home() { room.counts().members() } else { 0 };
            Totals { members: sum.members + members, bytes: sum.bytes + room.bytes() as u64 }
        };
        self.rooms.values().fold(Totals::default(), of)
    }

    /// Who has connections here, channel by channel.
    pub fn present(&self) -> impl Iterator<Item = (&ChannelName, &MemberId, u32)> {
        self.edges.iter().flat_map(|(channel, edge)| edge.present().map(move |(id, connections)| (channel, id, connections)))
    }

    /// One more connection of this member is on the channel.
    ///
    /// # Errors
    /// `overloaded` at a bound of members.
    pub fn enter(&mut self, cx: Context<'_>, channel: &ChannelName, id: MemberId, info: Info) -> Result<()> {
        if self.room_left(cx) == 0 && !self.edges.get(channel).is_some_and(|edge| edge.has(&id)) {
            let text = format!("this node keeps as many members as it takes ({}, presence.members_held)", cx.settings.members_held);
            self.tally.refused += 1;
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        let edge = self.edges.entry(channel.clone()).or_default();
        if !edge.has(&id) && edge.len() >= cx.settings.members {
            let text = format!("as many are on this channel as it may have ({}, presence.members)", cx.settings.members);
            self.tally.refused += 1;
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        let before = edge.held();
        self.connected += usize::from(edge.enter(id, info));
        self.held += edge.held() - before;
        self.changed.insert(channel.clone());
        Ok(())
    }

    /// One connection less.
    pub fn leave(&mut self, cx: Context<'_>, channel: &ChannelName, id: &MemberId) {
        let Some(edge) = self.edges.get_mut(channel) else { return };
        self.connected -= usize::from(edge.leave(id, cx.now));
        self.changed.insert(channel.clone());
    }

    /// One more listener here wants to be told.
    pub fn listen(&mut self, channel: &ChannelName) {
        self.boards.entry(channel.clone()).or_default().ears += 1;
    }

    /// One listener less.
    pub fn unlisten(&mut self, channel: &ChannelName, now: Duration) {
        if let Some(board) = self.boards.get_mut(channel) {
            board.ears = board.ears.saturating_sub(1);
            board.left_at = now;
        }
    }

    /// What a listener is told that has seen the state with this digest, and the digest it has seen then.
    #[must_use]
    pub fn read(&self, channel: &ChannelName, told: u64) -> Option<(Notice, u64)> {
        self.boards.get(channel)?.read(told)
    }

    /// Somebody asks who is there. The answer comes as an output, unless it is [given up](Node::give_up) before.
    pub fn ask(&mut self, cx: Context<'_>, rid: u64, channel: &ChannelName, query: Query) {
        // What happened here before must be known there first.
        if self.edges.contains_key(channel) {
            self.report(cx, channel);
        }
        self.asked.insert(rid, Asked { channel: channel.clone(), query, again_at: cx.now });
        self.ask_again(cx);
    }

    /// Nobody waits for this answer any more.
    pub fn give_up(&mut self, rid: u64) {
        self.asked.remove(&rid);
    }

    /// Another node says something.
    pub fn hear(&mut self, cx: Context<'_>, from: Tag, frame: Frame) {
        let Frame { channel, what } = frame;
        match what {
            What::Report(report) => self.hear_report(cx, from, &channel, report),
            What::Resend => match self.edges.get_mut(&channel).filter(|edge| edge.home() == Some(from)) {
                Some(edge) => {
                    edge.doubt();
                    self.changed.insert(channel);
                }
                // What it believes is what was here once.
                None => self.say(cx, from, &channel, What::Report(Report::nobody())),
            },
            What::Watch(heard) => self.watch(cx, from, &channel, heard),
            What::News(news) => self.hear_news(cx, from, &channel, news),
            What::Ask { rid, query } => self.hear_question(cx, Waiting { from, rid, channel, query, since: cx.now }),
            What::Told { rid, page: Some(page) } => {
                if self.asked.remove(&rid).is_some() {
                    self.out.push(Output::Answer(rid, page));
                }
            }
            // Asked again in a moment.
            What::Told { page: None, .. } => {}
        }
    }

    /// This node sees the cluster in a new way.
    pub fn view_changed(&mut self, cx: Context<'_>) {
        self.view_at = Some(cx.now);
        for (channel, edge) in &self.edges {
            if edge.home() != cx.places.home(Slot::of(channel)) {
                self.changed.insert(channel.clone());
            }
        }
        self.sweep_rooms(cx);
        self.asked.values_mut().for_each(|asked| asked.again_at = cx.now);
    }

    /// A connection to another node stands anew: what was said to it before may be lost.
    pub fn linked(&mut self, cx: Context<'_>, peer: Tag) {
        if cx.settings.has(Bug::NoRetelling) {
            return;
        }
        let now = cx.now;
        for (channel, edge) in self.edges.iter_mut().filter(|(_, edge)| edge.home() == Some(peer)) {
            edge.doubt();
            self.changed.insert(channel.clone());
        }
        for board in self.boards.values_mut().filter(|board| board.asked == Some(peer)) {
            board.beat_at = now;
        }
        self.rooms.values_mut().for_each(|room| room.doubt(peer, now));
    }

    /// Time passes: everything that waits is said. To be called every [`super::TICK`].
    pub fn tick(&mut self, cx: Context<'_>) {
        for channel in std::mem::take(&mut self.changed) {
            self.report(cx, &channel);
        }
        if cx.now >= self.swept_at + SWEEP {
            self.swept_at = cx.now;
            self.sweep(cx);
        }
        for channel in std::mem::take(&mut self.stirred) {
            self.stir(cx, channel);
        }
        self.look_after_boards(cx);
        self.ask_again(cx);
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().for_each(|waiting| self.hear_question(cx, waiting));
    }

    fn report(&mut self, cx: Context<'_>, channel: &ChannelName) {
        let Some(home) = cx.places.home(Slot::of(channel)) else {
            self.changed.insert(channel.clone());
            return;
        };
        let Some(edge) = self.edges.get_mut(channel) else { return };
        let held = edge.held();
        let before = edge.home().filter(|before| *before != home && !cx.settings.has(Bug::NoFarewell));
        let reports = edge.reports(home, cx.now, cx.settings);
        self.held -= held - edge.held();
        if edge.is_empty() {
            self.edges.remove(channel);
        }
        // Whoever was the home may be so again, or have been so all along, without hearing of what happens here until then.
        if let Some(before) = before {
            self.say(cx, before, channel, What::Report(Report::nobody()));
        }
        for report in reports {
            self.say(cx, home, channel, What::Report(report));
        }
    }

    fn hear_report(&mut self, cx: Context<'_>, from: Tag, channel: &ChannelName, report: Report) {
        // Changes of what is not known make no room; neither does nobody.
        let may_open = matches!(report.part, Part::Whole { .. }) && !report.standings.is_empty();
        if !self.rooms.contains_key(channel) && !may_open {
            if report.part == Part::Changes {
                self.say(cx, from, channel, What::Resend);
            }
            return;
        }
        let left = self.room_left(cx);
        let room = self.room(cx, channel);
        let before = room.held();
        // Those who would be more than the node holds are not listed, as those who would be more than the channel has.
        let settings = Settings { members: cx.settings.members.min(before + left), ..*cx.settings };
        let is_heard = room.hear(from, report, cx.now, &settings);
        let grown = room.held() - before;
        self.held += grown;
        if is_heard {
            self.stirred.insert(channel.clone());
        } else {
            self.say(cx, from, channel, What::Resend);
        }
    }

    fn watch(&mut self, cx: Context<'_>, from: Tag, channel: &ChannelName, heard: Option<u64>) {
        if heard.is_some() || self.rooms.contains_key(channel) {
            self.room(cx, channel).watch(from, heard, cx.now);
            self.stirred.insert(channel.clone());
        }
    }

    fn room(&mut self, cx: Context<'_>, channel: &ChannelName) -> &mut Room {
        let settles_at = self.view_at.map_or(Duration::ZERO, |at| at + SETTLE);
        self.rooms.entry(channel.clone()).or_insert_with(|| Room::new(settles_at, is_home(cx, channel)))
    }

    /// Ends graces, tells who wants to know, and forgets the room when nobody is there.
    fn stir(&mut self, cx: Context<'_>, channel: ChannelName) {
        let grace = self.grace(cx);
        let Some(room) = self.rooms.get_mut(&channel) else { return };
        let before = room.held();
        // They are expected back until then at most, so this way none is.
        room.expire(if grace.is_zero() { Duration::MAX } else { cx.now });
        self.held -= before - room.held();
        let news = room.news(cx.now, cx.settings);
        let tally = std::mem::take(&mut room.tally);
        self.tally.joined += tally.joined;
        self.tally.left += tally.left;
        self.tally.refused += tally.refused;
        if room.is_done() {
            self.held -= room.held();
            self.rooms.remove(&channel);
        } else if room.due().is_some() || room.has_news() {
            self.stirred.insert(channel.clone());
        }
        for (to, news) in news {
            if to == cx.places.me() {
                self.hear_news(cx, to, &channel, news);
            } else {
                self.send(to, &channel, What::News(news));
            }
        }
    }

    fn hear_news(&mut self, cx: Context<'_>, from: Tag, channel: &ChannelName, news: News) {
        let Some(board) = self.boards.get_mut(channel).filter(|board| board.asked == Some(from)) else { return };
        if !board.hear(from, news, cx.now, cx.settings) {
            board.beat_at = cx.now;
        }
        if board.take_due(cx.now) {
            self.out.push(Output::Tell(channel.clone()));
        }
    }

    /// Lets boards ask the home to be told, ends graces on them, and forgets those that nobody looks at.
    fn look_after_boards(&mut self, cx: Context<'_>) {
        let mut says = Vec::new();
        self.boards.retain(|channel, board| {
            if board.ears == 0 && board.left_at + LINGER <= cx.now {
                says.extend(board.asked.map(|home| (home, channel.clone(), None)));
                return false;
            }
            let home = cx.places.home(Slot::of(channel));
            if let Some(home) = home
                && (board.asked != Some(home) || cx.now >= board.beat_at)
            {
                says.extend(board.asked.filter(|before| *before != home).map(|before| (before, channel.clone(), None)));
                (board.asked, board.beat_at) = (Some(home), cx.now + BEAT);
                says.push((home, channel.clone(), Some(board.heard_of(home))));
            }
            board.expire(cx.now);
            if board.take_due(cx.now) {
                self.out.push(Output::Tell(channel.clone()));
            }
            true
        });
        for (home, channel, heard) in says {
            self.say(cx, home, &channel, What::Watch(heard));
        }
    }

    fn hear_question(&mut self, cx: Context<'_>, waiting: Waiting) {
        let is_home = is_home(cx, &waiting.channel);
        let is_settled = match self.rooms.get(&waiting.channel) {
            Some(room) => room.is_settled(cx.now),
            None => self.view_at.is_none_or(|at| cx.now >= at + SETTLE),
        };
        if is_home && !is_settled {
            // A question this old was asked again, if anybody still waits.
            if self.waiting.len() < WAITING_MAX && waiting.since + 2 * SETTLE > cx.now {
                self.waiting.push(waiting);
            }
            return;
        }
        let Waiting { from, rid, channel, query, .. } = waiting;
        let page = is_home.then(|| self.rooms.get(&channel).map_or_else(Page::default, |room| room.page(&query)));
        if from == cx.places.me() {
            if let (Some(page), Some(_)) = (&page, self.asked.get(&rid)) {
                self.asked.remove(&rid);
                self.out.push(Output::Answer(rid, page.clone()));
            }
        } else {
            self.send(from, &channel, What::Told { rid, page });
        }
    }

    /// Asks the home whatever was not answered yet.
    fn ask_again(&mut self, cx: Context<'_>) {
        let mut due = Vec::new();
        for (rid, asked) in self.asked.iter_mut().filter(|(_, asked)| cx.now >= asked.again_at) {
            asked.again_at = cx.now + ASK_AGAIN;
            due.push((*rid, asked.channel.clone(), asked.query.clone()));
        }
        for (rid, channel, query) in due {
            if let Some(home) = cx.places.home(Slot::of(&channel)) {
                self.say(cx, home, &channel, What::Ask { rid, query });
            }
        }
    }

    /// Once a second: who has said nothing for too long, and signs of life.
    fn sweep(&mut self, cx: Context<'_>) {
        let grace = self.grace(cx);
        let mut room = cx.settings.members_of_node;
        self.edges.retain(|_, edge| {
            let before = edge.held();
            edge.forget_gone(cx.now, grace, room.min(cx.settings.members));
            self.held -= before - edge.held();
            room = room.saturating_sub(edge.remembered());
            !edge.is_empty()
        });
        let due: Vec<ChannelName> = self.edges.iter().filter(|(_, edge)| edge.is_due(cx.now)).map(|(channel, _)| channel.clone()).collect();
        due.iter().for_each(|channel| self.report(cx, channel));
        self.sweep_rooms(cx);
    }

    fn sweep_rooms(&mut self, cx: Context<'_>) {
        let mut resend = Vec::new();
        let is_short = self.is_short(cx);
        self.rooms.retain(|channel, room| {
            room.see(is_home(cx, channel), cx.now);
            let again = room.sweep(|tag| cx.places.is_present(tag), cx.now, cx.settings);
            let waiting = if is_short { Vec::new() } else { room.has_room_again(cx.settings) };
            resend.extend(again.into_iter().chain(waiting).map(|edge| (edge, channel.clone())));
            if room.due().is_some() || room.has_news() || room.is_done() {
                self.stirred.insert(channel.clone());
            }
            true
        });
        for (edge, channel) in resend {
            self.say(cx, edge, &channel, What::Resend);
        }
    }

    /// Says it to a node, which may be this one.
    fn say(&mut self, cx: Context<'_>, to: Tag, channel: &ChannelName, what: What) {
        if to == cx.places.me() {
            self.hear(cx, to, Frame { channel: channel.clone(), what });
        } else {
            self.send(to, channel, what);
        }
    }

    fn send(&mut self, to: Tag, channel: &ChannelName, what: What) {
        self.out.push(Output::Send(to, Frame { channel: channel.clone(), what }));
    }
}

/// Whether this node is the home of a channel, as it sees it itself.
fn is_home(cx: Context<'_>, channel: &ChannelName) -> bool {
    cx.places.home(Slot::of(channel)) == Some(cx.places.me())
}
