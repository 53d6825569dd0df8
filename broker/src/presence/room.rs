//! One channel at its home: what all edges together amount to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashSet};
use smallvec::SmallVec;

use super::frame::{News, Part, Report, Standing, Told};
use super::member::{Counts, Info, MemberId, Page, Query, User};
use super::{BATCH, Bug, COUNTS_EVERY, LEASE, SETTLE, Settings};
use crate::log::Tag;

/// Members whose grace ends in one step; the rest follow in the next one.
const EXPIRE_MAX: usize = 5000;
/// Changes that wait to be told; past it everything is told anew.
const PENDING_MAX: usize = 4 * BATCH;
/// An edge whose connection came back says by a report that it is there, within this time.
const CONFIRM: Duration = Duration::from_secs(5);

/// One member.
#[derive(Debug)]
struct Place {
    info: Info,
    /// Its connections by node.
    at: SmallVec<[(Tag, u32); 1]>,
    /// Without connections it is expected back until then.
    until: Option<Duration>,
}

impl Place {
    fn connections(&self) -> u32 {
        self.at.iter().map(|(_, connections)| connections).sum()
    }
}

/// What is known of one edge.
#[derive(Debug)]
struct Reporter {
    version: u64,
    heard_at: Duration,
    /// What it said last may be lost, and since when that is so.
    doubt: Option<Doubt>,
    /// Who was mentioned by a whole report that is not complete yet.
    mentioned: Option<HashSet<MemberId>>,
}

/// An edge that may have said more than was heard.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    since: Duration,
    is_asked: bool,
}

/// One node that wants news.
#[derive(Debug)]
struct Watcher {
    version: u64,
    heard_at: Duration,
    /// It is down, as far as this node can see.
    is_away: bool,
    /// It has been told nothing yet, or must be told everything again.
    is_new: bool,
}

/// A change by name that was not told yet.
#[derive(Debug)]
enum Change {
    Joined(User),
    Left(Arc<str>),
}

/// What a room counts, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Members that came.
    pub joined: u64,
    /// Members that went.
    pub left: u64,
    /// Members that were one too many.
    pub refused: u64,
}

/// One channel's members, wherever they are connected.
#[derive(Debug)]
pub struct Room {
    members: BTreeMap<MemberId, Place>,
    leaving: BTreeSet<(Duration, MemberId)>,
    edges: HashMap<Tag, Reporter>,
    watchers: HashMap<Tag, Watcher>,
    /// Edges that were lost because their node was down, and when. If that was not so they do not know.
    lost: HashMap<Tag, Duration>,
    counts: Counts,
    /// Not told yet; dropped while only counts are told.
    pending: Vec<Change>,
    is_changed: bool,
    counts_only: bool,
    counts_told_at: Option<Duration>,
    /// Somebody was one too many.
    is_full: bool,
    /// What it says before is not the whole truth: other nodes are still reporting.
    settles_at: Duration,
    /// This node is the home, as it sees it itself.
    is_home: bool,
    bytes: usize,
    /// Since it was last taken.
    pub tally: Tally,
}

impl Room {
    /// An empty one whose edges have all reported by `settles_at`; at the home, or at a node that others take for it.
    #[must_use]
    pub fn new(settles_at: Duration, is_home: bool) -> Self {
        Self {
            members: BTreeMap::new(),
            leaving: BTreeSet::new(),
            edges: HashMap::default(),
            watchers: HashMap::default(),
            lost: HashMap::default(),
            counts: Counts::default(),
            pending: Vec::new(),
            is_changed: false,
            counts_only: false,
            counts_told_at: None,
            is_full: false,
            settles_at,
            is_home,
            bytes: 0,
            tally: Tally::default(),
        }
    }

    /// Whether everybody who is there is known.
    #[must_use]
    pub fn is_settled(&self, now: Duration) -> bool {
        now >= self.settles_at
    }

    /// Whether nobody is there and nobody wants to know, or nobody takes this node for the home.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let is_left = self.watchers.is_empty() && self.lost.is_empty();
        is_left && (self.members.is_empty() || !self.is_home && self.edges.is_empty())
    }

    /// Whether this node is the home now, as it sees it. Others may know sooner, or later: they report and watch where they take
    /// the home to be, and say so when they do that elsewhere.
    pub fn see(&mut self, is_home: bool, now: Duration) {
        if is_home && !self.is_home {
            self.settles_at = self.settles_at.max(now + SETTLE);
        }
        self.is_home = is_home;
    }

    /// Whether this node is the home, as it saw it last.
    #[must_use]
    pub fn is_home(&self) -> bool {
        self.is_home
    }

    /// When the next grace ends.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.leaving.first().map(|(until, _)| *until)
    }

    /// How many it holds, those included that are expected back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.members.len()
    }

    /// How many are there.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a report in. `false` when one before it is missing: then everything must be told again.
    #[must_use]
    pub fn hear(&mut self, from: Tag, report: Report, now: Duration, settings: &Settings) -> bool {
        self.lost.remove(&from);
        if report.is_nobody() {
            self.lose(from, now, settings);
            return true;
        }
        let is_first = matches!(report.part, Part::Whole { is_first: true, .. });
        let reporter = match self.edges.get_mut(&from) {
            Some(reporter) if is_first || reporter.version == report.since => reporter,
            None if is_first => {
                let reporter = Reporter { version: 0, heard_at: now, doubt: None, mentioned: None };
                self.edges.entry(from).or_insert(reporter)
            }
            _ => return false,
        };
        (reporter.version, reporter.heard_at, reporter.doubt) = (report.version, now, None);
        let mut mentioned = match report.part {
            Part::Changes => None,
            Part::Whole { is_first: true, .. } => Some(HashSet::default()),
            Part::Whole { is_first: false, .. } => reporter.mentioned.take(),
        };
        for standing in report.standings {
            if let Some(mentioned) = &mut mentioned {
                mentioned.insert(standing.id.clone());
            }
            self.stand(from, standing, now, settings);
        }
        if let (Part::Whole { is_last, .. }, Some(mentioned)) = (report.part, mentioned) {
            if is_last {
                self.keep_of(from, now, settings, |id| mentioned.contains(id));
            } else if let Some(reporter) = self.edges.get_mut(&from) {
                reporter.mentioned = Some(mentioned);
            }
        }
        true
    }

    /// An edge has no connections any more.
    fn lose(&mut self, edge: Tag, now: Duration, settings: &Settings) {
        if self.edges.remove(&edge).is_some() {
            self.keep_of(edge, now, settings, |_| false);
        }
    }

    /// Loses the nodes that are not there any more, and those that say nothing. Whom to ask for everything again, because more may
    /// have been said than was heard.
    pub fn sweep(&mut self, is_there: impl Fn(Tag) -> bool, now: Duration, settings: &Settings) -> Vec<Tag> {
        let mut again = Vec::new();
        for (edge, _) in self.lost.extract_if(|tag, lost_at| is_there(*tag) || *lost_at + LEASE < now) {
            again.extend(is_there(edge).then_some(edge));
        }
        let mut lost = Vec::new();
        for (edge, reporter) in &mut self.edges {
            let is_down = !is_there(*edge);
            let is_silent = reporter.heard_at + LEASE < now || reporter.doubt.is_some_and(|doubt| doubt.since + CONFIRM < now);
            if (is_down || is_silent) && !settings.has(Bug::Ghosts) {
                lost.push(*edge);
                if is_down {
                    self.lost.insert(*edge, now);
                }
            } else if let Some(doubt) = reporter.doubt.as_mut().filter(|doubt| !doubt.is_asked && doubt.since + SETTLE <= now) {
                doubt.is_asked = true;
                again.push(*edge);
            }
        }
        lost.into_iter().for_each(|edge| self.lose(edge, now, settings));
        self.watchers.retain(|tag, watcher| {
            watcher.is_away = !is_there(*tag);
            watcher.is_new |= watcher.is_away;
            now <= watcher.heard_at + LEASE
        });
        again
    }

    /// Whom to ask for everything again, because there is room for those who were one too many.
    pub fn has_room_again(&mut self, settings: &Settings) -> Vec<Tag> {
        if !self.is_full || self.members.len() > settings.members * 9 / 10 {
            return Vec::new();
        }
        self.is_full = false;
        self.edges.keys().copied().collect()
    }

    /// A node is connected anew: what it told before may not be all.
    pub fn doubt(&mut self, edge: Tag, now: Duration) {
        if let Some(reporter) = self.edges.get_mut(&edge) {
            reporter.doubt = Some(Doubt { since: now, is_asked: false });
        }
    }

    /// A node wants news from now on, and has heard those up to this number; is it another one than was told, it begins with all
    /// there is. Or it does not want any more.
    pub fn watch(&mut self, node: Tag, heard: Option<u64>, now: Duration) {
        let Some(heard) = heard else {
            self.watchers.remove(&node);
            return;
        };
        let watcher = self.watchers.entry(node).or_insert(Watcher { version: heard, heard_at: now, is_away: false, is_new: true });
        watcher.heard_at = now;
        watcher.is_new |= watcher.version != heard;
    }

    /// Those whose grace is over leave, a bounded number at once.
    pub fn expire(&mut self, now: Duration) {
        for _ in 0..EXPIRE_MAX {
            if self.due().is_none_or(|until| until > now) {
                return;
            }
            let Some((_, id)) = self.leaving.pop_first() else { return };
            if let Some(place) = self.members.remove(&id) {
                self.bytes -= bytes_of(&id, &place.info);
            }
            self.tally.left += 1;
            self.count_out(&id);
            if let MemberId::User(name) = id {
                self.note(Change::Left(name));
            }
        }
    }

    /// What each node that wants it is told now.
    pub fn news(&mut self, now: Duration, settings: &Settings) -> Vec<(Tag, News)> {
        if !self.is_home || !self.is_settled(now) {
            return Vec::new();
        }
        let members = self.counts.members();
        let was_counts_only = self.counts_only;
        // Not back at once, or a channel at the bound would be told in turn by names and by counts.
        let bound = if was_counts_only { settings.told as u64 * 9 / 10 } else { settings.told as u64 };
        self.counts_only = members > bound;
        let is_other = self.counts_only != was_counts_only;
        if is_other {
            self.pending = Vec::new();
            self.watchers.values_mut().for_each(|watcher| watcher.is_new = true);
        }
        let may_count = is_other || self.counts_told_at.is_none_or(|at| now >= at + COUNTS_EVERY);
        let is_told = self.is_changed && (!self.counts_only || may_count);
        let changes = if is_told { self.changes() } else { Vec::new() };
        if is_told {
            self.is_changed = false;
            self.counts_told_at = Some(now);
        }
        let mut news = Vec::new();
        let (counts, counts_only) = (self.counts, self.counts_only);
        let mut watchers = std::mem::take(&mut self.watchers);
        for (tag, watcher) in watchers.iter_mut().filter(|(_, watcher)| !watcher.is_away) {
            let is_new = std::mem::take(&mut watcher.is_new);
            let mut tell = |told| {
                // Never the same number twice: who missed something that was told must not take the next for what follows.
                watcher.version = watcher.version.saturating_add(1);
                news.push((*tag, News { version: watcher.version, counts, told }));
            };
            if is_new {
                tell(if counts_only { Told::Counts } else { Told::All(self.all()) });
            } else if is_told && counts_only {
                tell(Told::Counts);
            } else if is_told {
                for (joined, left) in &changes {
                    tell(Told::Changes { joined: joined.clone(), left: left.clone() });
                }
            }
        }
        self.watchers = watchers;
        news
    }

    /// Whether there is something to tell, now or a little later.
    #[must_use]
    pub fn has_news(&self) -> bool {
        let mut near = self.watchers.values().filter(|watcher| !watcher.is_away).peekable();
        self.is_home && near.peek().is_some() && (self.is_changed || near.any(|watcher| watcher.is_new))
    }

    /// A page of users.
    #[must_use]
    pub fn page(&self, query: &Query) -> Page {
        let from = query.after.as_ref().map_or(Bound::Unbounded, |after| Bound::Excluded(MemberId::User(after.clone())));
        let mut users: Vec<User> = self
            .members
            .range((from, Bound::Unbounded))
            .map_while(|(id, place)| Some(User { name: id.user()?.clone(), info: place.info.clone(), connections: place.connections() }))
            .take(query.limit + 1)
            .collect();
        let has_more = users.len() > query.limit;
        users.truncate(query.limit);
        let next = users.last().filter(|_| has_more).map(|user| user.name.clone());
        Page { counts: self.counts, counts_only: self.counts_only, is_full: self.is_full, users, next }
    }

    /// About how many bytes its members take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn all(&self) -> Vec<User> {
        let user = |(id, place): (&MemberId, &Place)| Some(User { name: id.user()?.clone(), info: place.info.clone(), connections: 0 });
        self.members.iter().map_while(user).collect()
    }

    /// What was not told yet, in batches; one without names when only counts are others.
    fn changes(&mut self) -> Vec<(Vec<User>, Vec<Arc<str>>)> {
        if self.counts_only {
            self.pending.clear();
            return Vec::new();
        }
        let pending = std::mem::take(&mut self.pending);
        let mut batches = Vec::with_capacity(1);
        let mut batch = (Vec::new(), Vec::new());
        for change in pending {
            // One message tells all joins and then all leaves: who did both in between is told in two.
            let is_split = match &change {
                Change::Joined(user) => batch.1.contains(&user.name),
                Change::Left(_) => false,
            };
            if is_split || batch.0.len() + batch.1.len() == BATCH {
                batches.push(std::mem::take(&mut batch));
            }
            match change {
                Change::Joined(user) => batch.0.push(user),
                Change::Left(name) => batch.1.push(name),
            }
        }
        batches.push(batch);
        batches
    }

    fn stand(&mut self, from: Tag, standing: Standing, now: Duration, settings: &Settings) {
        let Standing { id, info, connections, gone } = standing;
        let expected_until = (now + settings.grace).saturating_sub(gone.unwrap_or_default());
        let Some(place) = self.members.get_mut(&id) else {
            // Who went before this node was the home, and may be back, is there.
            let until = (connections == 0).then_some(expected_until);
            if until.is_some_and(|until| gone.is_none() || until <= now) {
                return;
            }
            if self.members.len() >= settings.members {
                self.is_full = true;
                self.tally.refused += 1;
                return;
            }
            let user = id.user().map(|name| User { name: name.clone(), info: info.clone(), connections: 0 });
            self.count_in(&id);
            self.counts.connections += u64::from(connections);
            self.bytes += bytes_of(&id, &info);
            self.leaving.extend(until.map(|until| (until, id.clone())));
            let at = if until.is_none() { SmallVec::from_iter([(from, connections)]) } else { SmallVec::new() };
            self.members.insert(id, Place { info, at, until });
            self.tally.joined += u64::from(until.is_none());
            if let Some(user) = user {
                self.note(Change::Joined(user));
            }
            return;
        };
        let before = place.connections();
        place.at.retain(|(tag, _)| *tag != from);
        if connections > 0 {
            place.at.push((from, connections));
        }
        let after = place.connections();
        self.counts.connections = self.counts.connections + u64::from(after) - u64::from(before);
        match (after, place.until) {
            (0, None) => {
                place.until = Some(expected_until);
                self.leaving.insert((expected_until, id));
                return;
            }
            // It was on several nodes: where it was last says how long it is expected back.
            (0, Some(until)) if gone.is_some() && expected_until > until => {
                place.until = Some(expected_until);
                self.leaving.remove(&(until, id.clone()));
                self.leaving.insert((expected_until, id));
                return;
            }
            (1.., Some(until)) => {
                place.until = None;
                self.leaving.remove(&(until, id.clone()));
            }
            _ => {}
        }
        if connections > 0 && place.info != info {
            self.bytes = self.bytes + bytes_of(&id, &info) - bytes_of(&id, &place.info);
            place.info.clone_from(&info);
            if let MemberId::User(name) = id {
                self.note(Change::Joined(User { name, info, connections: 0 }));
            }
        }
    }

    /// Takes an edge's connections from all members but these.
    fn keep_of(&mut self, edge: Tag, now: Duration, settings: &Settings, keeps: impl Fn(&MemberId) -> bool) {
        let is_lost = |(id, place): &(&MemberId, &Place)| place.at.iter().any(|(tag, _)| *tag == edge) && !keeps(id);
        let lost: Vec<MemberId> = self.members.iter().filter(is_lost).map(|(id, _)| id.clone()).collect();
        for id in lost {
            self.stand(edge, Standing { id, info: None, connections: 0, gone: None }, now, settings);
        }
    }

    fn count_in(&mut self, id: &MemberId) {
        self.is_changed = true;
        *self.count_of(id) += 1;
    }

    fn count_out(&mut self, id: &MemberId) {
        self.is_changed = true;
        *self.count_of(id) -= 1;
    }

    fn count_of(&mut self, id: &MemberId) -> &mut u64 {
        match id {
            MemberId::User(_) => &mut self.counts.users,
            MemberId::Session(_) => &mut self.counts.anonymous,
        }
    }

    fn note(&mut self, change: Change) {
        self.is_changed = true;
        // Nobody is told: who comes to watch is told everything first.
        if self.counts_only || self.watchers.is_empty() {
            return;
        }
        if self.pending.len() < PENDING_MAX {
            return self.pending.push(change);
        }
        self.pending = Vec::new();
        self.watchers.values_mut().for_each(|watcher| watcher.is_new = true);
    }
}

/// About what one member takes.
fn bytes_of(id: &MemberId, info: &Info) -> usize {
    // A node of the tree has room for eleven and is at least half full; shared texts have two counters before them.
    let counters = 2 * size_of::<usize>();
    let fixed = size_of::<(MemberId, Place)>() * 3 / 2 + counters;
    fixed + id.name().len() + info.as_ref().map_or(0, |info| info.len() + counters)
}
