//! The rates of callers, and how many connections users have.

use std::sync::Arc;

use crate::limits::{Callers, Users};

/// How much each caller may do in a second, and have at once.
#[derive(Debug)]
pub struct Rates {
    /// Publishes.
    pub publishes: Callers,
    /// Channels subscribed to.
    pub subscribes: Callers,
    /// Bytes of what is published.
    pub bytes: Callers,
    /// Tokens and signed addresses that were refused, of each address.
    pub failures: Callers,
    /// Connections of users.
    pub connections: Arc<Users>,
}

impl Rates {
    /// The rates of callers.
    pub(super) fn each(&self) -> [&Callers; 4] {
        [&self.publishes, &self.subscribes, &self.bytes, &self.failures]
    }
}

impl Default for Rates {
    fn default() -> Self {
        let free = || Callers::new(0, 1);
        Self { publishes: free(), subscribes: free(), bytes: free(), failures: free(), connections: Users::new(0) }
    }
}
