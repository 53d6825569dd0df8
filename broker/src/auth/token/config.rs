//! The tokens' keys of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::secret::Secret;
use crate::config::units::{self, HumanDuration, Size};

/// Which tokens (JWT) are believed, and where browsers carry them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Tokens")]
pub struct Config {
    /// Keys that sign tokens; several while one gives way to the next.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Vec<TokenKey>>")]
    pub keys: Vec<TokenKey>,
    /// Address of a JSON Web Key Set with more of them, https (or http on loopback); null for none. Read anew for an unknown `kid`, at most once in 10 s.
    pub jwks_url: Option<String>,
    /// A token must be meant for one of these (`aud`); empty: not looked at. Needed with `jwks_url`, whose issuer signs for others too.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Vec<String>>")]
    pub audience: Vec<String>,
    /// A token must be from one of these (`iss`); empty: not looked at.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Vec<String>>")]
    pub issuer: Vec<String>,
    /// How far the issuer's clock may be off, for `exp` and `nbf`.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub leeway: Duration,
    /// Name of a cookie that browsers carry the token in; null for none. Publishing with it needs an `Origin` that may.
    pub cookie: Option<String>,
    /// Longest token.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub bytes: usize,
    /// Most users and tokens that are revoked at the same time; a revocation more is refused.
    pub revocations: u32,
    /// How long a revocation counts that does not say so itself: at least as long as the longest token does.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub revoked_for: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            jwks_url: None,
            audience: Vec::new(),
            issuer: Vec::new(),
            leeway: Duration::from_secs(5),
            cookie: None,
            bytes: 8 << 10,
            revocations: 100_000,
            revoked_for: Duration::from_secs(86_400),
        }
    }
}

/// A key that signs tokens, bound to its algorithm: what a token says of its own algorithm decides nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenKey {
    /// The `kid` of its tokens; without one it is tried for every token of its algorithm.
    #[serde(default)]
    pub kid: Option<String>,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// HS256, HS384, HS512: the secret, as text or as `base64:…`; at least as long as the hash (32, 48, 64 bytes).
    #[serde(default)]
    pub secret: Option<Secret>,
    /// Instead, a file that holds it.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// The others: the public key as PEM.
    #[serde(default)]
    pub public_key: Option<String>,
    /// Instead, a file that holds it.
    #[serde(default)]
    pub public_key_file: Option<PathBuf>,
}

/// How a token is signed (RFC 7518, section 3.1; RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSA, PKCS #1 v1.5, with SHA-256.
    RS256,
    /// RSA, PKCS #1 v1.5, with SHA-384.
    RS384,
    /// RSA, PKCS #1 v1.5, with SHA-512.
    RS512,
    /// RSA-PSS with SHA-256.
    PS256,
    /// RSA-PSS with SHA-384.
    PS384,
    /// RSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 12] = [
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The name in a token's header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Reads the name in a token's header.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// For a shared secret, the least bytes it has (RFC 7518, section 3.2); none for key pairs.
    #[must_use]
    pub fn secret_bytes_min(self) -> Option<usize> {
        match self {
            Self::HS256 => Some(32),
            Self::HS384 => Some(48),
            Self::HS512 => Some(64),
            _ => None,
        }
    }
}
