//! Tokens of every algorithm pass, and every way known to get a forged one believed fails.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::super::action::Action;
use super::super::secret::Secret;
use super::config::TokenKey;
use super::*;

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "a secret of more than sixty-four bytes, so that it will do for HS512 as well";

/// A key's two halves as PEM.
struct Pair {
    private: String,
    public: String,
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn pair(algorithm: Algorithm) -> Pair {
    match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => {
            let curve = if algorithm == Algorithm::ES256 { &ECDSA_P256_SHA256_FIXED_SIGNING } else { &ECDSA_P384_SHA384_FIXED_SIGNING };
            let key = EcdsaKeyPair::generate(curve).unwrap();
            let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
            Pair { private: pem("PRIVATE KEY", key.to_pkcs8v1().unwrap().as_ref()), public: pem("PUBLIC KEY", public.as_ref()) }
        }
        Algorithm::EdDSA => {
            let key = Ed25519KeyPair::generate().unwrap();
            let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
            Pair { private: pem("PRIVATE KEY", key.to_pkcs8v1().unwrap().as_ref()), public: pem("PUBLIC KEY", public.as_ref()) }
        }
        _ => {
            let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
            let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
            Pair { private: pem("PRIVATE KEY", private.as_ref()), public: pem("PUBLIC KEY", public.as_ref()) }
        }
    }
}

fn shared(kid: Option<&str>, algorithm: Algorithm, secret: &str) -> TokenKey {
    TokenKey {
        kid: kid.map(ToOwned::to_owned),
        algorithm,
        secret: Some(Secret::new(secret)),
        secret_file: None,
        public_key: None,
        public_key_file: None,
    }
}

fn public(kid: Option<&str>, algorithm: Algorithm, pem: &str) -> TokenKey {
    TokenKey { public_key: Some(pem.to_owned()), secret: None, ..shared(kid, algorithm, "") }
}

fn verifier(keys: Vec<TokenKey>) -> Verifier {
    Verifier::new(&Config { keys, ..Config::default() }).unwrap()
}

fn claims() -> Value {
    json!({ "sub": "ann", "exp": NOW + 60, "channels": [{ "match": "chat:*", "can": ["subscribe"] }] })
}

fn hs(claims: &Value) -> String {
    sign(&SigningKey::of_secret(&shared(None, Algorithm::HS256, SECRET)).unwrap(), claims).unwrap()
}

fn cause(verifier: &Verifier, token: &str) -> Denied {
    verifier.verify(token, NOW).map(|claims| panic!("believed: {claims:?}")).unwrap_err().cause
}

/// A token with this header and payload, signed by HS256 with these bytes.
fn forged(header: &str, payload: &Value, secret: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload.to_string()));
    let tag = aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

#[test]
fn a_token_of_every_algorithm_is_believed_by_its_key_and_no_other() {
    for algorithm in Algorithm::ALL {
        let (mine, other, signing) = if algorithm.secret_bytes_min().is_some() {
            let mine = shared(Some("k"), algorithm, SECRET);
            let signing = SigningKey::of_secret(&mine).unwrap();
            (mine, shared(Some("k"), algorithm, &SECRET.to_uppercase()), signing)
        } else {
            let (mine, other) = (pair(algorithm), pair(algorithm));
            let signing = SigningKey::of_pem(Some("k"), algorithm, mine.private.as_bytes()).unwrap();
            (public(Some("k"), algorithm, &mine.public), public(Some("k"), algorithm, &other.public), signing)
        };
        let token = sign(&signing, &claims()).unwrap();
        let believed = verifier(vec![mine]).verify(&token, NOW).unwrap();
        assert_eq!((believed.user.as_deref(), believed.until), (Some("ann"), NOW + 65), "{algorithm:?}");
        assert!(believed.grants[0].can.has(Action::Subscribe) && !believed.grants[0].can.has(Action::Publish));
        assert_eq!(cause(&verifier(vec![other]), &token), Denied::Signature, "{algorithm:?}");
    }
}

#[test]
fn no_token_goes_without_a_signature() {
    let verifier = verifier(vec![shared(None, Algorithm::HS256, SECRET)]);
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256 ", "hs256", "RS256", "HS512"] {
        let payload = URL_SAFE_NO_PAD.encode(claims().to_string());
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": alg }).to_string());
        for signature in ["", "AA"] {
            assert_eq!(cause(&verifier, &format!("{header}.{payload}.{signature}")), Denied::Algorithm, "{alg:?}");
        }
    }
    let token = hs(&claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    for wrong in ["", "AAAA", &signature[..40], &"A".repeat(43)] {
        assert_eq!(cause(&verifier, &format!("{signed}.{wrong}")), Denied::Signature, "{wrong:?}");
    }
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let pair = pair(Algorithm::RS256);
    let verifier = verifier(vec![public(Some("k"), Algorithm::RS256, &pair.public)]);
    for secret in [pair.public.as_bytes(), pair.public.trim().as_bytes()] {
        assert_eq!(cause(&verifier, &forged(r#"{"alg":"HS256","kid":"k"}"#, &claims(), secret)), Denied::Algorithm);
        assert_eq!(cause(&verifier, &forged(r#"{"alg":"RS256","kid":"k"}"#, &claims(), secret)), Denied::Signature);
    }
    let mistaken = Verifier::new(&Config { keys: vec![shared(None, Algorithm::HS256, &pair.public)], ..Config::default() });
    assert!(mistaken.unwrap_err().1.contains("PEM"));
}

#[test]
fn one_keys_algorithm_does_not_serve_another_key() {
    let keys = vec![shared(Some("a"), Algorithm::HS256, SECRET), shared(Some("b"), Algorithm::HS512, SECRET)];
    let verifier = verifier(keys);
    assert!(verifier.verify(&forged(r#"{"alg":"HS256","kid":"a"}"#, &claims(), SECRET.as_bytes()), NOW).is_ok());
    assert_eq!(cause(&verifier, &forged(r#"{"alg":"HS256","kid":"b"}"#, &claims(), SECRET.as_bytes())), Denied::Algorithm);
}

#[test]
fn a_kid_is_looked_up_and_nothing_else_is_done_with_it() {
    let verifier = verifier(vec![shared(Some("a"), Algorithm::HS256, SECRET)]);
    for kid in ["../../../dev/null", "/dev/null", "a\u{0}", "a' OR '1'='1", "", "A", "http://evil.example/jwks"] {
        for secret in [&b""[..], b"\0", SECRET.as_bytes()] {
            let token = forged(&json!({ "alg": "HS256", "kid": kid }).to_string(), &claims(), secret);
            assert_eq!(cause(&verifier, &token), Denied::UnknownKid, "{kid:?}");
        }
    }
    let long = json!({ "alg": "HS256", "kid": "x".repeat(256) }).to_string();
    assert_eq!(cause(&verifier, &forged(&long, &claims(), SECRET.as_bytes())), Denied::Malformed);
    let other = forged(r#"{"alg":"HS256","kid":["a"]}"#, &claims(), SECRET.as_bytes());
    assert_eq!(cause(&verifier, &other), Denied::Malformed);
}

#[test]
fn a_key_that_the_token_brings_along_is_not_used() {
    let verifier = verifier(vec![shared(None, Algorithm::HS256, SECRET)]);
    let theirs = b"a secret that only the attacker knows";
    for brought in [
        json!({ "jwk": { "kty": "oct", "k": URL_SAFE_NO_PAD.encode(theirs) } }),
        json!({ "jku": "https://evil.example/jwks.json" }),
        json!({ "x5u": "https://evil.example/cert.pem" }),
        json!({ "x5c": [STANDARD.encode(theirs)] }),
    ] {
        let mut header = brought.clone();
        header["alg"] = "HS256".into();
        assert_eq!(cause(&verifier, &forged(&header.to_string(), &claims(), theirs)), Denied::Signature, "{brought}");
        assert!(verifier.verify(&forged(&header.to_string(), &claims(), SECRET.as_bytes()), NOW).is_ok(), "it is not read at all");
    }
    let critical = r#"{"alg":"HS256","crit":["b64"],"b64":false}"#;
    assert_eq!(cause(&verifier, &forged(critical, &claims(), SECRET.as_bytes())), Denied::Malformed);
}

#[test]
fn what_stands_twice_is_refused() {
    let verifier = verifier(vec![shared(None, Algorithm::HS256, SECRET)]);
    let sign_text = |header: &str, payload: &str| {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let tag = aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes()), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let good = format!(r#"{{"exp":{}}}"#, NOW + 1);
    assert!(verifier.verify(&sign_text(r#"{"alg":"HS256"}"#, &good), NOW).is_ok());
    for (header, payload) in [
        (r#"{"alg":"HS256","alg":"none"}"#.to_owned(), good.clone()),
        (r#"{"alg":"HS256","kid":"a","kid":"b"}"#.to_owned(), good.clone()),
        (r#"{"alg":"HS256"}"#.to_owned(), format!(r#"{{"exp":1,"exp":{}}}"#, NOW + 1)),
        (r#"{"alg":"HS256"}"#.to_owned(), format!(r#"{{"exp":{},"sub":"ann","\u0073ub":"bob"}}"#, NOW + 1)),
        (r#"{"alg":"HS256"}"#.to_owned(), format!(r#"{{"exp":{0},"channels":[],"channels":[]}}"#, NOW + 1)),
        (r#"["HS256",null,null]"#.to_owned(), good),
        (r#"{"alg":"HS256"}"#.to_owned(), format!("[{}]", NOW + 1)),
    ] {
        assert_eq!(cause(&verifier, &sign_text(&header, &payload)), Denied::Malformed, "{header} {payload}");
    }
}

#[test]
fn time_is_judged_with_the_leeway_and_no_further() {
    let verifier = verifier(vec![shared(None, Algorithm::HS256, SECRET)]);
    let at = |claims: Value| verifier.verify(&hs(&claims), NOW);
    assert_eq!(at(json!({ "exp": NOW - 4 })).unwrap().until, NOW + 1);
    assert_eq!(at(json!({ "exp": NOW - 5 })).unwrap_err().cause, Denied::Expired);
    assert_eq!(at(json!({ "exp": 0 })).unwrap_err().cause, Denied::Expired);
    assert!(at(json!({ "exp": NOW as f64 + 0.5, "nbf": NOW + 5 })).is_ok());
    assert_eq!(at(json!({ "exp": NOW + 9, "nbf": NOW + 6 })).unwrap_err().cause, Denied::NotYetValid);
    assert_eq!(at(json!({ "exp": 1e300 })).unwrap().until, 253_402_300_799 + 5, "far ahead is far enough");
    for claims in [json!({}), json!({ "exp": null }), json!({ "exp": -1 })] {
        assert_eq!(at(claims.clone()).unwrap_err().cause, Denied::Claims, "{claims}");
    }
    for claims in [json!({ "exp": "2099" }), json!({ "exp": [NOW + 9] }), json!({ "exp": true }), json!({ "exp": NOW + 9, "nbf": "0" })] {
        assert_eq!(at(claims.clone()).unwrap_err().cause, Denied::Malformed, "{claims}");
    }
}

#[test]
fn audience_and_issuer_must_be_there_where_they_are_asked_for() {
    let config = Config {
        keys: vec![shared(None, Algorithm::HS256, SECRET)],
        audience: vec!["push".into(), "other".into()],
        issuer: vec!["https://id.example".into()],
        ..Config::default()
    };
    let verifier = Verifier::new(&config).unwrap();
    let at =
        |aud: Value, iss: Value| verifier.verify(&hs(&json!({ "exp": NOW + 9, "aud": aud, "iss": iss })), NOW).map_err(|why| why.cause);
    let issuer = json!("https://id.example");
    assert!(at(json!("push"), issuer.clone()).is_ok() && at(json!(["x", "other"]), issuer.clone()).is_ok());
    for aud in [json!(null), json!("pushy"), json!("PUSH"), json!([]), json!(["x"])] {
        assert_eq!(at(aud.clone(), issuer.clone()).unwrap_err(), Denied::Audience, "{aud}");
    }
    for iss in [json!(null), json!("https://id.example/"), json!("https://id.example.evil.example")] {
        assert_eq!(at(json!("push"), iss.clone()).unwrap_err(), Denied::Issuer, "{iss}");
    }
    assert_eq!(at(json!({ "push": 1 }), issuer).unwrap_err(), Denied::Malformed);
}

#[test]
fn claims_that_say_something_else_are_refused_by_name_and_without_their_value() {
    let verifier = verifier(vec![shared(None, Algorithm::HS256, SECRET)]);
    let many: Vec<Value> = (0..65).map(|n| json!({ "match": format!("c{n}"), "can": [] })).collect();
    for (claims, cause) in [
        (json!({ "sub": "" }), Denied::Claims),
        (json!({ "sub": "a\nb" }), Denied::Claims),
        (json!({ "sub": "x".repeat(256) }), Denied::Claims),
        (json!({ "sub": 7 }), Denied::Malformed),
        (json!({ "channels": {} }), Denied::Malformed),
        (json!({ "channels": [{ "match": "a" }] }), Denied::Malformed),
        (json!({ "channels": [{ "match": "a", "can": ["subscribe"], "until": 1 }] }), Denied::Malformed),
        (json!({ "channels": [{ "match": "a*b", "can": ["subscribe"] }] }), Denied::Claims),
        (json!({ "channels": [{ "match": "", "can": ["subscribe"] }] }), Denied::Claims),
        (json!({ "channels": [{ "match": "hunter2", "can": ["hunter2"] }] }), Denied::Claims),
        (json!({ "channels": [{ "match": "*", "can": ["admin"] }] }), Denied::Claims),
        (json!({ "channels": many }), Denied::Claims),
        (json!({ "info": "x".repeat(1023) }), Denied::Claims),
    ] {
        let mut all = claims.clone();
        all["exp"] = (NOW + 9).into();
        let refusal = verifier.verify(&hs(&all), NOW).unwrap_err();
        assert_eq!(refusal.cause, cause, "{claims}");
        assert!(!refusal.message.contains("hunter2") && !refusal.detail.contains("hunter2"), "{refusal:?}");
    }
}

#[test]
fn what_is_no_token_is_refused_at_once() {
    let verifier = verifier(vec![shared(None, Algorithm::HS256, SECRET)]);
    let token = hs(&claims());
    let long = format!("{token}{}", "A".repeat(8192));
    assert_eq!(cause(&verifier, &long), Denied::TooLarge);
    let spellings = [
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        token.replace('.', ".."),
        format!("{token}.x"),
        token.replacen('.', "", 1),
    ];
    for text in ["", ".", "..", "a.b", "a.b.c.d", "ä.ö.ü", "e30.e30."].into_iter().map(ToOwned::to_owned).chain(spellings) {
        assert_eq!(cause(&verifier, &text), Denied::Malformed, "{text:?}");
    }
    // The same bits in another spelling: the last digit of 43 carries two bits that mean nothing.
    let last = token.chars().last().unwrap();
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = digits.find(last).unwrap();
    let twin = digits.chars().nth(at ^ 1).unwrap();
    assert_eq!(cause(&verifier, &format!("{}{twin}", &token[..token.len() - 1])), Denied::Malformed);
}

#[test]
fn without_a_kid_every_key_of_the_algorithm_is_tried() {
    let keys = vec![shared(Some("new"), Algorithm::HS256, &SECRET.to_uppercase()), shared(Some("old"), Algorithm::HS256, SECRET)];
    let verifier = verifier(keys);
    assert!(verifier.verify(&hs(&claims()), NOW).is_ok());
    assert!(verifier.verify(&forged(r#"{"alg":"HS256","kid":"old"}"#, &claims(), SECRET.as_bytes()), NOW).is_ok());
    assert_eq!(cause(&verifier, &forged(r#"{"alg":"HS256","kid":"new"}"#, &claims(), SECRET.as_bytes())), Denied::Signature);
}

#[test]
fn keys_that_will_not_do_are_refused_with_a_hint_and_without_the_key() {
    let (ec, rsa) = (pair(Algorithm::ES384), pair(Algorithm::RS256));
    for (key, word) in [
        (shared(None, Algorithm::HS256, "too short a secret"), "32 bytes"),
        (shared(None, Algorithm::HS512, "this one has more than thirty-two bytes"), "64 bytes"),
        (shared(None, Algorithm::RS256, SECRET), "`public_key`"),
        (TokenKey { secret: None, ..shared(None, Algorithm::HS256, "") }, "`secret_file`"),
        (TokenKey { public_key: Some("x".into()), ..shared(None, Algorithm::HS256, SECRET) }, "not a `public_key`"),
        (public(None, Algorithm::RS256, "hunter2"), "PEM"),
        (public(None, Algorithm::RS256, &ec.public), "RS256"),
        (public(None, Algorithm::ES256, &ec.public), "curve"),
        (public(None, Algorithm::ES256, &rsa.public), "ES256"),
        (public(None, Algorithm::EdDSA, &rsa.public), "EdDSA"),
        (public(None, Algorithm::RS256, &rsa.private), "PUBLIC KEY"),
    ] {
        let why = Verifier::new(&Config { keys: vec![key], ..Config::default() }).unwrap_err().1;
        assert!(why.contains(word) && !why.contains("hunter2"), "{why}");
    }
}

#[test]
fn a_set_gives_the_keys_that_verify_and_passes_over_the_others() {
    let signing = pair(Algorithm::ES256);
    let der = STANDARD.decode(signing.public.lines().nth(1).unwrap()).unwrap();
    let (x, y) = der[der.len() - 64..].split_at(32);
    let key = json!({ "kty": "EC", "crv": "P-256", "kid": "one", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) });
    let with = |name: &str, value: Value| {
        let mut key = key.clone();
        key[name] = value;
        key
    };
    let read = |keys: Value| super::jwks::read(json!({ "keys": keys }).to_string().as_bytes());
    let passed_over = json!([
        { "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET) },
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("alg", json!("RS256")),
        with("alg", json!("HS256")),
        with("alg", json!("none")),
        with("crv", json!("P-521")),
        with("x", json!(null)),
        7
    ]);
    assert!(read(passed_over.clone()).is_err());
    let mut all = passed_over.as_array().unwrap().clone();
    all.push(with("use", json!("sig")));
    let keys = read(all.into()).unwrap();
    assert_eq!(keys.len(), 1);
    let token = sign(&SigningKey::of_pem(Some("one"), Algorithm::ES256, signing.private.as_bytes()).unwrap(), &claims()).unwrap();
    let verifier = Verifier { keys, ..verifier(Vec::new()) };
    assert!(verifier.verify(&token, NOW).is_ok());
    for wrong in [&b""[..], b"[]", b"{}", b"{\"keys\":7}", b"{\"keys\":[]}"] {
        assert!(super::jwks::read(wrong).is_err());
    }
    let many = vec![key; 100];
    assert_eq!(read(many.into()).unwrap().len(), KEYS_MAX);
}
