//! TLS between nodes, always and in version 1.3 only. Each process makes itself a certificate that nobody signed: it hides what
//! is said, and *who* is at the other end is proven afterwards, by the cluster key over this very session (`greeting.rs`).
//! Somebody in the middle has two sessions with two exporters and can prove nothing to either side.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme, version};

/// What a certificate of ours is made out to; nobody reads it.
const NAME: &str = "tidings-node";
/// Told in the TLS handshake, so that a wrong service at the other end is noticed before anything is said (RFC 7301).
const ALPN: &[u8] = b"tidings-link";

/// Both halves of a node's TLS.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) dial: Arc<ClientConfig>,
    pub(super) answer: Arc<ServerConfig>,
}

impl Tls {
    /// With a fresh key pair.
    pub(super) fn new() -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let pair = rcgen::generate_simple_self_signed([NAME.to_owned()]).map_err(|why| why.to_string())?;
        let key = PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der());
        let mut answer = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![pair.cert.der().clone()], key.into()))
            .map_err(|why| why.to_string())?;
        // A resumed session would save little between nodes that stay connected, and would keep secrets for later.
        answer.send_tls13_tickets = 0;
        answer.alpn_protocols = vec![ALPN.to_vec()];
        let mut dial = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|why| why.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        dial.resumption = rustls::client::Resumption::disabled();
        dial.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { dial: Arc::new(dial), answer: Arc::new(answer) })
    }

    /// The name that the dialling side must give and that means nothing.
    pub(super) fn name() -> ServerName<'static> {
        ServerName::try_from(NAME).expect("the name is a plain host name")
    }
}

/// Takes any certificate, but only from the one who holds its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
