use proptest::prelude::*;

use super::super::pos::{SLOTS, Tag};
use super::*;

fn epoch(term: u32) -> Epoch {
    Epoch::new(term, Tag::new(0x12_3456_789a).unwrap())
}

fn pos(term: u32, idx: u64) -> Pos {
    Pos { epoch: epoch(term), idx }
}

fn slot(number: u16) -> Slot {
    Slot::new(number).unwrap()
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The cursor of the worst client: every slot with as many branches as there may be, none shared.
fn huge() -> Cursor {
    let position = |n: u64| Pos { epoch: Epoch::from_bits(u64::MAX - n).unwrap(), idx: u64::MAX - n };
    let slots = (0..16u16).map(|n| SlotCursor {
        slot: slot(n),
        main: position(8 * u64::from(n)),
        extras: (1..8).map(|e| position(8 * u64::from(n) + e)).collect(),
    });
    let mut slots = slots.collect::<Vec<_>>().into_iter();
    let mut cursor = Cursor::from(slots.next().unwrap());
    slots.for_each(|slot| cursor.insert(slot).unwrap());
    cursor
}

#[test]
fn one_position_is_a_short_text_that_does_not_change_between_releases() {
    let cursor = Cursor::single(slot(0x1234), pos(1, 300));
    assert_eq!(cursor.encode(), text(b"\x10\x12\x34\x00\x00\x01\x12\x34\x56\x78\x9a\xac\x02"));
    assert_eq!(cursor.encode().len(), 18);
    assert_eq!(CursorText::of(slot(0x1234), pos(1, 300)).as_str(), cursor.to_string());
    assert_eq!(Cursor::parse(&cursor.encode()), Ok(cursor));
}

#[test]
fn several_positions_write_each_epoch_once() {
    let mut cursor = Cursor::from(SlotCursor { slot: slot(7), main: pos(2, 10), extras: vec![pos(1, 9), pos(2, 12)] });
    cursor.insert(SlotCursor::new(slot(3), pos(2, 200))).unwrap();
    let mut bytes = vec![0x11, 2];
    bytes.extend(epoch(2).get().to_be_bytes());
    bytes.extend(epoch(1).get().to_be_bytes());
    bytes.extend([2, 0, 3, 1, 0, 0xc8, 0x01, 0, 7, 3, 0, 10, 1, 1, 0, 4]);
    assert_eq!(cursor.encode(), text(&bytes));
    assert_eq!(Cursor::parse(&cursor.encode()), Ok(cursor));
}

#[test]
fn inserting_keeps_slots_sorted_replaces_and_stops_at_sixteen() {
    let mut cursor = Cursor::single(slot(500), pos(1, 1));
    for number in (0..15).rev() {
        cursor.insert(SlotCursor::new(slot(number), pos(1, 2))).unwrap();
    }
    assert!(cursor.iter().is_sorted_by_key(|slot| slot.slot));
    assert_eq!(cursor.insert(SlotCursor::new(slot(77), pos(1, 2))), Err(CursorError::TooManySlots));
    assert_eq!(cursor.insert(SlotCursor::new(slot(3), pos(1, 9))), Ok(()));
    assert_eq!((cursor.iter().len(), cursor.get(slot(3)).unwrap().main, cursor.get(slot(77))), (16, pos(1, 9), None));
    assert_eq!(Cursor::parse(&cursor.encode()), Ok(cursor));
}

#[test]
fn invariant_16_the_largest_cursor_stays_within_its_limits_and_keeps_every_main() {
    let cursor = huge();
    let text = cursor.encode();
    assert!(text.len() <= CURSOR_TEXT_BYTES_MAX, "{} bytes", text.len());
    let parsed = Cursor::parse(&text).unwrap();
    assert!(parsed.iter().map(|slot| (slot.slot, slot.main)).eq(cursor.iter().map(|slot| (slot.slot, slot.main))));
    for (kept, full) in parsed.iter().zip(cursor.iter()) {
        assert!(!kept.extras.is_empty() && full.extras.starts_with(&kept.extras), "the last extras go first");
        assert!(Cursor::from(kept.clone()).encode().len() <= (SLOT_BYTES_MAX + 3).div_ceil(3) * 4);
    }
}

#[test]
fn repeated_positions_are_written_once() {
    let cursor = Cursor::from(SlotCursor { slot: slot(1), main: pos(1, 5), extras: vec![pos(1, 5), pos(1, 5)] });
    assert_eq!(cursor.encode(), Cursor::single(slot(1), pos(1, 5)).encode());
}

#[test]
fn what_is_almost_a_cursor_is_refused() {
    let good = Cursor::single(slot(1), pos(1, 5)).encode();
    let bytes = URL_SAFE_NO_PAD.decode(&good).unwrap();
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        text(&bytes)
    };
    let damaged = [
        String::new(),
        "*".to_owned(),
        format!("{good}="),
        format!(" {good}"),
        text(&bytes[..bytes.len() - 1]),
        text(&[&bytes[..], &[0]].concat()),
        with(0, 0x12),                                                    // no such kind
        with(1, 0x40),                                                    // slot 16,385
        with(11, 0),                                                      // index 0
        text(&[&bytes[..11], &[0x85, 0x00]].concat()),                    // 5 in two bytes
        text(&[&bytes[..6], &[0; 5], &[5]].concat()),                     // no tag
        text(&[&[0x11, 1], &bytes[3..11], &[1, 0, 1, 1, 0, 5]].concat()), // kind 1 where kind 0 would do
        text(&[&[0x11, 1], &bytes[3..11], &[0]].concat()),                // no slot
        text(&[0x11, 0, 0]),
    ];
    for text in damaged {
        assert_eq!(Cursor::parse(&text), Err(CursorError::Damaged), "{text:?}");
    }
    assert_eq!(Cursor::parse(&with(0, 0x20)), Err(CursorError::Version(2)));
    assert_eq!(Cursor::parse(&good.repeat(200)), Err(CursorError::TooLong));
    assert_eq!(Error::from(CursorError::Damaged).code, ErrorCode::InvalidCursor);
}

#[test]
fn the_forms_of_a_larger_cursor_are_as_strict() {
    let first = epoch(1).get().to_be_bytes();
    let second = epoch(2).get().to_be_bytes();
    let kind1 = |epochs: &[[u8; 8]], rest: &[u8]| text(&[&[0x11, epochs.len() as u8], epochs.concat().as_slice(), rest].concat());
    assert!(Cursor::parse(&kind1(&[first, second], &[1, 0, 1, 2, 0, 5, 1, 0])).is_ok());
    let damaged = [
        kind1(&[second, first], &[1, 0, 1, 2, 1, 5, 0, 0]),         // epochs not in order of use
        kind1(&[first, second, second], &[1, 0, 1, 2, 0, 5, 1, 0]), // one not used
        kind1(&[first, first], &[1, 0, 1, 2, 0, 5, 1, 2]),          // one twice
        kind1(&[first, second], &[1, 0, 1, 2, 0, 5, 2, 0]),         // one that is not there
        kind1(&[first], &[1, 0, 1, 2, 0, 5, 0, 0]),                 // a position twice
        kind1(&[first], &[1, 0, 1, 2, 0, 5, 0, 9]),                 // extra with index 0
        kind1(&[first], &[1, 0, 1, 0]),                             // no position
        kind1(&[first], &[2, 0, 9, 1, 0, 5, 0, 1, 1, 0, 5]),        // slots descend
        kind1(&[first], &[2, 0, 1, 1, 0, 5, 0, 1, 1, 0, 5]),        // a slot twice
        kind1(&[first], &[1, 0, 1, 9, 0, 5, 0, 2, 0, 4, 0, 6, 0, 8, 0, 10, 0, 12, 0, 14, 0, 16]), // nine positions
    ];
    for text in damaged {
        assert_eq!(Cursor::parse(&text), Err(CursorError::Damaged), "{text:?}");
    }
    assert_eq!(Cursor::parse(&kind1(&[first], &[17, 0, 1, 1, 0, 5])), Err(CursorError::TooManySlots));
}

fn any_pos() -> impl Strategy<Value = Pos> {
    // Few epochs and near indices are what happens; the rest is what must not break.
    let epoch = prop_oneof![(1..4u32).prop_map(epoch), any::<u64>().prop_map(|bits| Epoch::from_bits(bits | 1).unwrap())];
    let idx = prop_oneof![1..400u64, Just(u64::MAX), 1..=u64::MAX];
    (epoch, idx).prop_map(|(epoch, idx)| Pos { epoch, idx })
}

fn any_cursor() -> impl Strategy<Value = Cursor> {
    let slot_cursor = (0..SLOTS, any_pos(), prop::collection::vec(any_pos(), 0..9));
    prop::collection::vec(slot_cursor, 1..17).prop_map(|slots| {
        let mut slots = slots.into_iter().map(|(number, main, extras)| SlotCursor { slot: slot(number), main, extras });
        let mut cursor = Cursor::from(slots.next().unwrap());
        slots.for_each(|slot| cursor.insert(slot).unwrap());
        cursor
    })
}

proptest! {
    #[test]
    fn every_cursor_comes_back_as_itself_but_for_what_did_not_fit(cursor in any_cursor()) {
        let text = cursor.encode();
        let parsed = Cursor::parse(&text).unwrap();
        prop_assert_eq!(parsed.encode(), text);
        for (kept, full) in parsed.iter().zip(cursor.iter()) {
            prop_assert_eq!((kept.slot, kept.main), (full.slot, full.main));
            prop_assert!(kept.extras.iter().all(|extra| full.extras.contains(extra)));
            let alone = Cursor::from(kept.clone()).encode();
            prop_assert_eq!(&CursorText::trailing(kept.slot, kept.main, &kept.extras).to_string(), &alone);
            prop_assert_eq!(CursorText::after(kept.clone()).to_string(), alone);
        }
        prop_assert_eq!(parsed.iter().len(), cursor.iter().len());
    }

    #[test]
    fn no_text_makes_the_parser_panic_and_what_parses_has_one_text(bytes in prop::collection::vec(any::<u8>(), 0..80), kind in 0x0f..0x13u8) {
        let text = text(&[&[kind], &bytes[..]].concat());
        if let Ok(cursor) = Cursor::parse(&text) {
            prop_assert_eq!(cursor.encode(), text);
        }
    }

    #[test]
    fn a_cursor_with_one_bit_changed_is_another_cursor_or_none(cursor in any_cursor(), at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let good = cursor.encode();
        let mut bytes = URL_SAFE_NO_PAD.decode(&good).unwrap();
        *at.get_mut(&mut bytes) ^= 1 << bit;
        let changed = text(&bytes);
        if let Ok(parsed) = Cursor::parse(&changed) {
            prop_assert_ne!(&parsed, &Cursor::parse(&good).unwrap());
            prop_assert_eq!(parsed.encode(), changed);
        }
    }
}
