//! Trails alone: what messages say of where their line came from, and how two lines understand each other by it.

use super::*;
use crate::clock::Moment;
use crate::log::{
    ChannelKey, Copied, Cursor, GapReason, Joined, Line, NamespaceId, PageLimit, Retention, Segment, Slot, Start, Tag, Verdict,
};
use crate::message::{ChannelName, Draft, Headers, Payload};

const KEPT: Retention = Retention { size: 1000, ttl: Duration::from_secs(60), bytes: u64::MAX };
const ALL: PageLimit = PageLimit { entries: 1000, bytes: usize::MAX };

fn epoch(term: u32) -> Epoch {
    Epoch::new(term, Tag::new(u64::from(term)).unwrap())
}

fn at(seconds: u64) -> Moment {
    Moment { mono: Duration::from_secs(seconds), unix_ms: 0 }
}

/// A log that other nodes write too, with one channel.
struct Copy {
    log: SlotLog,
    key: ChannelKey,
    now: u64,
}

impl Copy {
    fn begin() -> Self {
        let mut log = SlotLog::new(Slot::new(3).unwrap(), epoch(1));
        log.share();
        let key = log.open_channel(ChannelName::parse("a").unwrap(), NamespaceId(0), KEPT, at(0));
        Self { log, key, now: 0 }
    }

    fn commit(&mut self) -> Vec<Arc<Entry>> {
        let (mut committed, mut evicted) = (Vec::<(ChannelKey, Arc<Entry>)>::new(), Vec::new());
        self.log.commit_to(self.log.head().idx, at(self.now), &mut committed, &mut evicted);
        committed.into_iter().map(|(_, entry)| entry).collect()
    }

    fn publish(&mut self, text: &str) -> Arc<Entry> {
        let payload = Payload::new(text.as_bytes(), None).unwrap();
        let channel = ChannelName::parse("a").unwrap();
        let draft = Draft { channel, id: None, event: None, payload, headers: Headers::default(), ttl: None };
        self.log.append(self.key, draft, at(self.now), usize::MAX);
        self.commit().pop().unwrap()
    }

    fn take_over(&mut self, term: u32) {
        self.log.open_epoch(epoch(term), false);
        self.commit();
    }

    /// Takes messages of another branch over, which ends so.
    fn adopt(&mut self, branch: &[Arc<Entry>], ends: Vec<Pos>) -> Vec<Arc<Entry>> {
        for entry in branch {
            self.log.adopt(self.key, entry, at(self.now), usize::MAX);
        }
        self.log.append_cover(ends);
        self.commit()
    }

    fn resume(&self, text: &str) -> (Joined, SlotCursor) {
        let cursor = Cursor::parse(text).unwrap();
        let joined = self.log.join(&[self.key], &Start::After(cursor.get(self.log.slot()).unwrap().clone()), at(self.now));
        let position = SlotCursor { slot: self.log.slot(), main: joined.after, extras: joined.extras.clone() };
        (joined, position)
    }

    /// What a listener at this cursor gets; the cursor moves.
    fn read(&self, cursor: &mut SlotCursor) -> Vec<String> {
        let page = self.log.read(&[(self.key, cursor.main.idx)], ALL, at(self.now));
        let line = self.log.line();
        let given = page.entries.iter().filter(|entry| line.admit(cursor, entry.pos, entry.adopted.as_deref()).verdict == Verdict::Deliver);
        let texts = given.map(|entry| String::from_utf8(entry.payload.bytes().to_vec()).unwrap()).collect();
        line.cover(cursor, page.upto, &[]);
        texts
    }
}

#[test]
fn on_a_line_with_one_stretch_a_message_says_its_position_and_nothing_else() {
    let mut copy = Copy::begin();
    let entry = copy.publish("one");
    assert!(entry.trail.is_none());
    assert_eq!(entry.cursor(), CursorText::of(entry.slot, entry.pos));
}

#[test]
fn a_message_says_where_the_stretches_before_its_own_ended() {
    let mut copy = Copy::begin();
    let mut ends = Vec::new();
    for term in 2..=6 {
        ends.insert(0, copy.publish("x").pos);
        copy.take_over(term);
    }
    let entry = copy.publish("last");
    assert_eq!(entry.trail.ends(), &ends[..TRAIL_STRETCHES_MAX]);
    let read = Cursor::parse(&entry.cursor()).unwrap();
    assert_eq!(read, Cursor::from(entry.slot_cursor()));
    assert_eq!(*read.to_string(), *entry.cursor());
}

#[test]
fn a_node_that_has_not_heard_of_the_epoch_goes_on_from_a_messages_cursor() {
    let (mut old, mut new) = (Copy::begin(), Copy::begin());
    for copy in [&mut old, &mut new] {
        copy.publish("one");
    }
    new.take_over(2);
    let entry = new.publish("two");
    // The old home goes on by itself.
    let branch = old.publish("elsewhere");
    let (joined, mut cursor) = old.resume(&entry.cursor());
    assert!(joined.gaps.is_empty() && joined.recovered, "{joined:?}");
    assert!(joined.is_own, "its listener knows of more than this line's messages say");
    assert_eq!(old.read(&mut cursor), ["elsewhere"]);

    // It carries both, wherever it goes: the branch is nothing new once it was taken over, and neither is the line.
    let back = CursorText::after(cursor);
    assert_eq!(new.resume(&back).0.after, entry.pos);
    let end = branch.pos;
    new.adopt(&[branch], vec![end]);
    let (joined, mut cursor) = new.resume(&back);
    assert!(joined.gaps.is_empty());
    new.publish("three");
    assert_eq!(new.read(&mut cursor), ["three"]);
}

#[test]
fn a_listener_needs_its_own_cursor_until_the_line_has_taken_its_branch_over() {
    let (mut old, mut new) = (Copy::begin(), Copy::begin());
    for copy in [&mut old, &mut new] {
        copy.publish("one");
    }
    new.take_over(2);
    let branch = old.publish("elsewhere");
    let (joined, mut cursor) = new.resume(&branch.cursor());
    assert!(joined.is_own && new.log.is_own(&cursor));
    let end = branch.pos;
    let adopted = new.adopt(&[branch], vec![end]);
    assert!(adopted.iter().all(|entry| !entry.trail.ends().contains(&end)), "not before all of it is there");
    assert!(new.log.is_own(&cursor));
    assert!(new.read(&mut cursor).is_empty(), "it saw it where it was");
    assert!(!new.log.is_own(&cursor), "everybody who has come so far has seen the branch");

    // So a message behind it says so for all.
    let after = new.publish("two");
    assert!(after.trail.ends().contains(&end));
    assert_eq!(old.resume(&after.cursor()).1.main, end, "and on the branch nothing comes twice");
}

#[test]
fn who_was_cut_off_in_the_middle_of_what_was_taken_over_gets_only_the_rest_where_it_came_from() {
    let (mut old, mut new) = (Copy::begin(), Copy::begin());
    old.take_over(2);
    let branch = [old.publish("one"), old.publish("two")];
    new.take_over(3);
    let adopted = new.adopt(&branch, vec![old.log.head()]);
    let (joined, mut position) = old.resume(adopted[0].cursor().as_str());
    assert!(joined.gaps.is_empty());
    assert_eq!(old.read(&mut position), ["two"]);
}

#[test]
fn what_a_listener_passes_says_as_much_as_the_line_does() {
    let (mut old, mut new) = (Copy::begin(), Copy::begin());
    for copy in [&mut old, &mut new] {
        copy.publish("one");
    }
    new.take_over(2);
    let branch = [old.publish("b1"), old.publish("b2")];
    let end = branch[1].pos;
    let before = new.log.cursor(new.log.commit().idx);
    let mut committed = new.adopt(&branch, vec![end]);
    new.take_over(3);
    committed.push(new.publish("two"));
    let (mut by_line, mut by_messages) = (before.clone(), before);
    for entry in &committed {
        new.log.line().admit(&mut by_line, entry.pos, entry.adopted.as_deref());
        by_messages.pass(entry);
    }
    assert_eq!(by_messages.main, by_line.main);
    for extra in &by_line.extras {
        assert!(
            by_messages.extras.iter().any(|known| known.epoch == extra.epoch && known.idx >= extra.idx),
            "{extra:?} of {by_messages:?}"
        );
    }
}

#[test]
fn a_branch_that_several_nodes_brought_is_said_once() {
    let mut copy = Copy::begin();
    copy.take_over(2);
    let end = |idx| Pos { epoch: epoch(9), idx };
    for idx in [50, 50, 40] {
        copy.log.append_cover(vec![end(idx)]);
    }
    copy.commit();
    let entry = copy.publish("x");
    assert_eq!(entry.trail.ends().iter().filter(|known| known.epoch == epoch(9)).collect::<Vec<_>>(), [&end(50)]);
    assert_eq!(Cursor::parse(&entry.cursor()).unwrap(), Cursor::from(entry.slot_cursor()));
}

#[test]
fn a_branch_that_was_not_taken_over_in_the_end_is_not_claimed() {
    let mut copy = Copy::begin();
    copy.take_over(2);
    let end = Pos { epoch: epoch(9), idx: 50 };
    copy.log.append_cover(vec![end]);
    copy.log.drop_uncommitted();
    assert!(!copy.log.includes(end));
    assert!(!copy.publish("x").trail.ends().contains(&end));
}

#[test]
fn an_old_epoch_needs_no_trail() {
    let mut copy = Copy::begin();
    copy.take_over(2);
    assert!(!copy.publish("young").trail.is_none());
    copy.now = TRAIL_AGE.as_secs() + 1;
    assert!(copy.publish("old").trail.is_none());
    copy.take_over(3);
    assert!(!copy.publish("young again").trail.is_none());
}

#[test]
fn a_copy_finds_the_trails_of_what_it_is_given_on_its_own_line() {
    let mut home = Copy::begin();
    let first = home.publish("one");
    home.take_over(2);
    let second = home.publish("two");
    let bare = |mut state: crate::log::ChannelState| {
        for entry in &mut state.entries {
            Arc::make_mut(entry).trail = Trail::NONE;
        }
        state
    };
    let mut copy = Copy::begin();
    let segments: Vec<Segment> = home.log.line().segments().to_vec();
    let copied = Copied {
        line: Line::told(&segments, home.log.head().idx).unwrap(),
        fork: 0,
        channels: vec![(copy.key, bare(home.log.channel_state(home.key, 0, true, at(0))))],
        floors: Some(Vec::new()),
        uncertain: Vec::new(),
        covered: Vec::new(),
        lost: Vec::new(),
    };
    copy.log.restore(copied, at(0), usize::MAX, &mut Vec::new());
    let page = copy.log.read(&[(copy.key, 0)], ALL, at(0));
    let trails: Vec<&Trail> = page.entries.iter().map(|entry| &entry.trail).collect();
    assert_eq!(trails, [&first.trail, &second.trail]);
}

#[test]
fn a_copy_that_missed_more_than_is_kept_says_so_whatever_it_holds_itself() {
    let short = Retention { size: 3, ..KEPT };
    let begin = || {
        let mut copy = Copy::begin();
        copy.key = copy.log.open_channel(ChannelName::parse("short").unwrap(), NamespaceId(0), short, at(0));
        copy
    };
    let publish = |copy: &mut Copy| {
        let draft = Draft::new(ChannelName::parse("short").unwrap(), Payload::text("x"));
        copy.log.append(copy.key, draft, at(0), usize::MAX);
        copy.commit();
    };
    let (mut home, mut copy) = (begin(), begin());
    (0..3).for_each(|_| [&mut home, &mut copy].into_iter().for_each(publish));
    let (keep, read) = (copy.log.head().idx, copy.log.head().idx);
    // Three more fill the history: what came before them is lost to the copy.
    (0..6).for_each(|_| publish(&mut home));
    let copied = Copied {
        line: home.log.line().clone(),
        fork: keep,
        channels: vec![(copy.key, home.log.channel_state(home.key, keep, false, at(0)))],
        floors: None,
        uncertain: Vec::new(),
        covered: Vec::new(),
        lost: Vec::new(),
    };
    copy.log.restore(copied, at(0), usize::MAX, &mut Vec::new());
    assert_eq!(copy.log.channel(copy.key).floor, home.log.channel(home.key).floor);
    let page = copy.log.read(&[(copy.key, read)], ALL, at(0));
    assert_eq!((page.entries.len(), page.gaps.len()), (3, 1), "{:?}", page.gaps);
}

#[test]
fn a_line_that_began_anew_behind_a_cut_says_failover_and_nothing_once_it_has_taken_the_branch_over() {
    let (mut elsewhere, mut here) = (Copy::begin(), Copy::begin());
    elsewhere.take_over(2);
    let seen = elsewhere.publish("one");
    here.log.renew(epoch(3), true, at(0), &mut Vec::new());
    let (joined, _) = here.resume(&seen.cursor());
    assert_eq!(joined.gaps[0].1.reason, GapReason::Failover, "it may live where nobody hears it");
    assert!(joined.is_own, "and then it is not to be told again");
    let end = seen.pos;
    here.adopt(std::slice::from_ref(&seen), vec![end]);
    here.publish("two");
    let (joined, mut cursor) = here.resume(&seen.cursor());
    assert!(joined.gaps.is_empty() && joined.recovered);
    assert_eq!(here.read(&mut cursor), ["two"]);
}
