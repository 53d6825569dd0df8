//! Questions about channels: their history, and what there is.

use std::sync::Arc;

use super::{Channel, Hub};
use crate::cluster::core::frame::Ask;
use crate::error::Result;
use crate::log::{Cursor, Entry, Gap, PageLimit, Slot, SlotCursor, Start, Verdict};
use crate::message::ChannelName;

/// What is known of one channel.
#[derive(Clone, Debug)]
pub struct ChannelStats {
    /// Its name.
    pub channel: ChannelName,
    /// The newest offset given.
    pub offset: u64,
    /// Messages kept.
    pub messages: u64,
    /// Bytes kept.
    pub bytes: u64,
    /// Shards and pulls that listen on this node.
    pub listening: u64,
    /// Where it stands: its slot's newest committed position.
    pub cursor: Cursor,
}

/// What one look at the log found.
pub(super) struct HistoryPage {
    pub(super) entries: Vec<Arc<Entry>>,
    cursor: Cursor,
    gap: Option<Gap>,
    at_head: bool,
}

impl Hub {
    /// One page of a channel's history in the channel's order: the entries, the position after them, and the gap
    /// before them if there is one. It is empty only where nothing more is kept. A channel without state has an empty history.
    pub async fn history(&self, name: &ChannelName, since: Option<&Cursor>, limit: PageLimit) -> (Vec<Arc<Entry>>, Cursor, Option<Gap>) {
        let mut page = self.history_page(name, since, limit);
        // Two losses in a row have nothing between them, and of what was read on another branch nothing is left: whoever took that for
        // the end would miss all that follows.
        while page.entries.is_empty() && !page.at_head {
            tokio::task::yield_now().await;
            let next = self.history_page(name, Some(&page.cursor), limit);
            page = HistoryPage { gap: next.gap.or(page.gap), ..next };
        }
        (page.entries, page.cursor, page.gap)
    }

    pub(super) fn history_page(&self, name: &ChannelName, since: Option<&Cursor>, limit: PageLimit) -> HistoryPage {
        let slot = Slot::of(name);
        let start = since.and_then(|cursor| cursor.get(slot)).map_or(Start::Earliest, |at| Start::After(at.clone()));
        let now = self.clock.now();
        let nothing = || HistoryPage { entries: Vec::new(), cursor: self.commit_cursor(slot), gap: None, at_head: true };
        let Some(channel) = self.find(name).filter(|channel| channel.has_history) else { return nothing() };
        let page = self.with_channel(&channel, |state| {
            let joined = state.log.join(&[channel.key], &start, now);
            let after = joined.from.first().copied().unwrap_or(joined.after.idx);
            let mut cursor = SlotCursor { slot, main: joined.after, extras: joined.extras };
            let mut page = state.log.read_as(&cursor, &[(channel.key, after)], limit, now);
            let gap = joined.gaps.first().or(page.gaps.first()).map(|(_, gap)| *gap);
            let line = state.log.line();
            page.entries.retain(|entry| line.admit(&mut cursor, entry.pos, entry.adopted.as_deref()).verdict == Verdict::Deliver);
            line.cover(&mut cursor, page.upto, &[]);
            HistoryPage { entries: page.entries, cursor: cursor.into(), gap, at_head: page.at_head }
        });
        page.unwrap_or_else(nothing)
    }

    /// The slot's newest committed position, for who has read up to there.
    #[must_use]
    pub fn commit_cursor(&self, slot: Slot) -> Cursor {
        self.with_slot(slot, |state| state.log.cursor(state.log.commit().idx).into())
    }

    /// The newest entries of a channel, newest first; with a cursor only those after it.
    #[must_use]
    pub fn newest(&self, name: &ChannelName, since: Option<&Cursor>, limit: PageLimit) -> (Vec<Arc<Entry>>, Cursor) {
        let slot = Slot::of(name);
        let now = self.clock.now();
        let after = since.and_then(|cursor| cursor.get(slot));
        let found = self.find(name).filter(|channel| channel.has_history).and_then(|channel| {
            self.with_channel(&channel, |state| {
                let mut entries = state.log.read_back(channel.key, None, limit, now);
                // A cursor that knows nothing of this line says nothing about it: then the newest are all newer.
                if let Some(after) = after.and_then(|after| state.log.line().resolve(after)) {
                    entries.retain(|entry| !after.has_seen(entry));
                }
                (entries, state.log.cursor(state.log.commit().idx).into())
            })
        });
        found.unwrap_or_else(|| (Vec::new(), self.commit_cursor(slot)))
    }

    /// Forgets a channel's messages. Cursors from before get `gap{cleared}`.
    ///
    /// # Errors
    /// As [`Receipt::committed`](super::Receipt::committed).
    pub async fn clear(&self, name: &ChannelName) -> Result<Cursor> {
        let slot = Slot::of(name);
        if self.is_shared() {
            let terms = self.rules().of(name).1.terms;
            let answer = self.ask(slot, Ask::Clear(name.clone()), terms)?;
            let placed = super::append::asked(name.clone(), slot, answer).committed().await?;
            return Ok(SlotCursor { slot, main: placed.pos, extras: placed.trail.ends().to_vec() }.into());
        }
        Ok(self.clear_here(name, slot))
    }

    fn clear_here(&self, name: &ChannelName, slot: Slot) -> Cursor {
        let mut evicted = Vec::new();
        let cleared = self.find(name).and_then(|channel| {
            self.with_channel(&channel, |state| {
                let pos = state.log.clear(channel.key);
                let told = match &self.commit_rule {
                    super::CommitRule::AtOnce | super::CommitRule::Shared(_) => {
                        self.commit_to(state, pos.idx, self.clock.now(), &mut evicted)
                    }
                    super::CommitRule::Later(queue) => {
                        queue.lock().push_back((slot, pos.idx));
                        0
                    }
                };
                (pos, told)
            })
        });
        let pos = cleared.map_or_else(
            || self.commit(slot),
            |(pos, told)| {
                self.tell(told);
                pos
            },
        );
        self.free(evicted);
        Cursor::single(slot, pos)
    }

    /// Every channel with state whose name passes, in no order.
    #[must_use]
    pub fn channels_where(&self, mut wanted: impl FnMut(&ChannelName) -> bool) -> Vec<Arc<Channel>> {
        self.channels.iter().filter(|channel| wanted(&channel.name)).map(|channel| channel.clone()).collect()
    }

    /// What is known of a channel; `None` when the handle died.
    #[must_use]
    pub fn channel_stats(&self, channel: &Channel) -> Option<ChannelStats> {
        self.with_channel(channel, |state| {
            let stats = state.log.channel(channel.key);
            let listening = state.listeners(channel.key).map_or(0, |known| known.shards.len() + known.signals.len());
            ChannelStats {
                channel: channel.name.clone(),
                offset: stats.offset,
                messages: stats.entries,
                bytes: stats.bytes,
                listening: listening as u64,
                cursor: state.log.cursor(state.log.commit().idx).into(),
            }
        })
    }
}
