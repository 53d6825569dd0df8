//! One client's stay: which channels it listens to and how far it has come in each slot.
//!
//! The same for every front: a socket of a shard, a held poll, a gRPC stream. Pure bookkeeping over the hub; sockets,
//! wake-ups and encodings are elsewhere.

mod glance;
mod marks;
mod presence;
mod retry;
mod rule;
mod since;
mod subscription;

pub use glance::Glance;
pub use marks::Marks;
pub use presence::Presence;
pub use retry::retry_after;
pub use rule::{OutOfWindow, out_of_window};
pub use since::{Since, Starts};
pub use subscription::{Added, Bounds, Group, Joined, Member, News, Subscription};
