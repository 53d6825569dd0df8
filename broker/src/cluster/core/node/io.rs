//! What goes into a node's view of the others, and what comes out.

use std::sync::Arc;
use std::time::Duration;

use super::super::member::{Member, NodeId, State};
use super::super::view::View;
use crate::log::Tag;

/// A heartbeat, sent on the control connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The sender's count of beats.
    pub seq: u64,
    /// The sender's state.
    pub state: State,
    /// Whom the sender heard directly within [`Settings::fresh`](super::super::Settings::fresh).
    pub reach: Vec<Tag>,
    /// The sender's view.
    pub view: u64,
    /// The receiver's latest beat that the sender had, for the round trip; zero for none.
    pub echo: u64,
    /// How long the sender held that beat before this one went out.
    pub held: Duration,
}

/// What a node is told.
#[derive(Clone, Debug)]
pub enum NodeInput {
    /// Time passed. Every 50 ms or more often; [`Settings::pause`](super::super::Settings::pause) without a tick counts as
    /// having been stopped.
    Tick,
    /// A control connection to this process is there.
    Linked {
        /// The process.
        tag: Tag,
        /// Its name's hash.
        id: NodeId,
    },
    /// The control connection to this process was lost.
    Unlinked {
        /// The process.
        tag: Tag,
    },
    /// This process has ended: after its connections were closed its address refused a new one, or a new process of the
    /// same name greeted us.
    Ended {
        /// The process.
        tag: Tag,
    },
    /// A heartbeat came.
    Beat {
        /// From this process.
        from: Tag,
        /// What it says.
        beat: Beat,
    },
    /// The gossip knows this process: one that was never linked may still be heard by others.
    Known(Member),
    /// This node is to hand its slots over.
    Drain,
    /// Everything was handed over ([`Replica::holds`](super::super::Replica::holds) is false for every slot).
    Leave,
}

/// What is to be done for a node.
#[derive(Clone, Debug)]
pub enum NodeOutput {
    /// Send this heartbeat to this process, if it is linked.
    Beat {
        /// To this process.
        to: Tag,
        /// What to say.
        beat: Beat,
    },
    /// The view changed: hand it to every replica ([`Input::View`](super::super::Input::View)), and to those made later.
    View(Arc<View>),
    /// This node's own state changed: tell the gossip.
    State(State),
}
