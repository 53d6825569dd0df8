//! Looking at channels without listening to them.

use crate::hub::Hub;
use crate::message::ChannelName;

/// Channels that are opened, and it is not sure that anybody will listen. When it is dropped, those go that nobody listens to and nobody
/// ever published to: who only looks, or is refused, leaves nothing behind for the sweep.
#[must_use]
pub struct Glance<'a> {
    hub: &'a Hub,
    channels: &'a [ChannelName],
}

impl<'a> Glance<'a> {
    /// Before they are opened.
    pub fn at(hub: &'a Hub, channels: &'a [ChannelName]) -> Self {
        Self { hub, channels }
    }

    /// Somebody listens.
    pub fn stay(mut self) {
        self.channels = &[];
    }
}

impl Drop for Glance<'_> {
    fn drop(&mut self) {
        self.channels.iter().for_each(|channel| self.hub.let_go(channel));
    }
}
