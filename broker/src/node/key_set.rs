//! Fetches the keys at `tokens.jwks_url`: from that address and no other, over TLS, without following anybody anywhere, never
//! often, and bounded in size and time. What cannot be fetched leaves the keys of before in force.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use crate::auth::Gate;
use crate::auth::sets::PAUSE;
use crate::auth::token::set_address;
use crate::clock::Clock;

/// How old a set may grow before it is looked at again, whether or not an unknown key was met.
const FRESH: Duration = Duration::from_secs(300);
/// The same after a failure.
const RETRY: Duration = Duration::from_secs(30);
/// Longest time for all of one fetch.
const FETCH: Duration = Duration::from_secs(5);
/// Largest set.
const BYTES_MAX: usize = 256 << 10;

/// Keeps the gate's key set fresh, for as long as there is one.
pub(super) async fn keep(gate: Gate, clock: Clock) {
    let mut trust: Option<Arc<ClientConfig>> = None;
    loop {
        let Some(url) = gate.book().set_url().map(ToOwned::to_owned) else {
            gate.sets().wanted().await;
            continue;
        };
        let began = Instant::now();
        gate.sets().begin(clock.mono());
        let outcome = match timeout(FETCH, fetch(&url, &mut trust)).await {
            Ok(fetched) => fetched.and_then(|text| gate.take_set(&url, &text)),
            Err(_) => Err(format!("it did not come within {FETCH:?}")),
        };
        gate.sets().end(clock.mono());
        let next = match outcome {
            Ok(None) => FRESH,
            Ok(Some(keys)) => {
                tracing::info!(event = "key_set", keys, "the keys that sign tokens are others now");
                FRESH
            }
            Err(why) => {
                tracing::warn!(event = "key_set_failed", why, "the keys that sign tokens were not fetched");
                RETRY
            }
        };
        // Nobody hastens it before that.
        sleep_until(began + PAUSE).await;
        let _ = timeout(next - PAUSE, gate.sets().wanted()).await;
    }
}

async fn fetch(url: &str, trust: &mut Option<Arc<ClientConfig>>) -> Result<Bytes, String> {
    let uri = set_address(url)?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let socket = TcpStream::connect((&*host, port)).await.map_err(|why| format!("cannot connect: {why}"))?;
    if !is_tls {
        return ask(socket, &uri).await;
    }
    let config = match trust {
        Some(config) => config.clone(),
        None => trust.insert(trusted()?).clone(),
    };
    let name = ServerName::try_from(host).map_err(|_| "its host is no name".to_owned())?;
    let stream = TlsConnector::from(config).connect(name, socket).await.map_err(|why| format!("no TLS: {why}"))?;
    ask(stream, &uri).await
}

/// Believes what this machine believes.
fn trusted() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("this machine knows no certificate authorities (install ca-certificates, or set SSL_CERT_FILE)".to_owned());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|why| why.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

async fn ask<S>(stream: S, uri: &Uri) -> Result<Bytes, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|why| why.to_string())?;
    // Ends when the sender is dropped.
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|why| why.to_string())?;
    let response = sender.send_request(request).await.map_err(|why| format!("no answer: {why}"))?;
    // Whoever could answer with another address could make this node ask anything on its network.
    if response.status() != StatusCode::OK {
        return Err(format!("it is answered {}; no redirect is followed", response.status()));
    }
    let body = Limited::new(response.into_body(), BYTES_MAX).collect().await;
    Ok(body.map_err(|why| format!("its body is not whole, or has more than {BYTES_MAX} bytes: {why}"))?.to_bytes())
}
