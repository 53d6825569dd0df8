//! TLS between nodes, always and in version 1.3 only, and both ends show a certificate. Without certificates of its operator each
//! process makes itself one that nobody signed: it hides what is said, and *who* is at the other end is proven afterwards, by the
//! cluster key over this very session (`greeting.rs`). Somebody in the middle has two sessions with two exporters and can prove
//! nothing to either side.
//!
//! With `cluster.tls` the certificate must besides be signed by the operator's authority and made out to the node's name. The handshake
//! itself takes any, and it is looked at afterwards: an alert of TLS says neither side which node is meant, and which file is wrong.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme, version,
};

use super::super::membership::NodeName;
use super::{Reason, Refusal};

/// What a certificate that we made ourselves is made out to; nobody reads it.
const NAME: &str = "tidings-node";
/// Told in the TLS handshake, so that a wrong service at the other end is noticed before anything is said (RFC 7301).
const ALPN: &[u8] = b"tidings-link";

/// What a node proves its name with, and by whom the others' proofs must be signed.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate, and those that lead to its root.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// Who signs certificates of nodes.
    pub roots: RootCertStore,
}

/// Both halves of a node's TLS.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) dial: Arc<ClientConfig>,
    pub(super) answer: Arc<ServerConfig>,
    /// By whom certificates must be signed; none: nobody's is looked at.
    roots: Option<Arc<RootCertStore>>,
}

impl Tls {
    /// With this certificate; without one with a fresh key pair.
    pub(super) fn new(certificate: Option<Certificate>) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (chain, key, roots) = match certificate {
            Some(Certificate { chain, key, roots }) => (chain, key, Some(Arc::new(roots))),
            None => {
                let pair = rcgen::generate_simple_self_signed([NAME.to_owned()]).map_err(|why| why.to_string())?;
                let key = PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der());
                (vec![pair.cert.der().clone()], key.into(), None)
            }
        };
        let anybody = Arc::new(Anybody(provider.clone()));
        let mut answer = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .and_then(|builder| builder.with_client_cert_verifier(anybody.clone()).with_single_cert(chain.clone(), key.clone_key()))
            .map_err(|why| why.to_string())?;
        // A resumed session would save little between nodes that stay connected, and would keep secrets for later.
        answer.send_tls13_tickets = 0;
        answer.alpn_protocols = vec![ALPN.to_vec()];
        let mut dial = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|why| why.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(anybody)
            .with_client_auth_cert(chain, key)
            .map_err(|why| why.to_string())?;
        dial.resumption = rustls::client::Resumption::disabled();
        dial.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { dial: Arc::new(dial), answer: Arc::new(answer), roots })
    }

    /// The name that the dialling side must give and that means nothing.
    pub(super) fn name() -> ServerName<'static> {
        ServerName::try_from(NAME).expect("the name is a plain host name")
    }

    /// Whether the certificate at the other end proves that it is this node. Its key was proven by the handshake.
    ///
    /// # Errors
    /// What is wrong with it, for both sides.
    pub(super) fn check(&self, shown: Option<&[CertificateDer<'_>]>, name: &NodeName) -> Result<(), Refusal> {
        let Some(roots) = &self.roots else { return Ok(()) };
        let refusal = |what: &str| Refusal::new(Reason::Certificate, format!("the certificate of {name} {what} (cluster.tls)"));
        let Some((first, rest)) = shown.and_then(<[_]>::split_first) else { return Err(refusal("is missing")) };
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let verified = ParsedCertificate::try_from(first).and_then(|certificate| {
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, rest, UnixTime::now(), algorithms.all)?;
            let name = ServerName::try_from(name.as_str()).map_err(|_| CertificateError::NotValidForName)?;
            verify_server_name(&certificate, &name)
        });
        verified.map_err(|why| match why {
            Error::InvalidCertificate(why) => refusal(words(&why)),
            other => refusal(&format!("cannot be used: {other}")),
        })
    }
}

fn words(why: &CertificateError) -> &'static str {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet: look at the clocks",
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "is not signed by a certificate of cluster.tls.ca",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is not made out to that name: it must be a subject alternative name"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => "is not for servers (extended key usage)",
        CertificateError::Revoked => "is revoked",
        _ => "cannot be verified",
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

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    /// One without it is told so in words.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(&self, _: &CertificateDer<'_>, _: &[CertificateDer<'_>], _: UnixTime) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
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
