//! Credentials come from anywhere: no bytes may make their readers panic, and nothing that our key did not sign is believed.
//!
//! `scripts/fuzz auth 60`

#![no_main]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use tidings::auth::Credential;
use tidings::auth::pattern::{Pattern, Template};
use tidings::auth::secret::Secret;
use tidings::auth::signed_url::{Key, SignedUrl, Signers};
use tidings::auth::token::config::{Algorithm, Config, TokenKey};
use tidings::auth::token::{SigningKey, Verifier};
use tidings::message::ChannelName;

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "the secret of this target, long enough for HS256";

struct Keys {
    verifier: Verifier,
    signing: SigningKey,
    signers: Signers,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let secret = Some(Secret::new(SECRET));
    let key = TokenKey { kid: None, algorithm: Algorithm::HS256, secret: secret.clone(), secret_file: None, public_key: None, public_key_file: None };
    let signing = SigningKey::of_secret(&key).unwrap();
    let verifier = Verifier::new(&Config { keys: vec![key], ..Config::default() }).unwrap();
    Keys { verifier, signing, signers: Signers::new(&[Key { id: "k".into(), secret, secret_file: None }]).unwrap() }
});

fuzz_target!(|bytes: &[u8]| {
    let Keys { verifier, signing, signers } = &*KEYS;
    if let Ok(text) = std::str::from_utf8(bytes) {
        // As somebody without the key might send it.
        assert!(verifier.verify(text, NOW).is_err(), "believed without a signature: {text:?}");
        let headers = http::HeaderMap::new();
        if let Ok(Credential::Url(url)) = Credential::of_request(&headers, Some(text), Some("c")) {
            assert!(signers.verify(&url, NOW).is_err());
        }
        patterns(text);
        let url = SignedUrl { key: "k".into(), channels: vec![text.to_owned()], expires: (NOW + 1).to_string(), ..SignedUrl::default() };
        let url = SignedUrl { signature: signers.sign(&url).unwrap(), ..url };
        if let Ok(claims) = signers.verify(&url, NOW) {
            assert_eq!(claims.grants[0].pattern.to_string(), text);
        }
    }
    // And what is inside, signed: else nearly all tries end at the signature.
    let (header, payload) = bytes.iter().position(|byte| *byte == b'\n').map_or((&b"{\"alg\":\"HS256\"}"[..], bytes), |at| (&bytes[..at], &bytes[at + 1..]));
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signing.sign(signed.as_bytes()).unwrap()));
    if let Ok(claims) = verifier.verify(&token, NOW) {
        assert!(claims.until > NOW && claims.grants.len() <= 64);
        assert!(claims.user.is_none_or(|user| !user.is_empty() && user.len() <= 255));
    }
    let _ = verifier.with_set(bytes);
});

fn patterns(text: &str) {
    if let Ok(pattern) = Pattern::parse(text) {
        assert_eq!(pattern.to_string(), text);
        if let Ok(channel) = ChannelName::parse(text.trim_end_matches('*')) {
            assert!(pattern.covers(&channel));
        }
    }
    let Ok(template) = Template::parse(text) else { return };
    assert_eq!(template.to_string(), text);
    for user in ["a", "b", "ab", "ba"] {
        let Ok(channel) = ChannelName::parse(&text.trim_end_matches('*').replace("{sub}", user)) else { continue };
        // The channels of one are never those of another.
        let users: Vec<&str> = ["a", "b", "ab", "ba"].into_iter().filter(|user| template.covers(&channel, user)).collect();
        assert!(users.len() <= 1, "{text:?}: {users:?}");
    }
}
