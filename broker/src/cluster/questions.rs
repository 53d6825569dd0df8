//! Questions to other nodes and their answers, over the bulk connections: each has a number, and an end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tidings_proto::cluster::v1 as wire;
use tokio::sync::oneshot;

use super::NodeName;
use crate::hub::{Row, Rows, Wanted};
use crate::log::{Cursor, Tag};
use crate::message::ChannelName;

/// Questions that wait for an answer. Beyond it nobody is asked any more, and all count as silent.
pub(super) const OPEN_MAX: usize = 1024;
/// Channels in one answer: as many fit into one frame.
const ROWS_MAX: usize = 5_000;

/// What waits for an answer, and who can be asked.
#[derive(Debug, Default)]
pub(super) struct Questions {
    last: AtomicU64,
    open: Mutex<HashMap<u64, oneshot::Sender<wire::bulk_frame::What>>>,
    /// The other nodes that may hold something: all but those that left or ended.
    nodes: Mutex<Vec<(Tag, NodeName)>>,
}

/// A question that waits. Forgotten when dropped.
pub(super) struct Open<'a> {
    questions: &'a Questions,
    pub(super) number: u64,
    answer: oneshot::Receiver<wire::bulk_frame::What>,
}

impl Open<'_> {
    /// The answer, once it is there; `None` when there will be none.
    pub(super) async fn answer(&mut self) -> Option<wire::bulk_frame::What> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.questions.open.lock().remove(&self.number);
    }
}

impl Questions {
    /// A number for a question, under which its answer is waited for; `None` when too many are open.
    pub(super) fn begin(&self) -> Option<Open<'_>> {
        let mut open = self.open.lock();
        if open.len() >= OPEN_MAX {
            return None;
        }
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (tell, answer) = oneshot::channel();
        open.insert(number, tell);
        drop(open);
        Some(Open { questions: self, number, answer })
    }

    /// An answer came. One that nobody waits for any more is let go.
    pub(super) fn answered(&self, number: u64, what: wire::bulk_frame::What) {
        if let Some(tell) = self.open.lock().remove(&number) {
            // Who asked may have given up in this moment.
            let _ = tell.send(what);
        }
    }

    /// How many wait for an answer.
    pub(super) fn count(&self) -> usize {
        self.open.lock().len()
    }

    /// Who can be asked from now on.
    pub(super) fn know(&self, nodes: Vec<(Tag, NodeName)>) {
        *self.nodes.lock() = nodes;
    }

    /// Who can be asked.
    pub(super) fn nodes(&self) -> Vec<(Tag, NodeName)> {
        self.nodes.lock().clone()
    }
}

/// The question as it goes over the wire.
pub(super) fn say_wanted(wanted: &Wanted) -> wire::bulk_frame::What {
    wire::bulk_frame::What::ChannelsAsked(wire::ChannelsAsked {
        prefix: wanted.prefix.clone(),
        after: wanted.after.clone().unwrap_or_default(),
        limit: wanted.limit as u32,
    })
}

/// The question as it came.
pub(super) fn hear_wanted(asked: wire::ChannelsAsked) -> Wanted {
    let after = Some(asked.after).filter(|after| !after.is_empty());
    Wanted { prefix: asked.prefix, after, limit: (asked.limit as usize).clamp(1, ROWS_MAX) }
}

/// The answer as it goes over the wire.
pub(super) fn say_rows(rows: Rows) -> wire::bulk_frame::What {
    let channels = rows.rows.into_iter().map(|row| wire::ChannelRow {
        channel: row.channel.to_string(),
        offset: row.offset,
        messages: row.messages,
        bytes: row.bytes,
        listeners: row.listening,
        cursor: row.cursor.to_string(),
    });
    wire::bulk_frame::What::ChannelsTold(wire::ChannelsTold { channels: channels.collect(), has_more: rows.has_more })
}

/// The answer as it came. A row that makes no sense is left out: its node is newer, or wrong.
pub(super) fn hear_rows(told: wire::ChannelsTold) -> Rows {
    let row = |row: wire::ChannelRow| {
        Some(Row {
            channel: ChannelName::parse(&row.channel).ok()?,
            offset: row.offset,
            messages: row.messages,
            bytes: row.bytes,
            listening: row.listeners,
            cursor: Cursor::parse(&row.cursor).ok()?,
        })
    };
    Rows { rows: told.channels.into_iter().take(ROWS_MAX).filter_map(row).collect(), has_more: told.has_more }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Epoch, Pos, Slot};

    #[test]
    fn a_question_and_its_answer_arrive_as_they_were_said() {
        let wanted = Wanted { prefix: "news:".into(), after: Some("news:a".into()), limit: 7 };
        let wire::bulk_frame::What::ChannelsAsked(asked) = say_wanted(&wanted) else { panic!() };
        let heard = hear_wanted(asked);
        assert_eq!((heard.prefix, heard.after, heard.limit), (wanted.prefix, wanted.after, 7));
        let (channel, pos) = (ChannelName::parse("news:b").unwrap(), Pos { epoch: Epoch::new(1, Tag::new(7).unwrap()), idx: 3 });
        let cursor = Cursor::single(Slot::of(&channel), pos);
        let row = Row { channel, offset: 3, messages: 2, bytes: 700, listening: 1, cursor };
        let wire::bulk_frame::What::ChannelsTold(told) = say_rows(Rows { rows: vec![row], has_more: true }) else { panic!() };
        let heard = hear_rows(told);
        let [row] = &heard.rows[..] else { panic!("{heard:?}") };
        assert_eq!(
            (row.channel.as_str(), row.offset, row.messages, row.bytes, row.listening, heard.has_more),
            ("news:b", 3, 2, 700, 1, true)
        );
    }

    #[tokio::test]
    async fn an_answer_finds_its_question_and_only_while_somebody_waits() {
        let questions = Questions::default();
        let (mut first, second) = (questions.begin().unwrap(), questions.begin().unwrap());
        let what = || say_rows(Rows::default());
        questions.answered(first.number, what());
        questions.answered(first.number, what());
        questions.answered(999, what());
        assert_eq!(first.answer().await, Some(what()));
        drop((first, second));
        assert_eq!(questions.open.lock().len(), 0);
        let all: Vec<_> = (0..OPEN_MAX).map(|_| questions.begin().unwrap()).collect();
        assert!(questions.begin().is_none());
        drop(all);
        assert!(questions.begin().is_some());
    }
}
