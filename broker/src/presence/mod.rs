//! Who is on a channel. Pure: it takes values and `now`, and says what is to be done.
//!
//! Three parts, each with one writer:
//! - an [`edge::Edge`] is what the connections of one node amount to on one channel. Only that node writes it; it reports what
//!   changed to the home of the channel's slot.
//! - a [`room::Room`] at the home puts all edges together. A member whose last connection went away stays for a grace, so that
//!   coming back, on whatever node, is neither a leave nor a join.
//! - a [`board::Board`] on a node where somebody wants to be told of joins and leaves is what was told there. Who has seen one
//!   state of it gets what changed since, or all of it: so no listener owns a queue.
//!
//! A [`Node`] holds all three for one node and says what it wants said to others. Nothing here is kept by the log, and nothing
//! survives a restart: every state is told again when a connection, a home or a report was lost.

pub mod board;
pub mod config;
pub mod edge;
pub mod frame;
mod member;
pub mod node;
pub mod room;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use frame::Frame;
pub use member::{Counts, INFO_BYTES_MAX, Info, Member, MemberId, NAME_BYTES_MAX, Notice, Page, Query, User};
pub use node::{Context, Node, Output, Places};

/// Members in one message between nodes, and in one notice.
pub const BATCH: usize = 1000;
/// How often changes are reported, put together and told; together with this many others in between.
pub const TICK: Duration = Duration::from_millis(100);
/// An edge says this often that it is there, even if nothing changed; a lost report is noticed by it.
const BEAT: Duration = Duration::from_secs(10);
/// Who has said nothing for this long is not there any more.
const LEASE: Duration = Duration::from_secs(35);
/// After a change of the cluster a home knows everybody: edges report within this time.
const SETTLE: Duration = Duration::from_secs(1);
/// Counts of large channels are told at most this often.
const COUNTS_EVERY: Duration = Duration::from_secs(1);
/// A question that was not answered is asked again, as the home may be another one now.
const ASK_AGAIN: Duration = Duration::from_millis(300);
/// How long a board is kept up to date after its last listener left: a client that polls comes back.
const LINGER: Duration = Duration::from_secs(30);

/// Bounds and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a member stays after its last connection went away.
    pub grace: Duration,
    /// Joins and leaves are told of channels with at most so many members; of larger ones only counts are.
    pub told: usize,
    /// Members of one channel.
    pub members: usize,
    /// Members that one node reports, over all channels.
    pub members_of_node: usize,
    /// Members that one node holds at all: of its edges, those who left and may be back included, and of its rooms.
    pub members_held: usize,
    /// A mistake to make, for tests of the simulator.
    #[cfg(debug_assertions)]
    #[doc(hidden)]
    pub bug: Option<Bug>,
}

/// Mistakes that the simulator must find. They exist in debug builds only.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Members of a node that is gone stay.
    Ghosts,
    /// What was lost with a connection is not told again.
    NoRetelling,
    /// A home is not told that reports go to another one now.
    NoFarewell,
}

impl Settings {
    /// Whether this mistake is to be made: never in a release build.
    fn has(&self, bug: Bug) -> bool {
        #[cfg(debug_assertions)]
        return self.bug == Some(bug);
        #[cfg(not(debug_assertions))]
        {
            let _ = bug;
            false
        }
    }
}
