//! A bound that cannot be held against newcomers: when it is reached, the one who has been there longest must go.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// At most so many at once, of something that is normally over in a moment: connections whose first request is still on
/// its way. Whoever opens many and sends nothing pushes out his own, the oldest, and never those that come and ask.
#[derive(Debug)]
pub struct Crowd {
    bound: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    /// Who is there, oldest first, and how to wake them. Who is not here any more has been pushed out.
    by_age: BTreeMap<u64, Option<Waker>>,
}

/// One's place in a crowd; left when dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    number: u64,
}

impl Crowd {
    /// A crowd of at most `bound`, and at least one.
    #[must_use]
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self { bound: bound.max(1), inside: Mutex::default() })
    }

    /// How many are there.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inside.lock().by_age.len()
    }

    /// Takes a place. The oldest is told to go if there was none left.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Place {
        let (number, oldest) = {
            let mut inside = self.inside.lock();
            let number = inside.next;
            inside.next += 1;
            let oldest = if inside.by_age.len() >= self.bound { inside.by_age.pop_first() } else { None };
            inside.by_age.insert(number, None);
            (number, oldest)
        };
        // Woken outside the lock, which waking may need.
        if let Some((_, Some(waker))) = oldest {
            waker.wake();
        }
        Place { crowd: self.clone(), number }
    }
}

/// Ready when the place is lost. The one who waits has to go: he is no longer counted.
impl Future for Place {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut inside = self.crowd.inside.lock();
        let Some(known) = inside.by_age.get_mut(&self.number) else { return Poll::Ready(()) };
        match known {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.inside.lock().by_age.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_oldest_goes_when_there_is_no_place_left() {
        let crowd = Crowd::new(2);
        let mut places: Vec<Place> = (0..4).map(|_| crowd.enter()).collect();
        let lost: Vec<bool> = places.iter_mut().map(|place| place.now_or_never().is_some()).collect();
        assert_eq!(lost, [true, true, false, false]);
    }

    #[test]
    fn who_left_makes_room() {
        let crowd = Crowd::new(2);
        let mut first = crowd.enter();
        drop(crowd.enter());
        let _third = crowd.enter();
        assert!((&mut first).now_or_never().is_none());
        let _fourth = crowd.enter();
        assert!((&mut first).now_or_never().is_some());
        drop(first);
        assert_eq!(crowd.count(), 2);
    }
}
