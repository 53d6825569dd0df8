//! A connection says anything at all. Nothing panics, what comes back is HTTP by the book, and what is closed stays closed: a
//! message that nobody may see is never in it. Beside that the readers of what requests carry, each for itself.
//!
//! `scripts/fuzz http 60`

#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use tidings::auth::grant::Who;
use tidings::auth::origin::Origins;
use tidings::auth::pattern::Template;
use tidings::auth::secret::Secret;
use tidings::auth::signed_url;
use tidings::auth::token::config::{Algorithm, TokenKey};
use tidings::auth::{Credential, carrier};
use tidings::config::Config;
use tidings::front;
use tidings::hub::namespace;
use tidings::limits::{ClientHeader, Visitors};
use tidings::message::{ChannelName, Draft, Payload};
use tidings::node::{Embedded, HttpService};
use tidings::wire::percent_decode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::runtime::{Builder, Runtime};

/// In a channel that is closed.
const SECRET: &str = "TOP-SECRET-PAYLOAD";
/// Turns of the connection's task: what is not answered by then waits for something that does not come.
const TURNS: usize = 64;

struct House {
    runtime: Runtime,
    service: HttpService,
    _broker: Embedded,
}

static HOUSE: LazyLock<House> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (service, broker) = runtime.block_on(async {
        let broker = Embedded::start(config()).expect("the configuration is good");
        for (channel, payload) in [("vault:1", SECRET), ("user:ann", SECRET), ("open:1", "hello"), ("open:2", "hello")] {
            let channel = ChannelName::parse(channel).expect("a name");
            broker.broker().publish(Draft::new(channel, Payload::text(payload))).await.expect("there is room");
        }
        (broker.http_service(), broker)
    });
    House { runtime, service, _broker: broker }
});

/// Closed but for `open:`, with everything that can be known of a caller.
fn config() -> Config {
    let mut config = Config { shards: 1, ..Config::default() };
    let secret = || Some(Secret::new("the secret of this target, long enough for HS256"));
    config.tokens.keys.push(TokenKey {
        kid: None,
        algorithm: Algorithm::HS256,
        secret: secret(),
        secret_file: None,
        public_key: None,
        public_key_file: None,
    });
    config.tokens.cookie = Some("c".to_owned());
    config.signed_urls.push(signed_url::Key { id: "k".into(), secret: secret(), secret_file: None });
    config.cors.origins = vec!["https://app.example".to_owned(), "https://*.pages.example".to_owned()];
    (config.limits.channels, config.limits.channels_silent, config.limits.history_bytes, config.limits.dedupe_ids) =
        (100, 50, 1 << 20, 1000);
    let mut open = namespace::Config::default();
    (open.allow.subscribe, open.allow.publish, open.allow.history) = (Who::Anyone, Who::Anyone, Who::Anyone);
    config.namespaces.insert("open", open);
    config.namespaces.insert("vault", namespace::Config::default());
    let mut own = namespace::Config::default();
    own.allow.own.push(Template::parse("user:{sub}").expect("a template"));
    config.namespaces.insert("user", own);
    config
}

fuzz_target!(|bytes: &[u8]| {
    connection(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    query(first);
    origin(first, rest);
    forwarded(text);
});

fn connection(bytes: &[u8]) {
    let House { runtime, service, .. } = &*HOUSE;
    let answer = runtime.block_on(async {
        let (mut near, far) = duplex(1 << 20);
        let served = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(far), service.clone());
        let served = tokio::spawn(served);
        // More than fits in is no other story.
        near.write_all(&bytes[..bytes.len().min(1 << 19)]).await.expect("there is room");
        near.shutdown().await.expect("nothing waits");
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        served.abort();
        if let Err(ended) = served.await {
            assert!(!ended.is_panic(), "the connection's task panicked");
        }
        // The other end is gone, so what it said has an end.
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.expect("it is memory");
        answer
    });
    assert!(!contains(&answer, SECRET.as_bytes()), "what is closed was told: {:?}", String::from_utf8_lossy(&answer));
    read(&answer);
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|at| at == what)
}

/// One answer after the other, strictly (RFC 9112).
fn read(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let shown = || String::from_utf8_lossy(bytes).into_owned();
        let Some(end) = bytes.windows(4).position(|at| at == b"\r\n\r\n") else {
            // Cut off by us.
            assert!(b"HTTP/1.".starts_with(&bytes[..bytes.len().min(7)]), "no answer: {:?}", shown());
            return;
        };
        let head = std::str::from_utf8(&bytes[..end]).unwrap_or_else(|_| panic!("a head that is no text: {:?}", shown()));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 ")));
        let status: u16 = status.and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or_else(|| panic!("no status: {:?}", shown()));
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no header: {line:?}"));
            let name: HeaderName = name.parse().unwrap_or_else(|_| panic!("no name: {line:?}"));
            assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{line:?}");
            headers.append(name, HeaderValue::from_str(value).unwrap_or_else(|_| panic!("no value: {line:?}")));
        }
        assert!(headers.get_all("content-length").iter().count() <= 1 && headers.get_all("content-type").iter().count() <= 1, "{head}");
        if headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
            assert!(headers.contains_key("content-security-policy") && headers.contains_key("x-content-type-options"), "{head}");
        }
        if let Some(allowed) = headers.get("access-control-allow-origin") {
            let allowed = allowed.to_str().expect("a value of ours is text");
            assert!(is_ours(allowed), "{allowed}");
        }
        bytes = &bytes[end + 4..];
        if status == 101 {
            return;
        }
        if headers.contains_key("transfer-encoding") {
            let Some(after) = chunks(bytes) else { return };
            bytes = after;
        } else if let Some(length) = headers.get("content-length").and_then(|length| length.to_str().ok()?.parse::<usize>().ok()) {
            // HEAD and 304 say how long it would be.
            if !bytes.starts_with(b"HTTP/1.") {
                bytes = bytes.get(length..).unwrap_or_default();
            }
        } else if !matches!(status, 100..200 | 204 | 304) {
            return;
        }
    }
}

/// What is behind the last chunk; `None` when there is none yet.
fn chunks(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        // A HEAD has none.
        if bytes.starts_with(b"HTTP/1.") {
            return Some(bytes);
        }
        let end = bytes.windows(2).position(|at| at == b"\r\n")?;
        let length =
            std::str::from_utf8(&bytes[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok()).expect("a chunk says its length");
        bytes = bytes.get(end + 4 + length..)?;
        if length == 0 {
            return Some(bytes);
        }
    }
}

/// Whether this is one of the origins that are listed in [`config`]: by another way than the broker's.
fn is_ours(origin: &str) -> bool {
    let origin = origin.to_ascii_lowercase();
    let Some(host) = origin.strip_prefix("https://") else { return false };
    let is_name = !host.contains(['/', '@', '?', '#', '\\', ':', ' ', '%']);
    host == "app.example" || (is_name && host.ends_with(".pages.example") && host.len() > ".pages.example".len())
}

fn query(text: &str) {
    if let Ok(decoded) = percent_decode(text) {
        assert!(decoded.len() <= text.len());
        assert!(text.contains('%') || decoded == text);
    }
    if let Ok(request) = front::Request::parse(text) {
        assert!(request.channels.iter().all(|channel| !channel.as_str().is_empty() && !channel.as_str().chars().any(char::is_control)));
        for resume in [None, request.get("since"), Some(text)] {
            let _ = request.starts(resume);
        }
        assert!(request.number("wait", 0, 60).is_ok_and(|wait| wait.is_none_or(|wait| wait <= 60)) || request.get("wait").is_some());
    }
    // What is left of a query holds no token that anybody would find in it.
    let left = carrier::without_token(text);
    assert!(left.split('&').all(|pair| pair.split('=').next() != Some("token")));
}

fn origin(origin: &str, host: &str) {
    let listed = Origins::new(&["https://app.example".to_owned(), "https://*.pages.example".to_owned()], false);
    assert!(!listed.lists(origin) || is_ours(origin), "{origin:?}");
    let (Ok(value), Ok(host)) = (HeaderValue::from_str(origin), HeaderValue::from_str(host)) else { return };
    let request = Request::post("/v1/publish").header("origin", &value).header("host", host).header("cookie", &value);
    let Ok(request) = request.body(()) else { return };
    let (parts, ()) = request.into_parts();
    let _ = listed.check(&parts, true, "change anything");
    let _ = Credential::of_request(&parts.headers, parts.uri.query(), Some("c"));
}

/// Who asks is a stranger's word only for as long as no trusted proxy vouches for it.
fn forwarded(text: &str) {
    let (proxy, stranger): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [192, 0, 2, 1].into());
    for (header, name) in [(ClientHeader::XForwardedFor, "x-forwarded-for"), (ClientHeader::Forwarded, "forwarded")] {
        let visitors = Visitors::new(1, vec!["10.0.0.0/8".parse().expect("a network")], header);
        let mut headers = HeaderMap::new();
        for line in text.split('\n') {
            if let Ok(value) = HeaderValue::from_str(line) {
                headers.append(name, value);
            }
        }
        assert_eq!(visitors.origin(stranger, &headers), stranger);
        let _ = visitors.origin(proxy, &headers);
        // What a proxy adds at the end is what counts, whatever stands before it.
        headers.append(name, HeaderValue::from_static(if name == "forwarded" { "for=192.0.2.9" } else { "192.0.2.9" }));
        assert_eq!(visitors.origin(proxy, &headers), IpAddr::from([192, 0, 2, 9]));
    }
}
