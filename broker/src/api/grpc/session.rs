//! The name of a listener's stay: by which a client says which one it goes on with, and by which it is told.

use std::net::SocketAddr;

use http::HeaderMap;
use tonic::metadata::MetadataMap;

use crate::error::{Error, Result};
use crate::journal::SessionId;

/// The metadata it stands in.
const SESSION: &str = "tidings-session";

/// From where a listener comes, if that is known: put beside its call by the route.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin(pub(super) Option<SocketAddr>);

/// The session that a call goes on with, or a new one; and whether what was sent is a name.
pub(super) fn asked(headers: &HeaderMap) -> (SessionId, Result<()>) {
    let asked = headers.get(SESSION).map(|name| name.to_str().ok().and_then(SessionId::parse));
    let valid = match asked {
        Some(None) => Err(Error::invalid("`tidings-session` has 1 to 32 letters, digits, `-` or `_`")),
        _ => Ok(()),
    };
    (asked.flatten().unwrap_or_else(|| SessionId::fresh(rand::random())), valid)
}

/// Tells the client its session.
pub(super) fn tell(session: SessionId, metadata: &mut MetadataMap) {
    // Letters and digits: always a valid value.
    if let Ok(name) = session.as_str().parse() {
        metadata.insert(SESSION, name);
    }
}
