//! One slot's part in the cluster.

mod io;

pub use io::{Answer, Channels, Context, Event, Input, Output};
