//! One timer wheel per shard: heartbeats for any number of sessions without a timer each.

/// Buckets of one tick each; a key comes up once its bucket does.
#[derive(Debug)]
pub(super) struct Wheel {
    buckets: Vec<Vec<u32>>,
    now: usize,
}

impl Wheel {
    /// A wheel that can look `ticks` ahead.
    pub(super) fn new(ticks: usize) -> Self {
        Self { buckets: (0..=ticks).map(|_| Vec::new()).collect(), now: 0 }
    }

    /// Lets `key` come up after `ticks` (at least one, at most what the wheel can look ahead).
    pub(super) fn schedule(&mut self, key: u32, ticks: usize) {
        let ahead = ticks.clamp(1, self.buckets.len() - 1);
        let at = (self.now + ahead) % self.buckets.len();
        self.buckets[at].push(key);
    }

    /// One tick on: the keys that come up.
    pub(super) fn tick(&mut self) -> Vec<u32> {
        self.now = (self.now + 1) % self.buckets.len();
        std::mem::take(&mut self.buckets[self.now])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_up_exactly_after_its_ticks() {
        let mut wheel = Wheel::new(25);
        wheel.schedule(7, 3);
        wheel.schedule(8, 25);
        wheel.schedule(9, 1000);
        let came: Vec<Vec<u32>> = (0..26).map(|_| wheel.tick()).collect();
        assert_eq!(came[2], [7]);
        assert_eq!(came[24], [8, 9], "further ahead than the wheel looks is as far as it looks");
        assert!(came.iter().enumerate().all(|(tick, keys)| tick == 2 || tick == 24 || keys.is_empty()));
    }
}
