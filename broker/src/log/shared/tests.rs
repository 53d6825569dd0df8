//! What a branch had lost before its line was taken over.

use super::*;
use crate::log::{Gap, GapReason, NamespaceId, PageLimit, Retention, Slot, Start, Tag};
use crate::message::{ChannelName, Draft, Payload};

const ALL: PageLimit = PageLimit { entries: 1000, bytes: usize::MAX };
/// Three messages, a minute.
const SHORT: Retention = Retention { size: 3, ttl: Duration::from_secs(60), bytes: u64::MAX };

fn epoch(term: u32) -> Epoch {
    Epoch::new(term, Tag::new(u64::from(term)).unwrap())
}

fn at(seconds: u64) -> Moment {
    Moment { mono: Duration::from_secs(seconds), unix_ms: 0 }
}

/// One side of a split.
struct Side {
    log: SlotLog,
    key: ChannelKey,
    now: u64,
}

impl Side {
    /// Both sides have the same beginning.
    fn begin(term: u32) -> Self {
        let mut log = SlotLog::new(Slot::new(3).unwrap(), epoch(1));
        log.share();
        let key = log.open_channel(ChannelName::parse("a").unwrap(), NamespaceId(0), SHORT, at(0));
        let mut side = Self { log, key, now: 0 };
        side.publish(1);
        side.log.open_epoch(epoch(term), false);
        side.commit();
        side
    }

    fn commit(&mut self) {
        let (mut committed, mut evicted) = (Vec::<(ChannelKey, Arc<Entry>)>::new(), Vec::new());
        self.log.commit_to(self.log.head().idx, at(self.now), &mut committed, &mut evicted);
    }

    fn publish(&mut self, count: usize) {
        for _ in 0..count {
            self.log.append(self.key, Draft::new(ChannelName::parse("a").unwrap(), Payload::text("x")), at(self.now), usize::MAX);
            self.commit();
        }
    }

    /// Where somebody stands who has read everything here.
    fn cursor(&self) -> SlotCursor {
        self.log.cursor(self.log.head().idx)
    }

    /// Takes over what the other one has beyond an index.
    fn take_over(&mut self, other: &Self, fork: u64) {
        self.log.append_lost(other.log.lost_beyond(fork));
        for entry in other.log.beyond(fork) {
            self.log.adopt(self.key, &entry, at(self.now), usize::MAX);
        }
        self.log.append_cover(vec![other.log.head()]);
        self.commit();
    }

    /// What somebody with this cursor gets: how many messages, and the gaps.
    fn read(&self, cursor: &SlotCursor) -> (usize, Vec<Gap>) {
        let joined = self.log.join(&[self.key], &Start::After(cursor.clone()), at(self.now));
        let mut cursor = SlotCursor { slot: self.log.slot(), main: joined.after, extras: joined.extras };
        let mut gaps: Vec<Gap> = joined.gaps.iter().map(|(_, gap)| *gap).collect();
        let (mut from, mut count) = (joined.from[0], 0);
        loop {
            let page = self.log.read_as(&cursor, &[(self.key, from)], ALL, at(self.now));
            gaps.extend(page.gaps.iter().map(|(_, gap)| *gap));
            let admitted = page.entries.iter().filter(|entry| {
                let admission = self.log.line().admit(&mut cursor, entry.pos, entry.adopted.as_deref());
                admission.verdict == crate::log::Verdict::Deliver
            });
            count += admitted.count();
            from = page.upto.idx;
            if page.at_head {
                assert_eq!(joined.recovered, gaps.is_empty(), "{gaps:?}");
                return (count, gaps);
            }
        }
    }
}

#[test]
fn who_never_read_what_a_branch_lost_is_told_once_and_who_did_is_not() {
    let (mut here, mut there) = (Side::begin(2), Side::begin(3));
    let fork = here.log.line().end(epoch(1)).unwrap();
    let before = here.cursor();
    // Of five messages two have left when the sides meet.
    there.publish(5);
    let (seen, behind) = (there.cursor(), there.log.cursor(fork + 2));
    let told = here.log.head().idx + 1;
    here.take_over(&there, fork);
    let told = Gap { reason: GapReason::Window, oldest: here.log.line().pos(told) };
    let (count, gaps) = here.read(&before);
    assert_eq!((count, gaps), (3, vec![told]), "three of the branch, whose number is that of a history");
    assert_eq!(here.read(&here.cursor()), (0, vec![]));
    let (_, gaps) = here.read(&behind);
    assert_eq!(gaps.last(), Some(&told), "it had read one of the two on the branch");
    let (count, gaps) = here.read(&seen);
    assert_eq!((count, gaps.iter().filter(|gap| **gap == told).count()), (0, 0), "it had read them all there");
}

#[test]
fn a_branch_hands_on_what_it_was_told_of_others() {
    let (mut here, mut there, mut third) = (Side::begin(2), Side::begin(3), Side::begin(4));
    let fork = here.log.line().end(epoch(1)).unwrap();
    third.publish(4);
    there.take_over(&third, fork);
    there.log.open_epoch(epoch(5), true);
    there.commit();
    let lost = there.log.lost_beyond(fork);
    let of = |is: &dyn Fn(&LostOf) -> bool| lost.iter().filter(|lost| is(&lost.of)).count();
    assert!(of(&|of| matches!(of, LostOf::Channel(_))) >= 1 && of(&|of| *of == LostOf::Anything) == 1, "{lost:?}");
    let before = here.cursor();
    here.take_over(&there, fork);
    let (_, gaps) = here.read(&before);
    assert_eq!(gaps.len(), 1, "one place, one gap: {gaps:?}");
}

#[test]
fn what_was_taken_over_lives_as_long_as_what_is_new_and_is_missed_when_it_ends() {
    let (mut here, mut there) = (Side::begin(2), Side::begin(3));
    let fork = here.log.line().end(epoch(1)).unwrap();
    there.publish(2);
    (here.now, there.now) = (50, 50);
    let before = here.cursor();
    here.take_over(&there, fork);
    here.now = 70;
    assert_eq!(here.read(&before).0, 2, "it has just come");
    here.now = 120;
    let (count, gaps) = here.read(&before);
    assert_eq!((count, gaps.len()), (0, 1));
}

#[test]
fn too_many_losses_to_name_are_one_of_anything() {
    let mut lost = Vec::new();
    for number in 0..100 {
        let of = LostOf::Channel(ChannelName::parse(&format!("c{number}")).unwrap());
        add_lost(&mut lost, Lost { of, upto: Pos { epoch: epoch(2), idx: number + 1 } });
    }
    assert_eq!(lost.len(), LOST_MAX + 1);
    assert_eq!(lost.last(), Some(&Lost { of: LostOf::Anything, upto: Pos { epoch: epoch(2), idx: 100 } }));
}

#[test]
fn what_a_copy_is_given_ends_no_earlier_than_what_it_holds_from_before() {
    let (mut home, mut copy) = (Side::begin(2), Side::begin(2));
    (home.now, copy.now) = (50, 50);
    home.publish(2);
    copy.publish(1);
    let (keep, cursor) = (copy.log.head().idx, copy.cursor());
    let mut state = home.log.channel_state(home.key, keep, false, at(50));
    // The home's clock has jumped since it sent the first one: the second one seems older.
    for entry in &mut state.entries {
        let entry = Arc::make_mut(entry);
        entry.accepted.mono -= Duration::from_secs(10);
        entry.expires -= Duration::from_secs(10);
    }
    let copied = Copied {
        line: home.log.line().clone(),
        fork: keep,
        channels: vec![(copy.key, state)],
        floors: None,
        uncertain: Vec::new(),
        covered: Vec::new(),
        lost: Vec::new(),
    };
    copy.log.restore(copied, at(50), usize::MAX, &mut Vec::new());
    copy.now = 105;
    assert_eq!(copy.read(&cursor), (1, vec![]));
    copy.now = 111;
    assert_eq!(copy.read(&cursor).1.len(), 1, "its end is a loss");
}
