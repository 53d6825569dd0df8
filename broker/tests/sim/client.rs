//! Clients: publishers that retry, and listeners that hop between nodes with their cursor.

use std::collections::HashMap;
use std::sync::Arc;

use tidings::log::{Entry, Gap, GapReason, PageLimit, Pos, SlotCursor, SlotLog, Start, Verdict};
use tidings::message::ChannelName;

use super::process::Part;

/// One message somebody publishes, until it is answered or given up.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) number: u64,
    pub(crate) channel: ChannelName,
    pub(crate) invoked: u64,
    pub(crate) acked: Option<u64>,
    /// Where it was acknowledged first.
    pub(crate) pos: Option<(tidings::log::Slot, u64, u64)>,
    /// Every node that held it died.
    pub(crate) is_lost: bool,
}

/// One listener of one channel.
pub(crate) struct Listener {
    pub(crate) number: usize,
    pub(crate) channel: ChannelName,
    pub(crate) node: Option<usize>,
    /// The process it is connected to; another one of the same node is another connection.
    pub(crate) tag: Option<u64>,
    pub(crate) cursor: Option<SlotCursor>,
    pub(crate) joined: bool,
    /// It reads the log. Else it is pushed to.
    pub(crate) is_behind: bool,
    pub(crate) waits_since: u64,
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
            joined: false,
            is_behind: true,
            waits_since: 0,
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
                Some(cursor) if log.is_behind(cursor) && now < self.waits_since + 2000 => return Ok(()),
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
            let page = log.read(&[(key, cursor.main.idx)], PageLimit { entries: 16, bytes: usize::MAX }, at);
            for (_, gap) in &page.gaps {
                self.gaps.push((now, gap.reason));
            }
            for entry in &page.entries {
                self.take(log, entry)?;
            }
            if let Some(cursor) = &mut self.cursor
                && page.upto.idx > cursor.main.idx
            {
                self.forgot |= log.line().cover(cursor, page.upto, &[]) > 0;
            }
            if page.at_head {
                self.is_behind = false;
                break;
            }
        }
        Ok(())
    }

    fn join(&mut self, log: &SlotLog, key: tidings::log::ChannelKey, start: &Start, now: u64, at: tidings::clock::Moment) {
        let joined = log.join(&[key], start, at);
        for (_, Gap { reason, .. }) in &joined.gaps {
            self.gaps.push((now, *reason));
        }
        let from = joined.from[0];
        let main = if from > joined.after.idx { log.line().pos(from) } else { joined.after };
        self.cursor = Some(SlotCursor { slot: log.slot(), main, extras: joined.extras });
        self.joined = true;
        self.is_behind = true;
        self.since.get_or_insert(now);
    }

    /// A push from the node it is connected to.
    pub(crate) fn push(&mut self, log: &SlotLog, entry: &Arc<Entry>) -> Result<(), String> {
        if !self.joined || self.is_behind || entry.channel != self.channel {
            return Ok(());
        }
        self.take(log, entry)
    }

    fn take(&mut self, log: &SlotLog, entry: &Arc<Entry>) -> Result<(), String> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        let before = cursor.main;
        let admission = log.line().admit(cursor, entry.pos, entry.adopted.as_deref());
        self.forgot |= admission.dropped > 0;
        match admission.verdict {
            Verdict::Behind | Verdict::Seen => return Ok(()),
            Verdict::Deliver => {}
        }
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
