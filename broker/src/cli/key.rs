//! `tidings key NAME`: a fresh API key.

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tidings::auth::config::KeyHash;

/// Marks a key as one of ours, for people and for scanners that look for leaked secrets.
const PREFIX: &str = "tdk_";
/// 256 bits: as much as the hash keeps.
const SECRET_BYTES: usize = 32;

/// A key that nobody had before.
pub(crate) fn fresh() -> String {
    let mut secret = [0; SECRET_BYTES];
    rand::fill(&mut secret);
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret))
}

/// Reads the name that a key is given; the configuration would refuse the same.
///
/// # Errors
/// When it says nothing.
pub(crate) fn name(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err("say who uses it: the name is shown in logs");
    }
    Ok(text.to_owned())
}

/// Prints the key once, and what to put into the configuration. Only the hash is ever stored.
pub(crate) fn print(name: &str) -> ExitCode {
    let key = fresh();
    let hash = KeyHash::of(key.as_bytes());
    // Text in JSON quotes is a YAML scalar whatever the name holds.
    let name = serde_json::Value::from(name);
    super::print(&format!(
        "# For the publisher; it is shown only now: Authorization: Bearer {key}\n# For config.yaml:\nkeys:\n  - name: {name}\n    sha256: {hash}\n"
    ))
}
