use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use super::super::core::frame::*;
use super::super::core::{Beat, Frame, State};
use super::*;
use crate::clock::Moment;
use crate::log::{
    Adopted, ChannelState, Entry, Epoch, Floor, KnownId, Line, Lost, LostAt, LostOf, NamespaceId, Pos, Record, Segment, Slot, Tag, Trail,
    Waited,
};
use crate::message::{ChannelName, Draft, EventName, Headers, MessageId, Payload, PublishId};

const HERE: Duration = Duration::from_secs(1000);
/// For how long a publish has been on its way.
const WAITED: Duration = Duration::from_micros(4_567_891);
/// The other node's clock began at another time.
const THERE: Moment = Moment { mono: Duration::from_secs(77), unix_ms: 5 };

fn channel() -> ChannelName {
    ChannelName::parse("chat:1").unwrap()
}

fn epoch(term: u32) -> Epoch {
    Epoch::new(term, Tag::new(9).unwrap())
}

fn pos(idx: u64) -> Pos {
    Pos { epoch: epoch(2), idx }
}

fn line() -> Line {
    Line::told(&[Segment { epoch: epoch(1), start: 1 }, Segment { epoch: epoch(2), start: 5 }], 9).unwrap()
}

fn entry(adopted: Option<Adopted>) -> Arc<Entry> {
    Arc::new(Entry {
        slot: Slot::of(&channel()),
        pos: pos(7),
        channel: channel(),
        offset: 3,
        id: MessageId::Keyed("k".into()),
        event: Some(EventName::parse("said").unwrap()),
        payload: Payload::new(b"{\"a\":1}", Some("application/json")).unwrap(),
        headers: Headers::parse([("x", "y")]).unwrap(),
        accepted: Moment { mono: HERE - Duration::from_secs(3), unix_ms: 1234 },
        waited: Waited::from_micros(250_001),
        expires: HERE + Duration::from_nanos(600_000_000_001),
        adopted: adopted.map(Box::new),
        trail: Trail::NONE,
    })
}

fn draft() -> Draft {
    let mut draft = Draft::new(channel(), Payload::text("ü"));
    (draft.id, draft.ttl) = (Some(PublishId::Retry(1 << 127 | 5)), Some(Duration::from_nanos(1_000_000_007)));
    draft
}

/// One of each kind, with everything in it.
fn frames() -> Vec<Frame> {
    let tag = Tag::new(5).unwrap();
    let terms = Terms { ack: Ack::Appended, replicas: 2, copies_min: 1 };
    let done = Done { pos: pos(7), offset: 3, id: MessageId::Auto(17), copies: 2, duplicate: true, trail: Trail::of([pos(3), pos(2)]) };
    let adopted = Adopted { birth: Some(pos(1)), via: Some(pos(2)), late: true };
    let state = ChannelState {
        name: channel(),
        keep: 1,
        floor: 2,
        inherited: 3,
        cleared_at: 4,
        offset: 5,
        last: 6,
        idle: Some(Duration::from_micros(8)),
        entries: vec![entry(None)],
        ids: vec![KnownId { id: PublishId::keyed("k").unwrap(), idx: 1, offset: 2, age: Duration::from_micros(3) }],
    };
    let of = [LostOf::Channel(channel()), LostOf::Namespace(NamespaceId(3)), LostOf::Anything];
    let lost: Vec<Lost> = of.map(|of| Lost { of, upto: pos(6) }).into();
    let records = vec![
        Record::Message(entry(Some(adopted))),
        Record::Clear { idx: 8, channel: channel() },
        Record::Open { idx: 9, epoch: epoch(3), is_uncertain: true },
        Record::Cover { idx: 10, ends: vec![pos(4)], lost: lost.clone() },
    ];
    let sub = |wants| Sub { generation: 1, wants, line: Some(line()), commit: 4, is_eager: true, has_orphans: true };
    let standing = Standing {
        line: Some(line()),
        commit: 4,
        is_counted: true,
        witnesses: vec![tag],
        solo: Some((epoch(1), 3)),
        is_open: true,
        is_placed: true,
        seen: Some(epoch(7)),
    };
    vec![
        Frame::Forward(Forward { rid: 1, flight: 2, ask: Ask::Publish(draft()), since: HERE - WAITED, terms }),
        Frame::Forward(Forward { rid: 1, flight: 2, ask: Ask::Clear(channel()), since: HERE - WAITED, terms: Terms::default() }),
        Frame::ForwardAck { rid: 1, flight: 2, outcome: Outcome::Done(done) },
        Frame::ForwardAck { rid: 1, flight: 2, outcome: Outcome::NotHome(Some(tag)) },
        Frame::ForwardAck { rid: 1, flight: 2, outcome: Outcome::Refused(Refusal::Degraded) },
        Frame::Sub(sub(Wants::Everything)),
        Frame::Sub(sub(Wants::Copy)),
        Frame::Sub(sub(Wants::Channels(vec![Channel { name: channel(), is_held: true }]))),
        Frame::Sub(sub(Wants::Part(vec![Channel { name: channel(), is_held: false }]))),
        Frame::More { generation: 1, channels: vec![channel()] },
        Frame::Unsub { generation: 1, channels: vec![channel()] },
        Frame::NotHome { generation: 1, home: None },
        Frame::Sync(Sync {
            generation: 1,
            line: line(),
            fork: 3,
            channels: vec![state],
            floors: vec![Floor { namespace: NamespaceId(2), idx: 7 }],
            uncertain: vec![3],
            covered: vec![pos(2)],
            lost: lost.iter().map(|lost| LostAt { at: 10, lost: lost.clone() }).collect(),
            tail: records.clone(),
            is_last: true,
        }),
        Frame::Stream(Stream { generation: 1, records, commit: 6 }),
        Frame::StreamAck(StreamAck { generation: 1, upto: 8, is_eager: true }),
        Frame::Counted { epoch: epoch(1), witnesses: vec![tag] },
        Frame::Note { epoch: epoch(1), from: 3, solo: true },
        Frame::NoteAck { epoch: epoch(1), from: 3 },
        Frame::Claim { round: 1, seal: true },
        Frame::Standing { round: 1, standing },
        Frame::Opened { line: line() },
        Frame::Yield { line: line() },
        Frame::Release { generation: 1 },
        Frame::Offer(Offer { generation: 1, run: vec![entry(None)], ends: vec![pos(3)], lost, is_last: true }),
        Frame::OfferAck { end: pos(3) },
    ]
}

fn hear(bytes: &[u8]) -> Result<Option<(Slot, Frame)>, Unread> {
    let heard = hear_slot(Bytes::copy_from_slice(bytes), THERE, &mut Names::new(&|_| None))?;
    Ok(heard.and_then(|heard| if let Heard::Slot(slot, frame) = heard { Some((slot, frame)) } else { None }))
}

fn say(frame: &Frame) -> Vec<u8> {
    say_slot(Slot::of(&channel()), frame, HERE).encode_to_vec()
}

#[test]
fn every_frame_comes_across_whole_and_its_times_are_those_of_the_receivers_clock() {
    let shift = |text: String, from: &Entry| {
        let accepted = THERE.mono - (HERE - from.accepted.mono);
        text.replace(&format!("{:?}", from.accepted), &format!("{:?}", Moment { mono: accepted, ..from.accepted }))
            .replace(&format!("since: {:?}", HERE - WAITED), &format!("since: {:?}", THERE.mono - WAITED))
            .replace(&format!("expires: {:?}", from.expires), &format!("expires: {:?}", accepted + (from.expires - from.accepted.mono)))
    };
    for frame in frames() {
        let (slot, heard) = hear(&say(&frame)).unwrap().unwrap();
        assert_eq!(slot, Slot::of(&channel()));
        assert_eq!(format!("{heard:?}"), shift(format!("{frame:?}"), &entry(None)), "{}", frame.name());
    }
}

#[test]
fn what_cannot_be_is_an_error_and_never_a_panic() {
    let mut refused = 0;
    for frame in frames() {
        let whole = say(&frame);
        for at in 0..whole.len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= bits;
                refused += usize::from(hear(&changed).is_err());
            }
            let _ = hear(&whole[..at]);
        }
    }
    assert!(refused > 500, "only {refused} changed frames were refused");
    let elsewhere = Slot::of(&ChannelName::parse("other").unwrap());
    let misplaced = say_slot(elsewhere, &Frame::More { generation: 1, channels: vec![channel()] }, HERE).encode_to_vec();
    assert_eq!(hear(&misplaced).unwrap_err(), Unread("channel of the slot"));
}

#[test]
fn a_kind_of_frame_that_is_not_known_is_passed_over() {
    // Field 29 of a later release: length-delimited and empty.
    assert!(hear(&[0x08, 0x05, 0xea, 0x01, 0x00]).unwrap().is_none());
}

#[test]
fn beats_come_across_whole() {
    for state in State::ALL {
        let reach = vec![Tag::new(1).unwrap(), Tag::new(2).unwrap()];
        let beat = Beat { seq: 3, state, reach, view: 7, echo: 2, held: Duration::from_micros(9) };
        assert_eq!(hear_beat(say_beat(&beat).encode_to_vec().into()).unwrap(), beat);
    }
    assert!(hear_beat(Bytes::new()).is_err());
}

/// What a later release may add to any message: a field that nobody here knows, of each kind that the wire has.
fn with_more(mut bytes: Vec<u8>) -> Vec<u8> {
    // Field 1000: a number, eight bytes, text, four bytes.
    bytes.extend([0xc0, 0x3e, 7, 0xc1, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8, 0xc2, 0x3e, 2, b'h', b'i', 0xc5, 0x3e, 1, 2, 3, 4]);
    bytes
}

#[test]
fn what_a_later_release_adds_to_a_message_is_passed_over() {
    for frame in frames() {
        let (_, heard) = hear(&with_more(say(&frame))).unwrap().unwrap();
        let (_, plain) = hear(&say(&frame)).unwrap().unwrap();
        assert_eq!(format!("{heard:?}"), format!("{plain:?}"));
    }
    let beat = Beat { seq: 3, state: State::Active, reach: Vec::new(), view: 7, echo: 2, held: Duration::ZERO };
    assert_eq!(hear_beat(with_more(say_beat(&beat).encode_to_vec()).into()).unwrap(), beat);
}

#[test]
fn where_an_older_release_does_not_say_how_late_something_is_its_delay_begins_here() {
    use tidings_proto::cluster::v1 as wire;
    let slot = Slot::of(&channel());
    let terms = Terms::default();
    let forward = Frame::Forward(Forward { rid: 1, flight: 2, ask: Ask::Publish(draft()), since: HERE - WAITED, terms });
    let mut told = say_slot(slot, &forward, HERE);
    let Some(wire::slot_frame::What::Forward(said)) = &mut told.what else { panic!("a publish") };
    assert_eq!(std::mem::take(&mut said.age_us), 4_567_891);
    let Some((_, Frame::Forward(heard))) = hear(&told.encode_to_vec()).unwrap() else { panic!("a publish") };
    assert_eq!(heard.since, THERE.mono);

    let stream = Frame::Stream(Stream { generation: 1, records: vec![Record::Message(entry(None))], commit: 1 });
    let mut told = say_slot(slot, &stream, HERE);
    let Some(wire::slot_frame::What::Stream(said)) = &mut told.what else { panic!("a stream") };
    let Some(wire::record::Record::Message(message)) = &mut said.records[0].record else { panic!("a message") };
    assert_eq!(std::mem::take(&mut message.waited_us), 250_001);
    let Some((_, Frame::Stream(heard))) = hear(&told.encode_to_vec()).unwrap() else { panic!("a stream") };
    let Record::Message(heard) = &heard.records[0] else { panic!("a message") };
    assert_eq!((heard.asked(), heard.accepted.mono), (THERE.mono - Duration::from_secs(3), THERE.mono - Duration::from_secs(3)));
}

#[test]
fn what_must_be_understood_and_is_not_ends_the_connection_instead_of_being_passed_over() {
    use tidings_proto::cluster::v1 as wire;
    let slot = u32::from(Slot::of(&channel()).number());
    let frame = |what| wire::SlotFrame { slot, what: Some(what) }.encode_to_vec();
    // A kind of record, of wish, of answer and of payload that a later release would have: to leave one out would leave a hole.
    let stream = |record| frame(wire::slot_frame::What::Stream(wire::Stream { generation: 1, records: vec![record], commit: 1 }));
    assert_eq!(hear(&stream(wire::Record { record: None })).unwrap_err(), Unread("record"));
    let sub = frame(wire::slot_frame::What::Sub(wire::Sub { generation: 1, ..wire::Sub::default() }));
    assert_eq!(hear(&sub).unwrap_err(), Unread("wish"));
    let ack = frame(wire::slot_frame::What::ForwardAck(wire::ForwardAck { rid: 1, flight: 2, outcome: None }));
    assert_eq!(hear(&ack).unwrap_err(), Unread("outcome"));
    let one = Frame::Stream(Stream { generation: 1, records: vec![Record::Message(entry(None))], commit: 1 });
    let Some(wire::slot_frame::What::Stream(mut told)) = say_slot(Slot::of(&channel()), &one, HERE).what else { panic!("a stream") };
    let Some(wire::record::Record::Message(message)) = &mut told.records[0].record else { panic!("a message") };
    message.payload.as_mut().unwrap().kind = 77;
    assert_eq!(hear(&frame(wire::slot_frame::What::Stream(told))).unwrap_err(), Unread("kind of payload"));
    let beat = wire::Beat { seq: 1, state: 77, ..wire::Beat::default() };
    assert_eq!(hear_beat(beat.encode_to_vec().into()).unwrap_err(), Unread("state"));
}
