//! What is refused for too much, and at the admin API: said in the log beside being counted, so often in a second of each kind, with how
//! many were not said.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Denied, Metrics, Rate, RefusedConnection};
use crate::limits::Caller;

/// Most lines of one kind in a second; more are only counted.
const SAID_PER_SECOND: u64 = 20;
/// How often the log says of one listener that it cannot accept.
const COMPLAIN_AGAIN: Duration = Duration::from_secs(60);

/// Keeps a flood of refusals from flooding the log.
#[derive(Debug, Default)]
pub struct Sampled {
    second: AtomicU64,
    in_second: AtomicU64,
    unsaid: AtomicU64,
}

impl Sampled {
    /// Whether one more may be said in this second, and how many were not since the last that was.
    pub fn may_say(&self, second: u64) -> Option<u64> {
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.in_second.store(0, Ordering::Relaxed);
        }
        if self.in_second.fetch_add(1, Ordering::Relaxed) >= SAID_PER_SECOND {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.unsaid.swap(0, Ordering::Relaxed))
    }
}

/// What one listener has said about connections that it could not accept.
#[derive(Debug, Default)]
pub struct Complaints {
    /// When it may be said again.
    again_at: Duration,
}

/// One for each kind: a flood of one hides none of the others.
#[derive(Debug, Default)]
pub(super) struct Said {
    connections: [Sampled; RefusedConnection::ALL.len()],
    rates: [Sampled; Rate::ALL.len()],
    admin: Sampled,
}

impl Metrics {
    /// A connection, or a stream or call of a client behind a proxy, was turned away at this limit: the key that sets it, or the
    /// bound's name. Counted, and said in the log. `whose` is none where nobody knows.
    pub fn turned_away(&self, reason: RefusedConnection, limit: &'static str, whose: Option<Caller<'_>>) {
        self.connection_refused(reason);
        if let Some(unsaid) = self.said.connections[reason.index()].may_say(self.clock.mono().as_secs()) {
            let (reason, whose) = (reason.as_str(), whose.map(Caller::name));
            tracing::info!(event = "connection_refused", reason, limit, whose, unsaid, "a connection was turned away at a limit");
        }
    }

    /// A listener could not accept: open files have run out, in nearly every case. Counted, and said in the log once a minute for each
    /// listener, since it fails again at once: a log that is written at that rate would be the next thing to run out. `false` when it was
    /// only the one connection that broke before it was taken, which is no trouble and is not counted.
    pub fn accept_failed(&self, listener: &'static str, error: &io::Error, complaints: &mut Complaints) -> bool {
        use io::ErrorKind as K;
        if matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted) {
            return false;
        }
        self.connection_refused(RefusedConnection::OpenFiles);
        let now = self.clock.mono();
        if complaints.again_at <= now {
            complaints.again_at = now + COMPLAIN_AGAIN;
            tracing::warn!(event = "accept_failed", listener, %error, "no connection can be accepted now");
        }
        true
    }

    /// Somebody did more than the rate of callers allows, and was refused. Counted, and said in the log.
    pub fn caller_rate_exceeded(&self, rate: Rate, whose: Caller<'_>) {
        self.rate_exceeded(rate);
        if let Some(unsaid) = self.said.rates[rate.index()].may_say(self.clock.mono().as_secs()) {
            let (limit, whose) = (rate.key(), whose.name());
            tracing::info!(event = "rate_exceeded", rate = rate.as_str(), limit, whose, unsaid, "more than a rate allows was refused");
        }
    }

    /// A call of the admin API was refused, with this code. Counted, and said in the log.
    pub fn admin_refused(&self, cause: Denied, path: &str, code: &'static str, whose: Option<Caller<'_>>) {
        self.denied(cause);
        if let Some(unsaid) = self.said.admin.may_say(self.clock.mono().as_secs()) {
            let whose = whose.map(Caller::name);
            tracing::warn!(event = "admin_refused", path, code, whose, unsaid, "a call of the admin API was refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_said_in_a_second_and_the_next_says_how_many_were_not() {
        let sampled = Sampled::default();
        let said = |second| (0..100).filter_map(|_| sampled.may_say(second)).collect::<Vec<_>>();
        assert_eq!(said(7), [0; 20]);
        let next = said(8);
        assert_eq!((next.len(), next[0], next[1]), (20, 80, 0));
    }
}
