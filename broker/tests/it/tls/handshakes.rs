//! How a connection begins: agreed on, or ended in a way that the caller understands.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{Secured, ask, counted};
use crate::support::{Http2, bridge, connect, metric, soon, trusting};

async fn heard(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    // A reset is an end too.
    let _ = soon("the end", stream.read_to_end(&mut heard)).await;
    heard
}

#[tokio::test]
async fn the_protocol_is_agreed_on_with_the_handshake() {
    let secured = Secured::start(|_, _, _| {}).await;
    for (offered, agreed) in [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)] {
        let stream = connect(secured.http(), secured.trusting(offered)).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes), "{offered:?}");
    }
    assert!(connect(secured.http(), secured.trusting(&["spdy/1"])).await.is_err(), "nothing in common");
    let mut plain = secured.connect(secured.http()).await;
    assert!(ask(&mut plain, "/poll?channel=a").await.starts_with("HTTP/1.1 200 "));
    let http2 = bridge(secured.http(), secured.trusting(&["h2"])).await;
    assert_eq!(Http2::get(http2, "/poll?channel=a", &[]).await.status, 200);
    let mut admin = secured.connect(secured.admin()).await;
    assert!(ask(&mut admin, "/livez").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn older_clients_speak_tls_1_2() {
    let secured = Secured::start(|_, _, _| {}).await;
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(secured.authority.root()).unwrap();
    let old = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut stream = connect(secured.http(), std::sync::Arc::new(old)).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    assert!(ask(&mut stream, "/poll?channel=a").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn who_speaks_http_to_a_tls_port_reads_why_not() {
    let secured = Secured::watched(|_| {}).await;
    for (said, is_answered) in
        [("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true), ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true), ("\0\0\0\0", false)]
    {
        let mut stream = TcpStream::connect(secured.http()).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let heard = String::from_utf8(heard(&mut stream).await).unwrap();
        assert_eq!(heard.starts_with("HTTP/1.1 400 ") && heard.contains("this port speaks TLS"), is_answered, "{said:?}: {heard}");
        assert!(is_answered || heard.is_empty(), "{heard}");
    }
    secured.counted("plaintext", 3.0).await;
    let mut grpc = TcpStream::connect(secured.grpc()).await.unwrap();
    grpc.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert!(String::from_utf8(heard(&mut grpc).await).unwrap().contains("this port speaks TLS"));
}

#[tokio::test]
async fn garbage_is_answered_by_an_alert() {
    let secured = Secured::watched(|_| {}).await;
    let garbage: [&[u8]; 4] = [
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff",
        // A ClientHello that claims to be longer than any may be.
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"\x16GET / HTTP/1.1\r\n\r\n",
    ];
    for bytes in garbage {
        let mut stream = TcpStream::connect(secured.http()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let heard = heard(&mut stream).await;
        assert!(heard.is_empty() || heard[0] == 21, "an alert or nothing, not {heard:?}");
    }
    secured.counted("failed", 4.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_has_its_time_and_no_more_on_every_listener() {
    let secured = Secured::start(|config, _, _| {
        for tls in [&mut config.http.tls, &mut config.grpc.tls, &mut config.admin.tls] {
            tls.handshake_timeout = Duration::from_millis(300);
        }
    })
    .await;
    let metrics = bridge(secured.admin(), secured.trusting(&[])).await;
    for (listener, to) in [("http", secured.http()), ("grpc", secured.grpc()), ("admin", secured.admin())] {
        let began = Instant::now();
        let mut silent = TcpStream::connect(to).await.unwrap();
        let mut half = TcpStream::connect(to).await.unwrap();
        half.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
        let mut slow = TcpStream::connect(to).await.unwrap();
        let drip = async {
            for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".iter().cycle() {
                if slow.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let (silent, half, ()) = tokio::join!(heard(&mut silent), heard(&mut half), soon("the slow one is cut", drip));
        assert!(silent.is_empty() && half.is_empty(), "{listener}");
        assert!(began.elapsed() >= Duration::from_millis(300), "{listener}");
        counted(metrics, listener, "timed_out", 3.0).await;
    }
}

#[tokio::test]
async fn a_byte_that_does_not_belong_ends_an_open_connection() {
    let secured = Secured::watched(|_| {}).await;
    let mut stream = secured.connect(secured.http()).await;
    stream.write_all(b"GET /sse?channel=a HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut some = [0; 1];
    stream.read_exact(&mut some).await.unwrap();
    // Under TLS, past the session's keys: an encrypted record that nobody encrypted.
    let (mut bare, _) = stream.into_inner();
    bare.write_all(b"\x17\x03\x03\x00\x20................................").await.unwrap();
    heard(&mut bare).await;
    soon("the session is over", async {
        while metric(secured.admin(), "tidings_sessions", &["front=\"sse\""]).await > 0.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_crowd_in_the_middle_of_its_handshakes_pushes_out_only_itself() {
    let secured = Secured::watched(|config| config.limits.connections_pending = 8).await;
    let mut crowd = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(secured.http()).await.unwrap();
        stream.write_all(b"\x16\x03\x01").await.unwrap();
        crowd.push(stream);
    }
    for _ in 0..5 {
        let mut stream = secured.connect(secured.http()).await;
        assert!(ask(&mut stream, "/poll?channel=a").await.starts_with("HTTP/1.1 200 "));
    }
    let mut cut = 0;
    for stream in &mut crowd {
        cut += usize::from(timeout(Duration::from_millis(50), stream.read(&mut [0; 1])).await.is_ok());
    }
    assert!(cut >= 32, "only {cut} were pushed out");
}

#[tokio::test]
async fn who_is_refused_at_the_limit_hears_it_in_the_terms_of_tls() {
    let secured = Secured::watched(|config| config.limits.connections = 1).await;
    let _first = secured.connect(secured.http()).await;
    let refused = connect(secured.http(), secured.trusting(&[])).await.unwrap_err();
    assert!(refused.to_string().contains("InternalError"), "{refused}");
}

#[tokio::test]
async fn a_stranger_is_not_trusted_by_clients() {
    let secured = Secured::watched(|_| {}).await;
    let other = crate::support::Authority::new();
    assert!(connect(secured.http(), trusting(&other, &[])).await.is_err());
    secured.counted("failed", 1.0).await;
}
