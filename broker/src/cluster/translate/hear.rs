//! What came over the wire, as the core takes it. Its sender holds the key and may still be wrong: nothing here panics, and what
//! cannot be ends the connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tidings_proto::cluster::v1::{self as wire, slot_frame::What};

use super::super::core::frame::{
    Ack, Ask, Channel, Done, Forward, Frame, Offer, Outcome, Refusal, Standing, Stream, StreamAck, Sub, Sync, Terms, Wants,
};
use super::super::core::{Beat, State};
use crate::clock::Moment;
use crate::log::{
    Adopted, ChannelState, Entry, Epoch, Floor, KnownId, Line, Lost, LostAt, LostOf, NamespaceId, Pos, Record, Segment, Slot, Tag, Trail,
    Waited,
};
use crate::message::{ChannelName, Draft, EventName, Headers, MessageId, Payload, PayloadKind, PublishId};
use crate::presence;

/// What in a frame cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {0} that is none")]
pub struct Unread(pub &'static str);

type Read<T> = Result<T, Unread>;

/// Gives every channel of a frame one name value: the one that this node has for it already, if it has.
pub struct Names<'a> {
    known: &'a dyn Fn(&str) -> Option<ChannelName>,
    met: HashMap<String, ChannelName>,
}

impl<'a> Names<'a> {
    /// `known` looks a name up among the channels of this node.
    #[must_use]
    pub fn new(known: &'a dyn Fn(&str) -> Option<ChannelName>) -> Self {
        Self { known, met: HashMap::new() }
    }

    fn take(&mut self, name: String) -> Read<ChannelName> {
        if let Some(met) = self.met.get(&name) {
            return Ok(met.clone());
        }
        let value = (self.known)(&name).or_else(|| ChannelName::told(&name)).ok_or(Unread("channel name"))?;
        self.met.insert(name, value.clone());
        Ok(value)
    }
}

/// A heartbeat.
///
/// # Errors
/// When it is none.
pub fn beat(frame: Bytes) -> Read<Beat> {
    let beat = wire::Beat::decode(frame).map_err(|_| Unread("beat"))?;
    let state = match beat.state() {
        wire::State::Joining => State::Joining,
        wire::State::Active => State::Active,
        wire::State::Draining => State::Draining,
        wire::State::Leaving => State::Leaving,
        wire::State::Impaired => State::Impaired,
        wire::State::Unspecified => return Err(Unread("state")),
    };
    let reach = tags(beat.reach)?;
    let held = Duration::from_micros(beat.held_us);
    Ok(Beat { seq: beat.seq, state, reach, view: beat.view, echo: beat.echo, held })
}

/// What came for a slot.
#[derive(Debug)]
pub enum Heard {
    /// For its part here.
    Slot(Slot, Frame),
    /// About who is on one of its channels.
    Presence(presence::Frame),
}

/// A frame of a slot, its times in the clock that shows `now`. `None` for a kind of frame that this release does not know.
///
/// # Errors
/// When something in it cannot be.
pub fn slot(frame: Bytes, now: Moment, names: &mut Names<'_>) -> Read<Option<Heard>> {
    let wire::SlotFrame { slot, what } = wire::SlotFrame::decode(frame).map_err(|_| Unread("frame"))?;
    let slot = u16::try_from(slot).ok().and_then(Slot::new).ok_or(Unread("slot"))?;
    let Some(what) = what else { return Ok(None) };
    let what = match what {
        What::Presence(mut presence) => {
            let channel = names.take(std::mem::take(&mut presence.channel))?;
            return Ok(super::presence::hear(slot, presence, channel)?.map(Heard::Presence));
        }
        what => what,
    };
    let mut reader = Reader { slot, now, names };
    Ok(Some(Heard::Slot(slot, reader.what(what)?)))
}

struct Reader<'a, 'n> {
    slot: Slot,
    now: Moment,
    names: &'a mut Names<'n>,
}

impl Reader<'_, '_> {
    fn what(&mut self, what: What) -> Read<Frame> {
        Ok(match what {
            What::Forward(forward) => Frame::Forward(Forward {
                rid: forward.rid,
                flight: forward.flight,
                ask: match forward.ask.ok_or(Unread("publish"))? {
                    wire::forward::Ask::Publish(message) => Ask::Publish(self.draft(message)?),
                    wire::forward::Ask::Clear(channel) => Ask::Clear(self.channel(channel)?),
                },
                since: self.ago(forward.age_us),
                terms: terms(forward.terms.unwrap_or_default())?,
            }),
            What::ForwardAck(ack) => {
                Frame::ForwardAck { rid: ack.rid, flight: ack.flight, outcome: outcome(ack.outcome.ok_or(Unread("outcome"))?)? }
            }
            What::Sub(sub) => Frame::Sub(self.sub(sub)?),
            What::More(more) => Frame::More { generation: more.generation, channels: self.channels(more.channels)? },
            What::Unsub(unsub) => Frame::Unsub { generation: unsub.generation, channels: self.channels(unsub.channels)? },
            What::NotHome(not) => Frame::NotHome { generation: not.generation, home: tag(not.home)? },
            What::Sync(sync) => Frame::Sync(self.sync(sync)?),
            What::Stream(stream) => Frame::Stream(Stream {
                generation: stream.generation,
                records: stream.records.into_iter().map(|record| self.record(record)).collect::<Read<_>>()?,
                commit: stream.commit,
            }),
            What::StreamAck(ack) => Frame::StreamAck(StreamAck { generation: ack.generation, upto: ack.upto, is_eager: ack.is_eager }),
            What::Counted(counted) => Frame::Counted { epoch: epoch(counted.epoch)?, witnesses: tags(counted.witnesses)? },
            What::Note(note) => Frame::Note { epoch: epoch(note.epoch)?, from: note.from, solo: note.solo },
            What::NoteAck(ack) => Frame::NoteAck { epoch: epoch(ack.epoch)?, from: ack.from },
            What::Claim(claim) => Frame::Claim { round: claim.round, seal: claim.seal },
            What::Standing(is) => Frame::Standing { round: is.round, standing: standing(is)? },
            What::Opened(opened) => Frame::Opened { line: line(opened.line)? },
            What::Yield(yields) => Frame::Yield { line: line(yields.line)? },
            What::Release(release) => Frame::Release { generation: release.generation },
            What::Offer(offer) => Frame::Offer(Offer {
                generation: offer.generation,
                run: self.entries(offer.run)?,
                ends: positions(offer.ends)?,
                lost: self.all_lost(offer.lost)?,
                is_last: offer.is_last,
            }),
            What::OfferAck(ack) => Frame::OfferAck { end: pos(ack.end)? },
            // Taken out before: it is none of the slot's.
            What::Presence(_) => return Err(Unread("frame")),
        })
    }

    /// A channel of this very slot.
    fn channel(&mut self, name: String) -> Read<ChannelName> {
        let name = self.names.take(name)?;
        if Slot::of(&name) == self.slot { Ok(name) } else { Err(Unread("channel of the slot")) }
    }

    fn channels(&mut self, names: Vec<String>) -> Read<Vec<ChannelName>> {
        names.into_iter().map(|name| self.channel(name)).collect()
    }

    /// The moment so many µs ago.
    fn ago(&self, age_us: u64) -> Duration {
        self.now.mono.saturating_sub(Duration::from_micros(age_us))
    }

    fn draft(&mut self, draft: wire::Draft) -> Read<Draft> {
        Ok(Draft {
            channel: self.channel(draft.channel)?,
            id: Some(publish_id(draft.id)?),
            event: event(draft.event)?,
            payload: payload(draft.payload)?,
            headers: headers(draft.headers)?,
            ttl: draft.ttl_ns.map(Duration::from_nanos),
        })
    }

    fn entry(&mut self, entry: wire::Entry) -> Read<Arc<Entry>> {
        let accepted = self.ago(entry.age_us);
        let adopted = entry.adopted.map(|from| {
            let read = |pos: Option<wire::Pos>| pos.map(|given| self::pos(Some(given))).transpose();
            Ok(Box::new(Adopted { birth: read(from.birth)?, via: read(from.via)?, late: from.late }))
        });
        Ok(Arc::new(Entry {
            slot: self.slot,
            pos: pos(entry.pos)?,
            channel: self.channel(entry.channel)?,
            offset: entry.offset,
            id: message_id(entry.id)?,
            event: event(entry.event)?,
            payload: payload(entry.payload)?,
            headers: headers(entry.headers)?,
            accepted: Moment { mono: accepted, unix_ms: entry.accepted_ms },
            waited: Waited::from_micros(entry.waited_us),
            expires: accepted.saturating_add(Duration::from_nanos(entry.life_ns)),
            adopted: adopted.transpose()?,
            trail: Trail::NONE,
        }))
    }

    fn entries(&mut self, entries: Vec<wire::Entry>) -> Read<Vec<Arc<Entry>>> {
        entries.into_iter().map(|entry| self.entry(entry)).collect()
    }

    fn record(&mut self, record: wire::Record) -> Read<Record> {
        use wire::record::Record as Is;
        Ok(match record.record.ok_or(Unread("record"))? {
            Is::Message(message) => Record::Message(self.entry(message)?),
            Is::Clear(clear) => Record::Clear { idx: clear.idx, channel: self.channel(clear.channel)? },
            Is::Open(open) => Record::Open { idx: open.idx, epoch: epoch(open.epoch)?, is_uncertain: open.is_uncertain },
            Is::Cover(cover) => Record::Cover { idx: cover.idx, ends: positions(cover.ends)?, lost: self.all_lost(cover.lost)? },
        })
    }

    fn all_lost(&mut self, all: Vec<wire::Lost>) -> Read<Vec<Lost>> {
        all.into_iter().map(|lost| self.lost(lost)).collect()
    }

    fn lost(&mut self, lost: wire::Lost) -> Read<Lost> {
        let of = match lost.of {
            Some(wire::lost::Of::Channel(name)) => LostOf::Channel(self.channel(name)?),
            Some(wire::lost::Of::Namespace(number)) => LostOf::Namespace(namespace(number)?),
            None => LostOf::Anything,
        };
        Ok(Lost { of, upto: pos(lost.upto)? })
    }

    fn lost_at(&mut self, told: wire::LostAt) -> Read<LostAt> {
        Ok(LostAt { at: told.at, lost: self.lost(told.lost.ok_or(Unread("loss"))?)? })
    }

    fn wanted(&mut self, wanted: wire::WantedChannels) -> Read<Vec<Channel>> {
        let read = |wanted: wire::WantedChannel| Ok(Channel { name: self.channel(wanted.name)?, is_held: wanted.is_held });
        wanted.channels.into_iter().map(read).collect()
    }

    fn sub(&mut self, sub: wire::Sub) -> Read<Sub> {
        let wants = match sub.wants.ok_or(Unread("wish"))? {
            wire::sub::Wants::Everything(_) => Wants::Everything,
            wire::sub::Wants::Copy(_) => Wants::Copy,
            wire::sub::Wants::Channels(wanted) => Wants::Channels(self.wanted(wanted)?),
            wire::sub::Wants::Part(wanted) => Wants::Part(self.wanted(wanted)?),
        };
        Ok(Sub {
            generation: sub.generation,
            wants,
            line: sub.line.map(|given| line(Some(given))).transpose()?,
            commit: sub.commit,
            is_eager: sub.is_eager,
            has_orphans: sub.has_orphans,
        })
    }

    fn sync(&mut self, sync: wire::Sync) -> Read<Sync> {
        let floor = |floor: wire::Floor| Ok(Floor { namespace: namespace(floor.namespace)?, idx: floor.idx });
        Ok(Sync {
            generation: sync.generation,
            line: line(sync.line)?,
            fork: sync.fork,
            channels: sync.channels.into_iter().map(|state| self.channel_state(state)).collect::<Read<_>>()?,
            floors: sync.floors.into_iter().map(floor).collect::<Read<_>>()?,
            uncertain: sync.uncertain,
            covered: positions(sync.covered)?,
            lost: sync.lost.into_iter().map(|told| self.lost_at(told)).collect::<Read<_>>()?,
            tail: sync.tail.into_iter().map(|record| self.record(record)).collect::<Read<_>>()?,
            is_last: sync.is_last,
        })
    }

    fn channel_state(&mut self, state: wire::ChannelState) -> Read<ChannelState> {
        let known = |known: wire::KnownId| {
            let age = Duration::from_micros(known.age_us);
            Ok(KnownId { id: publish_id(known.id)?, idx: known.idx, offset: known.offset, age })
        };
        Ok(ChannelState {
            name: self.channel(state.name)?,
            keep: state.keep,
            floor: state.floor,
            inherited: state.inherited,
            cleared_at: state.cleared_at,
            offset: state.offset,
            last: state.last,
            idle: state.idle_us.map(Duration::from_micros),
            entries: self.entries(state.entries)?,
            ids: state.ids.into_iter().map(known).collect::<Read<_>>()?,
        })
    }
}

fn namespace(number: u32) -> Read<NamespaceId> {
    u16::try_from(number).map(NamespaceId).map_err(|_| Unread("namespace"))
}

fn tags(tags: Vec<u64>) -> Read<Vec<Tag>> {
    tags.into_iter().map(|bits| Tag::new(bits).ok_or(Unread("tag"))).collect()
}

fn tag(bits: u64) -> Read<Option<Tag>> {
    if bits == 0 { Ok(None) } else { Tag::new(bits).map(Some).ok_or(Unread("tag")) }
}

fn epoch(bits: u64) -> Read<Epoch> {
    Epoch::from_bits(bits).ok_or(Unread("epoch"))
}

fn pos(pos: Option<wire::Pos>) -> Read<Pos> {
    let pos = pos.ok_or(Unread("position"))?;
    Ok(Pos { epoch: epoch(pos.epoch)?, idx: pos.idx })
}

fn positions(given: Vec<wire::Pos>) -> Read<Vec<Pos>> {
    given.into_iter().map(|given| pos(Some(given))).collect()
}

fn line(line: Option<wire::Line>) -> Read<Line> {
    let line = line.ok_or(Unread("line"))?;
    let segment = |given: &wire::Pos| Ok(Segment { epoch: epoch(given.epoch)?, start: given.idx });
    let segments = line.segments.iter().map(segment).collect::<Read<Vec<_>>>()?;
    Line::told(&segments, line.head).ok_or(Unread("line"))
}

fn publish_id(id: Option<wire::PublishId>) -> Read<PublishId> {
    let bad = Unread("publish id");
    match id.and_then(|id| id.id).ok_or(bad)? {
        wire::publish_id::Id::Retry(bytes) => Ok(PublishId::Retry(u128::from_be_bytes(bytes.as_ref().try_into().map_err(|_| bad)?))),
        wire::publish_id::Id::Keyed(text) => PublishId::keyed(&text).map_err(|_| bad),
    }
}

fn message_id(id: Option<wire::PublishId>) -> Read<MessageId> {
    Ok(MessageId::from(&publish_id(id)?))
}

fn event(event: Option<String>) -> Read<Option<EventName>> {
    event.map(|event| EventName::parse(&event).map_err(|_| Unread("event name"))).transpose()
}

fn payload(payload: Option<wire::Payload>) -> Read<Payload> {
    let payload = payload.ok_or(Unread("payload"))?;
    let kind = match payload.kind() {
        wire::PayloadKind::Json => PayloadKind::Json,
        wire::PayloadKind::Text => PayloadKind::Text,
        wire::PayloadKind::Binary => PayloadKind::Binary,
        wire::PayloadKind::Unspecified => return Err(Unread("kind of payload")),
    };
    // A text goes into strings of JSON and lines of event streams as it is.
    if kind != PayloadKind::Binary && std::str::from_utf8(&payload.bytes).is_err() {
        return Err(Unread("text"));
    }
    Ok(Payload::told(&payload.bytes, kind, payload.content_type.as_deref()))
}

fn headers(headers: Vec<wire::Header>) -> Read<Headers> {
    Headers::parse(headers.iter().map(|header| (&header.name, &header.value))).map_err(|_| Unread("header"))
}

fn terms(terms: wire::Terms) -> Read<Terms> {
    let ack = match terms.ack() {
        wire::Ack::Appended => Ack::Appended,
        wire::Ack::Committed => Ack::Committed,
        wire::Ack::Unspecified => return Err(Unread("kind of answer")),
    };
    Ok(Terms { ack, replicas: terms.replicas, copies_min: terms.copies_min })
}

fn outcome(outcome: wire::forward_ack::Outcome) -> Read<Outcome> {
    Ok(match outcome {
        wire::forward_ack::Outcome::Done(done) => Outcome::Done(Done {
            pos: pos(done.pos)?,
            offset: done.offset,
            id: message_id(done.id)?,
            copies: done.copies,
            duplicate: done.duplicate,
            trail: Trail::of(positions(done.trail)?),
        }),
        wire::forward_ack::Outcome::NotHome(not) => Outcome::NotHome(tag(not.home)?),
        wire::forward_ack::Outcome::Refused(why) => Outcome::Refused(match wire::Refused::try_from(why) {
            Ok(wire::Refused::Degraded) => Refusal::Degraded,
            Ok(wire::Refused::Busy) => Refusal::Busy,
            _ => return Err(Unread("refusal")),
        }),
    })
}

fn standing(standing: wire::Standing) -> Read<Standing> {
    let solo = standing.solo.map(|solo| Ok((epoch(solo.epoch)?, solo.idx))).transpose()?;
    Ok(Standing {
        line: standing.line.map(|given| line(Some(given))).transpose()?,
        commit: standing.commit,
        is_counted: standing.is_counted,
        witnesses: tags(standing.witnesses)?,
        solo,
        is_open: standing.is_open,
        is_placed: standing.is_placed,
        seen: if standing.seen == 0 { None } else { Some(epoch(standing.seen)?) },
    })
}
