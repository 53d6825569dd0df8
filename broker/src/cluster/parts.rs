//! Frames that hold much, in parts: none is larger than a connection takes at once, and none keeps what is about other slots waiting for
//! long. A part is a frame like any other: who hears it need not know that it is one.

use std::sync::Arc;

use super::config::PAYLOAD_BYTES_MAX;
use super::core::Frame;
use super::core::frame::{Offer, Stream, Sub, Sync, Wants};
use super::link::FRAME_MAX;
use super::translate;
use crate::log::{ChannelState, Entry, Record};

/// A part holds about as much, or one message that is larger. Over a link of 1 Mbit/s it is a quarter of a second, so that whoever waits
/// for the first one does not ask anew, and what is about other slots has its turn.
pub(super) const PART_BYTES: usize = 32 << 10;
/// What is not committed goes whole with the last part of a state, unless it is more than this, or that part is one large message.
const TAIL_BYTES: usize = 2 << 20;
/// Names of channels in one frame. Many: older releases know no wish in parts, so one that they can take goes whole.
const NAMES_BYTES: usize = 1 << 20;
/// What a frame says besides one message's payload: name, event, id, headers and type of it (6 KiB), and what each part of a state
/// repeats, all of it short lists (32 stretches of the line, 64 losses with a name each, namespaces).
const BESIDES_BYTES_MAX: usize = 512 << 10;
const _: () = assert!(PAYLOAD_BYTES_MAX + BESIDES_BYTES_MAX <= FRAME_MAX && TAIL_BYTES + PART_BYTES + BESIDES_BYTES_MAX <= FRAME_MAX);

/// Says a frame as it is, or in its parts, in order.
pub(super) fn each(frame: Frame, mut say: impl FnMut(Frame)) {
    match frame {
        frame if translate::bytes_of(&frame) <= PART_BYTES => say(frame),
        Frame::Sync(sync) => each_of_sync(sync, |part| say(Frame::Sync(part))),
        Frame::Stream(stream) => each_of_stream(stream, |part| say(Frame::Stream(part))),
        Frame::Offer(offer) => each_of_offer(offer, |part| say(Frame::Offer(part))),
        Frame::Sub(sub) => each_of_sub(sub, |part| say(Frame::Sub(part))),
        Frame::More { generation, channels } => {
            runs(channels, translate::bytes_of_name, NAMES_BYTES)
                .into_iter()
                .for_each(|channels| say(Frame::More { generation, channels }));
        }
        Frame::Unsub { generation, channels } => {
            runs(channels, translate::bytes_of_name, NAMES_BYTES)
                .into_iter()
                .for_each(|channels| say(Frame::Unsub { generation, channels }));
        }
        frame => say(frame),
    }
}

/// Everything but the last run is committed no further than it goes: who wants channels only takes what a stream is committed to for
/// all there is up to there.
fn each_of_stream(stream: Stream, mut say: impl FnMut(Stream)) {
    let Stream { generation, records, commit } = stream;
    let mut runs = runs(records, translate::bytes_of_record, PART_BYTES);
    let last = runs.pop().unwrap_or_default();
    for records in runs {
        let upto = records.last().map_or(commit, Record::idx);
        say(Stream { generation, records, commit: commit.min(upto) });
    }
    say(Stream { generation, records: last, commit });
}

/// However many channels of a slot are listened to on this node: those of one tag share a slot, and `limits.channels` is a million.
fn each_of_sub(sub: Sub, mut say: impl FnMut(Sub)) {
    let Sub { generation, wants: Wants::Channels(channels), line, commit, is_eager, has_orphans } = sub else { return say(sub) };
    let mut runs = runs(channels, |channel| translate::bytes_of_name(&channel.name), NAMES_BYTES);
    let last = runs.pop().unwrap_or_default();
    for part in runs {
        say(Sub { generation, wants: Wants::Part(part), line: None, commit: 0, is_eager: false, has_orphans: false });
    }
    say(Sub { generation, wants: Wants::Channels(last), line, commit, is_eager, has_orphans });
}

fn each_of_offer(offer: Offer, mut say: impl FnMut(Offer)) {
    let Offer { generation, run, ends, lost, is_last } = offer;
    let runs = runs(run, |entry: &Arc<Entry>| translate::bytes_of_entry(entry), PART_BYTES);
    let count = runs.len();
    for (nth, run) in runs.into_iter().enumerate() {
        let is_last = is_last && nth + 1 == count;
        say(Offer { generation, run, ends: ends.clone(), lost: lost.clone(), is_last });
    }
}

fn each_of_sync(sync: Sync, mut say: impl FnMut(Sync)) {
    let Sync { generation, line, fork, channels, floors, uncertain, covered, lost, tail, is_last } = sync;
    let mut parts: Vec<(Vec<ChannelState>, Vec<Record>)> = parted(channels).into_iter().map(|channels| (channels, Vec::new())).collect();
    let mut tails = runs(tail, translate::bytes_of_record, TAIL_BYTES).into_iter();
    let last = tails.next().unwrap_or_default();
    let bytes = last.iter().map(translate::bytes_of_record).sum::<usize>();
    let bytes_of = |channels: &[ChannelState]| channels.iter().map(translate::bytes_of_state).sum::<usize>();
    match parts.last_mut() {
        Some((channels, tail)) if last.is_empty() || bytes_of(channels) + bytes <= TAIL_BYTES + PART_BYTES => *tail = last,
        _ => parts.push((Vec::new(), last)),
    }
    parts.extend(tails.map(|tail| (Vec::new(), tail)));
    let count = parts.len();
    for (nth, (channels, tail)) in parts.into_iter().enumerate() {
        say(Sync {
            generation,
            line: line.clone(),
            fork,
            channels,
            floors: floors.clone(),
            uncertain: uncertain.clone(),
            covered: covered.clone(),
            lost: lost.clone(),
            tail,
            is_last: is_last && nth + 1 == count,
        });
    }
}

/// States of channels for one part each. A channel that goes on in the next part is its first one there.
fn parted(channels: Vec<ChannelState>) -> Vec<Vec<ChannelState>> {
    let (mut parts, mut part, mut room) = (Vec::new(), Vec::new(), PART_BYTES);
    for state in channels {
        for (nth, piece) in pieces(state).into_iter().enumerate() {
            let bytes = translate::bytes_of_state(&piece);
            if nth > 0 || bytes > room && !part.is_empty() {
                parts.push(std::mem::take(&mut part));
                room = PART_BYTES;
            }
            room = room.saturating_sub(bytes);
            part.push(piece);
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

/// One channel's state, cut between its messages and its ids.
fn pieces(mut state: ChannelState) -> Vec<ChannelState> {
    if translate::bytes_of_state(&state) <= PART_BYTES {
        return vec![state];
    }
    let (entries, ids) = (std::mem::take(&mut state.entries), std::mem::take(&mut state.ids));
    let of_entries = runs(entries, |entry: &Arc<Entry>| translate::bytes_of_entry(entry), PART_BYTES);
    let of_ids = runs(ids, translate::bytes_of_id, PART_BYTES);
    let with = |entries, ids| ChannelState { entries, ids, ..state.clone() };
    let of_entries = of_entries.into_iter().map(|entries| with(entries, Vec::new()));
    of_entries.chain(of_ids.into_iter().map(|ids| with(Vec::new(), ids))).collect()
}

/// Cuts a list where it would be more than so many bytes; what is larger by itself is a run of its own.
fn runs<T>(items: Vec<T>, bytes_of: impl Fn(&T) -> usize, bytes_max: usize) -> Vec<Vec<T>> {
    let mut runs: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for item in items {
        let bytes = bytes_of(&item);
        match runs.last_mut() {
            Some(run) if bytes <= room => run.push(item),
            _ => {
                runs.push(vec![item]);
                room = bytes_max;
            }
        }
        room = room.saturating_sub(bytes);
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost::Message as _;

    use super::super::core::frame::{Ask, Channel, Forward, Terms};
    use super::*;
    use crate::clock::Moment;
    use crate::log::{Epoch, KnownId, Line, Lost, LostAt, LostOf, Pos, Slot, Tag, Trail, Waited};
    use crate::message::{
        CHANNEL_NAME_BYTES_MAX, ChannelName, Draft, EVENT_NAME_BYTES_MAX, EventName, HEADERS_BYTES_MAX, HEADERS_MAX, Headers, MessageId,
        Payload, PublishId,
    };

    fn pos(idx: u64) -> Pos {
        Pos { epoch: Epoch::new(1, Tag::new(9).unwrap()), idx }
    }

    fn entry(channel: &str, idx: u64, bytes: usize) -> Arc<Entry> {
        let channel = ChannelName::parse(channel).unwrap();
        Arc::new(Entry {
            slot: Slot::of(&channel),
            pos: pos(idx),
            channel,
            offset: idx,
            id: MessageId::Auto(u128::from(idx)),
            event: None,
            payload: Payload::text(&"x".repeat(bytes)),
            headers: Headers::default(),
            accepted: Moment { mono: Duration::from_secs(idx), unix_ms: 1 },
            waited: Waited::from_micros(0),
            expires: Duration::from_secs(10_000),
            adopted: None,
            trail: Trail::NONE,
        })
    }

    /// A channel with so many messages of so many bytes, from this index on, and so many ids besides.
    fn state(name: &str, from: u64, entries: u64, bytes: usize, ids: u64) -> ChannelState {
        let id = |idx| KnownId { id: PublishId::Retry(u128::from(idx)), idx, offset: idx, age: Duration::ZERO };
        ChannelState {
            name: ChannelName::parse(name).unwrap(),
            keep: 1,
            floor: 2,
            inherited: 3,
            cleared_at: 4,
            offset: 5,
            last: 6,
            idle: Some(Duration::from_secs(1)),
            entries: (from..from + entries).map(|idx| entry(name, idx, bytes)).collect(),
            ids: (0..ids).map(id).collect(),
        }
    }

    fn sync(channels: Vec<ChannelState>, tail: Vec<Record>, is_last: bool) -> Frame {
        let line = Line::begin(pos(1).epoch);
        let (floors, uncertain, covered, lost) = (Vec::new(), vec![3], vec![pos(2)], Vec::new());
        Frame::Sync(Sync { generation: 7, line, fork: 4, channels, floors, uncertain, covered, lost, tail, is_last })
    }

    fn parts(frame: Frame) -> Vec<Frame> {
        let mut parts = Vec::new();
        each(frame, |part| parts.push(part));
        for part in &parts {
            let bytes = translate::say_slot(Slot::new(1).unwrap(), part, Duration::from_secs(9_000)).encoded_len();
            assert!(bytes <= FRAME_MAX, "a part of {bytes} bytes");
        }
        parts
    }

    /// What of channels whoever hears the parts puts together: a name that comes again with the next part goes on.
    fn put_together(parts: &[Frame]) -> Vec<(String, Vec<u64>, Vec<u64>)> {
        let mut whole: Vec<(String, Vec<u64>, Vec<u64>)> = Vec::new();
        for part in parts {
            let Frame::Sync(Sync { channels, .. }) = part else { panic!("{part:?}") };
            for (nth, state) in channels.iter().enumerate() {
                let (entries, ids) = (state.entries.iter().map(|entry| entry.pos.idx), state.ids.iter().map(|known| known.idx));
                match whole.last_mut().filter(|(name, ..)| nth == 0 && *name == state.name.as_str()) {
                    Some((_, of_entries, of_ids)) => {
                        of_entries.extend(entries);
                        of_ids.extend(ids);
                    }
                    None => whole.push((state.name.to_string(), entries.collect(), ids.collect())),
                }
            }
        }
        whole
    }

    #[test]
    fn a_state_of_many_megabytes_and_ids_goes_in_small_parts_and_is_whole_at_the_other_end() {
        let channels = || {
            let (small, many) = (state("a", 1, 3, 10, 2), state("b", 10, 300, 60_000, 0));
            vec![small, many, state("c", 400, 2, 50_000, 9000), state("d", 9, 0, 0, 5)]
        };
        let expected = put_together(&[sync(channels(), Vec::new(), true)]);
        let parts = parts(sync(channels(), Vec::new(), true));
        assert_eq!(put_together(&parts), expected);
        assert!(parts.len() > 300, "{} parts", parts.len());
        let (last, others) = parts.split_last().unwrap();
        let is_last = |part: &Frame| matches!(part, Frame::Sync(sync) if sync.is_last);
        assert!(is_last(last) && !others.iter().any(is_last));
        for part in &parts {
            let Frame::Sync(Sync { generation: 7, fork: 4, channels, .. }) = part else { panic!("{part:?}") };
            assert!(channels.iter().all(|state| (state.keep, state.floor, state.last) == (1, 2, 6)));
            let bytes = translate::bytes_of(part);
            assert!(bytes <= 2 * PART_BYTES || channels.len() == 1 && channels[0].entries.len() == 1, "{bytes} bytes");
        }
    }

    #[test]
    fn a_part_of_a_state_stays_one_and_many_small_channels_share_a_part() {
        let channels = || (0..500).map(|number| state(&format!("c-{number}"), 1, 0, 0, 1)).collect::<Vec<_>>();
        let parts = parts(sync(channels(), Vec::new(), false));
        assert!((2..10).contains(&parts.len()), "{} parts", parts.len());
        assert!(parts.iter().all(|part| matches!(part, Frame::Sync(sync) if !sync.is_last)), "more of it is to come");
        assert_eq!(put_together(&parts), put_together(&[sync(channels(), Vec::new(), false)]));
    }

    #[test]
    fn what_is_not_committed_goes_with_the_last_part_and_if_it_is_very_much_with_those_behind_it() {
        let tail = |count: u64| (1..=count).map(|idx| Record::Message(entry("a", idx, 60_000))).collect::<Vec<_>>();
        let tails = |parts: &[Frame]| -> Vec<usize> {
            let tail = |part: &Frame| if let Frame::Sync(sync) = part { sync.tail.len() } else { 0 };
            parts.iter().map(tail).collect()
        };
        let few = parts(sync(vec![state("a", 1, 2, 30_000, 0)], tail(20), true));
        assert_eq!(tails(&few), [0, 20]);
        let many = parts(sync(vec![state("a", 1, 2, 30_000, 0)], tail(100), true));
        assert_eq!((many.len(), tails(&many).iter().sum::<usize>()), (4, 100));
        let only = parts(sync(Vec::new(), tail(100), true));
        assert_eq!((only.len(), tails(&only).iter().sum::<usize>()), (3, 100));
    }

    #[test]
    fn the_largest_message_fits_wherever_it_stands() {
        let headers = (0..HEADERS_MAX).map(|number| (format!("{number:02}"), "v".repeat(HEADERS_BYTES_MAX / HEADERS_MAX - 2)));
        let name = "n".repeat(CHANNEL_NAME_BYTES_MAX);
        let large = |idx| {
            let mut large = Arc::unwrap_or_clone(entry(&name, idx, PAYLOAD_BYTES_MAX));
            large.headers = Headers::parse(headers.clone()).unwrap();
            large.event = Some(EventName::parse(&"e".repeat(EVENT_NAME_BYTES_MAX)).unwrap());
            Arc::new(large)
        };
        let lost = |number: u64| Lost { of: LostOf::Channel(ChannelName::parse(&name).unwrap()), upto: pos(number) };
        let mut whole = state(&name, 1, 0, 0, 0);
        whole.entries = vec![large(1), large(2)];
        let Frame::Sync(mut whole) = sync(vec![whole], vec![Record::Message(large(3)), Record::Message(large(4))], true) else { panic!() };
        whole.lost = (1..=64).map(|at| LostAt { at, lost: lost(at) }).collect();
        whole.covered = (1..=64).map(pos).collect();
        assert_eq!(parts(Frame::Sync(whole)).len(), 4);
        let records = [1, 2].map(|idx| Record::Message(large(idx))).into();
        assert_eq!(parts(Frame::Stream(Stream { generation: 7, records, commit: 2 })).len(), 2);
        let offer =
            Offer { generation: 7, run: vec![large(1), large(2)], ends: vec![pos(9)], lost: (1..33).map(lost).collect(), is_last: true };
        assert_eq!(parts(Frame::Offer(offer)).len(), 2);
        let large = large(1);
        let mut draft = Draft::new(large.channel.clone(), large.payload.clone());
        (draft.event, draft.headers) = (large.event.clone(), large.headers.clone());
        let forward = Forward { rid: 1, flight: 1, ask: Ask::Publish(draft), since: Duration::ZERO, terms: Terms::default() };
        assert_eq!(parts(Frame::Forward(forward)).len(), 1);
    }

    #[test]
    fn a_stream_in_parts_is_committed_no_further_than_each_goes() {
        let records = |count: u64| (1..=count).map(|idx| Record::Message(entry("a", idx, 10_000))).collect::<Vec<_>>();
        let told = |commit| {
            let parts = parts(Frame::Stream(Stream { generation: 7, records: records(9), commit }));
            let told = |part: &Frame| match part {
                Frame::Stream(stream) => (stream.records.iter().map(Record::idx).collect::<Vec<_>>(), stream.commit),
                other => panic!("{other:?}"),
            };
            parts.iter().map(told).collect::<Vec<_>>()
        };
        let runs = [vec![1, 2, 3], vec![4, 5, 6], vec![7, 8, 9]];
        let with = |commits: [u64; 3]| runs.clone().into_iter().zip(commits).collect::<Vec<_>>();
        assert_eq!(told(9), with([3, 6, 9]), "of channels: all of it is committed");
        assert_eq!(told(12), with([3, 6, 12]));
        assert_eq!(told(0), with([0, 0, 0]), "to a copy: nothing of it is");
    }

    #[test]
    fn a_wish_for_more_channels_than_one_frame_names_goes_in_parts() {
        let name = |number| ChannelName::parse(&format!("{number:06}{}", "n".repeat(CHANNEL_NAME_BYTES_MAX - 6))).unwrap();
        let sub = |count: usize| {
            let channels = (0..count).map(|number| Channel { name: name(number), is_held: number % 3 == 0 }).collect();
            let wants = Wants::Channels(channels);
            Sub { generation: 7, wants, line: Some(Line::begin(pos(1).epoch)), commit: 5, is_eager: true, has_orphans: true }
        };
        assert_eq!(parts(Frame::Sub(sub(3000))).len(), 1, "as older releases say it");
        let several = parts(Frame::Sub(sub(20_000)));
        assert!(several.len() > 4, "{} parts", several.len());
        let mut named = Vec::new();
        for (nth, part) in several.iter().enumerate() {
            let Frame::Sub(Sub { generation: 7, wants, line, commit, .. }) = part else { panic!("{part:?}") };
            let is_last = nth + 1 == several.len();
            assert_eq!((line.is_some(), *commit), if is_last { (true, 5) } else { (false, 0) });
            match wants {
                Wants::Channels(channels) if is_last => named.extend_from_slice(channels),
                Wants::Part(channels) if !is_last => named.extend_from_slice(channels),
                _ => panic!("frame {nth} names no part"),
            }
        }
        assert!(Wants::Channels(named) == sub(20_000).wants);
        let more = parts(Frame::More { generation: 7, channels: (0..20_000).map(name).collect() });
        let told = |part: &Frame| if let Frame::More { channels, .. } = part { channels.clone() } else { panic!() };
        assert_eq!(more.iter().flat_map(told).collect::<Vec<_>>(), (0..20_000).map(name).collect::<Vec<_>>());
        assert!(parts(Frame::Unsub { generation: 7, channels: (0..20_000).map(name).collect() }).len() > 4);
        assert_eq!(parts(Frame::Unsub { generation: 7, channels: Vec::new() }).len(), 1, "which says that nothing is wanted any more");
    }

    #[test]
    fn an_offer_in_parts_ends_with_its_last() {
        let run = (1..=9).map(|idx| entry("a", idx, 10_000)).collect();
        let several = parts(Frame::Offer(Offer { generation: 7, run, ends: vec![pos(9)], lost: Vec::new(), is_last: true }));
        let told = |part: &Frame| match part {
            Frame::Offer(offer) => (offer.run.len(), offer.ends.len(), offer.is_last),
            other => panic!("{other:?}"),
        };
        assert_eq!(several.iter().map(told).collect::<Vec<_>>(), [(3, 1, false), (3, 1, false), (3, 1, true)]);
        let none = Frame::Offer(Offer { generation: 7, run: Vec::new(), ends: vec![pos(9)], lost: Vec::new(), is_last: true });
        assert_eq!(parts(none).len(), 1, "a branch of which nothing is left is offered, too");
    }
}
