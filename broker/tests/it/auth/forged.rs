//! Tokens that nobody should believe, shown at every place where a token can be shown.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tidings::auth::token::config::{Algorithm, TokenKey};
use tidings::auth::token::{SigningKey, sign};

use super::scene::{COOKIE, SECRET, chat, denied, get, now, ok, post, start, token, token_key, verdict};
use crate::support::WebSocket;

/// The public half of an RSA key that the node believes: whoever knows it is no signer.
const PUBLIC: &str = include_str!("forged.pem");

fn claims() -> Value {
    json!({ "sub": "ann", "exp": now() + 60, "channels": [{ "match": "*", "can": ["subscribe", "publish", "history"] }] })
}

/// A token with this header, and a signature by HMAC with these bytes.
fn forged(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let tag = aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// All there are, each with what is wrong about it.
fn forgeries() -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut add = |what: &str, token: String| all.push((what.to_owned(), token));
    let payload = URL_SAFE_NO_PAD.encode(claims().to_string());
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256\u{0}", "hs256"] {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": alg, "typ": "JWT" }).to_string());
        add(&format!("alg {alg:?}, no signature"), format!("{header}.{payload}."));
        add(&format!("alg {alg:?}, some signature"), format!("{header}.{payload}.AAAA"));
    }
    // Algorithm confusion: the public key, in every spelling that a library may hand on, as if it were a secret.
    let der = STANDARD.decode(PUBLIC.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
    for secret in [PUBLIC.as_bytes(), PUBLIC.trim().as_bytes(), &der, PUBLIC.replace('\n', "\r\n").as_bytes()] {
        for alg in ["HS256", "RS256"] {
            for kid in [json!("rsa"), Value::Null] {
                add("the public key as a secret", forged(&json!({ "alg": alg, "kid": kid }), &claims(), secret));
            }
        }
    }
    // A kid that is a path, a query, a command or another's; files of zero or known bytes are what such paths are for.
    for kid in [
        "../../../../dev/null",
        "/dev/null",
        "/proc/sys/kernel/randomize_va_space",
        "' OR '1'='1",
        "x' UNION SELECT 'a';--",
        "|id",
        "rsa\u{0}",
        "",
    ] {
        for secret in [&b""[..], b"2\n", b"a", b"0"] {
            add(&format!("kid {kid:?}"), forged(&json!({ "alg": "HS256", "kid": kid }), &claims(), secret));
        }
    }
    for kid in [json!(["rsa"]), json!({ "rsa": 1 }), json!(7), json!("k".repeat(300))] {
        add("a kid that is none", forged(&json!({ "alg": "HS256", "kid": kid }), &claims(), SECRET.as_bytes()));
    }
    // A key that the token brings along.
    let own = b"the forger's own secret, long enough for HS256";
    let key = URL_SAFE_NO_PAD.encode(own);
    for (name, value) in [
        ("jwk", json!({ "kty": "oct", "k": key })),
        ("jku", json!("https://evil.example/keys.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!([STANDARD.encode(&der)])),
    ] {
        let mut header = json!({ "alg": "HS256" });
        header[name] = value;
        add(name, forged(&header, &claims(), own));
    }
    add(
        "an extension that must be understood",
        forged(&json!({ "alg": "HS256", "crit": ["b64"], "b64": false }), &claims(), SECRET.as_bytes()),
    );
    // A good signature over something else.
    let good = chat();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    add("another payload", format!("{header}.{payload}.{signature}"));
    add("a signature that is longer", format!("{good}A"));
    add("a signature that is padded", format!("{good}="));
    add("four parts", format!("{good}.x"));
    add("a part before it", format!(".{good}"));
    // Two members of one name: two readers might see two tokens.
    let twice = format!(r#"{{"exp":{},"sub":"bob","sub":"ann"}}"#, now() + 60);
    let key = SigningKey::of_secret(&token_key(SECRET)).unwrap();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(twice));
    add("a sub that stands twice", format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).unwrap())));
    // Signed well, and not for now.
    add("not yet", token(json!({ "nbf": now() + 600 })));
    add("without an end", sign(&key, &json!({ "sub": "ann", "channels": [] })).unwrap());
    add("an end that is text", token(json!({ "exp": "2099-01-01" })));
    add("an end before 1970", token(json!({ "exp": -1 })));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_forged_is_believed_at_any_place_where_a_token_is_shown() {
    let rsa = TokenKey {
        kid: Some("rsa".into()),
        algorithm: Algorithm::RS256,
        secret: None,
        secret_file: None,
        public_key: Some(PUBLIC.to_owned()),
        public_key_file: None,
    };
    let node = start(|config| config.tokens.keys.push(rsa)).await;
    let to = node.addresses().http;
    let no = denied(401, "unauthenticated");
    // The way itself is open to a good one.
    assert_eq!(verdict(&get(to, "/poll?channel=chat:a", &format!("Authorization: Bearer {}\r\n", chat())).await), ok());
    let mut socket = WebSocket::open(to, "/ws", "").await;
    let all = forgeries();
    assert!(all.len() > 70, "{}", all.len());
    for (what, forgery) in all {
        // What a head cannot hold is not sent in one.
        let header = forgery.bytes().all(|byte| byte.is_ascii_graphic()).then(|| format!("Authorization: Bearer {forgery}\r\n"));
        let query = crate::support::percent(&forgery);
        assert_eq!(verdict(&get(to, &format!("/poll?channel=chat:a&token={query}"), "").await), no, "{what}");
        if let Some(header) = header {
            assert_eq!(verdict(&get(to, "/poll?channel=chat:a", &header).await), no, "{what}");
            assert_eq!(verdict(&post(to, "/v1/channels/chat:a/messages", &header, "x").await), no, "{what}");
            let cookie = format!("Cookie: {COOKIE}={forgery}\r\nOrigin: http://{to}\r\n");
            assert_eq!(verdict(&post(to, "/v1/channels/chat:a/messages", &cookie, "x").await), no, "{what}");
        }
        let told = socket.ask(&json!({ "id": 1, "auth": { "token": forgery } })).await;
        assert_eq!(told["error"]["code"], "unauthenticated", "{what}: {told}");
        // Whoever asks what it may do gets no other answer, and none that says it may.
        let body = json!({ "token": forgery, "channel": "chat:a", "action": "subscribe" }).to_string();
        let explained = post(to, "/v1/explain", "", &body).await;
        assert!(explained.text().contains("\"allowed\":false"), "{what}: {}", explained.text());
    }
    let expired = token(json!({ "exp": now() - 3600 }));
    assert_eq!(verdict(&get(to, &format!("/poll?channel=chat:a&token={expired}"), "").await), denied(401, "token_expired"));
    // Nobody's connection is worse off for having tried.
    let told = socket.ask(&json!({ "id": 2, "auth": { "token": chat() } })).await;
    assert!(told.get("authenticated").is_some(), "{told}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wildcard_reaches_what_it_says_and_nothing_else() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    let may = async |pattern: &str, channel: &str| {
        let token = token(json!({ "channels": [{ "match": pattern, "can": ["subscribe"] }] }));
        let answer =
            get(to, &format!("/poll?channel={}", crate::support::percent(channel)), &format!("Authorization: Bearer {token}\r\n")).await;
        verdict(&answer)
    };
    let no = denied(403, "permission_denied");
    for (pattern, channel, expected) in [
        ("chat:*", "chat:a", ok()),
        ("chat:*", "chat:", ok()),
        ("chat:*", "chat:*", ok()),
        ("*", "chat:a", ok()),
        // Another user's, and namespaces that are closed to everyone.
        ("*", "chat:x#bob", no.clone()),
        ("chat:*", "chat:#bob", no.clone()),
        ("chat:x#*", "chat:x#bob", ok()),
        ("*", "elsewhere:a", no.clone()),
        // Nothing but what stands before the star.
        ("chat:*", "chat", no.clone()),
        ("chat:*", "xchat:a", no.clone()),
        ("chat:a*", "chat:A1", no.clone()),
        ("chat:a", "chat:ab", no.clone()),
        ("chat:.*", "chat:ab", no.clone()),
        ("chat:%2A", "chat:a", no.clone()),
        ("chat:?", "chat:a", no.clone()),
        ("chat:[a-z]*", "chat:a", no.clone()),
    ] {
        assert_eq!(may(pattern, channel).await, expected, "{pattern} on {channel}");
    }
    for pattern in ["", "**", "*a", "chat:*:*", "chat:\n*"] {
        assert_eq!(may(pattern, "chat:a").await, denied(401, "unauthenticated"), "{pattern:?}");
    }
    node.stop().await;
}
