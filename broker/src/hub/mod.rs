//! Who listens on this node.

pub mod namespace;
