//! What comes in over the connections, handed to whom it concerns: the node's view to the control thread, slots' frames to the hub.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use tidings_proto::cluster::v1 as wire;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::NodeName;
use super::admission::Admission;
use super::core::{NodeId, NodeInput};
use super::letter::Letter;
use super::link::{Peer, Purpose, Refusal};
use super::mesh::{self, Id, Mesh};
use super::slots::Slots;
use super::translate::{self, Heard, Names};
use super::wires::Wires;
use super::{orders, questions};
use crate::clock::Clock;
use crate::control::{Control, Order};
use crate::hub::Hub;
use crate::log::Tag;

/// Who was heard within this time is there.
const FRESH: Duration = Duration::from_secs(1);
/// What waits for the control thread. It looks at once; this many are an attack or a thread that hangs.
pub(super) const INPUTS_MAX: usize = 4096;

/// What waits for the control thread.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    waiting: Mutex<VecDeque<NodeInput>>,
    pub(super) wake: Notify,
    beats_dropped: AtomicU64,
}

impl Inputs {
    pub(super) fn push(&self, input: NodeInput) {
        let mut waiting = self.waiting.lock();
        // A beat is said again; what happened to a connection is not.
        if waiting.len() < INPUTS_MAX || !matches!(input, NodeInput::Beat { .. }) {
            waiting.push_back(input);
        } else {
            self.beats_dropped.fetch_add(1, Ordering::Relaxed);
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.waiting.lock().len()
    }

    /// How many beats were dropped since the start, because too many waited.
    pub(super) fn beats_dropped(&self) -> u64 {
        self.beats_dropped.load(Ordering::Relaxed)
    }

    pub(super) fn take(&self) -> VecDeque<NodeInput> {
        std::mem::take(&mut *self.waiting.lock())
    }
}

/// Hears for the whole node.
pub(super) struct Ear {
    pub(super) clock: Clock,
    pub(super) hub: Arc<Hub>,
    pub(super) inputs: Arc<Inputs>,
    pub(super) slots: Arc<Slots>,
    /// When each process was heard last.
    pub(super) heard: Mutex<HashMap<Tag, Duration>>,
    pub(super) admission: Arc<Admission>,
    pub(super) wires: Arc<Wires>,
    pub(super) control: Control,
    /// What takes a while is done there.
    pub(super) data: Handle,
}

impl Ear {
    /// Carries out what another node was ordered, and answers over the connection that it came by.
    fn obey(&self, to: Tag, over: Id, number: u64, order: Option<Order>) {
        let answer = move |mesh: &Mesh<Letter>, done| {
            let frame = wire::BulkFrame { number, what: Some(orders::say_done(done)) };
            let _ = mesh.post(to, Purpose::Bulk, Some(over), Letter::Bulk(frame));
        };
        let mesh = self.wires.mesh.clone();
        let Some(order) = order else { return answer(&mesh, Err("it does not know this order".to_owned())) };
        let Ok(permit) = self.wires.orders.clone().try_acquire_owned() else {
            return answer(&mesh, Err("it has too many orders under way".to_owned()));
        };
        let control = self.control.clone();
        self.data.spawn(async move {
            let done = control.carry_out(&order).await.map_err(|error| error.message.into_owned());
            answer(&mesh, done);
            drop(permit);
        });
    }
}

impl mesh::Ear for Ear {
    fn up(&self, peer: &Peer, id: Id) {
        match peer.purpose {
            Purpose::Control => {
                tracing::info!(event = "node_connected", node = %peer.name, version = peer.version, protocol = peer.common.protocol, "a node is connected");
                self.heard.lock().insert(peer.tag, self.clock.mono());
                self.inputs.push(NodeInput::Linked { tag: peer.tag, id: NodeId::of(peer.name.as_str()) });
            }
            Purpose::Live => self.slots.linked(peer.tag, id, true),
            // It may have been away, or not have been there yet.
            Purpose::Bulk => {
                let revocations = self.control.revocations().all();
                if !revocations.is_empty() {
                    self.data.spawn(orders::tell_revocations(self.wires.mesh.clone(), peer.tag, id, revocations));
                }
            }
        }
    }

    fn down(&self, _: &NodeName, tag: Tag, purpose: Purpose, id: Id) {
        match purpose {
            Purpose::Control => {
                self.heard.lock().remove(&tag);
                self.inputs.push(NodeInput::Unlinked { tag });
            }
            Purpose::Live => self.slots.linked(tag, id, false),
            Purpose::Bulk => {}
        }
    }

    fn gone(&self, _: &NodeName, tag: Tag) {
        self.inputs.push(NodeInput::Ended { tag });
    }

    fn refused(&self, refusal: &Refusal, by_us: bool) {
        self.wires.happened.refused(refusal.reason, by_us);
        if self.admission.refused(refusal.reason, by_us, self.clock.mono()) {
            tracing::error!(event = "node_not_admitted", why = refusal.message, "this node is not let into the cluster");
        }
    }

    fn late(&self) {
        self.wires.happened.late();
    }

    fn heard(&self, peer: &Peer, id: Id, frame: Bytes) -> Result<(), String> {
        match peer.purpose {
            Purpose::Control => {
                let beat = translate::hear_beat(frame).map_err(|why| why.to_string())?;
                self.heard.lock().insert(peer.tag, self.clock.mono());
                self.inputs.push(NodeInput::Beat { from: peer.tag, beat });
            }
            Purpose::Live => {
                let known = |name: &str| self.hub.known_name(name);
                let heard = translate::hear_slot(frame, self.clock.now(), &mut Names::new(&known)).map_err(|why| why.to_string())?;
                match heard {
                    Some(Heard::Slot(slot, frame)) => {
                        self.wires.happened.heard(&frame);
                        self.hub.hear(slot, peer.tag, id, frame);
                    }
                    Some(Heard::Presence(frame)) => self.hub.hear_presence_of(peer.tag, id, frame),
                    None => {}
                }
            }
            Purpose::Bulk => {
                let wire::BulkFrame { number, what } = wire::BulkFrame::decode(frame).map_err(|why| why.to_string())?;
                match what {
                    Some(wire::bulk_frame::What::ChannelsAsked(asked)) => {
                        let told = questions::say_rows(self.hub.channels_here(&questions::hear_wanted(asked)));
                        let answer = wire::BulkFrame { number, what: Some(told) };
                        // Over another connection the asker would not know it from one that is its own.
                        let _ = self.wires.mesh.post(peer.tag, Purpose::Bulk, Some(id), Letter::Bulk(answer));
                    }
                    Some(wire::bulk_frame::What::Order(order)) => self.obey(peer.tag, id, number, orders::hear_order(order)),
                    Some(wire::bulk_frame::What::Revocations(known)) => self.control.take_in(&orders::hear_revocations(known)),
                    Some(told @ (wire::bulk_frame::What::ChannelsTold(_) | wire::bulk_frame::What::OrderDone(_))) => {
                        self.wires.questions.answered(number, told);
                    }
                    // Asked by a newer release.
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn has_room(&self, peer: &Peer, id: Id) {
        if peer.purpose == Purpose::Live {
            self.slots.drained(peer.tag, id);
        }
    }

    fn has_room_for_states(&self, peer: &Peer, id: Id) {
        if peer.purpose == Purpose::Live {
            self.slots.takes_states(peer.tag, id);
        }
    }

    fn is_heard(&self, tag: Tag) -> bool {
        self.heard.lock().get(&tag).is_some_and(|at| self.clock.mono() < *at + FRESH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::core::{Beat, State};

    #[test]
    fn past_the_bound_beats_are_dropped_and_counted_and_news_of_connections_are_kept() {
        let (inputs, from) = (Inputs::default(), Tag::new(1).unwrap());
        let beat = || {
            let beat = Beat { seq: 1, state: State::Active, reach: Vec::new(), view: 0, echo: 0, held: Duration::ZERO };
            NodeInput::Beat { from, beat }
        };
        (0..INPUTS_MAX).for_each(|_| inputs.push(beat()));
        assert_eq!((inputs.count(), inputs.beats_dropped()), (INPUTS_MAX, 0));
        inputs.push(beat());
        inputs.push(NodeInput::Ended { tag: from });
        inputs.push(beat());
        assert_eq!((inputs.count(), inputs.beats_dropped()), (INPUTS_MAX + 1, 2));
        assert!(matches!(inputs.take().pop_back(), Some(NodeInput::Ended { .. })));
        inputs.push(beat());
        assert_eq!((inputs.count(), inputs.beats_dropped()), (1, 2));
    }
}
