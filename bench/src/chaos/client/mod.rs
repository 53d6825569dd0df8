//! Those who publish and those who listen, on any node, over everything the broker speaks.

mod event_stream;
pub(crate) mod guest;
pub(crate) mod http;
pub(crate) mod listener;
pub(crate) mod news;
pub(crate) mod publisher;
pub(crate) mod wire;
