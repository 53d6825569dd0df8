//! What happened on this node, since its start: counted here, told to the log.

use std::sync::atomic::{AtomicU64, Ordering};

use super::core::frame::{Refusal, Terms};
use super::core::{Answer, Event, Frame, Opening};
use super::link::Reason;
use crate::log::Slot;

/// What the cluster answered to publishes of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It is in the log.
    Done,
    /// Fewer nodes would hold it than it asks for.
    TooFewCopies,
    /// Too much waits for the node that orders its channel.
    Busy,
    /// This node is to leave and is cut off from the others.
    Leaving,
    /// Nobody can say.
    Unknown,
}

impl Answered {
    /// Every answer, in the order of [`Answered::index`].
    pub const ALL: [Self; 5] = [Self::Done, Self::TooFewCopies, Self::Busy, Self::Leaving, Self::Unknown];

    /// The word for people and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::TooFewCopies => "too_few_copies",
            Self::Busy => "busy",
            Self::Leaving => "leaving",
            Self::Unknown => "unknown",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    const fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Done(_) => Self::Done,
            Answer::Refused(Refusal::Degraded) => Self::TooFewCopies,
            Answer::Refused(Refusal::Busy) => Self::Busy,
            Answer::Leaving => Self::Leaving,
            Answer::Unknown => Self::Unknown,
        }
    }
}

/// Why nodes refuse one another, as a label.
pub const REFUSALS: [&str; 8] = ["key", "cluster", "protocol", "duplicate_name", "slots", "invalid", "certificate", "other"];

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Happened {
    pub(super) opened: [AtomicU64; Opening::ALL.len()],
    pub(super) uncertain: AtomicU64,
    pub(super) sealed: AtomicU64,
    pub(super) solo: AtomicU64,
    pub(super) counted: AtomicU64,
    pub(super) adopted: AtomicU64,
    pub(super) orphans_lost: AtomicU64,
    pub(super) carried: AtomicU64,
    pub(super) said: [AtomicU64; Frame::NAMES.len()],
    pub(super) heard: [AtomicU64; Frame::NAMES.len()],
    pub(super) answered: [AtomicU64; Answered::ALL.len()],
    pub(super) short: AtomicU64,
    pub(super) solo_seconds: AtomicU64,
    /// The last second of the clock that was counted among them, plus one.
    solo_second: AtomicU64,
    pub(super) views: AtomicU64,
    /// By this node, and of it by others.
    pub(super) refused: [[AtomicU64; REFUSALS.len()]; 2],
    pub(super) late: AtomicU64,
}

impl Happened {
    /// A frame goes to another node.
    pub(super) fn said(&self, frame: &Frame) {
        count(&self.said[frame.index()], 1);
        if carries(frame) {
            count(&self.carried, 1);
        }
    }

    /// A frame came from another node.
    pub(super) fn heard(&self, frame: &Frame) {
        count(&self.heard[frame.index()], 1);
    }

    /// A publish of this node was answered, in this second of the clock.
    pub(super) fn answered(&self, answer: &Answer, terms: Terms, second: u64) {
        count(&self.answered[Answered::of(answer).index()], 1);
        let is_short = matches!(answer, Answer::Done(done) if done.copies < terms.replicas && !done.duplicate);
        if is_short {
            count(&self.short, 1);
            if self.solo_second.swap(second + 1, Ordering::Relaxed) != second + 1 {
                count(&self.solo_seconds, 1);
            }
        }
    }

    /// Two nodes did not come together.
    pub(super) fn refused(&self, reason: Reason, by_us: bool) {
        let label = match reason {
            Reason::Key => 0,
            Reason::OtherCluster => 1,
            Reason::Protocol => 2,
            Reason::DuplicateName => 3,
            Reason::Slots => 4,
            Reason::Invalid => 5,
            Reason::Certificate => 6,
            Reason::NotWanted => return,
            Reason::Unspecified => 7,
        };
        count(&self.refused[usize::from(!by_us)][label], 1);
    }

    /// A connection that another node, or anybody, made did not greet in time.
    pub(super) fn late(&self) {
        count(&self.late, 1);
    }

    /// Something happened in a slot.
    pub(super) fn happened(&self, slot: Slot, event: &Event) {
        match event {
            Event::Opened { epoch, is_uncertain, is_forced, opening } => {
                count(&self.opened[opening.index()], 1);
                count(&self.uncertain, usize::from(*is_uncertain));
                let how = opening.as_str();
                if *is_uncertain || *is_forced {
                    tracing::warn!(
                        event = "slot_opened",
                        %slot, ?epoch, how, is_uncertain, is_forced, "a slot was taken over without its last owner's word"
                    );
                } else {
                    tracing::debug!(event = "slot_opened", %slot, ?epoch, how, "a slot is owned here now");
                }
            }
            Event::Sealed { successor } => {
                count(&self.sealed, 1);
                tracing::debug!(event = "slot_sealed", %slot, successor = format!("{:x}", successor.get()), "a slot was handed over");
            }
            Event::Solo => {
                count(&self.solo, 1);
                tracing::debug!(event = "follower_dropped", %slot, "a slot's owner goes on without its follower");
            }
            Event::Counted { .. } => count(&self.counted, 1),
            Event::Adopted { count: messages } => {
                count(&self.adopted, *messages);
                tracing::info!(event = "messages_adopted", %slot, messages, "messages of another branch were taken over");
            }
            Event::OrphansLost { count: messages } => {
                count(&self.orphans_lost, *messages);
                tracing::warn!(event = "orphans_lost", %slot, messages, "messages of another branch were lost before they could be taken over");
            }
        }
    }
}

fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

/// Whether a frame holds messages, and is no word about them.
fn carries(frame: &Frame) -> bool {
    match frame {
        Frame::Forward(_) | Frame::Offer(_) => true,
        Frame::Stream(stream) => !stream.records.is_empty(),
        Frame::Sync(sync) => !sync.tail.is_empty() || sync.channels.iter().any(|state| !state.entries.is_empty()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::core::frame::Done;
    use crate::log::{Epoch, Pos, Tag, Trail};
    use crate::message::MessageId;

    #[test]
    fn a_second_with_too_few_copies_counts_once_however_many_publishes_it_saw() {
        let happened = Happened::default();
        let epoch = Epoch::new(1, Tag::new(7).unwrap());
        let done = |copies| {
            Answer::Done(Done {
                pos: Pos { epoch, idx: 1 },
                offset: 1,
                id: MessageId::Auto(1),
                copies,
                duplicate: false,
                trail: Trail::NONE,
            })
        };
        for (copies, second) in [(2, 0), (1, 0), (1, 0), (2, 1), (1, 2), (1, 3), (1, 3)] {
            happened.answered(&done(copies), Terms::default(), second);
        }
        happened.answered(&done(1), Terms { replicas: 1, ..Terms::default() }, 4);
        happened.answered(&Answer::Unknown, Terms::default(), 5);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((read(&happened.short), read(&happened.solo_seconds)), (5, 3));
        assert_eq!(happened.answered.each_ref().map(read), [8, 0, 0, 0, 1]);
    }
}
