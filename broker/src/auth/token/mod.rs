//! Tokens (JWT, RFC 7519) that browsers carry: taken apart strictly, believed by configured keys only. Pure; the time is
//! handed in.
//!
//! Which algorithm a signature is checked by, and with which key, comes from the configuration. Of a token's header only
//! `kid` and `alg` are read: the first chooses among the configured keys, the second must be what the chosen key says.

pub mod config;
mod jwks;
mod jws;
mod keys;
mod payload;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::claims::{Between, Claims, SignedBy};
use super::refusal::{Denied, Refusal};
use config::{Algorithm, Config};
use jws::Jws;
use keys::VerifyingKey;
use payload::Demands;

pub(super) use jws::looks_like_one;
pub use keys::SigningKey;
pub use payload::WireGrant;
pub(super) use payload::{expiry, named};

/// Most keys of the configuration, and of a set that was fetched.
pub const KEYS_MAX: usize = 32;

/// Tells which tokens are to be believed.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Vec<VerifyingKey>,
    demands: Demands,
    bytes_max: usize,
}

impl Verifier {
    /// Reads the configured keys.
    ///
    /// # Errors
    /// Which key is wrong (its place in the list) and why, without the key.
    pub fn new(config: &Config) -> Result<Self, (usize, String)> {
        let read = |(nth, key)| VerifyingKey::read(key).map_err(|why| (nth, why));
        Ok(Self {
            keys: config.keys.iter().enumerate().map(read).collect::<Result<_, _>>()?,
            demands: Demands { audience: config.audience.clone(), issuer: config.issuer.clone(), leeway: config.leeway.as_secs() },
            bytes_max: config.bytes,
        })
    }

    /// The same with more keys, those of a fetched set (RFC 7517).
    ///
    /// # Errors
    /// A sentence when the text is no set, or none of its keys can be used.
    pub fn with_set(&self, text: &[u8]) -> Result<Self, String> {
        let mut all = self.clone();
        all.keys.extend(jwks::read(text)?);
        Ok(all)
    }

    /// Whether there is any key.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// How many keys there are.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Whether one of them is this one.
    #[must_use]
    pub fn has(&self, print: SignedBy) -> bool {
        self.keys.iter().any(|key| key.print == print)
    }

    /// Holds what a token said when it was proven against what is asked for here.
    ///
    /// # Errors
    /// When it is not from whom or not for whom it should be.
    pub fn check(&self, claims: &Claims) -> Result<(), Refusal> {
        let nothing = Between::default();
        self.demands.check(claims.between.as_deref().unwrap_or(&nothing))
    }

    /// Longest token that is looked at.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Reads and proves a token; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(&self, token: &str, now: u64) -> Result<Claims, Refusal> {
        let jws = Jws::parse(token, self.bytes_max)?;
        let kid = jws.header.kid.as_deref();
        let is_meant = |key: &&VerifyingKey| match (kid, key.kid.as_deref()) {
            (Some(asked), Some(known)) => asked == known,
            // Who names no key is held against all, and a key without a name takes any.
            _ => true,
        };
        let algorithm = Algorithm::parse(&jws.header.alg);
        let mut candidates = self.keys.iter().filter(is_meant).filter(|key| Some(key.algorithm) == algorithm).peekable();
        let has_algorithm = candidates.peek().is_some();
        if let Some(key) = candidates.find(|key| key.verifies(jws.signed, &jws.signature)) {
            return payload::read(&jws.payload, key.print, &self.demands, now);
        }
        let is_known = if kid.is_some() { self.keys.iter().any(|key| key.kid.as_deref() == kid) } else { self.has_keys() };
        Err(if !is_known {
            Refusal::new(Denied::UnknownKid, "the token is signed with a key that is not known here (`kid`)")
        } else if has_algorithm {
            Refusal::new(Denied::Signature, "the token's signature is wrong")
        } else {
            Refusal::new(Denied::Algorithm, "the token is signed by another algorithm than its key is for (`alg`)")
        })
    }
}

/// Whether keys may be fetched from this address: over TLS, or in plain text from this machine only. Nothing that comes from
/// outside ever changes it.
///
/// # Errors
/// A sentence when not.
pub fn set_address(url: &str) -> Result<http::Uri, String> {
    let uri: http::Uri = url.parse().map_err(|_| "is no address".to_owned())?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match (uri.scheme_str(), host) {
        (_, "") => Err("names no host".to_owned()),
        _ if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => Err("holds a user's name or password".to_owned()),
        (Some("https"), _) => Ok(uri),
        (Some("http"), _) if is_local => Ok(uri),
        (Some("http"), _) => Err("is fetched in plain text: whoever is on the way could say which keys are believed".to_owned()),
        _ => Err("is neither https nor http".to_owned()),
    }
}

/// Makes a token of these claims, an object of JSON.
///
/// # Errors
/// A sentence when the key cannot sign.
pub fn sign(key: &SigningKey, claims: &Value) -> Result<String, String> {
    let mut header = serde_json::Map::new();
    header.insert("typ".to_owned(), "JWT".into());
    header.insert("alg".to_owned(), key.algorithm.as_str().into());
    if let Some(kid) = &key.kid {
        header.insert("kid".to_owned(), (**kid).into());
    }
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&Value::Object(header)), encode(claims));
    let signature = key.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
