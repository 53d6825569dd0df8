//! What happens to clients, told to the log in lines with stable names and kept for a while for the admin listener, so that
//! "why was I dropped" has an answer. It decides nothing and knows no socket.

mod id;
mod kept;
mod record;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

pub use id::SessionId;
pub use record::{Names, Record, What};

use crate::metrics::Front;
use kept::Kept;

/// The journal of one node. A cheap handle.
#[derive(Clone)]
pub struct Journal(Arc<Mutex<Kept>>);

impl Journal {
    /// Keeps the newest `records_max`.
    #[must_use]
    pub fn new(records_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Kept::new(records_max))))
    }

    /// Something happened to a session.
    pub fn tell(&self, session: SessionId, front: Front, what: What, unix_ms: u64) {
        let record = Record { number: 0, unix_ms, times: 1, session, front, what };
        record.log();
        if record.is_kept() {
            let evicted = self.0.lock().keep(record);
            // Not under the lock: names may be freed with it.
            drop(evicted);
        }
    }

    /// Everything that is known of one session, oldest first.
    #[must_use]
    pub fn story(&self, session: SessionId) -> Vec<Record> {
        self.0.lock().newest(usize::MAX, None, |record| record.session == session).into_iter().rev().collect()
    }

    /// The newest records that pass, newest first; with `before` only those of a lower number.
    #[must_use]
    pub fn newest(&self, limit: usize, before: Option<u64>, wanted: impl FnMut(&Record) -> bool) -> Vec<Record> {
        self.0.lock().newest(limit, before, wanted)
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}
