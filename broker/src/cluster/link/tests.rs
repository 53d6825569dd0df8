use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;

use super::super::membership::NodeName;
use super::super::release::{Common, Release};
use super::*;
use crate::log::Tag;

const SECRET: &str = "a secret of the tests";

fn identity(name: &str) -> Identity {
    Identity {
        cluster: "test".into(),
        name: NodeName::new(name).unwrap(),
        tag: Tag::new(1 + u64::from(name.as_bytes()[0])).unwrap(),
        started: 7,
        release: Release { protocol: (2, 4), features: 0b110 },
        version: "0.1.0".into(),
    }
}

fn greeter(me: Identity, secrets: &[&str]) -> Greeter {
    Greeter::new(me, &secrets.iter().map(ToString::to_string).collect::<Vec<_>>(), None).unwrap()
}

fn speaks(oldest: u32, newest: u32) -> Release {
    Release { protocol: (oldest, newest), features: 0 }
}

type Ends = (Result<Link<DuplexStream>, GreetingError>, Result<Link<DuplexStream>, GreetingError>);

/// What the one that dials and the one that answers make of each other.
async fn meet(dialling: &Greeter, answering: &Greeter) -> Ends {
    let (near, far) = duplex(16 << 10);
    tokio::join!(dialling.dial(near, Purpose::Live, &answering.me.name), answering.answer(far, |_| Ok(())))
}

/// Both sides heard the same reason, each from its own end; in the same words, if who refuses shows that it holds a key.
fn refusal((dialled, answered): Ends) -> (wire::Reason, String) {
    let (there, here) = (dialled.unwrap_err(), answered.unwrap_err());
    let (GreetingError::RefusedThere(there), GreetingError::RefusedHere(here)) = (&there, &here) else {
        panic!("{there} / {here}");
    };
    assert_eq!(there.reason, here.reason);
    assert_eq!(there.message.trim_start_matches("it says that "), here.message);
    (here.reason, here.message.clone())
}

#[tokio::test]
async fn two_nodes_with_one_key_know_each_other_and_agree_on_what_both_can() {
    let a = greeter(identity("a"), &[SECRET]);
    let b = greeter(Identity { release: Release { protocol: (3, 9), features: 0b011 | 1 << 63 }, ..identity("b") }, &[SECRET]);
    let (at_a, at_b) = meet(&a, &b).await;
    let (mut at_a, mut at_b) = (at_a.unwrap(), at_b.unwrap());
    assert_eq!((at_a.peer.name.as_str(), at_b.peer.name.as_str()), ("b", "a"));
    for peer in [&at_a.peer, &at_b.peer] {
        assert_eq!((peer.purpose, peer.common), (Purpose::Live, Common { protocol: 4, features: 0b010 }));
    }
    let big = Bytes::from(vec![7; 1 << 20]);
    let (sent, got) = tokio::join!(at_a.frames.send(big.clone()), at_b.frames.next());
    sent.unwrap();
    assert_eq!(got.unwrap().unwrap(), big);
}

#[tokio::test]
async fn who_lacks_the_key_is_told_so_and_learns_nothing_else() {
    let a = greeter(Identity { cluster: "other".into(), ..identity("a") }, &["not the right secret"]);
    let b = greeter(identity("b"), &[SECRET]);
    let (reason, words) = refusal(meet(&a, &b).await);
    assert_eq!(reason, wire::Reason::Key);
    assert!(words.contains("cluster.keys") && !words.contains("test") && !words.contains(SECRET), "{words}");
}

#[tokio::test]
async fn a_key_is_changed_while_nodes_stay_connected() {
    let old = greeter(identity("a"), &[SECRET]);
    let both = greeter(identity("b"), &["the secret that follows", SECRET]);
    let new = greeter(identity("c"), &["the secret that follows"]);
    for (dialling, answering) in [(&old, &both), (&both, &old), (&both, &new), (&new, &both)] {
        let (dialled, answered) = meet(dialling, answering).await;
        dialled.unwrap();
        answered.unwrap();
    }
    assert_eq!(refusal(meet(&old, &new).await).0, wire::Reason::Key);
}

#[tokio::test]
async fn another_cluster_another_protocol_and_a_second_one_of_a_name_are_refused_on_both_sides() {
    let b = greeter(identity("b"), &[SECRET]);
    let cases = [
        (Identity { cluster: "other".into(), ..identity("a") }, wire::Reason::OtherCluster, "cluster.id"),
        (Identity { release: speaks(5, 6), ..identity("a") }, wire::Reason::Protocol, "5 to 6"),
        (Identity { release: speaks(1, 1), ..identity("a") }, wire::Reason::Protocol, "1 to 1"),
        (Identity { tag: Tag::new(3).unwrap(), ..identity("b") }, wire::Reason::DuplicateName, "another process"),
        (identity("b"), wire::Reason::DuplicateName, "this very process"),
    ];
    for (who, expected, words) in cases {
        let (reason, message) = refusal(meet(&greeter(who, &[SECRET]), &b).await);
        assert_eq!(reason, expected, "{message}");
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test]
async fn a_node_that_proved_itself_may_still_not_be_wanted() {
    let (a, b) = (greeter(identity("a"), &[SECRET]), greeter(identity("b"), &[SECRET]));
    let (near, far) = duplex(16 << 10);
    let not_wanted = |peer: &Peer| Err(Refusal::new(wire::Reason::NotWanted, format!("{} is here already", peer.name)));
    let ends = tokio::join!(a.dial(near, Purpose::Control, &b.me.name), b.answer(far, not_wanted));
    assert_eq!(refusal(ends), (wire::Reason::NotWanted, "a is here already".into()));
}

#[tokio::test]
async fn what_is_no_node_is_refused_without_waiting_for_ever() {
    let b = greeter(identity("b"), &[SECRET]);
    // Plain text instead of TLS.
    let (mut near, far) = duplex(16 << 10);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(matches!(b.answer(far, |_| Ok(())).await.unwrap_err(), GreetingError::Broken(_)));
    // TLS, and then frames that are none or too large.
    for (bytes, what) in [(&b"\0\0\0\x02\xff\xff"[..], "no message"), (&b"\x7f\xff\xff\xff"[..], "too large")] {
        let (near, far) = duplex(16 << 10);
        let stranger = async {
            let mut stream = TlsConnector::from(b.tls().dial.clone()).connect(tls::Tls::name(), near).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream.flush().await.unwrap();
            // Until the other end hangs up.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        let (answered, ()) = tokio::join!(b.answer(far, |_| Ok(())), stranger);
        assert!(matches!(answered.unwrap_err(), GreetingError::Nonsense(_)), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_given_up_in_time_at_either_end() {
    let b = greeter(identity("b"), &[SECRET]);
    let (_near, far) = duplex(1024);
    assert!(matches!(b.answer(far, |_| Ok(())).await.unwrap_err(), GreetingError::Late));
    let (near, _far) = duplex(16 << 10);
    assert!(matches!(b.dial(near, Purpose::Bulk, &b.me.name).await.unwrap_err(), GreetingError::Late));
}

#[tokio::test]
async fn a_proof_is_good_for_one_session_and_one_direction_only() {
    let (a, b) = (identity("a"), identity("b"));
    let keys = Keys::new(&[SECRET.to_owned()]).unwrap();
    let said = greeting::hello(&a, &keys, &[1; 32], End::Dialled, Purpose::Live);
    assert!(greeting::judge(&b, &keys, &[1; 32], End::Dialled, &said).is_ok());
    for (exporter, end) in [([2; 32], End::Dialled), ([1; 32], End::Answered)] {
        let refused = greeting::judge(&b, &keys, &exporter, end, &said).unwrap_err();
        assert_eq!(refused.reason, wire::Reason::Key, "a proof was taken for another session or from the other end");
    }
}

/// What the other end makes of a refusal for each reason, said by a stranger in these words.
const STRANGE: &str = "words of a stranger \u{1b}[31m";

fn refusals(keys: &Keys) -> impl Iterator<Item = wire::Refusal> {
    let reasons = (0..=8).map(|reason| wire::Reason::try_from(reason).unwrap());
    // Proofs of another session, or under another key, are none.
    reasons.map(|reason| Refusal::new(reason, STRANGE).proven(keys, &[7; 32]))
}

#[tokio::test]
async fn a_stranger_who_dials_and_refuses_is_not_believed_and_its_words_go_nowhere() {
    let b = greeter(identity("b"), &[SECRET]);
    for refusal in refusals(&b.keys) {
        let (near, far) = duplex(16 << 10);
        let stranger = async {
            let stream = TlsConnector::from(b.tls().dial.clone()).connect(tls::Tls::name(), near).await.unwrap();
            let mut frames = framed(TlsStream::Client(stream));
            send(&mut frames, &wire::Hello { refused: Some(refusal.clone()), ..wire::Hello::default() }).await.unwrap();
            frames
        };
        let (answered, _frames) = tokio::join!(b.answer(far, |_| Ok(())), stranger);
        let why = answered.unwrap_err();
        assert!(!why.to_string().contains("stranger"), "{why}");
        match (&why, refusal.reason()) {
            (GreetingError::RefusedThere(told), wire::Reason::Certificate) => assert_eq!(told.reason, wire::Reason::Certificate),
            (GreetingError::Nonsense(_), reason) if reason != wire::Reason::Certificate => {}
            (_, reason) => panic!("{reason:?}: {why}"),
        }
    }
}

#[tokio::test]
async fn a_stranger_who_answers_and_refuses_keeps_no_node_out_and_its_words_go_nowhere() {
    let a = greeter(identity("a"), &[SECRET]);
    let other = Keys::new(&["a secret of somebody else".to_owned()]).unwrap();
    for refusal in refusals(&a.keys).chain(refusals(&other)) {
        let (near, far) = duplex(16 << 10);
        let stranger = async {
            let stream = TlsAcceptor::from(a.tls().answer.clone()).accept(far).await.unwrap();
            let mut frames = framed(TlsStream::Server(stream));
            let _: wire::Hello = receive(&mut frames).await.unwrap();
            send(&mut frames, &wire::Answer { answer: Some(wire::answer::Answer::Refused(refusal.clone())) }).await.unwrap();
            frames
        };
        let b = NodeName::new("b").unwrap();
        let (dialled, _frames) = tokio::join!(a.dial(near, Purpose::Live, &b), stranger);
        let GreetingError::RefusedThere(told) = dialled.unwrap_err() else { panic!("not refused: {refusal:?}") };
        assert!(!matches!(told.reason, wire::Reason::DuplicateName | wire::Reason::Protocol), "believed: {told:?}");
        assert!(!told.message.contains("stranger"), "{told:?}");
    }
}

#[test]
fn a_refusal_is_proven_to_who_proved_itself_in_this_session_and_as_it_was_said() {
    let keys = Keys::new(&[SECRET.to_owned()]).unwrap();
    let refusal = Refusal::new(wire::Reason::DuplicateName, "the name is taken");
    let said = refusal.proven(&keys, &[1; 32]);
    assert_eq!(Refusal::read(&said, &keys, &[1; 32]), refusal);
    let changed = [
        (said.clone(), [2; 32]),
        (wire::Refusal { message: "something else".into(), ..said.clone() }, [1; 32]),
        (wire::Refusal { reason: wire::Reason::Protocol.into(), ..said.clone() }, [1; 32]),
        (wire::Refusal { proofs: greeting::hello(&identity("a"), &keys, &[1; 32], End::Answered, Purpose::Live).proofs, ..said }, [1; 32]),
    ];
    for (said, exporter) in changed {
        assert_eq!(Refusal::read(&said, &keys, &exporter).reason, wire::Reason::Unspecified, "{said:?}");
    }
    let to_a_stranger = Refusal::new(wire::Reason::Key, "the keys differ").proven(&keys, &[1; 32]);
    assert!(to_a_stranger.proofs.is_empty(), "a stranger could guess at the secret with it");
}

/// Signs certificates of nodes.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    root: rustls::pki_types::CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: rcgen::Issuer::new(params, key), root }
    }

    /// For a name, valid until a year.
    fn sign(&self, name: &str, until: i32) -> (rustls::pki_types::CertificateDer<'static>, rustls::pki_types::PrivateKeyDer<'static>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(until, 1, 1));
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        (certificate, rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }

    /// A certificate of this authority, for one that trusts that one.
    fn certificate(&self, name: &str, until: i32, trusted: &Self) -> Certificate {
        let (certificate, key) = self.sign(name, until);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted.root.clone()).unwrap();
        Certificate { chain: vec![certificate], key, roots }
    }
}

fn with(name: &str, certificate: Option<Certificate>) -> Greeter {
    Greeter::new(identity(name), &[SECRET.to_owned()], certificate).unwrap()
}

#[tokio::test]
async fn nodes_whose_certificates_are_signed_and_made_out_to_their_names_let_each_other_in() {
    let authority = Authority::new();
    let [a, b] = ["a", "b_2"].map(|name| with(name, Some(authority.certificate(name, 2100, &authority))));
    for (dialling, answering) in [(&a, &b), (&b, &a)] {
        let (dialled, answered) = meet(dialling, answering).await;
        assert_eq!((dialled.unwrap().peer.name, answered.unwrap().peer.name), (answering.me.name.clone(), dialling.me.name.clone()));
    }
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_is_refused_and_both_sides_know_why() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = with("b", Some(authority.certificate("b", 2100, &authority)));
    let cases = [
        (Some(other.certificate("a", 2100, &authority)), "cluster.tls.ca"),
        (Some(authority.certificate("c", 2100, &authority)), "not made out to that name"),
        (Some(authority.certificate("a", 2021, &authority)), "has expired"),
        (None, "cluster.tls.ca"),
    ];
    for (certificate, words) in cases {
        let bad = with("a", certificate);
        for (dialling, answering) in [(&bad, &good), (&good, &bad)] {
            let (dialled, answered) = meet(dialling, answering).await;
            let [at_dialling, at_answering] = [dialled.unwrap_err(), answered.unwrap_err()].map(|why| match why {
                GreetingError::RefusedHere(refusal) | GreetingError::RefusedThere(refusal) => refusal,
                other => panic!("{words}: {other}"),
            });
            assert_eq!([at_dialling.reason, at_answering.reason], [wire::Reason::Certificate; 2]);
            let message = &at_dialling.message;
            assert!(message.contains(words) && message.contains("certificate of a "), "{message}");
            // The one that dials proves nothing to an end that it does not trust, so its words are not taken.
            let is_told = std::ptr::eq(dialling, &bad);
            assert_eq!(at_answering.message == *message, is_told, "{}", at_answering.message);
            assert!(at_answering.message.contains("cluster.tls"), "{}", at_answering.message);
        }
    }
}

#[tokio::test]
async fn a_renewed_certificate_counts_for_the_next_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let (a, b) = (with("a", Some(old.certificate("a", 2100, &old))), with("b", Some(old.certificate("b", 2100, &old))));
    assert!(meet(&a, &b).await.0.is_ok());
    b.exchange(new.certificate("b", 2100, &new)).unwrap();
    assert!(meet(&a, &b).await.0.is_err());
    a.exchange(new.certificate("a", 2100, &new)).unwrap();
    assert!(meet(&a, &b).await.0.is_ok());
}
