use super::*;

const SECOND: Duration = Duration::from_secs(1);
const ROOM: usize = usize::MAX;

fn retry(id: u128) -> PublishId {
    PublishId::Retry(id)
}

fn keyed(id: &str) -> PublishId {
    PublishId::keyed(id).unwrap()
}

fn found(dedupe: &Dedupe, life: Life, id: &PublishId, now: Duration) -> Option<(u64, u64)> {
    dedupe.find(life, id, now).map(|first| (first.idx, first.offset))
}

#[test]
fn invariant_9_an_id_is_known_for_exactly_its_window() {
    for (id, window) in [(retry(7), RETRY_WINDOW), (keyed("order-7"), KEYED_WINDOW)] {
        // Wherever in a generation it falls, and whether or not the others came between.
        for first in 0..10 {
            let mut dedupe = Dedupe::new();
            let at = SECOND * first * 3;
            dedupe.remember(1, &retry(1), (2, 1), Duration::ZERO, ROOM);
            dedupe.remember(1, &keyed("1"), (3, 2), Duration::ZERO, ROOM);
            dedupe.remember(1, &id, (9, 4), at, ROOM);
            for second in 1..window.as_secs() {
                dedupe.remember(2, &retry(second.into()), (10, 1), at + Duration::from_secs(second), ROOM);
            }
            let last = at + window - Duration::from_nanos(1);
            assert_eq!(found(&dedupe, 1, &id, last), Some((9, 4)), "{id:?} at {at:?}");
            assert_eq!(found(&dedupe, 1, &id, at + window), None, "{id:?} at {at:?}");
        }
    }
}

#[test]
fn ids_belong_to_one_life_of_one_channel_and_kinds_do_not_meet() {
    let mut dedupe = Dedupe::new();
    dedupe.remember(1, &retry(7), (2, 1), SECOND, ROOM);
    assert_eq!(found(&dedupe, 2, &retry(7), SECOND), None);
    assert_eq!(found(&dedupe, 1, &keyed("7"), SECOND), None);
    assert_eq!(found(&dedupe, 1, &retry(7 << 64), SECOND), None);
}

#[test]
fn an_id_that_comes_again_after_its_window_counts_anew() {
    let mut dedupe = Dedupe::new();
    dedupe.remember(1, &retry(7), (2, 1), SECOND, ROOM);
    let again = SECOND + RETRY_WINDOW;
    dedupe.remember(1, &retry(7), (5, 3), again, ROOM);
    assert_eq!(found(&dedupe, 1, &retry(7), again + RETRY_WINDOW - SECOND), Some((5, 3)));
}

#[test]
fn invariant_16_memory_follows_the_window_and_quiet_slots_end_empty() {
    let mut dedupe = Dedupe::new();
    let mut most = 0;
    for step in 0..1_000u32 {
        dedupe.remember(1, &retry(step.into()), (step.into(), 1), SECOND * step, ROOM);
        most = most.max(dedupe.len());
    }
    assert_eq!(most, 45, "one and a half windows at one id a second");
    dedupe.rotate(SECOND * 1_000 + RETRY_WINDOW * 2);
    assert_eq!((dedupe.len(), dedupe.shortened()), (0, 0));
}

#[test]
fn without_room_the_oldest_go_first_and_the_newest_stays() {
    let mut dedupe = Dedupe::new();
    dedupe.remember(1, &keyed("old"), (2, 1), Duration::ZERO, ROOM);
    dedupe.remember(1, &retry(1), (3, 2), SECOND, ROOM);
    dedupe.remember(1, &retry(2), (4, 3), SECOND * 2, 0);
    assert_eq!(found(&dedupe, 1, &keyed("old"), SECOND * 2), None);
    assert_eq!(found(&dedupe, 1, &retry(1), SECOND * 2), Some((3, 2)));
    assert_eq!((dedupe.len(), dedupe.shortened()), (2, 1));
    dedupe.remember(1, &retry(3), (5, 4), SECOND * 3, 0);
    assert_eq!(found(&dedupe, 1, &retry(3), SECOND * 3), Some((5, 4)));
    assert_eq!((dedupe.len(), dedupe.shortened()), (1, 3));
}
