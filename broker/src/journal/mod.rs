//! What happens to clients, told to the log in lines with stable names and kept for a while for the admin listener, so that
//! "why was I dropped" has an answer. It decides nothing and knows no socket.

mod fair;
mod id;
mod kept;
mod polls;
mod progress;
mod record;
mod refusals;
mod sitting;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use id::SessionId;
pub use progress::{BehindCounts, HasNews, Lacks, Progress, Signs};
pub use record::{Names, PublishRefused, Record, What};
pub use sitting::{Seated, Sitting};

use crate::clock::Moment;
use crate::error::{Error, ErrorCode};
use crate::metrics::{Front, ProtocolError, ShardMetrics};
use kept::Kept;
use sitting::Sittings;

/// How many records are looked at before others have their turn.
const LOOKED_AT_ONCE: usize = 256;

/// The journal of one node. A cheap handle.
#[derive(Clone)]
pub struct Journal {
    kept: Arc<Mutex<Kept>>,
    sittings: Sittings,
}

impl Journal {
    /// Keeps the newest `records_max`.
    #[must_use]
    pub fn new(records_max: usize) -> Self {
        Self { kept: Arc::new(Mutex::new(Kept::new(records_max))), sittings: Sittings::default() }
    }

    /// Something happened to a session.
    pub fn tell(&self, session: SessionId, front: Front, what: What, unix_ms: u64) {
        let record = Record { number: 0, unix_ms, times: 1, session: Some(session), front: Some(front), what };
        record.log();
        if record.is_kept() {
            self.keep(record);
        }
    }

    /// Somebody was turned away at a limit, the key that sets it, before it was anybody. Whoever says so has counted it and told the log.
    pub fn turned_away(&self, limit: &str, address: SocketAddr, unix_ms: u64) {
        self.refused_unnamed(&Error::new(ErrorCode::Overloaded, format!("its connection was turned away ({limit})")), address, unix_ms);
    }

    /// Somebody broke HTTP before it was anybody; `why` is one of few sentences. Whoever says so has counted it.
    pub fn broke_protocol(&self, kind: ProtocolError, why: &str, address: SocketAddr, unix_ms: u64) {
        let kind = kind.as_str();
        self.refused_unnamed(&Error::invalid(format!("it does not speak HTTP as it must, {kind}: {why}")), address, unix_ms);
    }

    /// A publish was refused that belongs to no session. Whoever says so has counted it.
    pub fn publish_refused(&self, refused: PublishRefused, unix_ms: u64) {
        self.keep(Record { number: 0, unix_ms, times: 1, session: None, front: None, what: What::PublishRefused(Box::new(refused)) });
    }

    fn refused_unnamed(&self, error: &Error, address: SocketAddr, unix_ms: u64) {
        self.keep(Record { number: 0, unix_ms, times: 1, session: None, front: None, what: What::refused(error, Some(address)) });
    }

    fn keep(&self, record: Record) {
        let gone = self.kept.lock().keep(record);
        // Not under the lock: names may be freed with it.
        drop(gone);
    }

    /// How many records are kept: of the newest, of the refusals and of the polls whichever are most, since each may be as many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.kept.lock().count()
    }

    /// Somebody listens without a socket that a shard owns, for as long as what this gives is kept.
    #[must_use]
    pub fn sit(&self, sitting: Sitting, signs: Signs) -> Seated {
        self.sittings.sit(sitting, signs)
    }

    /// Looks who keeps up, tells of those who do not any more and of those who do again, and counts them; to be called each second. Looks
    /// at all of them.
    pub fn look(&self, now: Moment, metrics: &ShardMetrics) {
        for (session, front, what) in self.sittings.look(now.mono) {
            if matches!(what, What::FellBehind) {
                metrics.fell_behind(front);
            } else {
                metrics.caught_up(front);
            }
            self.tell(session, front, what, now.unix_ms);
        }
    }

    /// Who was behind at the last look. Looks at all of them.
    #[must_use]
    pub fn behind(&self) -> BehindCounts {
        self.sittings.behind()
    }

    /// Those who do now and pass, at most `limit`, and for how long they had been behind at the last look. Looks at all of them.
    #[must_use]
    pub fn sitting(&self, limit: usize, wanted: impl Fn(&Sitting) -> bool) -> Vec<(Sitting, Option<Duration>)> {
        self.sittings.newest(limit, wanted)
    }

    /// Everything that is kept of one session, oldest first.
    #[must_use]
    pub fn story(&self, session: SessionId) -> Vec<Record> {
        self.kept.lock().story(session)
    }

    /// The newest records, newest first, with a number below `before`; a flood of refusals is one of them, and shows its newest.
    #[must_use]
    pub fn newest(&self, limit: usize, before: Option<u64>, wanted: impl FnMut(&Record) -> bool) -> Vec<Record> {
        self.look_through(limit, before, wanted, |kept, before| kept.listed(before).take(LOOKED_AT_ONCE).cloned().collect())
    }

    /// The same among all, each refusal by itself, and with polls that went well: for who looks for something.
    #[must_use]
    pub fn search(&self, limit: usize, before: Option<u64>, wanted: impl FnMut(&Record) -> bool) -> Vec<Record> {
        self.look_through(limit, before, wanted, |kept, before| kept.each(before).take(LOOKED_AT_ONCE).cloned().collect())
    }

    /// A piece after the other, so that nobody to whom something happens meanwhile waits for the one who looks.
    fn look_through(
        &self,
        limit: usize,
        before: Option<u64>,
        mut wanted: impl FnMut(&Record) -> bool,
        piece: impl Fn(&Kept, u64) -> Vec<Record>,
    ) -> Vec<Record> {
        let (mut found, mut before) = (Vec::new(), before.unwrap_or(u64::MAX));
        while found.len() < limit {
            let records = piece(&self.kept.lock(), before);
            let Some(last) = records.last() else { break };
            before = last.number;
            let room = limit - found.len();
            found.extend(records.into_iter().filter(&mut wanted).take(room));
        }
        found
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}
