//! What was sent back to its ingress: whatever was published behind it goes back too, until it comes again.
//!
//! An ingress sends its publishes in order, and after the first one that comes back it begins a new flight with all that is not
//! answered. What is on its way by then would be taken before the one that came back: this node may have become the home
//! meanwhile, or may have room again.

use foldhash::{HashMap, HashMapExt};

use super::super::frame::{Forward, Frame, Outcome, Sub};
use super::super::settings::Bug;
use super::{Context, Replica};
use crate::log::Tag;

/// A publish of another node: whose, its number there, and its flight.
pub(super) type Publish = (Tag, u64, u32);

/// Of each ingress the last flight of which something was sent back, and the first number of that. Forgotten with the connection,
/// so that there are no more of them than connections.
#[derive(Debug)]
pub(super) struct SentBack(HashMap<Tag, (u32, u64)>);

impl Default for SentBack {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl SentBack {
    /// Whether something that was published before this one is still to come again. Flights before the last one are past: a connection
    /// keeps the order, so what is left of them waits here already, and was taken before anything was sent back.
    fn is_past(&self, (from, rid, flight): Publish) -> bool {
        self.0.get(&from).is_some_and(|(last, first)| flight == *last && rid >= *first)
    }

    fn note(&mut self, (to, rid, flight): Publish) {
        let (last, first) = self.0.entry(to).or_insert((flight, rid));
        if flight > *last {
            (*last, *first) = (flight, rid);
        } else if flight == *last {
            *first = rid.min(*first);
        }
    }

    /// Its connection is lost: what was on its way is, too, and a new flight begins.
    pub(super) fn forget(&mut self, peer: Tag) {
        self.0.remove(&peer);
    }
}

impl Replica {
    /// Whether a publish has to go back because it would overtake one that did.
    pub(super) fn would_overtake(&self, cx: &Context<'_>, publish: Publish) -> bool {
        self.sent_back.is_past(publish) && !cx.settings.has(Bug::Overtaking)
    }

    /// A wish or a publish that this node does not take; `home` may.
    pub(super) fn send_back(&mut self, cx: &mut Context<'_>, to: Tag, frame: Frame, home: Option<Tag>) {
        match frame {
            Frame::Sub(Sub { generation, .. }) => cx.send(to, Frame::NotHome { generation, home: home.filter(|home| *home != to) }),
            Frame::Forward(Forward { rid, flight, .. }) => self.send_publish_back(cx, (to, rid, flight), home),
            _ => {}
        }
    }

    /// A publish that this node does not take, or cannot answer any more.
    pub(super) fn send_publish_back(&mut self, cx: &mut Context<'_>, (to, rid, flight): Publish, home: Option<Tag>) {
        self.sent_back.note((to, rid, flight));
        let outcome = Outcome::NotHome(home.filter(|home| *home != to));
        cx.send(to, Frame::ForwardAck { rid, flight, outcome });
    }
}
