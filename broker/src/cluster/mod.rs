//! Many nodes as one broker. Not whole yet: what is here finds the other nodes and makes connections to them; no message goes over them so far.

pub mod link;
pub mod membership;
