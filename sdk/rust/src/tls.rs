//! What a client trusts, and what it proves itself with.

use std::fmt;

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// TLS of a connection to an `https://` address. [`Tls::new`] trusts whom this system trusts.
#[derive(Clone, Default)]
pub struct Tls {
    roots: Option<Certificate>,
    identity: Option<Identity>,
    name: Option<String>,
}

impl Tls {
    /// Trusts whom this system trusts, and shows no certificate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts only these certificates and what they signed: PEM.
    #[must_use]
    pub fn trusting(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.roots = Some(Certificate::from_pem(pem));
        self
    }

    /// Shows this certificate to a broker that asks for one (`grpc.tls.clients`): its chain and its key, both PEM.
    #[must_use]
    pub fn showing(mut self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.identity = Some(Identity::from_pem(chain, key));
        self
    }

    /// Expects the broker's certificate to be made out to this name instead of the host in the address.
    #[must_use]
    pub fn expecting(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    pub(crate) fn config(self) -> ClientTlsConfig {
        let mut config = ClientTlsConfig::new();
        config = match self.roots {
            Some(roots) => config.ca_certificate(roots),
            None => config.with_native_roots(),
        };
        if let Some(identity) = self.identity {
            config = config.identity(identity);
        }
        match self.name {
            Some(name) => config.domain_name(name),
            None => config,
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trusts_own, shows) = (self.roots.is_some(), self.identity.is_some());
        f.debug_struct("Tls").field("trusts_own", &trusts_own).field("shows", &shows).field("name", &self.name).finish()
    }
}
