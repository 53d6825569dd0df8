//! How the cores of a machine are shared out: a node has as many threads as cores.

/// Cores for each thread that accepts and carries the admin listener and upkeep, and in a cluster waits for other nodes: little beside
/// what shards do.
const CORES_PER_WORKER: usize = 8;
/// The most shards: who listens to a channel is kept as 64 bits.
const SHARDS_MAX: usize = 64;

/// Threads for everything that is not a shard's, in a daemon on this machine.
#[must_use]
pub fn workers() -> usize {
    workers_of(cores())
}

/// Shards: so many as were asked for, or the cores that the workers leave. More only take the processor from
/// one another.
pub(super) fn shards(asked: u16) -> usize {
    let count = if asked == 0 { shards_of(cores()) } else { usize::from(asked) };
    count.min(SHARDS_MAX)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn workers_of(cores: usize) -> usize {
    cores.div_ceil(CORES_PER_WORKER)
}

fn shards_of(cores: usize) -> usize {
    cores.saturating_sub(workers_of(cores)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_as_many_threads_as_cores_and_never_less_than_one_of_each_kind() {
        let shared_out = |cores: usize| (shards_of(cores), workers_of(cores));
        assert_eq!([1, 2, 3, 4, 8, 16].map(shared_out), [(1, 1), (1, 1), (2, 1), (3, 1), (7, 1), (14, 2)]);
        assert_eq!((shards(3), shards(65_535)), (3, SHARDS_MAX));
    }
}
