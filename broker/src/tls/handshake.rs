//! The beginning of a TLS connection: is it one, the handshake, in its time and its turn.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConnection;
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::Credentials;
use crate::auth::ClientName;
use crate::auth::certificate::Names;
use crate::metrics::Handshake;

/// How a TLS connection begins: a record that belongs to a handshake (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// What a caller hears that speaks HTTP/1 where TLS is spoken.
const WRONG_PROTOCOL: &str = "{\"error\":{\"code\":\"invalid_request\",\"message\":\"this port speaks TLS: use https:// or \
    wss://\",\"retry\":false}}\n";
/// Longest it is waited for such a caller to read that and leave, and how much of it is thrown away meanwhile.
const LINGER: Duration = Duration::from_secs(1);
const DISCARD_MAX: u64 = 64 * 1024;

/// A bound on the costly step of handshakes, a signature and a key agreement: so many of them, and then everybody else on the
/// same thread has a turn. A storm of reconnects must not keep messages from those who are there.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Semaphore>);

impl Turns {
    /// So many handshakes in one round of the runtime.
    #[must_use]
    pub fn new(in_one_round: usize) -> Self {
        Self(Arc::new(Semaphore::new(in_one_round.max(1))))
    }

    /// Does the step when its turn has come.
    pub(crate) async fn take<T>(&self, step: impl FnOnce() -> T) -> T {
        // Never closed.
        let turn = self.0.acquire().await;
        let outcome = step();
        tokio::task::yield_now().await;
        drop(turn);
        outcome
    }
}

/// The way into a listener that speaks TLS.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// What it proves itself with.
    pub credentials: Arc<Credentials>,
    /// Whose turn it is.
    pub turns: Turns,
}

impl Entrance {
    /// Shakes hands. `None` when that came to nothing: the caller was told as far as possible, and it is counted.
    pub async fn pass(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let (server, patience) = self.credentials.now();
        let begun = async {
            let mut first = [0];
            // Told apart before TLS reads anything: its answer would be an alert, which no HTTP client can read.
            if stream.peek(&mut first).await? == 0 {
                return Ok(Begun::Left);
            }
            if first[0] != HANDSHAKE_RECORD {
                return Ok(Begun::InTheClear(stream, first[0]));
            }
            let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
            let accept = self.turns.take(|| hello.into_stream(server)).await;
            accept.await.map(|stream| Begun::Done(Box::new(stream)))
        };
        let outcome = match timeout(patience, begun).await {
            Ok(Ok(Begun::Done(stream))) => {
                self.count(Handshake::Done);
                return Some(*stream);
            }
            // Port scanners and health checks of the simplest kind: nothing was said.
            Ok(Ok(Begun::Left)) => return None,
            Ok(Ok(Begun::InTheClear(stream, first))) => {
                if first.is_ascii_uppercase() {
                    // Boxed: its buffer would otherwise be part of every handshake.
                    let _ = timeout(LINGER, Box::pin(tell_to_use_tls(stream))).await;
                }
                Handshake::Plaintext
            }
            Ok(Err(why)) => {
                tracing::debug!(event = "handshake_failed", %why, "a TLS handshake failed");
                Handshake::Failed
            }
            Err(_) => Handshake::TimedOut,
        };
        self.count(outcome);
        None
    }

    fn count(&self, outcome: Handshake) {
        self.credentials.metrics().handshake_ended(self.credentials.listener(), outcome);
    }
}

enum Begun {
    Done(Box<TlsStream<TcpStream>>),
    InTheClear(TcpStream, u8),
    Left,
}

/// The answer an HTTP/1 client can read, and time to read it: closed with its request unread, the socket would be reset.
async fn tell_to_use_tls(mut stream: TcpStream) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        WRONG_PROTOCOL.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(WRONG_PROTOCOL.as_bytes()).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(DISCARD_MAX), &mut tokio::io::sink()).await.map(drop)
}

/// Whether both sides agreed on HTTP/2 (RFC 9113, section 3.2).
#[must_use]
pub fn is_http2(session: &ServerConnection) -> bool {
    session.alpn_protocol() == Some(b"h2")
}

/// Who is at the other end, if it was asked to prove that.
#[must_use]
pub fn client_name(session: &ServerConnection) -> Option<ClientName> {
    let first = session.peer_certificates()?.first()?;
    let (_, certificate) = X509Certificate::from_der(first).ok()?;
    let mut names = Names { subject: certificate.subject().to_string(), ..Names::default() };
    names.common.extend(certificate.subject().iter_common_name().map(|name| name.as_str().unwrap_or_default().to_owned()));
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        for name in &alternative.value.general_names {
            match name {
                GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                GeneralName::DNSName(dns) => names.dns.push((*dns).to_owned()),
                _ => {}
            }
        }
    }
    Some(ClientName::new(names))
}
