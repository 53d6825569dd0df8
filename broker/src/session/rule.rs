//! The one rule for listeners that are too slow.

use crate::hub::Channel;

/// What happens to a live listener that fell out of the window of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfWindow {
    /// It is told what it missed and goes on with what is left.
    Declare,
    /// The channel keeps nothing, so there is nothing to go on with.
    Close,
}

/// Decides what happens.
#[must_use]
pub fn out_of_window(channel: &Channel) -> OutOfWindow {
    if channel.has_history { OutOfWindow::Declare } else { OutOfWindow::Close }
}
