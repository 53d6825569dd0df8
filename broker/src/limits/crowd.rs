//! A bound that cannot be held against newcomers: when it is reached, the one who has been there longest must go.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// At most so many at once, of something that is normally over in a moment: connections whose first request is still on
/// its way, answers that are still to be read. Whoever opens many and sends nothing pushes out his own, the oldest, and never
/// those that come and ask.
#[derive(Debug)]
pub struct Crowd {
    bound: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    /// The sum of their weights.
    weight: usize,
    /// Who is there, oldest first, how heavy, and how to wake them. Who is not here any more has been pushed out.
    by_age: BTreeMap<u64, (usize, Option<Waker>)>,
}

/// One's place in a crowd; left when dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    number: u64,
}

impl Crowd {
    /// A crowd of at most `bound` in weight, and at least one.
    #[must_use]
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self { bound: bound.max(1), inside: Mutex::default() })
    }

    /// How heavy they may be together.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.bound
    }

    /// How many are there.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inside.lock().by_age.len()
    }

    /// How heavy they are together.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.inside.lock().weight
    }

    /// Takes a place. The oldest is told to go if there was none left.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Place {
        self.enter_with(1)
    }

    /// Takes a place of this weight. The oldest are told to go until there is room for it; alone, anyone has room.
    #[must_use]
    pub fn enter_with(self: &Arc<Self>, weight: usize) -> Place {
        let mut gone = Vec::new();
        let number = {
            let mut inside = self.inside.lock();
            let number = inside.next;
            inside.next += 1;
            while inside.weight + weight > self.bound
                && let Some((_, (oldest, waker))) = inside.by_age.pop_first()
            {
                inside.weight -= oldest;
                gone.extend(waker);
            }
            inside.weight += weight;
            inside.by_age.insert(number, (weight, None));
            number
        };
        // Woken outside the lock, which waking may need.
        gone.into_iter().for_each(Waker::wake);
        Place { crowd: self.clone(), number }
    }
}

/// Ready when the place is lost. The one who waits has to go: he is no longer counted.
impl Future for Place {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut inside = self.crowd.inside.lock();
        let Some((_, known)) = inside.by_age.get_mut(&self.number) else { return Poll::Ready(()) };
        match known {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.crowd.inside.lock();
        if let Some((weight, _)) = inside.by_age.remove(&self.number) {
            inside.weight -= weight;
        }
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
    fn the_heavy_push_out_as_many_as_they_need_and_are_let_in_alone() {
        let crowd = Crowd::new(10);
        let mut places: Vec<Place> = [4, 4, 2].map(|weight| crowd.enter_with(weight)).into();
        places.push(crowd.enter_with(5));
        let lost: Vec<bool> = places.iter_mut().map(|place| place.now_or_never().is_some()).collect();
        assert_eq!(lost, [true, true, false, false]);
        let giant = crowd.enter_with(11);
        assert_eq!((crowd.count(), crowd.weight()), (1, 11));
        drop(giant);
        drop(places);
        assert_eq!((crowd.count(), crowd.weight()), (0, 0));
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
