//! TLS of the listeners: handshakes, and the certificates in use.

use std::time::SystemTime;

use super::cell::{Cell, Writers};
use super::{Handshake, Listener, Metrics};

/// Of one listener.
#[derive(Debug, Default)]
pub(super) struct TlsCells {
    pub(super) handshakes: [Cell; Handshake::ALL.len()],
    pub(super) loaded: Cell,
    pub(super) refused: Cell,
    /// 1 while what lies on disk is not what is in use.
    pub(super) is_stale: Cell,
    /// Seconds since 1970; 0 without TLS.
    pub(super) expires: Cell,
}

impl Metrics {
    /// A TLS handshake is over.
    pub fn handshake_ended(&self, listener: Listener, outcome: Handshake) {
        self.tls[listener.index()].handshakes[outcome.index()].add(Writers::Many, 1);
    }

    /// A certificate is in use from now on.
    pub fn certificate_loaded(&self, listener: Listener, expires: SystemTime) {
        let cells = &self.tls[listener.index()];
        cells.loaded.add(Writers::Many, 1);
        cells.is_stale.set(0);
        cells.expires.set(expires.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()));
    }

    /// Files that changed could not be used; the certificate before them still is.
    pub fn certificate_refused(&self, listener: Listener) {
        let cells = &self.tls[listener.index()];
        cells.refused.add(Writers::Many, 1);
        cells.is_stale.set(1);
    }
}
