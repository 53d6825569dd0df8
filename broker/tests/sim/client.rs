//! Clients: publishers that retry, and listeners that hop between nodes with their cursor.

use std::collections::HashMap;
use std::sync::Arc;

use tidings::log::{
    Cursor, CursorText, Entry, Gap, GapReason, PageLimit, Pos, SlotCursor, SlotLog, Start, TRAIL_STRETCHES_MAX, Tag, Verdict,
};
use tidings::message::ChannelName;

use super::process::Part;

/// One message somebody publishes, until it is answered or given up.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) number: u64,
    pub(crate) channel: ChannelName,
    pub(crate) invoked: u64,
    pub(crate) acked: Option<u64>,
    /// The process that was asked first.
    pub(crate) through: Option<Tag>,
    /// The node that answered first.
    pub(crate) by: Option<usize>,
    /// Where it was acknowledged first.
    pub(crate) pos: Option<(tidings::log::Slot, u64, u64)>,
    /// Every node that held it died.
    pub(crate) is_lost: bool,
    /// With `is_lost`: the last one had long met all others.
    pub(crate) is_told_of: bool,
    /// The last one died while all others stood still, and had opened an epoch that none of them has heard of: nobody can tell.
    pub(crate) is_unheard_of: bool,
}

impl Publish {
    /// Asked for now, and not answered yet.
    pub(crate) fn new(number: u64, channel: ChannelName, now: u64) -> Self {
        Self {
            number,
            channel,
            invoked: now,
            acked: None,
            through: None,
            by: None,
            pos: None,
            is_lost: false,
            is_told_of: false,
            is_unheard_of: false,
        }
    }
}

/// A channel that somebody empties.
#[derive(Clone, Debug)]
pub(crate) struct Clear {
    pub(crate) channel: ChannelName,
    pub(crate) invoked: u64,
    pub(crate) acked: Option<u64>,
}

/// One listener of one channel.
pub(crate) struct Listener {
    pub(crate) number: usize,
    pub(crate) channel: ChannelName,
    pub(crate) node: Option<usize>,
    /// The process it is connected to; another one of the same node is another connection.
    pub(crate) tag: Option<u64>,
    /// Where its node knows it to be.
    pub(crate) cursor: Option<SlotCursor>,
    /// What it was told last and comes back with: where it joined, or the cursor of a message.
    pub(crate) told: Option<SlotCursor>,
    /// Whether it is told its own cursor with messages, because theirs say too little.
    is_own: bool,
    /// What it was told last does not name all epochs before its own: a node that is further behind cannot place it.
    is_short: bool,
    pub(crate) joined: bool,
    /// It reads the log. Else it is pushed to.
    pub(crate) is_behind: bool,
    pub(crate) hop_at: u64,
    /// When it listened first.
    pub(crate) since: Option<u64>,
    pub(crate) got: Vec<Arc<Entry>>,
    births: HashMap<Pos, usize>,
    pub(crate) gaps: Vec<(u64, GapReason)>,
    /// Its cursor had no room for all branches it saw: a double is possible then, as the design says.
    forgot: bool,
}

impl Listener {
    pub(crate) fn new(number: usize, channel: ChannelName) -> Self {
        Self {
            number,
            channel,
            node: None,
            tag: None,
            cursor: None,
            told: None,
            is_own: false,
            is_short: false,
            joined: false,
            is_behind: true,
            hop_at: 0,
            since: None,
            got: Vec::new(),
            births: HashMap::new(),
            gaps: Vec::new(),
            forgot: false,
        }
    }

    /// Joins or reads on, whatever is due.
    pub(crate) fn read(&mut self, part: &Part, now: u64, at: tidings::clock::Moment) -> Result<(), String> {
        if !part.replica.is_ready(&self.channel) {
            return Ok(());
        }
        let Some(key) = part.names.key(&self.channel) else { return Ok(()) };
        let log = &part.log;
        if !self.joined {
            let start = match &self.cursor {
                Some(cursor) => Start::After(cursor.clone()),
                None => Start::Live,
            };
            self.join(log, key, &start, now, at);
        }
        if !self.is_behind {
            return Ok(());
        }
        for _ in 0..10 {
            let Some(cursor) = &self.cursor else { return Ok(()) };
            if log.is_off(cursor.main) {
                let start = Start::After(cursor.clone());
                self.join(log, key, &start, now, at);
            }
            let Some(cursor) = &mut self.cursor else { return Ok(()) };
            let mut own = cursor.clone();
            let page = log.read_as(cursor, &[(key, cursor.main.idx)], PageLimit { entries: 16, bytes: usize::MAX }, at);
            for (_, gap) in &page.gaps {
                self.gaps.push((now, gap.reason));
            }
            for entry in &page.entries {
                self.take(log, entry, &mut own)?;
            }
            if let Some(cursor) = &mut self.cursor
                && page.upto.idx > cursor.main.idx
            {
                self.forgot |= log.line().cover(cursor, page.upto, &[]) > 0;
            }
            self.is_own = self.cursor.as_ref().is_some_and(|cursor| log.is_own(cursor));
            if page.at_head {
                self.is_behind = false;
                break;
            }
        }
        Ok(())
    }

    fn join(&mut self, log: &SlotLog, key: tidings::log::ChannelKey, start: &Start, now: u64, at: tidings::clock::Moment) {
        let joined = log.join(&[key], start, at);
        if let Start::After(cursor) = start {
            self.forgot |= self.is_short && log.line().resolve(cursor).is_none();
        }
        for (_, Gap { reason, .. }) in &joined.gaps {
            self.gaps.push((now, *reason));
        }
        let from = joined.from[0];
        let mut cursor = SlotCursor { slot: log.slot(), main: joined.after, extras: joined.extras };
        // What it skips it has not read; the ends of stretches there are hints all the same.
        log.line().cover(&mut cursor, log.line().pos(from), &[]);
        self.cursor = Some(cursor);
        self.is_own = joined.is_own;
        self.joined = true;
        self.is_behind = true;
        self.since.get_or_insert(now);
    }

    /// A push from the node it is connected to.
    pub(crate) fn push(&mut self, log: &SlotLog, entry: &Arc<Entry>) -> Result<(), String> {
        if !self.joined || self.is_behind || entry.channel != self.channel {
            return Ok(());
        }
        // What was taken over from another branch it may know: that is found out in the log.
        if entry.adopted.is_some() {
            self.is_behind = true;
            return Ok(());
        }
        let Some(mut own) = self.cursor.clone() else { return Ok(()) };
        self.take(log, entry, &mut own)
    }

    /// Gets a message; `own` is what the node knows of its cursor by messages alone.
    fn take(&mut self, log: &SlotLog, entry: &Arc<Entry>, own: &mut SlotCursor) -> Result<(), String> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        let before = cursor.main;
        let admission = log.line().admit(cursor, entry.pos, entry.adopted.as_deref());
        self.forgot |= admission.dropped > 0;
        match admission.verdict {
            Verdict::Behind | Verdict::Seen => return Ok(()),
            Verdict::Deliver => {}
        }
        own.pass(entry);
        // As it goes over the wire.
        let text = if self.is_own { CursorText::after(own.clone()) } else { entry.cursor() };
        let told = Cursor::parse(&text).map_err(|why| format!("invariant 16: {why}: {own:?} or {:?}", entry.slot_cursor()))?;
        self.told = told.get(log.slot()).cloned();
        self.is_short = !self.is_own && log.line().ends_before(entry.pos.epoch).count() > TRAIL_STRETCHES_MAX;
        if cursor.main.idx < before.idx {
            return Err(format!("invariant 14: listener {} went back from {before:?} to {:?}", self.number, cursor.main));
        }
        if let Some(known) = self.births.insert(entry.birth(), self.got.len())
            && !self.forgot
        {
            return Err(format!(
                "invariant 10: listener {} got {:?} twice, first as {:?}, now as {entry:?}",
                self.number,
                entry.birth(),
                self.got[known]
            ));
        }
        self.got.push(entry.clone());
        Ok(())
    }
}
