//! What goes over the connections between nodes.

use bytes::BytesMut;
use prost::Message as _;
use tidings_proto::cluster::v1 as wire;

use super::core::{Beat, Frame};
use super::{mesh, translate};
use crate::clock::Clock;
use crate::log::Slot;
use crate::presence;

/// One message to another node.
#[derive(Debug)]
pub(super) enum Letter {
    /// A heartbeat.
    Beat(Beat),
    /// A slot's part here to its part there. Its ages are told when it is written.
    Slot(Slot, Frame, Clock),
    /// A question, or the answer to one.
    Bulk(wire::BulkFrame),
    /// About who is on a channel.
    Presence(Box<presence::Frame>),
}

impl mesh::Letter for Letter {
    fn bytes(&self) -> usize {
        match self {
            Self::Beat(beat) => 64 + beat.reach.len() * 8,
            Self::Slot(_, frame, _) => translate::bytes_of(frame),
            Self::Bulk(frame) => frame.encoded_len(),
            Self::Presence(frame) => translate::bytes_of_presence(frame),
        }
    }

    fn is_state(&self) -> bool {
        matches!(self, Self::Slot(_, Frame::Sync(_), _))
    }

    fn is_publish(&self) -> bool {
        matches!(self, Self::Slot(_, Frame::Forward(_), _))
    }

    fn about(&self) -> Option<u16> {
        if let Self::Slot(slot, ..) = self { Some(slot.number()) } else { None }
    }

    fn write(&self, to: &mut BytesMut) {
        let written = match self {
            Self::Beat(beat) => translate::say_beat(beat).encode(to),
            Self::Slot(slot, frame, clock) => translate::say_slot(*slot, frame, clock.mono()).encode(to),
            Self::Bulk(frame) => frame.encode(to),
            Self::Presence(frame) => translate::say_presence(frame).encode(to),
        };
        written.expect("a growing buffer has room");
    }
}
