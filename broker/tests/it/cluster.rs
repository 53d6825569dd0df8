//! Several nodes as one broker, over real sockets.

mod hops;
mod many;
mod scene;
