//! The one rule for listeners that are too slow.

use crate::close::CloseReason;
use crate::hub::namespace::Lagging;
use crate::hub::{Channel, Hub};
use crate::log::GapReason;

/// What happens to a live listener that is missing messages of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfWindow {
    /// It is told what it missed and goes on with what is left.
    Declare,
    /// It goes; where there is something to go on with it is told what it missed when it comes back.
    Close(CloseReason),
}

/// Decides what happens to who misses messages for this reason. Never asked about those who just come: they are told.
#[must_use]
pub fn out_of_window(hub: &Hub, channel: &Channel, reason: GapReason) -> OutOfWindow {
    if reason == GapReason::Conflated {
        // It goes on with the newest, which is all that counts there.
        OutOfWindow::Declare
    } else if !channel.has_history {
        // The channel keeps nothing, so there is nothing to go on with.
        OutOfWindow::Close(CloseReason::TooSlow)
    } else if reason == GapReason::Window && hub.lagging(channel) == Lagging::Close {
        OutOfWindow::Close(CloseReason::Lagged)
    } else {
        OutOfWindow::Declare
    }
}
