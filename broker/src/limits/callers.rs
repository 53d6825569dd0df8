//! How much each caller does a second, over all its connections: a backend by its key, a user by its tokens, and whoever has no name by
//! its address, or on this machine by the user who runs it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::Bucket;
use super::visitors::network_of;

/// Whose a bucket is. A key and a user of the same name are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller<'a> {
    /// A backend, by the name of its key.
    Key(&'a str),
    /// A user, as its tokens name it.
    User(&'a str),
    /// Nobody who is named: all of an IPv4 address, or of an IPv6 network of 64 bits, are one.
    Address(IpAddr),
    /// Nobody who is named, over the Unix socket: all that this user of the machine runs are one.
    Process(u32),
}

impl Caller<'_> {
    /// What the log calls it.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Key(name) => format!("key {name}"),
            Self::User(name) => format!("user {name}"),
            Self::Address(address) => format!("address {}", network_of(address)),
            Self::Process(uid) => format!("uid {uid}"),
        }
    }
}

/// One rate for every caller.
///
/// So many callers are remembered. One more, and all those are forgotten whose bucket is full, since they would be as they are without
/// it; and at least a quarter of all, those that lack least. Who is forgotten begins with a full bucket. So a crowd of strangers, each
/// of whom does little, frees nobody of what it has done too much.
#[derive(Debug)]
pub struct Callers {
    /// A second; 0 for no bound.
    rate: u64,
    callers_max: usize,
    buckets: Mutex<HashMap<Box<str>, Bucket, RandomState>>,
}

impl Callers {
    /// So much a second for each of at most so many; 0 for no bound of the rate.
    #[must_use]
    pub fn new(rate: u64, callers_max: usize) -> Self {
        Self { rate, callers_max: callers_max.max(1), buckets: Mutex::default() }
    }

    /// What the rate is.
    #[must_use]
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// How many callers are remembered now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.buckets.lock().len()
    }

    /// Whether so much more of this caller would pass now; nothing is taken, and nobody remembered for it.
    ///
    /// # Errors
    /// As [`Callers::take`].
    pub fn look(&self, caller: Caller<'_>, amount: u64, now: Duration) -> Result<(), Duration> {
        if self.rate == 0 {
            return Ok(());
        }
        self.buckets.lock().get(&*caller.name()).map_or(Ok(()), |bucket| bucket.look(amount, now))
    }

    /// So much more of this caller.
    ///
    /// # Errors
    /// How long until it may.
    pub fn take(&self, caller: Caller<'_>, amount: u64, now: Duration) -> Result<(), Duration> {
        if self.rate == 0 {
            return Ok(());
        }
        let name = caller.name();
        let mut buckets = self.buckets.lock();
        if let Some(bucket) = buckets.get_mut(&*name) {
            return bucket.take(amount, now);
        }
        if buckets.len() >= self.callers_max {
            let mut full_at: Vec<Duration> = buckets.values().map(Bucket::full_at).collect();
            let quarter = full_at.len() / 4;
            let given_way = (*full_at.select_nth_unstable(quarter).1).max(now);
            buckets.retain(|_, bucket| bucket.full_at() > given_way);
        }
        buckets.entry(name.into()).or_insert_with(|| Bucket::new(self.rate)).take(amount, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_caller_has_a_bucket_of_its_own() {
        let callers = Callers::new(1, 100);
        let passed = |caller, seconds| (0..10).filter(|_| callers.take(caller, 1, at(seconds)).is_ok()).count();
        assert_eq!((passed(Caller::User("a"), 0), passed(Caller::User("b"), 0), passed(Caller::User("a"), 1)), (2, 2, 1));
        assert_eq!(passed(Caller::Key("a"), 0), 2, "a key is no user");
        assert!((0..1000).all(|_| Callers::new(0, 1).take(Caller::User("a"), 1, at(0)).is_ok()));
        assert_eq!(callers.take(Caller::User("c"), 2, at(5)), Ok(()), "as much as is asked for is taken at once");
        assert_eq!(callers.take(Caller::User("c"), 1, at(5)), Err(at(1)));
        assert_eq!(callers.look(Caller::User("c"), 1, at(5)), Err(at(1)));
        let known = callers.count();
        assert_eq!((callers.look(Caller::User("d"), 2, at(5)), callers.count()), (Ok(()), known), "who is only looked at is not kept");
    }

    #[test]
    fn who_has_no_name_has_the_bucket_of_its_address() {
        let callers = Callers::new(1, 100);
        let mut take = |address: &str| callers.take(Caller::Address(address.parse().unwrap()), 2, at(0)).is_ok();
        assert_eq!(["192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1"].map(&mut take), [true, true, false]);
        assert_eq!(["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(&mut take), [true, false, true], "64 bits are one");
        let processes = [1000, 1001, 1000].map(|uid| callers.take(Caller::Process(uid), 2, at(0)).is_ok());
        assert_eq!(processes, [true, true, false], "nor does it matter over how many sockets one user comes");
    }

    #[test]
    fn who_rests_is_forgotten_when_there_are_too_many() {
        let callers = Callers::new(1, 100);
        for number in 0..100 {
            callers.take(Caller::User(&number.to_string()), 1, at(0)).unwrap();
        }
        assert_eq!(callers.count(), 100);
        callers.take(Caller::User("one more"), 1, at(9)).unwrap();
        assert_eq!(callers.count(), 1);
    }

    #[test]
    fn a_crowd_of_strangers_frees_nobody_who_has_done_too_much() {
        let callers = Callers::new(1, 100);
        let wild = Caller::User("wild");
        callers.take(wild, 2, at(0)).unwrap();
        for number in 0..10_000_u32 {
            let stranger = Caller::Address(std::net::Ipv4Addr::from_bits(number).into());
            // Time goes on a little: else all of them lack as much.
            callers.take(stranger, 1, Duration::from_micros(number.into())).unwrap();
            assert!(callers.count() <= 100);
        }
        assert!(callers.take(wild, 1, Duration::from_millis(10)).is_err(), "it is remembered");
    }
}
