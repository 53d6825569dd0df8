//! Clients that prove who they are.

use tidings::auth::certificate::KnownBy;
use tidings::clock::Clock;
use tidings::metrics::{Listener, Metrics};
use tidings::tls::{Credentials, Entrance, Turns, client_name, config};
use tidings_sdk::{Client, Delivery, Tls};
use tokio::net::TcpListener;

use super::{Secured, ask};
use crate::support::{Authority, connect, showing, soon, trusting};

/// Whether a client with or without a certificate gets an answer: under TLS 1.3 a refusal comes after its handshake.
async fn is_let_in(to: std::net::SocketAddr, client: std::sync::Arc<rustls::ClientConfig>) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let Ok(mut stream) = connect(to, client).await else { return false };
    let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer.starts_with(b"HTTP/1.1 200 ")
}

#[tokio::test]
async fn a_listener_that_asks_for_certificates_lets_nobody_else_in() {
    let secured = Secured::start(|config, authority, folder| config.admin.tls.clients = Some(authority.write_root(folder))).await;
    let stranger = Authority::new();
    let known = secured.authority.sign("backend", 2099);
    assert!(is_let_in(secured.admin(), showing(&secured.authority, &[], &known)).await);
    assert!(!is_let_in(secured.admin(), trusting(&secured.authority, &[])).await, "without a certificate");
    let unknown = stranger.sign("backend", 2099);
    assert!(!is_let_in(secured.admin(), showing(&secured.authority, &[], &unknown)).await, "signed by somebody else");
    let late = secured.authority.sign("backend", 2020);
    assert!(!is_let_in(secured.admin(), showing(&secured.authority, &[], &late)).await, "expired");
    // The others ask nobody.
    let mut public = secured.connect(secured.http()).await;
    assert!(ask(&mut public, "/poll?channel=a").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn the_rust_client_trusts_whom_it_is_told_to_and_shows_who_it_is() {
    let secured = Secured::start(|config, authority, folder| config.grpc.tls.clients = Some(authority.write_root(folder))).await;
    let root = std::fs::read(secured.authority.write_root(secured.files.path())).unwrap();
    let (certificate, key) = secured.authority.write(secured.files.path(), "backend");
    let (certificate, key) = (std::fs::read(certificate).unwrap(), std::fs::read(key).unwrap());
    let address = format!("https://{}", secured.grpc());
    let client = Client::connect_with(&address, Tls::new().trusting(&root).showing(&certificate, &key)).await.unwrap();
    let mut news = client.subscribe(["a"]).await.unwrap();
    assert_eq!(client.publish("a", "hello").await.unwrap().offset, 1);
    let Some(Ok(Delivery::Message(message))) = soon("the message", news.next()).await else { panic!("a message was due") };
    assert_eq!(message.text(), Some("hello"));

    let short = std::time::Duration::from_millis(500);
    let nobody = Client::connect_with(&address, Tls::new().trusting(&root)).await;
    // Under TLS 1.3 the refusal comes after the client's handshake: with its first call.
    let refused = match nobody {
        Ok(client) => client.with_patience(short).publish("a", "hello").await.map(drop),
        Err(why) => Err(why),
    };
    assert!(refused.is_err(), "without a certificate");
    let (other, _) = Authority::new().write(secured.files.path(), "other");
    let stranger = Tls::new().trusting(std::fs::read(other).unwrap()).showing(&certificate, &key);
    assert!(Client::connect_with(&address, stranger).await.is_err(), "a broker that is not trusted");
}

#[tokio::test]
async fn the_command_line_speaks_tls() {
    let secured = Secured::start(|_, _, _| {}).await;
    let root = secured.authority.write_root(secured.files.path());
    let publish = |more: Vec<String>| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tidings"));
        command.args(["publish", "a", "hello", "--timeout", "5s", "--url", &format!("https://{}", secured.grpc())]).args(more).env_clear();
        async move { soon("the client ends", command.output()).await.unwrap() }
    };
    let published = publish(vec!["--ca".to_owned(), root.display().to_string()]).await;
    assert!(published.status.success(), "{published:?}");
    let untrusted = publish(Vec::new()).await;
    assert_eq!(untrusted.status.code(), Some(4), "{untrusted:?}");
}

#[tokio::test]
async fn the_name_in_a_clients_certificate_is_known() {
    let (home, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (certificate, key) = authority.write(home.path(), "node");
    let clients = Some(authority.write_root(home.path()));
    let config = config::Config { certificate: Some(certificate), key: Some(key), clients, ..Default::default() };
    let metrics = Metrics::new(1, Clock::start());
    let credentials = Credentials::load(Listener::Grpc, &config, &[], &metrics).unwrap().unwrap();
    let entrance = Entrance { credentials, turns: Turns::new(1) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = rcgen::SanType::URI("spiffe://example/backend".try_into().unwrap());
    let backend = showing(&authority, &[], &authority.sign_holder("backend", &[uri]));
    let (near, _far) = tokio::join!(async { entrance.pass(listener.accept().await.unwrap().0).await.unwrap() }, async {
        connect(listener.local_addr().unwrap(), backend).await.unwrap()
    });
    let name = client_name(near.get_ref().1).unwrap();
    assert_eq!(name.subject(), "CN=backend");
    assert!(name.is(&KnownBy::CommonName("backend".into())) && name.is(&KnownBy::Uri("spiffe://example/backend".into())));
}
