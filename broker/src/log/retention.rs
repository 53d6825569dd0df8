//! How long a channel keeps its messages.

use std::time::Duration;

/// A namespace of the configuration, by its place there. Channels of one namespace share a [`Retention`], and the floor
/// of those that were closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NamespaceId(pub u16);

/// The bounds of one channel's history. What reaches any of them leaves, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Most messages; 0 keeps none, so that only those who listen at the moment get them.
    pub size: u32,
    /// Longest stay of a message since it was accepted. Also sets how long a quiet channel is remembered.
    pub ttl: Duration,
    /// Most bytes, as [`Entry::cost`](super::Entry::cost) counts them. A message larger than that is not kept at all.
    pub bytes: u64,
}
