use serde_json::{Value, json};

use super::super::certificate::Names;
use super::super::config::{Certificate, Key, KeyHash, UnixPeer};
use super::super::grant::{Permissions, Policy, Who};
use super::super::pattern::Pattern;
use super::super::secret::Secret;
use super::super::token::config::{Algorithm, TokenKey};
use super::super::token::{SigningKey, sign};
use super::*;

fn token_key(secret: &str) -> TokenKey {
    let secret = Some(Secret::new(format!("{secret}, a secret that is long enough")));
    TokenKey { kid: None, algorithm: Algorithm::HS256, secret, secret_file: None, public_key: None, public_key_file: None }
}

fn config() -> Config {
    let open = Permissions { subscribe: Who::Anyone, ..Permissions::default() };
    let policy = Policy { namespaces: [("open".to_owned(), open)].into(), ..Policy::default() };
    let key =
        Key { can: vec![Action::Publish], channels: vec![Pattern::parse("orders").unwrap()], ..Key::new("shop", KeyHash::of(b"k-1")) };
    let mut config = Config { keys: vec![key, Key::new("admin", KeyHash::of(b"k-2"))], policy, ..Config::default() };
    config.tokens.keys.push(token_key("one"));
    config.tokens.cookie = Some("sid".into());
    config
}

fn gate(config: &Config) -> Gate {
    let clock = Clock::start();
    Gate::new(Book::read(config).unwrap(), clock, Metrics::new(0, clock))
}

fn token(secret: &str, mut claims: Value) -> String {
    if claims.get("exp").is_none() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        claims["exp"] = (now.as_secs() + 60).into();
    }
    sign(&SigningKey::of_secret(&token_key(secret)).unwrap(), &claims).unwrap()
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn code(outcome: Result<impl std::fmt::Debug>) -> ErrorCode {
    outcome.unwrap_err().code
}

#[test]
fn keys_have_scopes_and_tokens_have_grants() {
    let gate = gate(&config());
    let shop = gate.admit(&Credential::Bearer("k-1")).unwrap();
    assert!(shop.check(Action::Publish, &channel("orders")).is_ok());
    assert_eq!(code(shop.check(Action::Publish, &channel("news"))), ErrorCode::PermissionDenied);
    assert_eq!(code(shop.check_all_of(Action::Admin, "")), ErrorCode::PermissionDenied);
    assert!(gate.admit(&Credential::Bearer("k-2")).unwrap().check_all_of(Action::Admin, "").is_ok());
    let text = token("one", json!({ "sub": "ann", "channels": [{ "match": "news", "can": ["subscribe"] }] }));
    for credential in [Credential::Bearer(&text), Credential::Query((&*text).into()), Credential::Cookie(&text)] {
        let ann = gate.admit(&credential).unwrap();
        assert!(ann.check(Action::Subscribe, &channel("news")).is_ok());
        assert_eq!(code(ann.check(Action::Publish, &channel("news"))), ErrorCode::PermissionDenied);
        assert_eq!(code(ann.check_all_of(Action::Admin, "")), ErrorCode::PermissionDenied);
        assert!(ann.left().unwrap() > Duration::from_secs(50));
    }
}

#[test]
fn a_key_is_taken_from_a_header_only() {
    let gate = gate(&config());
    assert_eq!(code(gate.admit(&Credential::Query("k-2".into()))), ErrorCode::Unauthenticated);
    assert_eq!(code(gate.admit(&Credential::Cookie("k-2"))), ErrorCode::Unauthenticated);
}

#[test]
fn a_bad_credential_is_refused_and_does_not_count_as_none() {
    let gate = gate(&config());
    assert!(gate.admit(&Credential::None).unwrap().check(Action::Subscribe, &channel("open:a")).is_ok());
    let expired = token("one", json!({ "exp": 1000 }));
    assert_eq!(code(gate.admit(&Credential::Bearer(&expired))), ErrorCode::TokenExpired);
    let forged = token("two", json!({}));
    for bad in ["guess", "a.b.c", &*forged, &"x".repeat(100_000)] {
        assert_eq!(code(gate.admit(&Credential::Bearer(bad))), ErrorCode::Unauthenticated);
    }
}

#[test]
fn who_shows_nothing_hears_what_would_help() {
    let said = |config: &Config| gate(config).admit(&Credential::None).unwrap().check(Action::Publish, &channel("a")).unwrap_err();
    let refused = said(&config());
    assert_eq!(refused.code, ErrorCode::Unauthenticated);
    assert!(refused.message.contains("send a token or a key"), "{refused}");
    let refused = said(&Config::default());
    assert!(refused.message.contains("no API key and no token is configured") && refused.message.contains("--dev"), "{refused}");
}

#[test]
fn open_means_open_until_there_is_a_credential() {
    let open = Config { open: true, ..Config::default() };
    let pass = gate(&open).admit(&Credential::Bearer("nonsense")).unwrap();
    assert!(pass.check(Action::Publish, &channel("a:b#c")).is_ok() && pass.check_all_of(Action::Admin, "").is_ok());
    let pass = gate(&Config { open: true, ..config() }).admit(&Credential::None).unwrap();
    assert_eq!(code(pass.check(Action::Publish, &channel("a"))), ErrorCode::Unauthenticated);
}

#[test]
fn keys_and_permissions_are_exchanged_under_those_who_hold_a_pass() {
    let gate = gate(&config());
    let (admin, anyone) = (gate.admit(&Credential::Bearer("k-2")).unwrap(), gate.admit(&Credential::None).unwrap());
    let mut next = config();
    next.tokens.keys = vec![token_key("two")];
    next.policy = Policy::default();
    gate.exchange(&next).unwrap();
    assert_eq!(code(anyone.check(Action::Subscribe, &channel("open:a"))), ErrorCode::PermissionDenied);
    assert!(admin.check(Action::Publish, &channel("a")).is_ok());
    assert!(gate.admit(&Credential::Bearer(&token("two", json!({})))).is_ok());
    assert_eq!(code(gate.admit(&Credential::Bearer(&token("one", json!({}))))), ErrorCode::Unauthenticated);
    next.tokens.keys = vec![TokenKey { secret: Some(Secret::new("short")), ..token_key("") }];
    let problem = gate.exchange(&next).unwrap_err();
    assert!(problem.path == "tokens.keys" && problem.what.contains("number 1"), "{problem}");
    assert!(gate.admit(&Credential::Bearer(&token("two", json!({})))).is_ok(), "a bad configuration changes nothing");
}

/// One of each kind that can leave the configuration: a key, a user of the machine, a certificate, a token and an address.
fn one_of_each() -> Config {
    use super::super::signed_url;
    let mut config = config();
    let (can, channels) = (vec![Action::Publish], vec![Pattern::parse("orders").unwrap()]);
    config.unix_peers.push(UnixPeer { name: "sidecar".into(), uid: 1000, can: can.clone(), channels: channels.clone() });
    let common_name = Some("biller".to_owned());
    config.certificates.push(Certificate { name: "biller".into(), uri: None, dns: None, common_name, can, channels });
    let secret = Some(Secret::new("a secret that signs addresses and is long enough"));
    config.signed_urls.push(signed_url::Key { id: "url".into(), secret, secret_file: None });
    config
}

#[test]
fn what_is_taken_out_of_the_configuration_may_nothing_on_connections_that_are_open() {
    use super::super::signed_url::SignedUrl;
    let before = one_of_each();
    let gate = gate(&before);
    let text = token("one", json!({ "sub": "ann", "channels": [{ "match": "orders", "can": ["publish", "subscribe"] }] }));
    let mut url = SignedUrl { key: "url".into(), expires: u32::MAX.to_string(), channels: vec!["orders".into()], ..SignedUrl::default() };
    url.signature = gate.book().signers().sign(&url).unwrap();
    let client = ClientName::new(Names { common: vec!["biller".into()], ..Names::default() });
    let admin = gate.admit(&Credential::Bearer("k-2")).unwrap();
    let passes = [
        ("key", gate.admit(&Credential::Bearer("k-1")).unwrap(), Action::Publish),
        ("user of the machine", gate.peer(1000).unwrap(), Action::Publish),
        ("certificate", gate.certified(&client).unwrap(), Action::Publish),
        ("token", gate.admit(&Credential::Bearer(&text)).unwrap(), Action::Publish),
        ("address", gate.admit(&Credential::Url(url)).unwrap(), Action::Subscribe),
    ];
    let orders = channel("orders");
    // The same in another place is the same, and what is added beside it changes nothing.
    let mut moved = before;
    moved.keys.insert(0, Key::new("new", KeyHash::of(b"k-3")));
    moved.tokens.keys.insert(0, token_key("two"));
    gate.exchange(&moved).unwrap();
    for (what, pass, action) in &passes {
        assert!(pass.check(*action, &orders).is_ok(), "{what} is still there");
    }
    let mut after = Config { keys: vec![moved.keys.remove(2)], ..config() };
    assert_eq!(after.keys[0].name, "admin");
    after.tokens.keys = vec![token_key("two")];
    gate.exchange(&after).unwrap();
    for (what, pass, action) in &passes {
        let refused = pass.check(*action, &orders).expect_err(what);
        assert!(refused.code == ErrorCode::Unauthenticated && refused.message.contains("taken out"), "{what}: {refused}");
        assert_eq!(code(pass.check_all_of(*action, "orders")), ErrorCode::Unauthenticated, "{what}");
        assert_eq!(code(pass.check_somewhere(*action)), ErrorCode::Unauthenticated, "{what}");
        assert_eq!(code(pass.check_anything()), ErrorCode::Unauthenticated, "{what}");
        let (rule, allowed, _) = pass.explain(*action, &orders);
        assert_eq!((rule, allowed), ("unknown_key", false), "{what}");
    }
    assert!(admin.check(Action::Publish, &orders).is_ok() && admin.check_all_of(Action::Admin, "").is_ok());
}

#[test]
fn a_token_for_somebody_else_by_another_configuration_may_nothing_on_connections_that_are_open() {
    let gate = gate(&config());
    let grants = json!([{ "match": "orders", "can": ["publish"] }]);
    let said = |aud, iss| token("one", json!({ "channels": grants, "aud": aud, "iss": iss }));
    let here = (json!(["push", "x"]), json!("https://id.example"));
    let admit = |(aud, iss): (serde_json::Value, serde_json::Value)| gate.admit(&Credential::Bearer(&said(aud, iss))).unwrap();
    let good = admit(here.clone());
    let bad = [
        ("for another", admit((json!("other"), here.1.clone())), "audience"),
        ("for nobody", admit((json!(null), here.1.clone())), "audience"),
        ("from another", admit((here.0.clone(), json!("https://other.example"))), "issuer"),
        ("from nobody", admit((here.0, json!(null))), "issuer"),
    ];
    let mut next = config();
    (next.tokens.audience, next.tokens.issuer) = (vec!["push".into()], vec!["https://id.example".into()]);
    gate.exchange(&next).unwrap();
    assert!(good.check(Action::Publish, &channel("orders")).is_ok());
    for (what, pass, rule) in &bad {
        assert_eq!(code(pass.check(Action::Publish, &channel("orders"))), ErrorCode::Unauthenticated, "{what}");
        assert_eq!(pass.explain(Action::Publish, &channel("orders")).0, *rule, "{what}");
    }
    gate.exchange(&config()).unwrap();
    for (what, pass, _) in &bad {
        assert!(pass.check(Action::Publish, &channel("orders")).is_ok(), "{what}: it is asked no more");
    }
}

#[test]
fn a_key_with_other_scopes_has_these_on_connections_that_are_open() {
    let gate = gate(&config());
    let (shop, admin) = (gate.admit(&Credential::Bearer("k-1")).unwrap(), gate.admit(&Credential::Bearer("k-2")).unwrap());
    let mut next = config();
    next.keys[0].channels = vec![Pattern::parse("bills").unwrap()];
    next.keys[1].can = vec![Action::Publish];
    gate.exchange(&next).unwrap();
    assert_eq!(code(shop.check(Action::Publish, &channel("orders"))), ErrorCode::PermissionDenied);
    assert!(shop.check(Action::Publish, &channel("bills")).is_ok());
    assert_eq!(code(admin.check_all_of(Action::Admin, "")), ErrorCode::PermissionDenied);
    assert_eq!(code(admin.check_somewhere(Action::Admin)), ErrorCode::PermissionDenied);
}

#[test]
fn what_was_open_closes_with_the_first_credential_for_those_inside_too() {
    let open = Config { open: true, ..Config::default() };
    let gate = gate(&open);
    let inside = gate.admit(&Credential::None).unwrap();
    assert!(inside.check(Action::Publish, &channel("a")).is_ok());
    gate.exchange(&Config { open: true, ..config() }).unwrap();
    assert_eq!(code(inside.check(Action::Publish, &channel("a"))), ErrorCode::Unauthenticated);
    assert_eq!(code(inside.check_all_of(Action::Admin, "")), ErrorCode::Unauthenticated);
    gate.exchange(&open).unwrap();
    assert!(inside.check(Action::Publish, &channel("a")).is_ok());
}

#[test]
fn a_fetched_set_is_taken_only_from_the_address_that_is_configured() {
    let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "far", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] })
        .to_string();
    let mut config = config();
    config.tokens.jwks_url = Some("https://id.example/keys".into());
    let gate = gate(&config);
    // The header names the key, the signature is none: what is said against it tells whether the key is known.
    let token = "eyJhbGciOiJFZERTQSIsImtpZCI6ImZhciJ9.e30.AAAA";
    let cause = || gate.book().caller(&Credential::Bearer(token), 0).unwrap_err().cause;
    assert_eq!(cause(), Denied::UnknownKid);
    gate.take_set("https://evil.example/keys", set.as_bytes()).unwrap();
    assert_eq!(cause(), Denied::UnknownKid);
    gate.take_set("https://id.example/keys", set.as_bytes()).unwrap();
    assert_eq!(cause(), Denied::Signature);
    assert!(gate.take_set("https://id.example/keys", b"{}").is_err());
    gate.exchange(&config).unwrap();
    assert_eq!(cause(), Denied::Signature, "kept over a reload and over a bad answer");
    config.tokens.jwks_url = None;
    gate.exchange(&config).unwrap();
    assert_eq!(cause(), Denied::UnknownKid);
}

#[test]
fn the_system_vouches_for_the_users_that_are_listed() {
    let mut config = config();
    config.unix_peers.push(UnixPeer {
        name: "sidecar".into(),
        uid: 1000,
        can: vec![Action::Publish],
        channels: vec![Pattern::everything()],
    });
    let gate = gate(&config);
    assert!(gate.peer(1000).unwrap().check(Action::Publish, &channel("a")).is_ok());
    assert!(gate.peer(0).is_none() && gate.peer(1001).is_none());
}

#[test]
fn a_connection_stays_with_its_user() {
    let gate = gate(&config());
    let pass = |sub: Value| gate.admit(&Credential::Bearer(&token("one", json!({ "sub": sub })))).unwrap();
    let (ann, bob, nobody) = (pass(json!("ann")), pass(json!("bob")), pass(json!(null)));
    assert!(ann.may_replace(&nobody) && ann.may_replace(&ann) && nobody.may_replace(&nobody));
    assert!(!bob.may_replace(&ann) && !nobody.may_replace(&ann));
}

#[test]
fn what_was_revoked_is_refused_at_the_door_and_to_those_who_are_in() {
    use super::super::{Revocation, Revoked};
    let gate = gate(&config());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let text = |claims: Value| token("one", claims);
    let news = json!([{ "match": "news", "can": ["subscribe"] }]);
    let old = text(json!({ "sub": "ann", "iat": now - 9, "channels": news }));
    let without = text(json!({ "sub": "ann", "channels": news }));
    let fresh = text(json!({ "sub": "ann", "iat": now + 9, "jti": "t-9", "channels": news }));
    let admit = |text: &str| gate.admit(&Credential::Bearer(text));
    let inside = admit(&old).unwrap();
    let add = |what| gate.revocations().add(&Revocation { what, until: now + 60 }, now).unwrap();
    assert!(add(Revoked::User("ann".into(), now)));
    assert_eq!([code(admit(&old)), code(admit(&without))], [ErrorCode::Revoked; 2]);
    assert_eq!(code(inside.check(Action::Subscribe, &channel("news"))), ErrorCode::Revoked);
    let again = admit(&fresh).unwrap();
    assert!(again.check(Action::Subscribe, &channel("news")).is_ok());
    assert!(add(Revoked::Token("t-9".into())));
    assert_eq!(code(again.check(Action::Subscribe, &channel("news"))), ErrorCode::Revoked);
    assert_eq!(code(admit(&fresh)), ErrorCode::Revoked);
    assert!(admit("k-1").is_ok(), "keys are not revoked so: they leave the configuration");
}

#[tokio::test]
async fn the_program_around_us_says_whose_address_a_rate_is() {
    let open = Permissions { publish: Who::Anyone, ..Permissions::default() };
    let config = Config { policy: Policy { namespaces: [("open".to_owned(), open)].into(), ..Policy::default() }, ..config() };
    let (clock, publishes) = (Clock::start(), Callers::new(1, 100));
    let rates = Rates { publishes, ..Rates::default() };
    let revocations = Revocations::new(&config.tokens);
    let gate = Gate::with_bounds(Book::read(&config).unwrap(), clock, Metrics::new(0, clock), rates, revocations);
    let admit = async |address: Option<&str>| {
        let mut request = http::Request::new(());
        if let Some(address) = address {
            request.extensions_mut().insert(ClientAddress(address.parse().unwrap()));
        }
        gate.admit_request(&request.into_parts().0).await.unwrap()
    };
    let refused = |pass: &Pass| (0..100).filter(|_| pass.check(Action::Publish, &channel("open:a")).is_err()).count();
    assert!(refused(&admit(Some("192.0.2.1")).await) > 50);
    assert!(admit(Some("192.0.2.2")).await.check(Action::Publish, &channel("open:a")).is_ok());
    assert_eq!(refused(&admit(None).await), 0, "whose address is not known");
}
