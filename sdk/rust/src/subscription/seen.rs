//! Which messages were handed on lately.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::received::Received;

/// Most messages remembered.
const SEEN_MAX: usize = 1024;
/// As long as a broker knows an id: within this, the same id is the same message; after it, it may be another one.
const WITHIN: Duration = Duration::from_secs(120);

/// The newest messages of a subscription by channel and id.
///
/// Cursors alone give every message once, as long as the broker keeps its memory. After a restart they cannot: a message
/// whose answer was lost is published again into a broker that does not know it, and comes a second time under the id
/// its publisher gave it. By that id it is recognised here.
#[derive(Default)]
pub(super) struct Seen {
    order: VecDeque<(Key, SystemTime)>,
    known: HashSet<Key>,
}

/// Channel and id.
type Key = Arc<(String, String)>;

impl Seen {
    /// Whether this one is new; from then on it is known.
    pub(super) fn is_new(&mut self, message: &Received) -> bool {
        let key = Key::new((message.channel.clone(), message.id.clone()));
        if self.known.contains(&key) {
            let known = self.order.iter().rev().find(|(known, _)| *known == key);
            // By the broker's clock, so that a long history that is replayed at once is judged by when it was published.
            let apart = |before: SystemTime| message.time.duration_since(before).unwrap_or_default();
            if known.is_some_and(|(_, before)| apart(*before) < WITHIN) {
                return false;
            }
            self.order.retain(|(known, _)| *known != key);
        }
        if self.order.len() == SEEN_MAX
            && let Some((oldest, _)) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.known.insert(key.clone());
        self.order.push_back((key, message.time));
        true
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seen({})", self.order.len())
    }
}

#[cfg(test)]
mod tests {
    use tidings_proto::v1;

    use super::*;

    fn message(channel: &str, id: &str, seconds: u64) -> Received {
        v1::Message { channel: channel.into(), id: id.into(), time_ms: seconds * 1000, ..Default::default() }.into()
    }

    #[test]
    fn the_same_id_within_two_minutes_is_the_same_message_in_its_own_channel() {
        let mut seen = Seen::default();
        assert!(seen.is_new(&message("a", "1", 1_000)));
        assert!(!seen.is_new(&message("a", "1", 1_119)));
        assert!(seen.is_new(&message("b", "1", 1_000)));
        assert!(seen.is_new(&message("a", "1", 1_120)), "by then the broker takes it as another one");
        assert!(!seen.is_new(&message("a", "1", 1_121)));
    }

    #[test]
    fn no_more_than_the_newest_are_remembered() {
        let mut seen = Seen::default();
        for id in 0..3 * SEEN_MAX {
            assert!(seen.is_new(&message("a", &id.to_string(), 0)));
        }
        assert_eq!((seen.order.len(), seen.known.len()), (SEEN_MAX, SEEN_MAX));
        assert!(seen.is_new(&message("a", "0", 0)));
    }
}
