//! Who is up, by the links themselves: heartbeats over the full mesh with what each node hears.

mod io;

pub use io::{Beat, NodeInput, NodeOutput};
