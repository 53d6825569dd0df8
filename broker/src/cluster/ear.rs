//! What comes in over the connections, handed to whom it concerns: the node's view to the control thread, slots' frames to the hub.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::NodeName;
use super::core::{NodeId, NodeInput};
use super::link::{Peer, Purpose, Reason, Refusal};
use super::mesh::{self, Id};
use super::slots::Slots;
use super::translate::{self, Names};
use crate::clock::Clock;
use crate::hub::Hub;
use crate::log::Tag;

/// Who was heard within this time is there.
const FRESH: Duration = Duration::from_secs(1);
/// What waits for the control thread. It looks at once; this many are an attack or a thread that hangs.
const INPUTS_MAX: usize = 4096;

/// What waits for the control thread.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    waiting: Mutex<VecDeque<NodeInput>>,
    pub(super) wake: Notify,
}

impl Inputs {
    pub(super) fn push(&self, input: NodeInput) {
        let mut waiting = self.waiting.lock();
        // A beat is said again; what happened to a connection is not.
        if waiting.len() < INPUTS_MAX || !matches!(input, NodeInput::Beat { .. }) {
            waiting.push_back(input);
        }
        drop(waiting);
        self.wake.notify_one();
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
    /// Another process of this node's name is in the cluster: when that was said last.
    pub(super) duplicate: Arc<Mutex<Option<Duration>>>,
}

impl mesh::Ear for Ear {
    fn up(&self, peer: &Peer, id: Id) {
        match peer.purpose {
            Purpose::Control => {
                tracing::info!(node = %peer.name, version = peer.version, protocol = peer.protocol, "a node is connected");
                self.heard.lock().insert(peer.tag, self.clock.mono());
                self.inputs.push(NodeInput::Linked { tag: peer.tag, id: NodeId::of(peer.name.as_str()) });
            }
            Purpose::Live => self.slots.linked(peer.tag, id, true),
            Purpose::Bulk => {}
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
        if !by_us && refusal.reason == Reason::DuplicateName {
            let before = self.duplicate.lock().replace(self.clock.mono());
            if before.is_none() {
                tracing::error!(why = refusal.message, "this node is not let into the cluster");
            }
        }
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
                if let Some((slot, frame)) = heard {
                    self.hub.hear(slot, peer.tag, id, frame);
                }
            }
            Purpose::Bulk => {}
        }
        Ok(())
    }

    fn has_room(&self, peer: &Peer, id: Id) {
        if peer.purpose == Purpose::Live {
            self.slots.drained(peer.tag, id);
        }
    }

    fn is_heard(&self, tag: Tag) -> bool {
        self.heard.lock().get(&tag).is_some_and(|at| self.clock.mono() < *at + FRESH)
    }
}
