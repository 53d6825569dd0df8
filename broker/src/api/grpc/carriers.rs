//! On which thread a connection runs.
//!
//! On a shard's, where that can be: what a publisher says is then read, appended, delivered and acknowledged by one thread. Handed over to
//! another one, a message that comes alone waits until that one has woken up, and of several that come at once the
//! first is on its way before the others are there to ride with it.

use std::sync::Arc;

use tokio::runtime::Handle as Runtime;

/// Whether a thread still turns.
pub type IsAlive = Box<dyn Fn() -> bool + Send + Sync>;

/// The threads that carry gRPC connections, those of all listeners together.
#[derive(Clone)]
pub struct Carriers(Arc<[Carrier]>);

struct Carrier {
    runtime: Runtime,
    is_alive: IsAlive,
    /// One more of it for each connection.
    carried: Arc<()>,
}

/// A connection's place on its thread.
pub(super) struct Carried(#[expect(dead_code, reason = "it counts by being here")] Arc<()>);

impl Carriers {
    /// Each is a runtime of one thread, or of several that need no one to choose between them.
    #[must_use]
    pub fn new(threads: impl IntoIterator<Item = (Runtime, IsAlive)>) -> Self {
        Self(threads.into_iter().map(|(runtime, is_alive)| Carrier { runtime, is_alive, carried: Arc::default() }).collect())
    }

    /// The living one with the fewest connections.
    pub(super) fn next(&self) -> Option<(&Runtime, Carried)> {
        let living = self.0.iter().filter(|carrier| (carrier.is_alive)());
        let least = living.min_by_key(|carrier| Arc::strong_count(&carrier.carried))?;
        Some((&least.runtime, Carried(least.carried.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_goes_where_the_fewest_are_and_never_to_a_dead_thread() {
        let carriers = Carriers::new([false, true, true].map(|lives| (Runtime::current(), Box::new(move || lives) as IsAlive)));
        let carried = || carriers.0.iter().map(|carrier| Arc::strong_count(&carrier.carried) - 1).collect::<Vec<_>>();
        let next = || carriers.next().unwrap().1;
        let [first, second, third, fourth] = [next(), next(), next(), next()];
        assert_eq!(carried(), [0, 2, 2]);
        // They took turns.
        drop((first, third));
        assert_eq!(carried(), [0, 0, 2]);
        let again = [next(), next()];
        assert_eq!(carried(), [0, 2, 2]);
        drop((second, fourth, again));
        assert_eq!(carried(), [0, 0, 0]);
    }
}
