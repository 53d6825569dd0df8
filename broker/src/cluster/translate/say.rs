//! What the core says, as messages for the wire.

use std::time::Duration;

use bytes::Bytes;
use tidings_proto::cluster::v1::{self as wire, slot_frame::What};

use super::super::core::frame::{Ack, Ask, Channel, Frame, Offer, Outcome, Refusal, Standing, Stream, Sub, Sync, Terms, Wants};
use super::super::core::{Beat, State};
use crate::log::{ChannelState, ENTRY_FIXED_BYTES, Entry, KnownId, Line, Lost, LostOf, Pos, Record, Slot, Tag};
use crate::message::{ChannelName, Draft, Headers, MessageId, Payload, PayloadKind, PublishId};

/// A heartbeat.
#[must_use]
pub fn beat(beat: &Beat) -> wire::Beat {
    let state = match beat.state {
        State::Joining => wire::State::Joining,
        State::Active => wire::State::Active,
        State::Draining => wire::State::Draining,
        State::Leaving => wire::State::Leaving,
        State::Impaired => wire::State::Impaired,
    };
    wire::Beat {
        seq: beat.seq,
        state: state.into(),
        reach: tags(&beat.reach),
        view: beat.view,
        echo: beat.echo,
        held_us: micros(beat.held),
    }
}

/// A frame of a slot, its ages as of `now`.
#[must_use]
pub fn slot(slot: Slot, frame: &Frame, now: Duration) -> wire::SlotFrame {
    let what = match frame {
        Frame::Forward(forward) => {
            let ask = match &forward.ask {
                Ask::Publish(message) => wire::forward::Ask::Publish(draft(message)),
                Ask::Clear(channel) => wire::forward::Ask::Clear(channel.to_string()),
            };
            let terms = Some(terms(forward.terms));
            let age_us = micros(now.saturating_sub(forward.since));
            What::Forward(wire::Forward { rid: forward.rid, flight: forward.flight, ask: Some(ask), terms, age_us })
        }
        Frame::ForwardAck { rid, flight, outcome: is } => {
            What::ForwardAck(wire::ForwardAck { rid: *rid, flight: *flight, outcome: Some(outcome(is)) })
        }
        Frame::Sub(wish) => What::Sub(sub(wish)),
        Frame::More { generation, channels } => {
            What::More(wire::More { generation: *generation, channels: channels.iter().map(ToString::to_string).collect() })
        }
        Frame::Unsub { generation, channels } => {
            What::Unsub(wire::Unsub { generation: *generation, channels: channels.iter().map(ToString::to_string).collect() })
        }
        Frame::NotHome { generation, home } => What::NotHome(wire::NotHome { generation: *generation, home: tag(*home) }),
        Frame::Sync(state) => What::Sync(sync(state, now)),
        Frame::Stream(news) => What::Stream(stream(news, now)),
        Frame::StreamAck(ack) => What::StreamAck(wire::StreamAck { generation: ack.generation, upto: ack.upto, is_eager: ack.is_eager }),
        Frame::Counted { epoch, witnesses } => What::Counted(wire::Counted { epoch: epoch.get(), witnesses: tags(witnesses) }),
        Frame::Note { epoch, from, solo } => What::Note(wire::Note { epoch: epoch.get(), from: *from, solo: *solo }),
        Frame::NoteAck { epoch, from } => What::NoteAck(wire::NoteAck { epoch: epoch.get(), from: *from }),
        Frame::Claim { round, seal } => What::Claim(wire::Claim { round: *round, seal: *seal }),
        Frame::Standing { round, standing: is } => What::Standing(standing(*round, is)),
        Frame::Opened { line: of } => What::Opened(wire::Opened { line: Some(line(of)) }),
        Frame::Yield { line: of } => What::Yield(wire::Yield { line: Some(line(of)) }),
        Frame::Release { generation } => What::Release(wire::Release { generation: *generation }),
        Frame::Offer(Offer { generation, run, ends, lost, is_last }) => What::Offer(wire::Offer {
            generation: *generation,
            run: run.iter().map(|kept| entry(kept, now)).collect(),
            ends: ends.iter().copied().map(pos).collect(),
            is_last: *is_last,
            lost: lost.iter().map(say_lost).collect(),
        }),
        Frame::OfferAck { end } => What::OfferAck(wire::OfferAck { end: Some(pos(*end)) }),
    };
    wire::SlotFrame { slot: slot.number().into(), what: Some(what) }
}

/// About what a frame takes while it waits, and on the wire.
#[must_use]
pub fn bytes_of(frame: &Frame) -> usize {
    let variable = match frame {
        Frame::Forward(forward) => match &forward.ask {
            Ask::Publish(draft) => draft.payload.bytes().len() + 128,
            Ask::Clear(_) => 0,
        },
        Frame::Sync(sync) => {
            let of_channels = sync.channels.iter().map(bytes_of_state).sum::<usize>();
            of_channels + sync.tail.iter().map(bytes_of_record).sum::<usize>()
        }
        Frame::Stream(stream) => stream.records.iter().map(bytes_of_record).sum(),
        Frame::Offer(offer) => offer.run.iter().map(|entry| bytes_of_entry(entry)).sum(),
        Frame::Sub(sub) => match &sub.wants {
            Wants::Channels(channels) | Wants::Part(channels) => channels.iter().map(|channel| bytes_of_name(&channel.name)).sum(),
            Wants::Everything | Wants::Copy => 0,
        },
        Frame::More { channels, .. } | Frame::Unsub { channels, .. } => channels.iter().map(bytes_of_name).sum(),
        _ => 0,
    };
    128 + variable
}

/// The same of a channel's name in a list.
#[must_use]
pub fn bytes_of_name(name: &ChannelName) -> usize {
    name.as_str().len() + 16
}

/// The same of one message.
#[must_use]
pub fn bytes_of_entry(entry: &Entry) -> usize {
    (entry.size() + ENTRY_FIXED_BYTES / 2) as usize
}

/// The same of a record.
#[must_use]
pub fn bytes_of_record(record: &Record) -> usize {
    match record {
        Record::Message(entry) => bytes_of_entry(entry),
        Record::Clear { .. } | Record::Open { .. } => 64,
        Record::Cover { ends, lost, .. } => 64 + (ends.len() + lost.len()) * 32,
    }
}

/// The same of a channel's state.
#[must_use]
pub fn bytes_of_state(state: &ChannelState) -> usize {
    let of_entries: usize = state.entries.iter().map(|entry| bytes_of_entry(entry)).sum();
    128 + state.name.as_str().len() + of_entries + state.ids.iter().map(bytes_of_id).sum::<usize>()
}

/// The same of a remembered publish id.
#[must_use]
pub fn bytes_of_id(known: &KnownId) -> usize {
    64 + if let PublishId::Keyed(id) = &known.id { id.len() } else { 0 }
}

fn tags(tags: &[Tag]) -> Vec<u64> {
    tags.iter().map(|tag| tag.get()).collect()
}

fn tag(tag: Option<Tag>) -> u64 {
    tag.map_or(0, Tag::get)
}

fn pos(pos: Pos) -> wire::Pos {
    wire::Pos { epoch: pos.epoch.get(), idx: pos.idx }
}

fn line(line: &Line) -> wire::Line {
    let segments = line.segments().iter().map(|segment| wire::Pos { epoch: segment.epoch.get(), idx: segment.start });
    wire::Line { segments: segments.collect(), head: line.head().idx }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn publish_id(id: &PublishId) -> wire::PublishId {
    let id = match id {
        PublishId::Retry(id) => wire::publish_id::Id::Retry(Bytes::copy_from_slice(&id.to_be_bytes())),
        PublishId::Keyed(id) => wire::publish_id::Id::Keyed(id.to_string()),
    };
    wire::PublishId { id: Some(id) }
}

fn message_id(id: &MessageId) -> wire::PublishId {
    publish_id(&match id {
        MessageId::Auto(id) => PublishId::Retry(*id),
        MessageId::Keyed(id) => PublishId::Keyed(id.clone()),
    })
}

fn payload(payload: &Payload) -> wire::Payload {
    let kind = match payload.kind() {
        PayloadKind::Json => wire::PayloadKind::Json,
        PayloadKind::Text => wire::PayloadKind::Text,
        PayloadKind::Binary => wire::PayloadKind::Binary,
    };
    wire::Payload { bytes: payload.bytes().clone(), kind: kind.into(), content_type: payload.content_type().map(str::to_owned) }
}

fn headers(headers: &Headers) -> Vec<wire::Header> {
    headers.iter().map(|(name, value)| wire::Header { name: name.to_owned(), value: value.to_owned() }).collect()
}

fn draft(draft: &Draft) -> wire::Draft {
    wire::Draft {
        channel: draft.channel.to_string(),
        id: draft.id.as_ref().map(publish_id),
        event: draft.event.as_ref().map(|event| event.as_str().to_owned()),
        payload: Some(payload(&draft.payload)),
        headers: headers(&draft.headers),
        ttl_ns: draft.ttl.map(nanos),
    }
}

fn entry(entry: &Entry, now: Duration) -> wire::Entry {
    wire::Entry {
        pos: Some(pos(entry.pos)),
        channel: entry.channel.to_string(),
        offset: entry.offset,
        id: Some(message_id(&entry.id)),
        event: entry.event.as_ref().map(|event| event.as_str().to_owned()),
        payload: Some(payload(&entry.payload)),
        headers: headers(&entry.headers),
        accepted_ms: entry.accepted.unix_ms,
        age_us: micros(now.saturating_sub(entry.accepted.mono)),
        life_ns: nanos(entry.expires.saturating_sub(entry.accepted.mono)),
        adopted: entry.adopted.as_ref().map(|from| wire::Adopted { birth: from.birth.map(pos), via: from.via.map(pos), late: from.late }),
        waited_us: entry.waited.as_micros(),
    }
}

fn record(record: &Record, now: Duration) -> wire::Record {
    use wire::record::{Clear, Cover, Open, Record as Is};
    let record = match record {
        Record::Message(message) => Is::Message(entry(message, now)),
        Record::Clear { idx, channel } => Is::Clear(Clear { idx: *idx, channel: channel.to_string() }),
        Record::Open { idx, epoch, is_uncertain } => Is::Open(Open { idx: *idx, epoch: epoch.get(), is_uncertain: *is_uncertain }),
        Record::Cover { idx, ends, lost } => {
            Is::Cover(Cover { idx: *idx, ends: ends.iter().copied().map(pos).collect(), lost: lost.iter().map(say_lost).collect() })
        }
    };
    wire::Record { record: Some(record) }
}

fn say_lost(lost: &Lost) -> wire::Lost {
    let of = match &lost.of {
        LostOf::Channel(channel) => Some(wire::lost::Of::Channel(channel.to_string())),
        LostOf::Namespace(namespace) => Some(wire::lost::Of::Namespace(namespace.0.into())),
        LostOf::Anything => None,
    };
    wire::Lost { of, upto: Some(pos(lost.upto)) }
}

fn terms(terms: Terms) -> wire::Terms {
    let ack = match terms.ack {
        Ack::Appended => wire::Ack::Appended,
        Ack::Committed => wire::Ack::Committed,
    };
    wire::Terms { ack: ack.into(), replicas: terms.replicas, copies_min: terms.copies_min }
}

fn outcome(outcome: &Outcome) -> wire::forward_ack::Outcome {
    match outcome {
        Outcome::Done(done) => wire::forward_ack::Outcome::Done(wire::Done {
            pos: Some(pos(done.pos)),
            offset: done.offset,
            id: Some(message_id(&done.id)),
            copies: done.copies,
            duplicate: done.duplicate,
            trail: done.trail.ends().iter().copied().map(pos).collect(),
        }),
        Outcome::NotHome(home) => wire::forward_ack::Outcome::NotHome(wire::NotHome { generation: 0, home: tag(*home) }),
        Outcome::Refused(why) => wire::forward_ack::Outcome::Refused(
            match why {
                Refusal::Degraded => wire::Refused::Degraded,
                Refusal::Busy => wire::Refused::Busy,
            }
            .into(),
        ),
    }
}

fn wanted(channels: &[Channel]) -> wire::WantedChannels {
    let wanted = |channel: &Channel| wire::WantedChannel { name: channel.name.to_string(), is_held: channel.is_held };
    wire::WantedChannels { channels: channels.iter().map(wanted).collect() }
}

fn sub(sub: &Sub) -> wire::Sub {
    let wants = match &sub.wants {
        Wants::Everything => wire::sub::Wants::Everything(wire::Nothing {}),
        Wants::Copy => wire::sub::Wants::Copy(wire::Nothing {}),
        Wants::Channels(channels) => wire::sub::Wants::Channels(wanted(channels)),
        Wants::Part(channels) => wire::sub::Wants::Part(wanted(channels)),
    };
    wire::Sub {
        generation: sub.generation,
        wants: Some(wants),
        line: sub.line.as_ref().map(line),
        commit: sub.commit,
        is_eager: sub.is_eager,
        has_orphans: sub.has_orphans,
    }
}

fn sync(sync: &Sync, now: Duration) -> wire::Sync {
    wire::Sync {
        generation: sync.generation,
        line: Some(line(&sync.line)),
        fork: sync.fork,
        channels: sync.channels.iter().map(|state| channel_state(state, now)).collect(),
        floors: sync.floors.iter().map(|floor| wire::Floor { namespace: floor.namespace.0.into(), idx: floor.idx }).collect(),
        uncertain: sync.uncertain.clone(),
        covered: sync.covered.iter().copied().map(pos).collect(),
        tail: sync.tail.iter().map(|kept| record(kept, now)).collect(),
        is_last: sync.is_last,
        lost: sync.lost.iter().map(|told| wire::LostAt { at: told.at, lost: Some(say_lost(&told.lost)) }).collect(),
    }
}

fn channel_state(state: &ChannelState, now: Duration) -> wire::ChannelState {
    wire::ChannelState {
        name: state.name.to_string(),
        keep: state.keep,
        floor: state.floor,
        inherited: state.inherited,
        cleared_at: state.cleared_at,
        offset: state.offset,
        last: state.last,
        idle_us: state.idle.map(micros),
        entries: state.entries.iter().map(|kept| entry(kept, now)).collect(),
        ids: state
            .ids
            .iter()
            .map(|known| wire::KnownId { id: Some(publish_id(&known.id)), idx: known.idx, offset: known.offset, age_us: micros(known.age) })
            .collect(),
    }
}

fn stream(stream: &Stream, now: Duration) -> wire::Stream {
    let records = stream.records.iter().map(|kept| record(kept, now)).collect();
    wire::Stream { generation: stream.generation, records, commit: stream.commit }
}

fn standing(round: u32, standing: &Standing) -> wire::Standing {
    wire::Standing {
        round,
        line: standing.line.as_ref().map(line),
        commit: standing.commit,
        is_counted: standing.is_counted,
        witnesses: tags(&standing.witnesses),
        solo: standing.solo.map(|(epoch, idx)| wire::Pos { epoch: epoch.get(), idx }),
        is_open: standing.is_open,
        is_placed: standing.is_placed,
        seen: standing.seen.map_or(0, |epoch| epoch.get()),
    }
}
