//! What is told of one channel on a node where somebody listens to joins and leaves.
//!
//! Each state has a digest, the same on every node. Who has seen one is told what changed since, if that is still known, or
//! else everything: a client may come back to another node, or read slowly, and nothing is queued for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use super::frame::{News, Told};
use super::member::{Counts, Info, Notice, User, digest_of, digest_of_state};
use crate::log::Tag;

/// Changes of state that are remembered, for those who have not been told yet.
const STEPS_MAX: usize = 64;
/// Names in them.
const NAMES_MAX: usize = 1000;

/// Between two tellings of counts, for each listener: all of a node together are told ten thousand a second.
const PAUSE: Duration = Duration::from_micros(100);

/// A user as it was told.
#[derive(Debug)]
struct Seen {
    info: Info,
    /// The home is a new one and does not know it: expected back until then.
    until: Option<Duration>,
}

/// One change of state.
#[derive(Debug)]
struct Step {
    before: u64,
    /// And whether it was there before, so that only its info is another one.
    joined: Vec<(User, bool)>,
    left: Vec<Arc<str>>,
}

impl Step {
    fn names(&self) -> usize {
        self.joined.len() + self.left.len()
    }
}

/// One channel as it is told here.
#[derive(Debug, Default)]
pub struct Board {
    users: BTreeMap<Arc<str>, Seen>,
    counts: Counts,
    counts_only: bool,
    /// The sum of the digests of all users.
    sum: u64,
    /// Of the whole state; 0 before anything is known.
    digest: u64,
    recent: VecDeque<Step>,
    names: usize,
    /// Who told it last, and the number of that news.
    home: Option<(Tag, u64)>,
    /// Users that are expected back.
    expected: usize,
    /// Whom it asked to be told.
    pub(super) asked: Option<Tag>,
    /// When it asks again, in case that was forgotten there.
    pub(super) beat_at: Duration,
    /// Listeners here.
    pub(super) ears: usize,
    /// When the last of them left.
    pub(super) left_at: Duration,
    /// The listeners have not been told yet, and when they were told last.
    is_untold: bool,
    told_at: Duration,
}

impl Board {
    /// What a listener is told that has seen the state with this digest, 0 for none; and the digest it has seen then.
    #[must_use]
    pub fn read(&self, told: u64) -> Option<(Notice, u64)> {
        if self.digest == 0 || self.digest == told {
            return None;
        }
        let mut notice = Notice { counts: self.counts, counts_only: self.counts_only, ..Notice::default() };
        if self.counts_only {
            return Some((notice, self.digest));
        }
        match self.recent.iter().rposition(|step| step.before == told) {
            Some(from) if told != 0 => self.sum_up(from, &mut notice),
            _ => {
                let user = |(name, seen): (&Arc<str>, &Seen)| User { name: name.clone(), info: seen.info.clone(), connections: 0 };
                notice.here = Some(self.users.iter().map(user).collect());
            }
        }
        Some((notice, self.digest))
    }

    /// What all steps from this one on amount to.
    fn sum_up(&self, from: usize, notice: &mut Notice) {
        // Whether each is there in the end; who came and went is not mentioned, but who went and came is: its info may differ.
        let mut ends: BTreeMap<&Arc<str>, (bool, Option<&User>)> = BTreeMap::new();
        for step in self.recent.iter().skip(from) {
            for (user, was_there) in &step.joined {
                ends.entry(&user.name).or_insert((*was_there, None)).1 = Some(user);
            }
            for name in &step.left {
                ends.entry(name).or_insert((true, None)).1 = None;
            }
        }
        for (name, (was_there, user)) in ends {
            match user {
                Some(user) => notice.joined.push(user.clone()),
                None if was_there => notice.left.push(name.clone()),
                None => {}
            }
        }
    }

    /// Takes news in. `false` when some before it are missing: then they must be asked for anew.
    #[must_use]
    pub fn hear(&mut self, from: Tag, news: News, now: Duration, settings: &Settings) -> bool {
        let before = self.digest;
        let News { version, counts, told } = news;
        let is_next = self.home == Some((from, version - 1));
        let is_other_home = self.home.is_some_and(|(home, _)| home != from);
        let (mut joined, mut left) = (Vec::new(), Vec::new());
        match told {
            Told::Changes { .. } if !is_next || self.counts_only => return false,
            Told::Changes { joined: came, left: went } => {
                for user in came {
                    self.join(user, &mut joined);
                }
                for name in went {
                    self.leave(&name, &mut left);
                }
            }
            Told::Counts => {
                self.users.clear();
                (self.sum, self.expected) = (0, 0);
                self.counts_only = true;
            }
            Told::All(users) => {
                self.counts_only = false;
                // Both in the order of names.
                let mut here = users.iter().map(|user| &user.name).peekable();
                let mut gone = Vec::new();
                for (name, seen) in &mut self.users {
                    while here.next_if(|next| *next < name).is_some() {}
                    if here.peek() == Some(&name) {
                        continue;
                    }
                    // A home that has just become one may not know who is between two connections, or was on a node that died.
                    if is_other_home {
                        self.expected += usize::from(seen.until.is_none());
                        seen.until.get_or_insert(now + settings.grace);
                    } else if seen.until.is_none() {
                        gone.push(name.clone());
                    }
                }
                for user in users {
                    self.join(user, &mut joined);
                }
                for name in gone {
                    self.leave(&name, &mut left);
                }
            }
        }
        self.home = Some((from, version));
        self.counts = counts;
        self.step(before, joined, left);
        true
    }

    /// The number of the last news of this home; 0 when it has to tell everything.
    #[must_use]
    pub fn heard_of(&self, home: Tag) -> u64 {
        self.home.map_or(0, |(from, version)| if from == home { version } else { 0 })
    }

    /// Whether its listeners are to be told now. Counts of a large channel interest nobody to the second, and each listener costs
    /// a write.
    pub fn take_due(&mut self, now: Duration) -> bool {
        let pause = if self.counts_only { PAUSE * self.ears as u32 } else { Duration::ZERO };
        if !self.is_untold || now < self.told_at + pause {
            return false;
        }
        (self.is_untold, self.told_at) = (false, now);
        true
    }

    /// Those who were expected back and did not come leave.
    pub fn expire(&mut self, now: Duration) {
        if self.expected == 0 {
            return;
        }
        let is_over = |(name, seen): (&Arc<str>, &Seen)| seen.until.is_some_and(|until| until <= now).then(|| name.clone());
        let over: Vec<Arc<str>> = self.users.iter().filter_map(is_over).collect();
        if !over.is_empty() {
            let before = self.digest;
            let mut left = Vec::new();
            over.iter().for_each(|name| self.leave(name, &mut left));
            self.step(before, Vec::new(), left);
        }
    }

    fn join(&mut self, user: User, joined: &mut Vec<(User, bool)>) {
        let was_there = self.users.contains_key(&user.name);
        if let Some(seen) = self.users.get_mut(&user.name) {
            self.expected -= usize::from(seen.until.take().is_some());
            if seen.info == user.info {
                return;
            }
            self.sum = self.sum.wrapping_sub(digest_of(&user.name, seen.info.as_deref()));
        }
        self.sum = self.sum.wrapping_add(digest_of(&user.name, user.info.as_deref()));
        self.users.insert(user.name.clone(), Seen { info: user.info.clone(), until: None });
        joined.push((user, was_there));
    }

    fn leave(&mut self, name: &Arc<str>, left: &mut Vec<Arc<str>>) {
        if let Some(seen) = self.users.remove(name) {
            self.sum = self.sum.wrapping_sub(digest_of(name, seen.info.as_deref()));
            self.expected -= usize::from(seen.until.is_some());
            left.push(name.clone());
        }
    }

    fn step(&mut self, before: u64, joined: Vec<(User, bool)>, left: Vec<Arc<str>>) {
        if !self.counts_only {
            self.counts.users = self.users.len() as u64;
        }
        self.is_untold = true;
        self.digest = digest_of_state(self.counts.users, [self.counts.anonymous, self.sum, u64::from(self.counts_only)]);
        if self.counts_only {
            self.recent.clear();
            self.names = 0;
        } else if before != 0 && before != self.digest {
            let step = Step { before, joined, left };
            self.names += step.names();
            self.recent.push_back(step);
            while self.recent.len() > STEPS_MAX || self.names > NAMES_MAX {
                let Some(oldest) = self.recent.pop_front() else { break };
                self.names -= oldest.names();
            }
        }
    }
}
