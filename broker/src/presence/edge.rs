//! What the connections of one node amount to on one channel.

use std::collections::VecDeque;
use std::time::Duration;

use foldhash::HashMap;

use super::frame::{Part, Report, Standing};
use super::member::{Info, MemberId};
use super::{BATCH, BEAT, Settings};
use crate::log::Tag;

/// One member's connections here.
#[derive(Debug)]
struct Present {
    info: Info,
    connections: u32,
    /// When the last of them went away. Its grace long it is remembered, so that a home that is new expects it back, too.
    gone_at: Duration,
    /// The home knows of it.
    is_reported: bool,
    is_changed: bool,
}

/// One channel's members on this node.
#[derive(Debug, Default)]
pub struct Edge {
    members: HashMap<MemberId, Present>,
    /// Those of them that have a connection.
    here: usize,
    /// Who went, and when, oldest first; some are back.
    gone: VecDeque<(Duration, MemberId)>,
    changed: Vec<MemberId>,
    /// To whom it reported, and the number of the last report.
    home: Option<Tag>,
    version: u64,
    /// What was reported may be lost: everything is to be told again.
    is_doubtful: bool,
    beat_at: Duration,
}

impl Edge {
    /// One more connection. Says whether the member was not here.
    pub fn enter(&mut self, id: MemberId, info: Info) -> bool {
        let nobody = Present { info: None, connections: 0, gone_at: Duration::ZERO, is_reported: false, is_changed: false };
        let present = self.members.entry(id.clone()).or_insert(nobody);
        let is_new = present.connections == 0;
        present.connections += 1;
        present.info = info;
        self.here += usize::from(is_new);
        if !std::mem::replace(&mut present.is_changed, true) {
            self.changed.push(id);
        }
        is_new
    }

    /// One connection less. Says whether it was the member's last.
    pub fn leave(&mut self, id: &MemberId, now: Duration) -> bool {
        let Some(present) = self.members.get_mut(id).filter(|present| present.connections > 0) else { return false };
        present.connections -= 1;
        if !std::mem::replace(&mut present.is_changed, true) {
            self.changed.push(id.clone());
        }
        let is_gone = present.connections == 0;
        if is_gone {
            present.gone_at = now;
            self.gone.push_back((now, id.clone()));
            self.here -= 1;
        }
        is_gone
    }

    /// Whether the member has a connection here.
    #[must_use]
    pub fn has(&self, id: &MemberId) -> bool {
        self.members.get(id).is_some_and(|present| present.connections > 0)
    }

    /// How many members have a connection here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.here
    }

    /// How many it holds, those included that went and are remembered.
    #[must_use]
    pub fn held(&self) -> usize {
        self.members.len()
    }

    /// How many are remembered that went.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.gone.len()
    }

    /// Whether there is nobody, nobody is expected back, and the home knows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Who has connections here, and how many.
    pub fn present(&self) -> impl Iterator<Item = (&MemberId, u32)> {
        self.members.iter().map(|(id, present)| (id, present.connections)).filter(|(_, connections)| *connections > 0)
    }

    /// Whom it reported to.
    #[must_use]
    pub fn home(&self) -> Option<Tag> {
        self.home
    }

    /// Everything is to be told again: the home may not have got it.
    pub fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// Whether it is time to say something, even if nothing changed.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        self.home.is_none() || self.is_doubtful || now >= self.beat_at
    }

    /// Forgets who went when it is not expected back any more, and the oldest past so many. Their homes know that they went.
    pub fn forget_gone(&mut self, now: Duration, grace: Duration, most: usize) {
        while let Some((gone_at, id)) = self.gone.front()
            && (*gone_at + grace <= now || self.gone.len() > most)
        {
            // Whoever is back, or went once more, stays; so does, for now, who has not been reported yet, and who went later with it.
            match self.members.get(id).filter(|present| present.connections == 0 && present.gone_at == *gone_at) {
                Some(present) if present.is_changed => return,
                Some(_) => drop(self.members.remove(id)),
                None => {}
            }
            self.gone.pop_front();
        }
    }

    /// What the home has to know: all of it for a home that knows nothing, else what changed, and if that is nothing, a sign of life.
    pub fn reports(&mut self, home: Tag, now: Duration, settings: &Settings) -> Vec<Report> {
        self.beat_at = now + BEAT;
        let is_whole = std::mem::take(&mut self.is_doubtful) || self.home != Some(home);
        if is_whole {
            self.home = Some(home);
            self.changed.clear();
            // Who has gone for good is not mentioned, which says it.
            self.members.retain(|_, present| present.is_expected(now, settings.grace));
            for present in self.members.values_mut() {
                (present.is_reported, present.is_changed) = (true, false);
            }
            let standings = self.members.iter().map(|(id, present)| present.standing(id, now)).collect();
            return self.batches(standings, true);
        }
        let mut standings = Vec::with_capacity(self.changed.len());
        for id in std::mem::take(&mut self.changed) {
            let Some(present) = self.members.get_mut(&id) else { continue };
            present.is_changed = false;
            // Who came and went since the last report was never there.
            let was_there = present.connections > 0 || present.is_reported;
            if was_there {
                standings.push(present.standing(&id, now));
            }
            present.is_reported = true;
            if !(was_there && present.is_expected(now, settings.grace)) {
                self.members.remove(&id);
            }
        }
        self.batches(standings, false)
    }

    fn batches(&mut self, mut standings: Vec<Standing>, is_whole: bool) -> Vec<Report> {
        let mut reports = Vec::with_capacity(1 + standings.len() / BATCH);
        let mut is_first = true;
        loop {
            let rest = standings.split_off(standings.len().min(BATCH));
            let is_last = rest.is_empty();
            let since = self.version;
            self.version += 1;
            let part = if is_whole { Part::Whole { is_first, is_last } } else { Part::Changes };
            reports.push(Report { since, version: self.version, part, standings });
            if is_last {
                return reports;
            }
            (standings, is_first) = (rest, false);
        }
    }
}

impl Present {
    /// Whether it is here, or may be back before its grace is over.
    fn is_expected(&self, now: Duration, grace: Duration) -> bool {
        self.connections > 0 || now < self.gone_at + grace
    }

    fn standing(&self, id: &MemberId, now: Duration) -> Standing {
        let gone = (self.connections == 0).then(|| now.saturating_sub(self.gone_at));
        Standing { id: id.clone(), info: self.info.clone(), connections: self.connections, gone }
    }
}
