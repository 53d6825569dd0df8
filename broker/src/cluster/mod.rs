//! Many nodes as one broker: finds the other nodes, makes connections to them, and carries what slots say to one another. What
//! that is the [`core`] decides, which is pure and always compiled.

#[cfg(feature = "cluster")]
mod admission;
#[cfg(feature = "cluster")]
mod certificate;
#[cfg(feature = "cluster")]
mod condition;
pub mod config;
pub mod core;
#[cfg(feature = "cluster")]
mod ear;
#[cfg(all(feature = "cluster", fuzzing))]
pub mod fuzzing;
#[cfg(feature = "cluster")]
mod happened;
#[cfg(feature = "cluster")]
mod info;
#[cfg(feature = "cluster")]
mod letter;
#[cfg(feature = "cluster")]
pub mod link;
#[cfg(feature = "cluster")]
pub mod membership;
#[cfg(feature = "cluster")]
pub mod mesh;
mod name;
#[cfg(feature = "cluster")]
mod orders;
#[cfg(feature = "cluster")]
mod parts;
#[cfg(feature = "cluster")]
mod questions;
mod release;
#[cfg(feature = "cluster")]
mod running;
#[cfg(feature = "cluster")]
mod slots;
#[cfg(feature = "cluster")]
pub mod translate;
#[cfg(feature = "cluster")]
mod wires;

#[cfg(feature = "cluster")]
pub use condition::Condition;
#[cfg(feature = "cluster")]
pub use happened::{Answered, REFUSALS};
#[cfg(feature = "cluster")]
pub use info::{Counts, Info, NodeInfo};
pub use name::NodeName;
pub use release::{Common, Release};
#[cfg(feature = "cluster")]
pub use running::{Cluster, Prepared, Rooms, StartError};
