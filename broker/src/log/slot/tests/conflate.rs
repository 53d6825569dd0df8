//! Channels that conflate: what listeners get, and what everybody else does.

use super::*;

fn conflating(size: u32) -> (Bench, ChannelKey) {
    let mut bench = Bench::new();
    let key = bench.open("a", keep(size), 0);
    bench.log.conflate(key);
    (bench, key)
}

fn join(bench: &Bench, key: ChannelKey, start: &Start, at: u64) -> Joined {
    bench.log.join_to_follow(&[key], start, seconds(at))
}

fn after(bench: &Bench, idx: u64) -> Start {
    Start::After(SlotCursor::new(bench.log.slot(), bench.log.line().pos(idx)))
}

fn follow(bench: &Bench, key: ChannelKey, after: u64, at: u64) -> Page {
    bench.log.follow(None, &[(key, after)], ALL, seconds(at))
}

#[test]
fn who_is_behind_gets_the_newest_and_hears_once_of_all_before_it() {
    let (mut bench, a) = conflating(3);
    let published: Vec<u64> = (0..6).map(|_| bench.publish(a, draft("a"), 1)).collect();
    assert_eq!(published, [2, 3, 4, 5, 6, 7]);
    let told = [(a, bench.gap(GapReason::Conflated, 6))];
    for (seen, where_) in [(2, "long before the window"), (3, "right before it"), (4, "at its beginning"), (5, "within it")] {
        let joined = join(&bench, a, &after(&bench, seen), 1);
        assert_eq!((joined.gaps.len(), &joined.from[..], joined.recovered), (0, &[seen][..], false), "{where_}");
        let page = follow(&bench, a, seen, 1);
        assert_eq!((indices(&page.entries), &page.gaps[..], page.at_head), (vec![7], &told[..], true), "{where_}");
        assert_eq!(follow(&bench, a, page.upto.idx, 1).gaps.len(), 0);
    }
    let joined = join(&bench, a, &after(&bench, 6), 1);
    assert!(joined.recovered && joined.gaps.is_empty(), "the newest alone is what it lacked");
    let page = follow(&bench, a, 6, 1);
    assert_eq!((indices(&page.entries), page.gaps.len()), (vec![7], 0));
}

#[test]
fn who_just_comes_begins_with_the_newest_and_has_missed_nothing() {
    let (mut bench, a) = conflating(9);
    for _ in 0..4 {
        bench.publish(a, draft("a"), 1);
    }
    for (start, from) in [(Start::Earliest, 4), (Start::Last(3), 4), (Start::Last(1), 4), (Start::Last(0), 5), (Start::Live, 5)] {
        let joined = join(&bench, a, &start, 1);
        assert_eq!((joined.gaps.len(), &joined.from[..]), (0, &[from][..]), "{start:?}");
        assert_eq!(follow(&bench, a, joined.from[0], 1).gaps.len(), 0, "{start:?}");
    }
}

#[test]
fn the_history_is_whole_for_who_asks_for_it() {
    let (mut bench, a) = conflating(9);
    for _ in 0..3 {
        bench.publish(a, draft("a"), 1);
    }
    let page = bench.read(a, 1, 1);
    assert_eq!((indices(&page.entries), page.gaps.len()), (vec![2, 3, 4], 0));
    assert!(bench.join_after(a, 2, 1).recovered);
}

#[test]
fn what_is_more_than_passed_over_is_told_as_what_it_is_and_once() {
    let (mut bench, a) = conflating(9);
    bench.publish(a, draft("a"), 1);
    bench.clear(a, 1);
    for _ in 0..3 {
        bench.publish(a, draft("a"), 1);
    }
    let elsewhere = Pos { epoch: Epoch::new(1, Tag::new(0xdef).unwrap()), idx: 2 };
    let of_another_life = Start::After(SlotCursor::new(bench.log.slot(), elsewhere));
    for (start, reason) in [(after(&bench, 2), GapReason::Cleared), (of_another_life, GapReason::Restart)] {
        let joined = join(&bench, a, &start, 1);
        let told: Vec<_> = joined.gaps.iter().map(|(_, gap)| gap.reason).collect();
        assert_eq!(told, [reason]);
        let page = follow(&bench, a, joined.from[0], 1);
        assert_eq!((indices(&page.entries), page.gaps.len()), (vec![6], 0), "{reason:?}");
    }
    let page = follow(&bench, a, 1, 1);
    assert_eq!(
        (indices(&page.entries), page.gaps[0].1.reason, page.gaps.len()),
        (vec![6], GapReason::Cleared, 1),
        "cleared while it was behind"
    );
}

#[test]
fn where_nothing_is_left_it_is_a_loss() {
    let (mut bench, a) = conflating(9);
    let last = (0..3).map(|_| bench.publish(a, draft("a"), 1)).last().unwrap();
    let late = 1 + TTL;
    let lost = [(a, bench.gap(GapReason::Window, last))];
    let joined = join(&bench, a, &after(&bench, 2), late);
    assert_eq!((&joined.gaps[..], &joined.from[..]), (&lost[..], &[last][..]));
    assert_eq!(follow(&bench, a, 2, late).gaps[..], lost);
    assert!(join(&bench, a, &after(&bench, last), late).recovered);
}

#[test]
fn others_in_the_slot_lose_nothing_and_the_order_stays() {
    let (mut bench, a) = conflating(9);
    let b = bench.open("b", keep(9), 0);
    for key in [a, b, a, b] {
        let channel = if key == a { "a" } else { "b" };
        bench.publish(key, draft(channel), 1);
    }
    let told = [(a, bench.gap(GapReason::Conflated, 3))];
    let from = |after: u64| [(a, after), (b, after)];
    let page = bench.log.follow(None, &from(1), ALL, seconds(1));
    assert_eq!((indices(&page.entries), &page.gaps[..]), (vec![3, 4, 5], &told[..]));
    // In pages, too, it is told where it lies and not again.
    let (mut at, mut pages) = (1, Vec::new());
    while at < 5 {
        let page = bench.log.follow(None, &from(at), PageLimit { entries: 1, bytes: usize::MAX }, seconds(1));
        pages.push((indices(&page.entries), page.gaps.len()));
        at = page.upto.idx;
    }
    assert_eq!(pages, [(vec![3], 1), (vec![4], 0), (vec![5], 0)]);
}
