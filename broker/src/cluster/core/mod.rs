//! What a cluster decides, and nothing else: pure state machines that a simulator can torture.
//!
//! There are two. [`Node`] knows the other nodes: who is up, who owns which slot (the [`View`]), whether this node may act
//! at all. [`Replica`] is one slot's part in the cluster, one for each slot that this node has to do with: it orders what is
//! published when the slot's home is here, copies the home's log when this node is its follower, and keeps an exact copy of
//! single channels when somebody listens here. Both take what happened and `now`, and give back what is to be done.
//! They know no clock, lock, task, chance or socket. Safety never depends on the view being right, only liveness does.
//!
//! # What the owner of both must do
//! - One [`Node`] per process, behind one lock or in one task. One [`Replica`] per slot beside the slot's `SlotLog`, under
//!   the slot's lock; made when it is first needed, kept while [`Replica::is_needed`].
//! - Carry every [`Output::Send`] to its node **in order**: per pair of nodes and slot, frames arrive in the order they were
//!   sent, or the link is told to be lost ([`Input::Link`]) on *both* ends before anything sent later arrives. A node that is
//!   only reachable through another one may be served by relaying; a change of route counts as a lost link.
//! - Call [`Replica::handle`] with [`Input::View`] for every slot that has a replica whenever the view changed, and with
//!   [`Input::Tick`] when [`Replica::due`] has come. Between two calls for one slot nothing else changes its log, except that
//!   expired messages leave and idle channels are closed ([`Replica::may_close`]).
//! - Times in frames are ages ([`Frame`]), so that clocks of nodes never meet.

pub mod frame;
mod member;
mod node;
mod place;
mod settings;
mod slot;
mod view;

pub use frame::Frame;
pub use member::{Departure, Member, NodeId, State};
pub use node::{Beat, Node, NodeInput, NodeOutput};
pub use settings::{Bug, Settings};
pub use slot::{Answer, Channels, Context, Event, Figures, Input, Opening, Output, Part, Replica};
pub use view::{Place, View};
