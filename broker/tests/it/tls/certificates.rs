//! Certificates that change while the node runs.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tidings::clock::Clock;
use tidings::config::Config;
use tidings::metrics::{Gauges, Listener, Metrics};
use tidings::node::Node;
use tidings::tls::{Credentials, config};
use tidings_sdk::{Client, Tls};

use super::{Secured, ask};
use crate::support::{Authority, connect, soon, trusting};

/// The certificate a listener proves itself with now.
async fn shown(secured: &Secured, to: SocketAddr) -> Vec<u8> {
    let stream = secured.connect(to).await;
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_used_by_every_listener_without_a_restart_and_open_connections_stay() {
    let secured = Secured::start(|_, _, _| {}).await;
    let (mut http, mut admin) = (secured.connect(secured.http()).await, secured.connect(secured.admin()).await);
    let root = std::fs::read(secured.authority.write_root(secured.files.path())).unwrap();
    let client = async || {
        let tls = Tls::new().trusting(&root);
        soon("a client", Client::connect_with(&format!("https://{}", secured.grpc()), tls)).await.unwrap()
    };
    let before = client().await;
    let mut subscription = soon("a subscription", async { before.subscribe(["renewed"]).await }).await.unwrap();
    let listeners = [secured.http(), secured.grpc(), secured.admin()];
    let mut first = Vec::new();
    for to in listeners {
        first.push(shown(&secured, to).await);
    }
    assert!(first.iter().all(|shown| *shown == first[0]), "one certificate for all");

    secured.authority.write(secured.files.path(), "node");
    let mut renewed = Vec::new();
    for to in listeners {
        soon("the new certificate", async {
            while shown(&secured, to).await == first[0] {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        renewed.push(shown(&secured, to).await);
    }
    assert!(renewed.iter().all(|shown| *shown == renewed[0]), "one certificate for all");

    // Who was there goes on, and who comes trusts the new one.
    assert!(ask(&mut http, "/poll?channel=a").await.starts_with("HTTP/1.1 200 "));
    assert!(ask(&mut admin, "/livez").await.starts_with("HTTP/1.1 200 "));
    soon("a publish by the old connection", before.publish("renewed", "old")).await.unwrap();
    soon("a publish by a new one", client().await.publish("renewed", "new")).await.unwrap();
    for expected in ["old", "new"] {
        let heard = soon("a message on the old connection", subscription.next()).await.unwrap().unwrap();
        assert!(matches!(&heard, tidings_sdk::Delivery::Message(message) if message.data == expected), "{heard:?}");
    }
}

/// A listener's files, and what is counted of them.
struct Files {
    home: tempfile::TempDir,
    authority: Authority,
    config: config::Config,
    metrics: std::sync::Arc<Metrics>,
}

impl Files {
    fn new() -> Self {
        let (home, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let (certificate, key) = authority.write(home.path(), "node");
        let config = config::Config { certificate: Some(certificate), key: Some(key), ..Default::default() };
        Self { home, authority, config, metrics: Metrics::new(1, Clock::start()) }
    }

    fn load(&self) -> std::sync::Arc<Credentials> {
        Credentials::load(Listener::Http, &self.config, &[b"h2"], &self.metrics).unwrap().unwrap()
    }

    /// Times files were used, times they were refused, and whether what lies there is not what is used.
    fn counted(&self) -> (u64, u64, bool) {
        let text = self.metrics.render(&Gauges::default());
        let value = |series: &str| {
            let line = text.lines().find(|line| line.starts_with(series)).unwrap();
            line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
        };
        let read = |result| value(&format!("tidings_tls_certificates_read_total{{listener=\"http\",result=\"{result}\"}}"));
        (read("used"), read("refused"), value("tidings_tls_certificate_stale{listener=\"http\"}") == 1)
    }

    fn expires(&self) -> SystemTime {
        let text = self.metrics.render(&Gauges::default());
        let line = text.lines().find(|line| line.starts_with("tidings_tls_certificate_expires_timestamp_seconds{listener=\"http\"}"));
        let seconds: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds)
    }
}

#[test]
fn files_count_when_they_stand_still() {
    let files = Files::new();
    let credentials = files.load();
    credentials.look();
    credentials.look();
    assert_eq!(files.counted(), (1, 0, false), "nothing changed");
    files.authority.write(files.home.path(), "node");
    credentials.look();
    assert_eq!(files.counted(), (1, 0, false), "perhaps only one of two is there yet");
    credentials.look();
    assert_eq!(files.counted(), (2, 0, false));
    credentials.look();
    assert_eq!(files.counted(), (2, 0, false));
}

#[test]
fn files_that_do_not_fit_change_nothing_are_told_once_and_heal() {
    let files = Files::new();
    let credentials = files.load();
    let before = files.expires();
    let (_, other_key) = files.authority.write(files.home.path(), "other");
    let spoiled: [&dyn Fn(); 4] = [
        &|| assert!(std::fs::rename(&other_key, files.config.key.as_ref().unwrap()).is_ok()),
        &|| std::fs::write(files.config.key.as_ref().unwrap(), "no key at all").unwrap(),
        &|| std::fs::remove_file(files.config.certificate.as_ref().unwrap()).unwrap(),
        &|| drop(files.authority.sign("node", 2020).write(files.home.path(), "node")),
    ];
    for (so_far, spoil) in (1..).zip(spoiled) {
        spoil();
        (0..5).for_each(|_| credentials.look());
        assert_eq!(files.counted(), (1, so_far, true));
        assert_eq!(files.expires(), before, "the old one is in use");
    }
    files.authority.write(files.home.path(), "node");
    (0..5).for_each(|_| credentials.look());
    assert_eq!(files.counted(), (2, 4, false));
}

#[test]
fn what_cannot_be_used_is_named_and_its_content_is_not() {
    let files = Files::new();
    let refused = |config: &config::Config| Credentials::load(Listener::Http, config, &[], &files.metrics).unwrap_err().to_string();
    let missing = config::Config { key: Some("/nowhere/key.pem".into()), ..files.config.clone() };
    assert!(refused(&missing).starts_with("/nowhere/key.pem: "), "{}", refused(&missing));
    let secret = files.home.path().join("secret");
    std::fs::write(&secret, "-----BEGIN PRIVATE KEY-----\nhunter2!\n-----END PRIVATE KEY-----\n").unwrap();
    let damaged = refused(&config::Config { key: Some(secret), ..files.config.clone() });
    assert!(damaged.contains("damaged") && !damaged.contains("hunter2"), "{damaged}");
    let (_, key) = files.authority.write(files.home.path(), "other");
    let mismatch = refused(&config::Config { key: Some(key), ..files.config.clone() });
    assert!(mismatch.contains("node.pem and ") && mismatch.contains("other.key: "), "{mismatch}");
    let nobody = refused(&config::Config { clients: files.config.key.clone(), ..files.config.clone() });
    assert!(nobody.ends_with("node.key: there is no PEM certificate in it"), "{nobody}");
}

#[tokio::test]
async fn a_node_does_not_start_with_files_it_cannot_use() {
    let mut config = Config { dev: true, ..Config::default() };
    (config.http.tls.certificate, config.http.tls.key) = (Some("/nowhere.pem".into()), Some("/nowhere.key".into()));
    let refused = Node::start(config).await.unwrap_err().to_string();
    assert!(refused.starts_with("http.tls: /nowhere.pem: cannot be read: "), "{refused}");
}

#[tokio::test]
async fn an_expired_certificate_is_better_than_no_listener() {
    let secured = Secured::watched(|_| {}).await;
    let expired = Secured::start(|config, authority, folder| {
        let (certificate, key) = authority.sign("late", 2020).write(folder, "late");
        (config.http.tls.certificate, config.http.tls.key) = (Some(certificate), Some(key));
    })
    .await;
    assert!(connect(expired.http(), trusting(&expired.authority, &[])).await.is_err(), "clients see that it expired");
    drop(secured);
}
