//! Several nodes as one broker, over real sockets.

mod control;
mod hops;
mod leaving;
mod links;
mod many;
mod names;
mod presence;
pub(crate) mod scene;
mod seen;
mod strangers;
mod told;
mod upgrade;
