//! A connection's place among all that hold memory of the node, and whoever drives the connection, who hears that it must go.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt as _;

use crate::limits::{Crowd, Place};

#[derive(Debug, Default)]
pub(super) struct Seat {
    /// None while it weighs nothing.
    place: Option<Place>,
    driver: Option<Waker>,
}

impl Seat {
    /// Whether it must make room for others. If not, the driver is woken to look again.
    pub(super) fn poll_pushed_out(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.place.as_mut().is_some_and(|place| Pin::new(place).poll(context).is_ready()) {
            return Poll::Ready(());
        }
        match &mut self.driver {
            Some(driver) => driver.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Gives up its place for one of this weight, as the last to go; for none when it weighs nothing. `false` for who has to go: that one cannot
    /// begin anew.
    pub(super) fn weigh(&mut self, everyone: &Arc<Crowd>, weight: usize) -> bool {
        if self.place.as_mut().is_some_and(|place| place.now_or_never().is_some()) {
            return false;
        }
        // First, or it could push out itself.
        self.place = None;
        self.place = (weight > 0).then(|| everyone.enter_with(weight));
        // There is another place to wait for now.
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
        true
    }
}
