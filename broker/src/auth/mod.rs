//! Who may publish and query: static API keys, known only by their hashes. Knows no HTTP and no gRPC; both hand over the
//! value of `authorization` as they got it.

pub mod config;

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::error::{Error, ErrorCode, Result};
use config::{Config, KeyHash};

/// Decides whether a caller holds a key. Cheap to clone.
#[derive(Clone)]
pub struct Keyring {
    hashes: Arc<[KeyHash]>,
    open: bool,
}

impl Keyring {
    /// The keys of the configuration. Without any, everyone is let in when it says so, else nobody.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { hashes: config.keys.iter().map(|key| key.sha256).collect(), open: config.open }
    }

    /// Whether everyone is let in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open && self.hashes.is_empty()
    }

    /// Whether the caller may publish and query. Takes the whole value of the `authorization` header or metadata entry:
    /// `Bearer` and a key (RFC 6750, section 2.1).
    ///
    /// # Errors
    /// `unauthenticated`, with a sentence that says what to do.
    pub fn check(&self, authorization: Option<&str>) -> Result<()> {
        if self.is_open() {
            return Ok(());
        }
        if self.hashes.is_empty() {
            return Err(refused("no API key is configured; add one under `keys` (`tidings key NAME` makes one) or run with --dev"));
        }
        let Some(authorization) = authorization else {
            return Err(refused("an API key is needed: send `Authorization: Bearer <key>`"));
        };
        let Some(key) = bearer(authorization) else {
            return Err(refused("the authorization is not understood: send `Authorization: Bearer <key>`"));
        };
        if self.holds(key) {
            Ok(())
        } else {
            Err(refused("the API key is unknown; `keys` in the configuration lists the hashes of those that are"))
        }
    }

    /// Compares with every key and in constant time, so that the time taken tells nothing about how close a guess was.
    fn holds(&self, key: &str) -> bool {
        let hash = KeyHash::of(key.as_bytes());
        let found = self.hashes.iter().fold(subtle::Choice::from(0), |found, known| found | known.0.ct_eq(&hash.0));
        found.into()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("keys", &self.hashes.len()).field("open", &self.open).finish()
    }
}

fn refused(message: &'static str) -> Error {
    Error::new(ErrorCode::Unauthenticated, message)
}

/// The key after the scheme, whose case does not matter (RFC 9110, section 11.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.trim().split_once(' ')?;
    let key = key.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::config::Key;
    use super::*;

    fn ring(keys: &[&str], open: bool) -> Keyring {
        let keys = keys.iter().map(|key| Key { name: (*key).to_owned(), sha256: KeyHash::of(key.as_bytes()) });
        Keyring::new(&Config { keys: keys.collect(), open })
    }

    fn refusal(ring: &Keyring, authorization: Option<&str>) -> String {
        let why = ring.check(authorization).unwrap_err();
        assert_eq!(why.code, ErrorCode::Unauthenticated);
        why.message.into_owned()
    }

    #[test]
    fn each_listed_key_is_let_in_whatever_the_case_of_the_scheme() {
        let ring = ring(&["one", "two"], false);
        for value in ["Bearer one", "bearer two", "BEARER  one", " Bearer two "] {
            assert_eq!(ring.check(Some(value)), Ok(()), "{value}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_without_being_repeated() {
        let said = refusal(&ring(&["one"], false), Some("Bearer guess"));
        assert!(said.contains("unknown") && !said.contains("guess"), "{said}");
    }

    #[test]
    fn what_is_no_bearer_key_is_refused_with_the_form_to_send() {
        let ring = ring(&["one"], false);
        for value in [None, Some(""), Some("one"), Some("Bearer"), Some("Bearer "), Some("Basic one"), Some("Bearerone")] {
            assert!(refusal(&ring, value).contains("Authorization: Bearer <key>"), "{value:?}");
        }
    }

    #[test]
    fn without_keys_nobody_is_let_in_and_is_told_why() {
        let said = refusal(&ring(&[], false), Some("Bearer one"));
        assert!(said.contains("no API key is configured") && said.contains("--dev"), "{said}");
    }

    #[test]
    fn without_keys_an_open_broker_lets_everyone_in() {
        let ring = ring(&[], true);
        assert!(ring.is_open());
        assert_eq!(ring.check(None), Ok(()));
        assert_eq!(ring.check(Some("nonsense")), Ok(()));
    }

    #[test]
    fn keys_are_required_also_where_it_would_be_open_without_them() {
        let ring = ring(&["one"], true);
        assert!(!ring.is_open());
        assert!(refusal(&ring, None).contains("an API key is needed"));
        assert_eq!(ring.check(Some("Bearer one")), Ok(()));
    }

    #[test]
    fn a_hash_is_read_from_64_digits_only_and_shown_as_it_was() {
        let hash = KeyHash::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), text);
        assert_eq!(KeyHash::parse(text), Some(hash));
        assert_eq!(KeyHash::parse(&text.to_uppercase()), Some(hash));
        for wrong in ["", "abc", &text[1..], &format!("{text}0"), &text.replace('b', "g"), &text.replace("ba", "ä")] {
            assert_eq!(KeyHash::parse(wrong), None, "{wrong}");
        }
    }
}
