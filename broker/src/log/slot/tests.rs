use super::*;
use crate::log::read::{PageLimit, Start};
use crate::log::{Gap, GapReason, Joined, Page, RETRY_WINDOW, SlotCursor, Tag};
use crate::message::{Headers, Payload, PublishId};

mod conflate;
mod model;

const ROOM: usize = usize::MAX;
const NAMESPACE: NamespaceId = NamespaceId(0);
const ALL: PageLimit = PageLimit { entries: usize::MAX, bytes: usize::MAX };
const TTL: u64 = 60;

fn seconds(mono: u64) -> Moment {
    Moment { mono: Duration::from_secs(mono), unix_ms: 0 }
}

fn epoch() -> Epoch {
    Epoch::new(1, Tag::new(0xabc).unwrap())
}

fn name(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn draft(channel: &str) -> Draft {
    let payload = Payload::new(b"hello", None).unwrap();
    Draft { channel: name(channel), id: None, event: None, payload, headers: Headers::default(), ttl: None }
}

fn keep(size: u32) -> Retention {
    Retention { size, ttl: Duration::from_secs(TTL), bytes: 1 << 20 }
}

/// A log with what it handed out.
struct Bench {
    log: SlotLog,
    committed: Vec<(ChannelKey, Arc<Entry>)>,
    evicted: Vec<Arc<Entry>>,
}

impl Bench {
    fn new() -> Self {
        Self { log: SlotLog::new(Slot::new(9).unwrap(), epoch()), committed: Vec::new(), evicted: Vec::new() }
    }

    fn open(&mut self, channel: &str, retention: Retention, at: u64) -> ChannelKey {
        self.log.open_channel(name(channel), NAMESPACE, retention, seconds(at))
    }

    fn commit(&mut self, at: u64) {
        self.log.commit_to(self.log.head().idx, seconds(at), &mut self.committed, &mut self.evicted);
    }

    /// Appends and commits; returns the index.
    fn publish(&mut self, key: ChannelKey, draft: Draft, at: u64) -> u64 {
        let appended = self.log.append(key, draft, seconds(at), ROOM);
        self.commit(at);
        appended.pos.idx
    }

    fn clear(&mut self, key: ChannelKey, at: u64) -> u64 {
        let pos = self.log.clear(key);
        self.commit(at);
        pos.idx
    }

    fn expire(&mut self, at: u64) -> Vec<ChannelKey> {
        let mut idle = Vec::new();
        self.log.expire(seconds(at), &mut self.evicted, &mut idle);
        idle
    }

    fn join_after(&self, key: ChannelKey, idx: u64, at: u64) -> Joined {
        self.log.join(&[key], &Start::After(SlotCursor::new(self.log.slot(), self.log.line().pos(idx))), seconds(at))
    }

    fn read(&self, key: ChannelKey, after: u64, at: u64) -> Page {
        self.log.read(&[(key, after)], ALL, seconds(at))
    }

    fn gap(&self, reason: GapReason, oldest: u64) -> Gap {
        Gap { reason, oldest: self.log.line().pos(oldest) }
    }
}

fn indices(entries: &[Arc<Entry>]) -> Vec<u64> {
    entries.iter().map(|entry| entry.pos.idx).collect()
}

#[test]
fn a_new_log_stands_at_the_record_that_opens_its_epoch() {
    let log = SlotLog::new(Slot::new(9).unwrap(), epoch());
    assert_eq!((log.head(), log.commit()), (Pos { epoch: epoch(), idx: 1 }, Pos { epoch: epoch(), idx: 1 }));
    assert_eq!(log.stats(), SlotStats::default());
}

#[test]
fn invariant_2_a_position_names_one_record_for_ever() {
    let mut bench = Bench::new();
    let (a, b) = (bench.open("a", keep(9), 0), bench.open("b", keep(9), 0));
    bench.publish(a, draft("a"), 1);
    bench.publish(b, draft("b"), 1);
    bench.clear(a, 1);
    bench.publish(a, draft("a"), 1);
    assert_eq!(
        bench.committed.iter().map(|(key, entry)| (*key, entry.pos.idx, entry.offset)).collect::<Vec<_>>(),
        [(a, 2, 1), (b, 3, 1), (a, 5, 2)]
    );
    let kept = bench.read(b, 1, 1).entries;
    assert!(Arc::ptr_eq(&kept[0], &bench.committed[1].1), "what is read later is what was delivered");
}

#[test]
fn invariant_5_nothing_is_seen_before_it_is_committed() {
    let mut bench = Bench::new();
    let a = bench.open("a", keep(9), 0);
    for _ in 0..3 {
        bench.log.append(a, draft("a"), seconds(1), ROOM);
    }
    assert_eq!((bench.log.head().idx, bench.log.commit().idx, bench.log.stats().entries), (4, 1, 0));
    assert!(bench.read(a, 1, 1).entries.is_empty());
    bench.log.commit_to(3, seconds(2), &mut bench.committed, &mut bench.evicted);
    assert_eq!(indices(&bench.read(a, 1, 2).entries), [2, 3]);
    assert_eq!((bench.log.channel(a).offset, bench.log.channel(a).last), (2, 3));
    bench.log.commit_to(2, seconds(2), &mut bench.committed, &mut bench.evicted);
    assert_eq!((bench.log.commit().idx, bench.committed.len()), (3, 2), "commit never goes back");
}

#[test]
fn the_window_is_bounded_by_count_and_who_lost_something_is_told() {
    let mut bench = Bench::new();
    let a = bench.open("a", keep(2), 0);
    for _ in 0..4 {
        bench.publish(a, draft("a"), 1);
    }
    assert_eq!(indices(&bench.evicted), [2, 3]);
    assert_eq!(bench.join_after(a, 3, 1).gaps.len(), 0);
    let joined = bench.join_after(a, 2, 1);
    assert_eq!(joined.gaps[..], [(a, bench.gap(GapReason::Window, 3))]);
    assert_eq!((joined.after.idx, &joined.from[..], joined.recovered), (2, &[3][..], false));
    let page = bench.read(a, 2, 1);
    assert_eq!((indices(&page.entries), &page.gaps[..], page.at_head), (vec![4, 5], &joined.gaps[..], true));
}

#[test]
fn the_window_is_bounded_by_bytes_and_a_message_larger_than_it_is_delivered_but_not_kept() {
    let mut bench = Bench::new();
    let cost = 5 + crate::log::ENTRY_FIXED_BYTES;
    let a = bench.open("a", Retention { bytes: 2 * cost, ..keep(9) }, 0);
    for _ in 0..3 {
        bench.publish(a, draft("a"), 1);
    }
    assert_eq!((bench.log.stats().bytes, bench.log.channel(a).bytes, indices(&bench.evicted)), (2 * cost, 2 * cost, vec![2]));
    let large = Draft { payload: Payload::new(&[b'x'; 1000], None).unwrap(), ..draft("a") };
    bench.publish(a, large, 1);
    assert_eq!((bench.log.stats().entries, bench.log.stats().bytes, bench.committed.len()), (0, 0, 4));
    assert_eq!(bench.join_after(a, 4, 1).gaps[..], [(a, bench.gap(GapReason::Window, 5))]);
}

#[test]
fn the_window_is_bounded_by_age_also_before_a_sweep() {
    let mut bench = Bench::new();
    let a = bench.open("a", keep(9), 0);
    bench.publish(a, draft("a"), 1);
    bench.publish(a, draft("a"), 2);
    assert_eq!(indices(&bench.read(a, 1, TTL).entries), [2, 3]);
    let page = bench.read(a, 1, TTL + 1);
    assert_eq!((indices(&page.entries), &page.gaps[..]), (vec![3], &[(a, bench.gap(GapReason::Window, 2))][..]));
    assert_eq!(indices(&bench.log.read_back(a, None, ALL, seconds(TTL + 1))), [3]);
    bench.expire(TTL + 1);
    assert_eq!((indices(&bench.evicted), bench.log.stats().entries, bench.log.channel(a).floor), (vec![2], 1, 2));
    bench.expire(TTL + 2);
    assert_eq!((indices(&bench.evicted), bench.log.stats().entries), (vec![2, 3], 0));
}

#[test]
fn a_message_whose_own_life_ended_is_skipped_freed_and_no_loss() {
    let mut bench = Bench::new();
    let a = bench.open("a", keep(3), 0);
    let short = |seconds| Draft { ttl: Some(Duration::from_secs(seconds)), ..draft("a") };
    bench.publish(a, short(5), 0);
    bench.publish(a, draft("a"), 0);
    bench.publish(a, short(9), 0);
    assert_eq!(indices(&bench.read(a, 1, 4).entries), [2, 3, 4]);
    let page = bench.read(a, 1, 5);
    assert_eq!((indices(&page.entries), page.gaps.len()), (vec![3, 4], 0));
    let page = bench.read(a, 1, 9);
    assert_eq!((indices(&page.entries), page.gaps.len()), (vec![3], 0));
    assert_eq!(indices(&bench.log.read_back(a, None, ALL, seconds(9))), [3]);
    // Those that are over make room before anything alive must leave.
    bench.publish(a, draft("a"), 9);
    bench.publish(a, draft("a"), 9);
    assert_eq!((indices(&bench.evicted), bench.join_after(a, 1, 9).recovered), (vec![2, 4], true));
    bench.publish(a, short(0), 9);
    assert_eq!((bench.committed.len(), bench.log.stats().entries), (6, 3), "delivered, never kept");
}

#[test]
fn without_history_messages_are_delivered_and_only_those_who_missed_one_are_told() {
    let mut bench = Bench::new();
    let a = bench.open("a", keep(0), 0);
    let first = bench.publish(a, draft("a"), 1);
    assert_eq!((bench.committed.len(), bench.evicted.len(), bench.log.stats().entries), (1, 0, 0));
    assert!(bench.join_after(a, first, 1).recovered);
    assert_eq!(bench.join_after(a, 1, 1).gaps[..], [(a, bench.gap(GapReason::Window, first))]);
}

#[test]
fn a_clear_empties_a_channel_and_tells_older_cursors_but_not_a_listener_that_was_caught_up() {
    let mut bench = Bench::new();
    let (a, b) = (bench.open("a", keep(9), 0), bench.open("b", keep(9), 0));
    let first = bench.publish(a, draft("a"), 1);
    let last = bench.publish(a, draft("a"), 1);
    bench.publish(b, draft("b"), 1);
    let cleared = bench.clear(a, 1);
    assert_eq!(indices(&bench.evicted), [first, last]);
    assert_eq!(bench.read(a, first, 1).gaps[..], [(a, bench.gap(GapReason::Cleared, last))]);
    assert_eq!(bench.read(a, last, 1).gaps.len(), 0, "it stayed and has lost nothing");
    assert_eq!(
        bench.join_after(a, last, 1).gaps[..],
        [(a, bench.gap(GapReason::Cleared, last))],
        "it was away and may show what is cleared"
    );
    assert!(bench.join_after(a, cleared, 1).recovered);
    assert_eq!(indices(&bench.read(b, 1, 1).entries), [4], "other channels keep theirs");
    let next = bench.publish(a, draft("a"), 1);
    assert_eq!(indices(&bench.read(a, last, 1).entries), [next]);
}

#[test]
fn a_clear_waits_for_its_commit_and_takes_what_was_appended_before_it() {
    let mut bench = Bench::new();
    let a = bench.open("a", keep(9), 0);
    bench.publish(a, draft("a"), 1);
    bench.log.append(a, draft("a"), seconds(1), ROOM);
    let cleared = bench.log.clear(a);
    bench.log.append(a, draft("a"), seconds(1), ROOM);
    assert_eq!((cleared.idx, indices(&bench.read(a, 1, 1).entries)), (4, vec![2]));
    bench.commit(1);
    assert_eq!(indices(&bench.read(a, 4, 1).entries), [5]);
    assert_eq!((indices(&bench.evicted), bench.committed.len()), (vec![2, 3], 3));
}

#[test]
fn a_cursor_of_another_life_of_the_node_gets_a_restart_gap_and_what_is_left() {
    let mut bench = Bench::new();
    let a = bench.open("a", keep(9), 0);
    let b = bench.open("b", keep(9), 0);
    let first = bench.publish(a, draft("a"), 1);
    let before = Pos { epoch: Epoch::new(1, Tag::new(5).unwrap()), idx: 900 };
    let joined = bench.log.join(&[a, b], &Start::After(SlotCursor::new(bench.log.slot(), before)), seconds(1));
    assert_eq!(joined.gaps[..], [(a, bench.gap(GapReason::Restart, 1)), (b, bench.gap(GapReason::Restart, 1))]);
    assert_eq!((&joined.from[..], joined.after.idx, joined.extras, joined.recovered), (&[first - 1, first][..], first - 1, vec![], false));
    assert_eq!(indices(&bench.read(a, joined.from[0], 1).entries), [first]);
}

#[test]
fn a_cursor_past_the_end_starts_at_the_commit_with_a_gap() {
    let mut bench = Bench::new();
    let a = bench.open("a", keep(9), 0);
    bench.publish(a, draft("a"), 1);
    bench.log.append(a, draft("a"), seconds(1), ROOM);
    for idx in [3, 4, u64::MAX] {
        let joined = bench.log.join(&[a], &Start::After(SlotCursor::new(bench.log.slot(), Pos { epoch: epoch(), idx })), seconds(1));
        assert_eq!(joined.gaps[..], [(a, bench.gap(GapReason::Unknown, 1))], "index {idx}");
        assert_eq!((joined.after.idx, &joined.from[..]), (2, &[2][..]));
    }
}

#[test]
fn live_earliest_and_last_start_where_they_say_without_gaps() {
    let mut bench = Bench::new();
    let (a, b, c) = (bench.open("a", keep(3), 0), bench.open("b", keep(9), 0), bench.open("c", keep(9), 0));
    for _ in 0..4 {
        bench.publish(a, draft("a"), 1);
    }
    bench.publish(b, draft("b"), 1);
    bench.log.append(b, draft("b"), seconds(1), ROOM);
    let join = |start| {
        let joined = bench.log.join(&[a, b, c], &start, seconds(1));
        assert!(joined.gaps.is_empty() && !joined.recovered && joined.extras.is_empty());
        (joined.after.idx, joined.from.to_vec())
    };
    assert_eq!(join(Start::Live), (6, vec![6, 6, 6]));
    assert_eq!(join(Start::Earliest), (2, vec![2, 5, 6]));
    assert_eq!(join(Start::Last(0)), (6, vec![6, 6, 6]));
    assert_eq!(join(Start::Last(2)), (3, vec![3, 5, 6]));
    assert_eq!(join(Start::Last(99)), (2, vec![2, 5, 6]));
}

#[test]
fn invariant_11_pages_merge_channels_in_order_and_follow_one_another_without_hole_or_double() {
    let mut bench = Bench::new();
    let (a, b) = (bench.open("a", keep(100), 0), bench.open("b", keep(100), 0));
    for n in 0..60 {
        if n % 3 == 0 {
            bench.publish(b, draft("b"), 1)
        } else {
            bench.publish(a, draft("a"), 1)
        };
    }
    for limit in [PageLimit { entries: 7, bytes: usize::MAX }, PageLimit { entries: 99, bytes: 24 }, PageLimit { entries: 0, bytes: 0 }] {
        let mut after = 1;
        let mut seen = Vec::new();
        loop {
            let page = bench.log.read(&[(a, after), (b, after)], limit, seconds(1));
            assert!(!page.entries.is_empty() && page.entries.len() <= limit.entries.clamp(1, (limit.bytes / 5).max(1)));
            seen.extend(indices(&page.entries));
            after = page.upto.idx;
            if page.at_head {
                break;
            }
        }
        assert_eq!(seen, (2..62).collect::<Vec<_>>());
        assert_eq!(after, bench.log.commit().idx);
    }
    let newest = bench.log.read_back(b, Some(59), PageLimit { entries: 2, bytes: usize::MAX }, seconds(1));
    assert_eq!(indices(&newest), [56, 53]);
    assert_eq!(indices(&bench.log.read_back(b, None, PageLimit { entries: 0, bytes: 0 }, seconds(1))), [59]);
}

#[test]
fn a_gap_stands_in_the_page_that_reaches_it_and_in_no_other() {
    let mut bench = Bench::new();
    let (a, b) = (bench.open("a", keep(1), 0), bench.open("b", keep(9), 0));
    for _ in 0..3 {
        bench.publish(b, draft("b"), 1);
        bench.publish(a, draft("a"), 1);
    }
    let mut after = 1;
    let mut told = Vec::new();
    for _ in 0..4 {
        let page = bench.log.read(&[(a, after), (b, after)], PageLimit { entries: 1, bytes: usize::MAX }, seconds(1));
        after = page.upto.idx;
        told.push((indices(&page.entries), page.gaps.len()));
    }
    assert_eq!(told, [(vec![2], 0), (vec![4], 0), (vec![6], 1), (vec![7], 0)]);
}

#[test]
fn invariant_9_a_repeated_publish_is_answered_like_the_first() {
    for id in [PublishId::Retry(7), PublishId::keyed("order-7").unwrap()] {
        let mut bench = Bench::new();
        let a = bench.open("a", keep(1), 0);
        let repeat = || Draft { id: Some(id.clone()), ..draft("a") };
        let first = bench.log.append(a, repeat(), seconds(1), ROOM);
        let head = bench.log.head();
        // Before it is committed, after it was evicted, and still one moment before it is forgotten.
        let again = bench.log.append(a, repeat(), seconds(1), ROOM);
        assert_eq!(again, Appended { duplicate: true, ..first.clone() });
        bench.publish(a, draft("a"), 2);
        bench.clear(a, 2);
        let at = 1 + Dedupe::window(&id).as_secs();
        assert_eq!(bench.log.append(a, repeat(), seconds(at - 1), ROOM), again);
        assert_ne!(bench.log.head(), head);
        assert!(!bench.log.append(a, repeat(), seconds(at), ROOM).duplicate);
        bench.commit(at);
    }
}

#[test]
fn ids_are_the_publishers_or_made_of_the_position() {
    let mut bench = Bench::new();
    let a = bench.open("a", keep(9), 0);
    let mut id = |id| bench.log.append(a, Draft { id, ..draft("a") }, seconds(0), ROOM).id.to_string();
    assert_eq!(id(Some(PublishId::keyed("k").unwrap())), "k");
    assert_eq!(id(Some(PublishId::Retry(0x77))), format!("{:032x}", 0x77));
    assert_eq!(id(None), "0000000000000abc00090000000000000004"[4..]);
}

#[test]
fn an_id_is_known_from_its_append_until_it_is_forgotten_in_its_channel_only() {
    let mut bench = Bench::new();
    let (a, b) = (bench.open("a", keep(10), 0), bench.open("b", keep(10), 0));
    let id = PublishId::Retry(7);
    let is_known = |bench: &Bench, at| [a, b].map(|key| bench.log.is_known(key, &id, seconds(at)));
    assert_eq!(is_known(&bench, 1), [false, false]);
    bench.log.append(a, Draft { id: Some(id.clone()), ..draft("a") }, seconds(1), ROOM);
    assert_eq!(is_known(&bench, 1), [true, false], "it is not committed yet");
    bench.commit(2);
    let end = 1 + RETRY_WINDOW.as_secs();
    assert_eq!((is_known(&bench, end - 1), is_known(&bench, end)), ([true, false], [false, false]));
}

#[test]
fn a_channel_is_named_idle_only_when_nobody_can_miss_it() {
    let mut bench = Bench::new();
    let a = bench.open("a", keep(9), 0);
    assert_eq!(bench.expire(0), [a], "it never had anything");
    assert_eq!(bench.expire(1), []);
    bench.log.append(a, draft("a"), seconds(10), ROOM);
    assert_eq!(bench.expire(40), [], "a message waits for its commit");
    bench.commit(50);
    assert_eq!(bench.expire(50 + 2 * TTL - 1), [], "cursors from before that commit may be younger than the ttl");
    assert_eq!(bench.expire(50 + 2 * TTL), [a]);
    assert_eq!(bench.expire(50 + 2 * TTL + 29), []);
    assert_eq!(bench.expire(50 + 2 * TTL + 30), [a], "named again when it was not closed");

    let b = bench.open("b", Retention { ttl: Duration::from_secs(1), ..keep(0) }, 300);
    bench.publish(b, Draft { id: Some(PublishId::Retry(1)), ..draft("b") }, 300);
    assert!(!bench.expire(300 + RETRY_WINDOW.as_secs() - 1).contains(&b), "its id is remembered");
    assert!(bench.expire(300 + RETRY_WINDOW.as_secs()).contains(&b));
}

#[test]
fn a_closed_channel_leaves_its_floor_to_its_namespace_alone() {
    let mut bench = Bench::new();
    let a = bench.open("a", keep(9), 0);
    let last = bench.publish(a, draft("a"), 1);
    assert_eq!(bench.expire(1 + 2 * TTL), [a]);
    assert_eq!(bench.log.close_channel(a), name("a"));
    assert_eq!((bench.log.stats(), indices(&bench.evicted)), (SlotStats::default(), vec![last]));

    let reopened = bench.open("a", keep(9), 200);
    assert_eq!(bench.join_after(reopened, 1, 200).gaps[..], [(reopened, bench.gap(GapReason::Unknown, last))]);
    assert!(bench.join_after(reopened, last, 200).recovered, "it had seen all");
    let other = bench.log.open_channel(name("other"), NamespaceId(1), keep(9), seconds(200));
    assert!(bench.join_after(other, 1, 200).recovered);
    assert_eq!(bench.log.append(reopened, draft("a"), seconds(200), ROOM).offset, 1, "the count is of one life");
}

#[test]
fn invariant_9_a_key_that_is_used_again_inherits_no_ids() {
    let mut bench = Bench::new();
    let a = bench.open("a", Retention { ttl: Duration::ZERO, ..keep(9) }, 0);
    let id = Some(PublishId::Retry(7));
    bench.publish(a, Draft { id: id.clone(), ..draft("a") }, 0);
    bench.expire(RETRY_WINDOW.as_secs());
    bench.log.close_channel(a);
    let b = bench.open("b", keep(9), 30);
    assert_eq!(a, b);
    // Told an older time, which a racing publisher may do: the id of the other channel is still no duplicate here.
    assert!(!bench.log.append(b, Draft { id, ..draft("b") }, seconds(0), ROOM).duplicate);
}

#[test]
fn times_that_arrive_out_of_order_do_not_disturb_the_order_of_ages() {
    let mut bench = Bench::new();
    let a = bench.open("a", keep(9), 0);
    bench.publish(a, draft("a"), 10);
    bench.publish(a, draft("a"), 9);
    let accepted: Vec<_> = bench.committed.iter().map(|(_, entry)| entry.accepted.mono.as_secs()).collect();
    assert_eq!(accepted, [10, 10]);
    assert_eq!(bench.read(a, 1, 9 + TTL).entries.len(), 2);
}

#[test]
fn endless_times_neither_overflow_nor_loop() {
    let mut bench = Bench::new();
    let a = bench.open("a", Retention { ttl: Duration::MAX, ..keep(9) }, 0);
    bench.publish(a, Draft { ttl: Some(Duration::MAX), ..draft("a") }, u64::MAX - 1);
    bench.publish(a, draft("a"), u64::MAX);
    assert_eq!(bench.expire(u64::MAX), []);
    assert_eq!(bench.read(a, 1, u64::MAX).entries.len(), 2);
}

#[test]
fn invariant_16_a_slot_that_is_let_alone_ends_empty() {
    let mut bench = Bench::new();
    for n in 0..50 {
        let channel = format!("c{n}");
        let key = bench.open(&channel, keep(n), n.into());
        for id in 0..n {
            bench.publish(key, Draft { id: Some(PublishId::Retry(id.into())), ..draft(&channel) }, n.into());
        }
    }
    for at in (100..1000).step_by(7) {
        for key in bench.expire(at) {
            bench.log.close_channel(key);
        }
    }
    assert_eq!(bench.log.stats(), SlotStats::default());
    assert_eq!((bench.log.due.len(), bench.log.pending.len(), bench.log.floors.len()), (0, 0, 1));
}
