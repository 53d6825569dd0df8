//! Signed addresses: a gateway or a backend hands out an address that lets its bearer listen to the channels it names, for a
//! while. Pure.
//!
//! ```text
//! /sse?channel=orders&channel=news&user=ann&expires=1767225600&key=gate&signature=…
//! ```
//! The signature is HMAC-SHA-256 with the key's secret, as base64url without padding, over these lines, joined by one line
//! feed each and none at the end: `tidings-url-v1`, the key's id, the seconds, the user (empty without one), and each channel,
//! in the order of the address. All as they are, not percent-encoded: none can hold a line feed. The path is not signed, so
//! that the same parameters serve every front.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::Action;
use super::claims::{Claims, Grant, SignedBy};
use super::pattern::Pattern;
use super::refusal::{Denied, Refusal};
use super::secret::Secret;
use super::token;
use super::token::SigningKey;
use super::token::config::{Algorithm, TokenKey};
use crate::message::ChannelName;

/// First line of what is signed.
const VERSION: &str = "tidings-url-v1";
/// Bytes of a signature as base64url.
const SIGNATURE_LEN: usize = 43;

/// A key that signs addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SignedUrlKey")]
pub struct Key {
    /// What an address calls it (`key=`).
    pub id: String,
    /// The secret, as text or as `base64:…`; at least 32 bytes.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// Instead, a file that holds it.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
}

/// What an address says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignedUrl {
    /// `key`.
    pub key: String,
    /// `expires`, as it stands there.
    pub expires: String,
    /// `user`, empty without one.
    pub user: String,
    /// `channel`, in their order.
    pub channels: Vec<String>,
    /// `signature`.
    pub signature: String,
}

impl SignedUrl {
    /// What the signature is over.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut text = [VERSION, &self.key, &self.expires, &self.user].join("\n");
        for channel in &self.channels {
            text.push('\n');
            text.push_str(channel);
        }
        text.into_bytes()
    }
}

/// The keys that sign addresses.
#[derive(Clone, Debug, Default)]
pub struct Signers(Vec<Signer>);

#[derive(Clone, Debug)]
struct Signer {
    id: Box<str>,
    key: SigningKey,
    /// What addresses that it signed remember of it.
    print: SignedBy,
}

impl Signers {
    /// Reads the configured keys.
    ///
    /// # Errors
    /// Which key is wrong and why, without the key.
    pub fn new(keys: &[Key]) -> Result<Self, (usize, String)> {
        let read = |(nth, key): (usize, &Key)| {
            let as_token_key = TokenKey {
                kid: None,
                algorithm: Algorithm::HS256,
                secret: key.secret.clone(),
                secret_file: key.secret_file.clone(),
                public_key: None,
                public_key_file: None,
            };
            let id = key.id.as_str();
            let signer = SigningKey::of_secret(&as_token_key).and_then(|key| {
                let print = SignedBy::of(&[VERSION.as_bytes(), id.as_bytes(), &key.sign(VERSION.as_bytes())?]);
                Ok(Signer { id: id.into(), key, print })
            });
            signer.map_err(|why| (nth, why))
        };
        Ok(Self(keys.iter().enumerate().map(read).collect::<Result<_, _>>()?))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is this one.
    #[must_use]
    pub fn has(&self, print: SignedBy) -> bool {
        self.0.iter().any(|signer| signer.print == print)
    }

    /// The signature of an address with one of these keys. None when there is no key of that id.
    #[must_use]
    pub fn sign(&self, url: &SignedUrl) -> Option<String> {
        self.find(&url.key)?.sign(url)
    }

    fn find(&self, id: &str) -> Option<&Signer> {
        self.0.iter().find(|signer| *signer.id == *id)
    }

    /// Proves an address; `now` is in seconds since 1970. Its bearer may listen to its channels and read their history.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(&self, url: &SignedUrl, now: u64) -> Result<Claims, Refusal> {
        if url.signature.len() != SIGNATURE_LEN {
            return Err(Refusal::new(Denied::Signature, "the address' signature is no HMAC-SHA-256 as base64url"));
        }
        let Some((signer, signature)) = self.find(&url.key).and_then(|signer| Some((signer, signer.sign(url)?))) else {
            return Err(Refusal::new(Denied::UnknownKey, "the address is signed with a key that is not known here (`key`)"));
        };
        if !bool::from(subtle::ConstantTimeEq::ct_eq(signature.as_bytes(), url.signature.as_bytes())) {
            return Err(Refusal::new(
                Denied::Signature,
                "the address' signature is wrong: key, expires, user and all channels, in their order, are signed",
            ));
        }
        // Only plain digits, so that nothing but what was signed is read out of it.
        let seconds = if url.expires.bytes().all(|byte| byte.is_ascii_digit()) { url.expires.parse::<u64>().ok() } else { None };
        let seconds = seconds.ok_or_else(|| Refusal::new(Denied::Claims, "`expires` is a whole number of seconds since 1970"))?;
        let until = token::expiry(Some(seconds as f64), 0, now)?;
        let user = if url.user.is_empty() { None } else { Some(Arc::from(token::named(url.user.clone(), "user")?)) };
        let can = [Action::Subscribe, Action::History].into_iter().collect();
        let grant = |name: &String| {
            // A name is a name here, a `*` at its end included: no pattern is signed.
            let name = ChannelName::parse(name).map_err(|why| Refusal::new(Denied::Claims, why.message))?;
            Ok(Grant { pattern: Pattern::exact(&name), can })
        };
        let grants = url.channels.iter().map(grant).collect::<Result<_, Refusal>>()?;
        Ok(Claims { user, id: None, issued: None, signed_by: signer.print, is_address: true, between: None, grants, info: None, until })
    }
}

impl Signer {
    fn sign(&self, url: &SignedUrl) -> Option<String> {
        self.key.sign(&url.canonical()).ok().map(|tag| URL_SAFE_NO_PAD.encode(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn signers() -> Signers {
        let key = |id: &str| Key {
            id: id.to_owned(),
            secret: Some(Secret::new(format!("the secret of {id} is long enough, as you see"))),
            secret_file: None,
        };
        Signers::new(&[key("gate"), key("shop")]).unwrap()
    }

    fn url(key: &str, channels: &[&str]) -> SignedUrl {
        let channels = channels.iter().map(ToString::to_string).collect();
        let mut url =
            SignedUrl { key: key.to_owned(), expires: (NOW + 60).to_string(), user: "ann".to_owned(), channels, signature: String::new() };
        url.signature = signers().sign(&url).unwrap_or_default();
        url
    }

    fn cause(url: &SignedUrl) -> Denied {
        signers().verify(url, NOW).map(|claims| panic!("believed: {claims:?}")).unwrap_err().cause
    }

    #[test]
    fn a_signed_address_grants_listening_to_its_channels_until_it_expires() {
        let claims = signers().verify(&url("gate", &["orders", "inbox#ann"]), NOW).unwrap();
        assert_eq!((claims.user.as_deref(), claims.until), (Some("ann"), NOW + 60));
        let granted = |action, channel: &str| claims.grants.iter().any(|grant| grant.allows(action, &ChannelName::parse(channel).unwrap()));
        assert!(granted(Action::Subscribe, "orders") && granted(Action::History, "inbox#ann"));
        assert!(!granted(Action::Publish, "orders") && !granted(Action::Subscribe, "orders2"));
    }

    #[test]
    fn whatever_is_changed_breaks_it() {
        let good = url("gate", &["a", "b"]);
        for changed in [
            SignedUrl { key: "shop".into(), ..good.clone() },
            SignedUrl { expires: (NOW + 61).to_string(), ..good.clone() },
            SignedUrl { user: "bob".into(), ..good.clone() },
            SignedUrl { user: String::new(), ..good.clone() },
            SignedUrl { channels: vec!["a".into()], ..good.clone() },
            SignedUrl { channels: vec!["b".into(), "a".into()], ..good.clone() },
            SignedUrl { channels: vec!["a".into(), "b".into(), "c".into()], ..good.clone() },
            SignedUrl { signature: String::new(), ..good.clone() },
            SignedUrl { signature: format!("{}=", good.signature), ..good.clone() },
            SignedUrl { signature: "A".repeat(43), ..good.clone() },
        ] {
            assert_eq!(cause(&changed), Denied::Signature, "{changed:?}");
        }
        assert_eq!(cause(&SignedUrl { key: "nobody".into(), ..good }), Denied::UnknownKey);
    }

    #[test]
    fn lines_that_could_be_read_in_two_ways_are_refused_even_when_they_are_signed() {
        // The same text is signed for both: one of them cannot be a user's name.
        let honest = url("gate", &["a", "b"]);
        let mut forged = SignedUrl { user: "ann\na".into(), channels: vec!["b".into()], ..honest.clone() };
        assert_eq!(forged.canonical(), honest.canonical());
        forged.signature.clone_from(&honest.signature);
        assert_eq!(cause(&forged), Denied::Claims);
        let mut forged = SignedUrl { channels: vec!["a\nb".into()], ..honest.clone() };
        forged.signature.clone_from(&honest.signature);
        assert_eq!(cause(&forged), Denied::Claims);
    }

    #[test]
    fn time_is_plain_digits_and_past_is_past() {
        let at = |expires: &str| {
            let mut url = url("gate", &["a"]);
            expires.clone_into(&mut url.expires);
            url.signature = signers().sign(&url).unwrap();
            cause(&url)
        };
        assert_eq!(at(&NOW.to_string()), Denied::Expired);
        for wrong in ["", "+1900000000", "1e10", " 1900000000", "1900000000 ", "0x7fffffff", "٣", "-1", "99999999999999999999"] {
            assert_eq!(at(wrong), Denied::Claims, "{wrong:?}");
        }
    }

    #[test]
    fn a_star_in_an_address_is_a_star() {
        let claims = signers().verify(&url("gate", &["chat:*"]), NOW).unwrap();
        let granted = |channel: &str| claims.grants[0].allows(Action::Subscribe, &ChannelName::parse(channel).unwrap());
        assert!(granted("chat:*") && !granted("chat:1"));
    }
}
