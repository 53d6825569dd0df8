//! Many nodes as one broker. Not whole yet: what is here finds the other nodes, makes connections to them, and says what they tell
//! each other ([`core`], pure and always compiled); no message goes over them so far.

pub mod config;
pub mod core;
#[cfg(feature = "cluster")]
pub mod link;
#[cfg(feature = "cluster")]
pub mod membership;
#[cfg(feature = "cluster")]
pub mod mesh;
mod name;

pub use name::NodeName;
