//! A certificate and its key, read from their files and found to belong together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::config::Config;

/// Why files cannot be used. Names files and never their content.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("{file}: {why}")]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Both can be read, and do not go together, or not with what TLS asks for.
    #[error("{certificate} and {key}: {why}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        why: String,
    },
    /// The certificate is one of the past.
    #[error("{file}: the certificate expired {}", httpdate::fmt_http_date(*.at))]
    Expired {
        /// Which.
        file: PathBuf,
        /// When.
        at: SystemTime,
    },
}

/// A certificate with those behind it, and its key.
#[derive(Debug)]
pub struct Chain {
    /// The certificate, and those that lead to its root.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The certificate's key.
    pub key: PrivateKeyDer<'static>,
    /// When the first of them stops being valid.
    pub expires: SystemTime,
}

impl Chain {
    /// Reads two files. Whether they go together is for who uses them to find out.
    ///
    /// # Errors
    /// When one cannot be read, or holds nothing of the kind.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, Unusable> {
        let certificates = certificates(certificate)?;
        let expires = expiry(&certificates).map_err(|why| Unusable::File { file: certificate.to_owned(), why })?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|why| Unusable::File { file: key.to_owned(), why: no_key(&why) })?;
        Ok(Self { certificates, key: private, expires })
    }
}

/// Reads the certificates that others must be signed by.
///
/// # Errors
/// When the file cannot be read, or holds none.
pub fn read_roots(file: &Path) -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    for root in certificates(file)? {
        roots.add(root).map_err(|why| Unusable::File { file: file.to_owned(), why: why.to_string() })?;
    }
    Ok(roots)
}

/// What a listener can prove itself with.
pub(super) struct Pair {
    pub(super) server: Arc<ServerConfig>,
    /// When the first certificate of the chain that does so stops being valid.
    pub(super) expires: SystemTime,
}

impl Pair {
    /// Reads the files that the configuration names. `alpn` is what may be spoken, the best first (RFC 7301).
    pub(super) fn read(config: &Config, alpn: &[&[u8]]) -> Result<Self, Unusable> {
        let (Some(certificate), Some(key)) = (&config.certificate, &config.key) else {
            // The check of the configuration says this first.
            return Err(Unusable::File { file: PathBuf::new(), why: "a certificate needs its key, and a key its certificate".to_owned() });
        };
        let Chain { certificates: chain, key: private, expires } = Chain::read(certificate, key)?;
        let mismatch = |why: rustls::Error| Unusable::Pair { certificate: certificate.clone(), key: key.clone(), why: why.to_string() };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(mismatch)?;
        let builder = match &config.clients {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let unusable = |why: String| Unusable::File { file: file.clone(), why };
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(read_roots(file)?), provider);
                builder.with_client_cert_verifier(verifier.build().map_err(|why| unusable(why.to_string()))?)
            }
        };
        let mut server = builder.with_single_cert(chain, private).map_err(mismatch)?;
        server.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        // Who comes back in a storm of reconnects saves both sides the costly part. The keys of tickets live as long as this
        // pair does: with other certificates of clients, nobody resumes what the old ones allowed.
        server.ticketer = aws_lc_rs::Ticketer::new().map_err(mismatch)?;
        server.send_tls13_tickets = 1;
        Ok(Self { server: Arc::new(server), expires })
    }

    /// Whether the certificate is valid no longer.
    pub(super) fn is_expired(&self, now: SystemTime) -> bool {
        self.expires <= now
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let unusable = |why: String| Unusable::File { file: file.to_owned(), why };
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|why| unusable(no_certificate(&why)))?;
    if found.is_empty() { Err(unusable("there is no PEM certificate in it".to_owned())) } else { Ok(found) }
}

fn expiry(chain: &[CertificateDer<'_>]) -> Result<SystemTime, String> {
    let mut first = None;
    for der in chain {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|why| format!("a certificate in it cannot be read: {why}"))?;
        let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        first = Some(first.map_or(at, |known: SystemTime| known.min(at)));
    }
    first.ok_or_else(|| "there is no PEM certificate in it".to_owned())
}

fn no_certificate(why: &rustls::pki_types::pem::Error) -> String {
    in_our_words(why, "certificate")
}

fn no_key(why: &rustls::pki_types::pem::Error) -> String {
    in_our_words(why, "private key")
}

fn in_our_words(why: &rustls::pki_types::pem::Error, what: &str) -> String {
    match why {
        rustls::pki_types::pem::Error::NoItemsFound => format!("there is no PEM {what} in it"),
        rustls::pki_types::pem::Error::Io(why) => format!("cannot be read: {why}"),
        // What else it says may quote lines of the file.
        _ => format!("the PEM {what} in it is damaged"),
    }
}
