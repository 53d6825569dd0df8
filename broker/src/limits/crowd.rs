//! A bound that cannot be held against newcomers: when it is reached, the one who has been there longest must go.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::sync::oneshot;

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
    by_age: BTreeMap<u64, oneshot::Sender<()>>,
}

/// One's place in a crowd; left when dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    number: u64,
    pushed_out: oneshot::Receiver<()>,
}

impl Crowd {
    /// A crowd of at most `bound`, and at least one.
    #[must_use]
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self { bound: bound.max(1), inside: Mutex::default() })
    }

    /// Takes a place. The oldest is told to go if there was none left.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Place {
        let (push_out, pushed_out) = oneshot::channel();
        let (number, oldest) = {
            let mut inside = self.inside.lock();
            let number = inside.next;
            inside.next += 1;
            let oldest = if inside.by_age.len() >= self.bound { inside.by_age.pop_first() } else { None };
            inside.by_age.insert(number, push_out);
            (number, oldest)
        };
        if let Some((_, push_out)) = oldest {
            // It may have left in this very moment.
            let _ = push_out.send(());
        }
        Place { crowd: self.clone(), number, pushed_out }
    }
}

/// Ready when the place is lost. The one who waits has to go: he is no longer counted.
impl Future for Place {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.pushed_out).poll(context).map(|_| ())
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
        assert_eq!(crowd.inside.lock().by_age.len(), 2);
    }
}
