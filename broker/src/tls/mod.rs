//! TLS of the listeners: who they prove to be, from files that may change while they listen, and the handshake that a
//! connection begins with. Knows nothing of what is said over it, and nothing of links between nodes, which prove themselves
//! otherwise.

pub mod config;
mod credentials;
mod handshake;
mod pair;
mod watch;

pub use credentials::{Credentials, New};
pub use handshake::{ClientName, Entrance, Turns, client_name, is_http2};
pub use pair::Unusable;
pub use watch::watch;
