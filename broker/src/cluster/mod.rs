//! Many nodes as one broker. Not whole yet: what is here finds the other nodes; nothing goes between them so far.

pub mod membership;
