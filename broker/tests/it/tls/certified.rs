//! Backends that are known by their certificates: what that lets them do, by every listener that asks for one.

use std::net::SocketAddr;

use rcgen::SanType;
use serde_json::json;
use tidings::auth::Action;
use tidings::auth::config::{Certificate, Key, KeyHash};
use tidings::auth::pattern::Pattern;
use tidings_sdk::{Client, Error, Tls};

use super::Secured;
use crate::raw::{Answer, ask, request};
use crate::support::{Http2, Signed, WebSocket, bridge, showing, soon};

fn certificate(name: &str) -> Certificate {
    let channels = vec![Pattern::parse("bills:*").unwrap()];
    let can = vec![Action::Publish, Action::Subscribe, Action::History];
    Certificate { name: name.into(), uri: None, dns: None, common_name: None, can, channels }
}

/// A closed node that asks for certificates and knows three names.
async fn node() -> Secured {
    Secured::start(|config, authority, folder| {
        config.dev = false;
        let root = Some(authority.write_root(folder));
        (config.http.tls.clients, config.grpc.tls.clients) = (root.clone(), root);
        config.certificates = vec![
            Certificate { uri: Some("spiffe://example/biller".into()), ..certificate("biller") },
            Certificate { dns: Some("clerk.internal".into()), ..certificate("clerk") },
            Certificate { common_name: Some("old-biller".into()), ..certificate("old biller") },
        ];
        config.keys = vec![Key::new("all", KeyHash::of(b"all-key"))];
        // Listed, so that who is nobody hears that it would have to be somebody.
        for namespace in ["bills", "orders"] {
            config.namespaces.insert(namespace, tidings::hub::namespace::Config::default());
        }
        config.cors.origins = vec!["https://app.example".into()];
    })
    .await
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

/// Holders that are known, each by another name, and holders that are not although the same authority signed.
fn holders(secured: &Secured) -> (Vec<Signed>, Vec<Signed>) {
    let sign = |common: &str, names: &[SanType]| secured.authority.sign_holder(common, names);
    let known = vec![
        sign("whoever", &[uri("urn:other"), uri("spiffe://example/biller")]),
        sign("whoever", &[dns("CLERK.internal")]),
        sign("old-biller", &[]),
    ];
    let unknown = vec![
        sign("whoever", &[uri("spiffe://example/biller/x"), dns("spiffe://example/biller")]),
        sign("clerk.internal", &[dns("*.internal")]),
        sign("biller", &[uri("old-biller")]),
        sign("", &[]),
    ];
    (known, unknown)
}

/// Where clients that speak no TLS reach the public listener as this holder.
async fn as_holder(secured: &Secured, holder: &Signed, alpn: &str) -> SocketAddr {
    bridge(secured.http(), showing(&secured.authority, &[alpn], holder)).await
}

async fn publish(to: SocketAddr, channel: &str, headers: &str) -> Answer {
    let head = request("POST", &format!("/v1/channels/{channel}/messages"), to, &format!("Content-Length: 1\r\n{headers}"));
    soon("an answer", ask(to, format!("{head}x"))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_its_holder_may_do_what_the_entry_says_and_others_of_the_authority_nothing() {
    let secured = node().await;
    let (known, unknown) = holders(&secured);
    for holder in &known {
        let to = as_holder(&secured, holder, "http/1.1").await;
        assert_eq!(publish(to, "bills:1", "").await.status, 200);
        let elsewhere = publish(to, "orders:1", "").await;
        assert_eq!((elsewhere.status, elsewhere.code().as_str()), (403, "permission_denied"));
        // What it says on purpose comes first.
        assert_eq!(publish(to, "orders:1", "Authorization: Bearer all-key\r\n").await.status, 200);
        assert_eq!(publish(to, "bills:1", "Authorization: Bearer no-key\r\n").await.code(), "unauthenticated");

        let h2 = as_holder(&secured, holder, "h2").await;
        let history = soon("an answer", Http2::get(h2, "/v1/channels/bills:1/messages", &[])).await;
        assert_eq!(history.status, 200);

        let mut socket = WebSocket::open(to, "/ws?channel=bills:1", "").await;
        assert!(soon("subscribed", socket.object()).await.unwrap().get("subscribed").is_some());
        let answer = socket.ask(&json!({ "id": 1, "publish": { "channel": "orders:1", "text": "x" } })).await;
        assert_eq!(answer["error"]["code"], "permission_denied");
    }
    for holder in &unknown {
        let to = as_holder(&secured, holder, "http/1.1").await;
        let answer = publish(to, "bills:1", "").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthenticated"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_page_cannot_use_the_certificate_of_a_visitors_browser() {
    let secured = node().await;
    let to = as_holder(&secured, &holders(&secured).0[0], "http/1.1").await;
    for (origin, status) in [("https://evil.example", 403), ("null", 403), ("https://app.example", 200)] {
        assert_eq!(publish(to, "bills:1", &format!("Origin: {origin}\r\n")).await.status, status, "{origin}");
        let handshake = crate::support::handshake("/ws?channel=bills:1", &format!("Origin: {origin}\r\n"));
        let answer = soon("an answer", async {
            let mut raw = crate::raw::Raw::connect(to).await;
            raw.send(handshake).await;
            raw.head().await
        });
        assert_eq!(answer.await.status, if status == 200 { 101 } else { 403 }, "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_grpc_it_is_the_same() {
    let secured = node().await;
    let root = std::fs::read(secured.authority.write_root(secured.files.path())).unwrap();
    let (known, unknown) = holders(&secured);
    for (holder, is_known) in known.iter().map(|holder| (holder, true)).chain(unknown.iter().map(|holder| (holder, false))) {
        let (certificate, key) = holder.write(secured.files.path(), "holder");
        let tls = Tls::new().trusting(&root).showing(std::fs::read(certificate).unwrap(), std::fs::read(key).unwrap());
        let client = Client::connect_with(&format!("https://{}", secured.grpc()), tls).await.unwrap();
        let code = |outcome: Result<_, Error>| match outcome {
            Ok(_) => None,
            Err(Error::Refused(refused)) => Some(refused.code),
            Err(other) => panic!("{other:?}"),
        };
        let refused = code(client.publish("bills:1", "x").await.map(drop));
        assert_eq!(refused, (!is_known).then_some(tidings_sdk::Code::Unauthenticated));
        let refused = code(client.publish("orders:1", "x").await.map(drop));
        let expected = if is_known { tidings_sdk::Code::PermissionDenied } else { tidings_sdk::Code::Unauthenticated };
        assert_eq!(refused, Some(expected));
    }
}
