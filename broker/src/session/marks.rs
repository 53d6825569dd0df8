//! Where a subscription stands, for who looks at it from elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Subscription;
use crate::hub::{Channel, Hub};

/// Of a channel that is not listened to any more: nothing lies after it.
const LEFT: u64 = u64::MAX;

/// How far a subscription has come, noted by whoever reads for it, once a page. Nobody is told while a connection takes nothing, so who
/// looks counts what its subscription lacks by this.
#[derive(Debug)]
pub struct Marks(Box<[(Arc<Channel>, AtomicU64)]>);

impl Marks {
    /// Of a subscription whose channels become fewer at most.
    #[must_use]
    pub fn of(subscription: &Subscription) -> Arc<Self> {
        Arc::new(Self(subscription.places().map(|(channel, after)| (channel.clone(), AtomicU64::new(after))).collect()))
    }

    /// The subscription stands here now.
    pub fn set(&self, subscription: &Subscription) {
        let mut places = subscription.places().peekable();
        for (channel, mark) in &self.0 {
            let after = places.next_if(|(known, _)| known.name == channel.name).map_or(LEFT, |(_, after)| after);
            mark.store(after, Ordering::Relaxed);
        }
    }

    /// Messages kept for it that it did not read yet. Takes the lock of each channel's slot.
    #[must_use]
    pub fn lacks(&self, hub: &Hub) -> u64 {
        self.0.iter().map(|(channel, mark)| hub.kept_after(channel, mark.load(Ordering::Relaxed))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::tests::{draft, hub, name};
    use crate::log::PageLimit;
    use crate::session::{Bounds, Since};

    #[test]
    fn who_looks_sees_how_many_messages_are_not_read_of_the_channels_that_are_left() {
        let hub = hub();
        // The first two share a slot, whose log holds messages of a third.
        let names = ["{x}a", "{x}b", "elsewhere"].map(name);
        for (channel, count) in [("{x}a", 4), ("{x}other", 9), ("{x}b", 2), ("elsewhere", 1)] {
            (0..count).for_each(|_| drop(hub.append(draft(channel, "x")).unwrap()));
        }
        let mut subscription = Subscription::open(&hub, &names, Bounds { channels: 9, slots: 9 }).unwrap();
        subscription.join(&hub, &Since::Earliest.into()).unwrap();
        let marks = Marks::of(&subscription);
        assert_eq!((marks.lacks(&hub), subscription.lacks(&hub)), (7, 7), "messages, and not entries of a slot's log");
        let (news, _) = subscription.read(&hub, PageLimit { entries: 3, bytes: usize::MAX }).unwrap();
        assert_eq!((news.len(), marks.lacks(&hub)), (3, 7), "nothing was noted");
        marks.set(&subscription);
        assert_eq!((marks.lacks(&hub), subscription.lacks(&hub)), (4, 4));
        subscription.remove(&names[1]);
        marks.set(&subscription);
        assert_eq!(marks.lacks(&hub), subscription.lacks(&hub));
        while !subscription.read(&hub, PageLimit { entries: 3, bytes: usize::MAX }).unwrap().1 {}
        marks.set(&subscription);
        assert_eq!((marks.lacks(&hub), subscription.lacks(&hub)), (0, 0));
        (0..5).for_each(|_| drop(hub.append(draft("elsewhere", "x")).unwrap()));
        assert_eq!(marks.lacks(&hub), 5);
    }
}
