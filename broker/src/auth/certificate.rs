//! Whom a client's certificate names, where a listener asks for certificates and has verified it.

use std::sync::Arc;

/// The names of a verified certificate. Stands among a request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(Arc<Names>);

/// What an authority has signed about its holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The whole subject, as in `CN=backend, O=example` (RFC 4514).
    pub subject: String,
    /// The common names of the subject.
    pub common: Vec<String>,
    /// Alternative names of the kind URI (RFC 5280, section 4.2.1.6), such as a SPIFFE ID.
    pub uris: Vec<String>,
    /// Alternative names of the kind DNS.
    pub dns: Vec<String>,
}

/// One name by which a certificate is known here. Compared as it is, without wildcards: a pattern that is a little too wide would
/// let somebody in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// An alternative name of the kind URI.
    Uri(Box<str>),
    /// An alternative name of the kind DNS, whose letters are the same in either case.
    Dns(Box<str>),
    /// A common name.
    CommonName(Box<str>),
}

impl ClientName {
    /// Of a certificate that was verified.
    #[must_use]
    pub fn new(names: Names) -> Self {
        Self(Arc::new(names))
    }

    /// The whole subject.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Whether the authority says so of its holder. A certificate that has two common names is known by neither: who reads
    /// another one than its authority looked at would be wrong.
    #[must_use]
    pub fn is(&self, known: &KnownBy) -> bool {
        match known {
            KnownBy::Uri(uri) => self.0.uris.iter().any(|name| **name == **uri),
            KnownBy::Dns(dns) => self.0.dns.iter().any(|name| name.eq_ignore_ascii_case(dns)),
            KnownBy::CommonName(common) => matches!(&self.0.common[..], [name] if **name == **common),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_as_what_it_is_and_as_it_is() {
        let of = |common: &[&str], uris: &[&str], dns: &[&str]| {
            let all = |names: &[&str]| names.iter().map(ToString::to_string).collect();
            ClientName::new(Names { subject: String::new(), common: all(common), uris: all(uris), dns: all(dns) })
        };
        let name = of(&["biller"], &["spiffe://example/biller", "urn:second"], &["biller.internal", "*.internal"]);
        for known in [
            KnownBy::Uri("spiffe://example/biller".into()),
            KnownBy::Uri("urn:second".into()),
            KnownBy::Dns("Biller.Internal".into()),
            KnownBy::CommonName("biller".into()),
        ] {
            assert!(name.is(&known), "{known:?}");
        }
        for unknown in [
            KnownBy::Uri("spiffe://example/Biller".into()),
            KnownBy::Uri("spiffe://example/".into()),
            KnownBy::Uri("biller".into()),
            KnownBy::Dns("biller".into()),
            KnownBy::Dns("other.internal".into()),
            KnownBy::CommonName("biller.internal".into()),
            KnownBy::CommonName("Biller".into()),
        ] {
            assert!(!name.is(&unknown), "{unknown:?}");
        }
        assert!(!of(&["stranger", "biller"], &[], &[]).is(&KnownBy::CommonName("biller".into())), "which of them was looked at?");
    }
}
