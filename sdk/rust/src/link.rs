//! The connection: made when it is first needed, shared by all clones of a client, replaced when it stalls.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidings_proto::v1::broker_client::BrokerClient;
use tonic::transport::{Channel, Endpoint};

use crate::error::{Error, Result, append_causes};
use crate::tls::Tls;

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How often a connection is asked whether it is still there, and how long it has for the answer.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Small unread frames count against half of this window, and a peer that uses it up is cut off as an attacker. A
/// stream of small acks comes near that with the usual 1 MiB, never with 16.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// What one stream may hold unread.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Largest answer that is taken: the largest payload a broker can be told to allow (16 MiB), and what is said about it.
const RECEIVE_BYTES_MAX: usize = 20 * 1024 * 1024;

/// A connection to one address. A cheap handle.
#[derive(Clone)]
pub(crate) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Endpoint,
    current: Mutex<Line>,
}

/// One connection of several that follow one another.
#[derive(Clone)]
pub(crate) struct Line {
    number: u64,
    pub(crate) grpc: BrokerClient<Channel>,
}

impl Link {
    /// Connects now.
    ///
    /// # Errors
    /// [`Error::Address`] when the address makes no sense, [`Error::Unavailable`] when nobody answers there.
    pub(crate) async fn connect(address: &str, tls: Tls) -> Result<Self> {
        let endpoint = endpoint(address, tls)?;
        let channel = endpoint.connect().await.map_err(|error| {
            let mut why = format!("cannot connect to {address}");
            append_causes(&mut why, std::error::Error::source(&error));
            Error::Unavailable { patience: CONNECT_MAX, why }
        })?;
        Ok(Self::over(endpoint, channel))
    }

    /// Connects with the first call.
    ///
    /// # Errors
    /// [`Error::Address`] when the address makes no sense.
    pub(crate) fn lazy(address: &str, tls: Tls) -> Result<Self> {
        let endpoint = endpoint(address, tls)?;
        let channel = endpoint.connect_lazy();
        Ok(Self::over(endpoint, channel))
    }

    fn over(endpoint: Endpoint, channel: Channel) -> Self {
        Self { shared: Arc::new(Shared { endpoint, current: Mutex::new(Line::new(0, channel)) }) }
    }

    /// The connection of now.
    pub(crate) fn line(&self) -> Line {
        self.current().clone()
    }

    /// Gives up a connection that says nothing any more: one that broke makes itself anew, but one whose other end vanished
    /// looks healthy until the system or a keep-alive notices, which takes longer than a publish has patience.
    pub(crate) fn replace(&self, stalled: &Line) {
        let mut current = self.current();
        // Another call may have noticed first.
        if current.number == stalled.number {
            *current = Line::new(stalled.number + 1, self.shared.endpoint.connect_lazy());
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Line> {
        // Nothing that panics runs while it is held, and what it holds is whole at any moment.
        self.shared.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn new(number: u64, channel: Channel) -> Self {
        Self { number, grpc: BrokerClient::new(channel).max_decoding_message_size(RECEIVE_BYTES_MAX) }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("to", self.shared.endpoint.uri()).finish_non_exhaustive()
    }
}

/// Reads an address and sets up how to reach it.
fn endpoint(address: &str, tls: Tls) -> Result<Endpoint> {
    let unusable = |why: &str| Error::Address { address: address.to_owned(), why: why.to_owned() };
    let known = ["http://", "https://", "unix:"].iter().any(|scheme| address.starts_with(scheme));
    let full = if known { address.to_owned() } else { format!("http://{address}") };
    let expected = "expected http://HOST:PORT, https://HOST:PORT, HOST:PORT or unix:/PATH";
    let mut endpoint = Endpoint::from_shared(full).map_err(|_| unusable(expected))?;
    if address.starts_with("https://") {
        endpoint = endpoint.tls_config(tls.config()).map_err(|error| {
            let mut why = "TLS cannot be set up".to_owned();
            append_causes(&mut why, std::error::Error::source(&error));
            unusable(&why)
        })?;
    }
    Ok(endpoint
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever this system trusts, or whether it trusts anybody.
    fn own() -> Tls {
        Tls::new().trusting("")
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for address in ["http://127.0.0.1:8001", "https://push.example:443", "127.0.0.1:8001", "localhost:8001", "unix:/run/tidings.sock"] {
            assert!(endpoint(address, own()).is_ok(), "{address}");
        }
        for address in ["https://", "", "ftp://x y"] {
            assert!(matches!(endpoint(address, own()), Err(Error::Address { .. })), "{address}");
        }
    }

    #[tokio::test]
    async fn a_stalled_connection_is_replaced_once_however_many_calls_notice() {
        let link = Link::lazy("127.0.0.1:1", Tls::new()).unwrap();
        let stalled = link.line();
        link.replace(&stalled);
        link.replace(&stalled);
        assert_eq!(link.line().number, 1);
    }
}
