//! A JSON Web Key Set (RFC 7517) as keys that verify. Pure.

use serde::Deserialize;

use super::KEYS_MAX;
use super::config::Algorithm;
use super::keys::{Parts, VerifyingKey};

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a set that verify signatures. Others (for encryption, of unknown kinds, shared secrets) are passed over, as the
/// RFC asks.
///
/// # Errors
/// A sentence when it is no set, or none of its keys can be used.
pub(super) fn read(text: &[u8]) -> Result<Vec<VerifyingKey>, String> {
    let set: Set = serde_json::from_slice(text).map_err(|why| format!("it is no JSON Web Key Set: {why}"))?;
    let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Key>(key).ok()).filter_map(|key| verifying(&key));
    let keys: Vec<VerifyingKey> = keys.take(KEYS_MAX).collect();
    if keys.is_empty() { Err("none of its keys verifies signatures of an algorithm that is known here".to_owned()) } else { Ok(keys) }
}

fn verifying(key: &Key) -> Option<VerifyingKey> {
    let is_for_signing = key.r#use.as_deref().is_none_or(|what| what == "sig");
    let is_for_verifying = key.key_ops.as_ref().is_none_or(|what| what.iter().any(|one| one == "verify"));
    if !is_for_signing || !is_for_verifying {
        return None;
    }
    let said = match key.alg.as_deref() {
        Some(name) => Some(Algorithm::parse(name)?),
        None => None,
    };
    let (usual, allowed, parts): (_, &[Algorithm], _) = match (&*key.kty, key.crv.as_deref()) {
        ("RSA", _) => {
            use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
            (RS256, &[RS256, RS384, RS512, PS256, PS384, PS512], Parts::Rsa { n: key.n.as_deref()?, e: key.e.as_deref()? })
        }
        ("EC", Some("P-256")) => (Algorithm::ES256, &[Algorithm::ES256], Parts::Ec { x: key.x.as_deref()?, y: key.y.as_deref()? }),
        ("EC", Some("P-384")) => (Algorithm::ES384, &[Algorithm::ES384], Parts::Ec { x: key.x.as_deref()?, y: key.y.as_deref()? }),
        ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, &[Algorithm::EdDSA], Parts::Ed { x: key.x.as_deref()? }),
        // A shared secret that stands on the web is none.
        _ => return None,
    };
    let algorithm = said.unwrap_or(usual);
    if !allowed.contains(&algorithm) {
        return None;
    }
    VerifyingKey::of_parts(key.kid.as_deref(), algorithm, &parts).ok()
}
