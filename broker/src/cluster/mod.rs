//! Many nodes as one broker. Not whole yet: what is here finds the other nodes, makes connections to them, and says what they tell
//! each other ([`core`], pure and always compiled); no message goes over them so far.

pub mod config;
pub mod core;
#[cfg(feature = "cluster")]
mod ear;
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
mod running;
#[cfg(feature = "cluster")]
mod slots;
#[cfg(feature = "cluster")]
pub mod translate;
#[cfg(feature = "cluster")]
mod wires;

#[cfg(feature = "cluster")]
pub use info::{Counts, Info, NodeInfo};
pub use name::NodeName;
#[cfg(feature = "cluster")]
pub use running::{Cluster, Prepared, StartError};
