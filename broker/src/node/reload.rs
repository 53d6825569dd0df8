//! Another configuration while the node runs: all that can change changes, or nothing does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::embedded::{door_limits, hub_bounds, show_bounds, table};
use super::{Embedded, StartError};
use crate::config::{Change, Config};
use crate::metrics::Bound;

impl Embedded {
    /// Goes on with another configuration, which must have been checked. What it cannot take without a restart stays as it
    /// is, and is named in the answer. Open connections stay; what they do next is done by the new rules.
    ///
    /// # Errors
    /// When certificates, keys or tokens cannot be used as the configuration says; nothing is changed then.
    pub fn reload(&self, wanted: &Config) -> Result<Change, StartError> {
        let change = self.config.load().changed_to(wanted);
        let config = &change.config;
        // What may fail comes first.
        let certificates = self.tls.read(config)?;
        self.gate.exchange(&config.auth())?;
        for (credentials, new) in certificates {
            credentials.exchange(new);
        }
        self.hub.exchange(&config.namespaces, hub_bounds(config));
        self.hub.set_presence(&config.presence);
        self.broker.limit(door_limits(config));
        let before = self.routes.now();
        let kept = (&before.visitors, &before.api.incoming);
        self.routes.exchange(table(config, (&self.broker, &self.gate, &self.control), (&self.metrics, &self.journal), kept));
        let connections_max = config.connections_max(self.open_files);
        self.acceptor.connections_max.store(connections_max as usize, Ordering::Relaxed);
        show_bounds(config, self.open_files, &self.metrics);
        self.metrics.bound(Bound::Connections, connections_max);
        self.metrics.bound(Bound::Guests, connections_max);
        self.config.store(Arc::new(change.config.clone()));
        self.metrics.reloaded(change.waiting.len());
        Ok(change)
    }

    /// Counts a configuration that could not even be read, or that [`Embedded::reload`] refused.
    pub fn refuse_reload(&self) {
        self.metrics.reload_refused();
    }
}
