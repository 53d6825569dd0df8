//! TLS of the listeners: who they prove to be, from files that may change while they listen, and the handshake that a
//! connection begins with. Knows nothing of what is said over it. Nodes of a cluster greet each other otherwise, and take from here
//! only how files are read and watched.

pub mod config;
mod credentials;
mod handshake;
mod pair;
mod watch;
mod watched;

pub use credentials::{Credentials, New};
pub use handshake::{Entrance, Turns, client_name, is_http2};
pub use pair::{Chain, Unusable, read_roots};
pub use watch::watch;
pub use watched::Watched;
