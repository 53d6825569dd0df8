//! Who may publish and query: static API keys, known only by their hashes.

pub mod config;
