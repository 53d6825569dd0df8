//! Keys that sign tokens, each bound to one algorithm. The only file that knows the library which does the arithmetic.

use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm as Arithmetic, DecodingKey, EncodingKey};

use super::super::claims::SignedBy;
use super::super::secret::{self, Secret};
use super::config::{Algorithm, TokenKey};

/// Verifies.
#[derive(Clone)]
pub(super) struct VerifyingKey {
    pub(super) kid: Option<Box<str>>,
    pub(super) algorithm: Algorithm,
    /// What tokens that it verified remember of it.
    pub(super) print: SignedBy,
    key: DecodingKey,
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyingKey").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl VerifyingKey {
    /// Reads a configured key.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it, without the key.
    pub(super) fn read(config: &TokenKey) -> Result<Self, String> {
        let name = config.algorithm.as_str().as_bytes();
        let (key, print) = match config.algorithm.secret_bytes_min() {
            Some(_) => {
                let secret = secret_of(config)?;
                (DecodingKey::from_secret(&secret), SignedBy::of(&[name, &secret]))
            }
            None => {
                if config.secret.is_some() || config.secret_file.is_some() {
                    return Err(format!("{} has a `public_key`, not a `secret`", config.algorithm.as_str()));
                }
                let given = config.public_key.as_ref().map(Secret::new);
                let pem = secret::read(given.as_ref(), config.public_key_file.as_deref(), "public_key")?;
                let pem = pem.expose().as_bytes();
                (public_key(config.algorithm, pem)?, SignedBy::of(&[name, pem]))
            }
        };
        Ok(Self { kid: config.kid.as_deref().map(Into::into), algorithm: config.algorithm, print, key })
    }

    /// A key of a set (RFC 7517), whose parts are base64url.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of_parts(kid: Option<&str>, algorithm: Algorithm, parts: &Parts<'_>) -> Result<Self, String> {
        let (key, [one, other]) = match *parts {
            Parts::Rsa { n, e } => (DecodingKey::from_rsa_components(n, e), [n, e]),
            Parts::Ec { x, y } => (DecodingKey::from_ec_components(x, y), [x, y]),
            Parts::Ed { x } => (DecodingKey::from_ed_components(x), [x, ""]),
        };
        let print = SignedBy::of(&[algorithm.as_str().as_bytes(), one.as_bytes(), other.as_bytes()]);
        let key = key.map_err(|why| format!("a part of the key cannot be read: {why}"))?;
        Ok(Self { kid: kid.map(Into::into), algorithm, print, key })
    }

    /// Whether this key made this signature.
    pub(super) fn verifies(&self, signed: &[u8], signature: &Vec<u8>) -> bool {
        // By the provider itself and not by the library's own default, which is one for the whole process and may be that of
        // the program around us.
        let verifier = (DEFAULT_PROVIDER.verifier_factory)(&self.algorithm.into(), &self.key);
        verifier.is_ok_and(|verifier| verifier.verify(signed, signature).is_ok())
    }
}

/// The parts of a public key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Parts<'a> {
    Rsa { n: &'a str, e: &'a str },
    Ec { x: &'a str, y: &'a str },
    Ed { x: &'a str },
}

/// Signs: signed addresses, and tokens for `tidings token` and tests.
#[derive(Clone)]
pub struct SigningKey {
    pub(super) kid: Option<Box<str>>,
    pub(super) algorithm: Algorithm,
    key: EncodingKey,
}

impl SigningKey {
    /// From a configured shared secret.
    ///
    /// # Errors
    /// A sentence when there is none, or none that will do.
    pub fn of_secret(config: &TokenKey) -> Result<Self, String> {
        if config.algorithm.secret_bytes_min().is_none() {
            return Err(format!("the key is of {}: the broker has only its public half; give the private one", config.algorithm.as_str()));
        }
        let key = EncodingKey::from_secret(&secret_of(config)?);
        Ok(Self { kid: config.kid.as_deref().map(Into::into), algorithm: config.algorithm, key })
    }

    /// From a private key as PEM (PKCS #8).
    ///
    /// # Errors
    /// A sentence when it is none of this algorithm.
    pub fn of_pem(kid: Option<&str>, algorithm: Algorithm, pem: &[u8]) -> Result<Self, String> {
        let key = match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => return Err("HS256, HS384 and HS512 sign with a secret".to_owned()),
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
            _ => EncodingKey::from_rsa_pem(pem),
        };
        let key = key.map_err(|_| format!("this is no private key of {} as PEM (PKCS #8)", algorithm.as_str()))?;
        Ok(Self { kid: kid.map(Into::into), algorithm, key })
    }

    /// The signature of some bytes.
    ///
    /// # Errors
    /// A sentence when the key cannot sign.
    pub fn sign(&self, text: &[u8]) -> Result<Vec<u8>, String> {
        let signer = (DEFAULT_PROVIDER.signer_factory)(&self.algorithm.into(), &self.key).map_err(|why| why.to_string())?;
        signer.try_sign(text).map_err(|_| "the key cannot sign".to_owned())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn secret_of(config: &TokenKey) -> Result<Vec<u8>, String> {
    let name = config.algorithm.as_str();
    if config.public_key.is_some() || config.public_key_file.is_some() {
        return Err(format!("{name} has a `secret`, not a `public_key`"));
    }
    let text = secret::read(config.secret.as_ref(), config.secret_file.as_deref(), "secret")?;
    // Whoever reads the public key could sign with it as if it were a secret.
    if text.expose().contains("-----BEGIN ") {
        return Err(format!("this is a key pair's half as PEM, and {name} takes a secret; did you mean RS256, ES256 or EdDSA?"));
    }
    let bytes = text.bytes()?;
    let min = config.algorithm.secret_bytes_min().unwrap_or_default();
    if bytes.len() < min {
        return Err(format!("a secret of {name} has at least {min} bytes, this one has {} (RFC 7518, section 3.2)", bytes.len()));
    }
    Ok(bytes)
}

fn public_key(algorithm: Algorithm, pem: &[u8]) -> Result<DecodingKey, String> {
    let no_key = || format!("this is no public key of {} as PEM", algorithm.as_str());
    if !pem.windows(10).any(|window| window == b"PUBLIC KEY") {
        return Err(format!("{} (\"-----BEGIN PUBLIC KEY-----\")", no_key()));
    }
    let key = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(pem),
        _ => DecodingKey::from_rsa_pem(pem),
    };
    let key = key.map_err(|_| no_key())?;
    // An uncompressed point of the curve.
    let point = match algorithm {
        Algorithm::ES256 => Some(65),
        Algorithm::ES384 => Some(97),
        _ => None,
    };
    match (point, key.try_get_as_bytes()) {
        (Some(length), Ok(bytes)) if bytes.len() != length => Err(format!("{}: it is on another curve", no_key())),
        _ => Ok(key),
    }
}

impl From<Algorithm> for Arithmetic {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::HS256 => Self::HS256,
            Algorithm::HS384 => Self::HS384,
            Algorithm::HS512 => Self::HS512,
            Algorithm::RS256 => Self::RS256,
            Algorithm::RS384 => Self::RS384,
            Algorithm::RS512 => Self::RS512,
            Algorithm::PS256 => Self::PS256,
            Algorithm::PS384 => Self::PS384,
            Algorithm::PS512 => Self::PS512,
            Algorithm::ES256 => Self::ES256,
            Algorithm::ES384 => Self::ES384,
            Algorithm::EdDSA => Self::EdDSA,
        }
    }
}
