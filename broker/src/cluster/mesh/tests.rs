//! Real sockets: every wait has an end and says what it waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio_util::sync::DropGuard;

use super::super::link::{Identity, Reason};
use super::super::membership::{Record, State};
use super::super::release::Release;
use super::*;
use crate::clock::Clock;

const SECRET: &str = "a secret of the tests";

/// A number, and so many bytes besides.
struct Note(u64, usize);

impl Letter for Note {
    fn bytes(&self) -> usize {
        8 + self.1
    }

    fn write(&self, to: &mut BytesMut) {
        to.put_u64(self.0);
        to.put_bytes(0, self.1);
    }
}

#[derive(Default)]
struct Heard {
    up: BTreeMap<(NodeName, Tag, Purpose), i32>,
    notes: BTreeMap<(NodeName, Purpose), Vec<u64>>,
    refused: Vec<(Reason, bool)>,
    gone: usize,
    room: usize,
    state_room: usize,
    /// Nothing is said to have come of anybody, and how often that was asked.
    is_deaf: bool,
    asked: usize,
}

#[derive(Default)]
struct Notebook(Mutex<Heard>);

impl Ear for Notebook {
    fn up(&self, peer: &Peer, _: Id) {
        *self.0.lock().up.entry((peer.name.clone(), peer.tag, peer.purpose)).or_default() += 1;
    }

    fn down(&self, name: &NodeName, tag: Tag, purpose: Purpose, _: Id) {
        *self.0.lock().up.entry((name.clone(), tag, purpose)).or_default() -= 1;
    }

    fn gone(&self, _: &NodeName, _: Tag) {
        self.0.lock().gone += 1;
    }

    fn refused(&self, refusal: &Refusal, by_us: bool) {
        self.0.lock().refused.push((refusal.reason, by_us));
    }

    fn late(&self) {}

    fn heard(&self, peer: &Peer, _: Id, mut frame: Bytes) -> Result<(), String> {
        let number = frame.try_get_u64().map_err(|why| why.to_string())?;
        self.0.lock().notes.entry((peer.name.clone(), peer.purpose)).or_default().push(number);
        Ok(())
    }

    fn has_room(&self, _: &Peer, _: Id) {
        self.0.lock().room += 1;
    }

    fn has_room_for_states(&self, _: &Peer, _: Id) {
        self.0.lock().state_room += 1;
    }

    fn is_heard(&self, tag: Tag) -> bool {
        let mut heard = self.0.lock();
        heard.asked += 1;
        !heard.is_deaf && heard.up.iter().any(|((_, known, purpose), count)| *known == tag && *purpose == Purpose::Control && *count > 0)
    }
}

struct Node {
    record: Record,
    mesh: Mesh<Note>,
    heard: Arc<Notebook>,
    members: watch::Sender<Members>,
    _running: DropGuard,
}

fn identity(name: &str, tag: u64) -> Identity {
    Identity {
        cluster: "test".into(),
        name: NodeName::new(name).unwrap(),
        tag: Tag::new(tag).unwrap(),
        started: tag,
        release: Release::default(),
        version: "test".into(),
    }
}

async fn start_at(name: &str, tag: u64, address: &str) -> Node {
    start_on(Handle::current(), name, tag, address)
}

/// With its control connections on this runtime, and the others on that one.
fn start_on(data: Handle, name: &str, tag: u64, address: &str) -> Node {
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = {
        let _watched_there = data.enter();
        TcpListener::from_std(listener).unwrap()
    };
    let links = listener.local_addr().unwrap();
    let identity = identity(name, tag);
    let record = Record {
        name: identity.name.clone(),
        tag: identity.tag,
        started: tag,
        gossip: links,
        links: links.to_string(),
        state: State::Active,
        protocol: (1, 1),
        features: 0,
        version: "test".into(),
    };
    let (members, known) = watch::channel(Members::new());
    let (mesh, heard, stop) = (Mesh::default(), Arc::new(Notebook::default()), CancellationToken::new());
    let setup = Setup {
        me: identity.name.clone(),
        greeter: Greeter::new(identity, &[SECRET.to_owned()], None).unwrap(),
        listener,
        members: known,
        namesake: watch::channel(None).1,
        bounds: OutboxBounds { high: 1 << 20, low: 1 << 10, states: 1 << 10 },
        data,
        ear: heard.clone(),
        metrics: Metrics::new(1, Clock::start()),
        mesh: mesh.clone(),
    };
    tokio::spawn(run(setup, stop.clone()));
    Node { record, mesh, heard, members, _running: stop.drop_guard() }
}

async fn start(name: &str, tag: u64) -> Node {
    start_at(name, tag, "127.0.0.1:0").await
}

fn introduce(nodes: &[&Node]) {
    for node in nodes {
        let others = nodes.iter().filter(|other| other.record.name != node.record.name);
        node.members.send_replace(others.map(|other| (other.record.name.clone(), other.record.clone())).collect());
    }
}

/// Lets one node know of the other, which then has no reason to dial: what is said from now on is not lost with a second
/// connection that is one too many.
async fn join(from: &Node, to: &Node) {
    let mut known = from.members.borrow().clone();
    known.insert(to.record.name.clone(), to.record.clone());
    from.members.send_replace(known);
    until("they never met", || are_joined(from, to)).await;
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

/// Whether exactly one connection for each purpose stands, on both ends.
fn are_joined(a: &Node, b: &Node) -> bool {
    let sees = |one: &Node, other: &Node| {
        let heard = one.heard.0.lock();
        Purpose::ALL.iter().all(|purpose| heard.up.get(&(other.record.name.clone(), other.record.tag, *purpose)) == Some(&1))
    };
    sees(a, b) && sees(b, a)
}

fn notes(at: &Node, from: &Node, purpose: Purpose) -> Vec<u64> {
    at.heard.0.lock().notes.get(&(from.record.name.clone(), purpose)).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_are_joined_for_every_purpose_and_what_one_says_arrives_in_order_and_in_few_writes() {
    let nodes = [start("a", 1).await, start("b", 2).await, start("c", 3).await];
    let [a, b, c] = &nodes;
    for (one, other) in [(a, b), (b, c), (c, a)] {
        join(one, other).await;
    }
    let all: Vec<u64> = (0..5000).collect();
    for number in &all {
        for to in [b, c] {
            assert_eq!(a.mesh.post(to.record.tag, Purpose::Live, None, Note(*number, 10)), Posted::Queued);
        }
    }
    for to in [b, c] {
        until("not everything arrived", || notes(to, a, Purpose::Live).len() == all.len()).await;
        assert_eq!(notes(to, a, Purpose::Live), all);
    }
    let tally = a.mesh.tally();
    assert_eq!(tally.of(Purpose::Live).frames_said, 10_000);
    assert!(tally.writes() < 5000, "{} writes for 10,000 frames", tally.writes());
    assert_eq!(b.mesh.tally().of(Purpose::Live).frames_heard, 5000);
}

#[tokio::test]
async fn nodes_that_dial_each_other_at_once_end_with_one_connection_for_each_purpose() {
    for round in 0..10 {
        let (a, b) = (start("a", 1).await, start("b", 2).await);
        introduce(&[&a, &b]);
        until("they never agreed on one connection", || are_joined(&a, &b)).await;
        // A second connection may still come and go; what is said over the one that stays arrives.
        until("nothing arrived over the connection that both keep", || {
            b.mesh.post(a.record.tag, Purpose::Control, None, Note(round, 0));
            !notes(&a, &b, Purpose::Control).is_empty()
        })
        .await;
        until("they never agreed on one connection", || are_joined(&a, &b)).await;
    }
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_by_the_other_reaches_it_itself() {
    let (a, mut b) = (start("a", 1).await, start("b", 2).await);
    // The one whose turn it is to dial has a wrong address of the other.
    b.record.links = "127.0.0.1:1".into();
    introduce(&[&a, &b]);
    until("nobody was dialled", || are_joined(&a, &b)).await;
}

#[tokio::test]
async fn connections_that_outlived_a_cut_are_made_anew_and_those_to_a_silent_node_are_not() {
    let (a, b) = (start("a", 1).await, start("b", 2).await);
    join(&a, &b).await;
    let made = || (a.mesh.links(&b.record.name).made, b.mesh.links(&a.record.name).made);
    let looked = async |times: usize| {
        let asked = a.heard.0.lock().asked;
        until("nobody looked", || a.heard.0.lock().asked >= asked + times).await;
    };
    // Both are silent, but the host answers: nothing is wrong with the connections.
    [&a, &b].into_iter().for_each(|node| node.heard.0.lock().is_deaf = true);
    looked(3).await;
    assert_eq!(made(), (3, 3));
    // A cut, in which nobody is reached, and its end.
    let nowhere = Record { links: "255.255.255.255:9".into(), ..b.record.clone() };
    a.members.send_replace(BTreeMap::from([(b.record.name.clone(), nowhere)]));
    looked(3).await;
    assert_eq!(made(), (3, 3), "those that stand stay");
    a.members.send_replace(BTreeMap::from([(b.record.name.clone(), b.record.clone())]));
    until("not all were made anew", || made() == (6, 6) && are_joined(&a, &b)).await;
    looked(3).await;
    for purpose in Purpose::ALL {
        assert_eq!(a.mesh.post(b.record.tag, purpose, None, Note(7, 0)), Posted::Queued);
        until("nothing goes over the new one", || notes(&b, &a, purpose) == [7]).await;
    }
    assert_eq!(made(), (6, 6), "once each, though nothing is heard");
}

#[tokio::test]
async fn a_restarted_node_is_found_again_and_its_predecessor_is_told_to_be_gone() {
    let (a, first) = (start("a", 1).await, start("b", 2).await);
    introduce(&[&a, &first]);
    until("they never met", || are_joined(&a, &first)).await;
    let (address, tag) = (first.record.links.clone(), first.record.tag);
    drop(first);
    until("nobody noticed that it went", || a.heard.0.lock().gone > 0).await;
    assert_eq!(a.mesh.post(tag, Purpose::Live, None, Note(0, 0)), Posted::Closed);
    let second = start_at("b", 5, &address).await;
    introduce(&[&a, &second]);
    until("it was not found again", || are_joined(&a, &second)).await;
}

#[tokio::test]
async fn a_second_process_of_a_name_is_refused_while_the_first_is_heard_and_both_sides_know_why() {
    let (a, b, again) = (start("a", 1).await, start("b", 2).await, start("b", 3).await);
    introduce(&[&a, &b]);
    until("they never met", || are_joined(&a, &b)).await;
    again.members.send_replace(BTreeMap::from([(a.record.name.clone(), a.record.clone())]));
    let knows = |node: &Node, by_us| node.heard.0.lock().refused.contains(&(Reason::DuplicateName, by_us));
    until("the second one was not refused", || knows(&again, false) && knows(&a, true)).await;
    assert!(are_joined(&a, &b), "the first one was disturbed");
    drop(b);
    introduce(&[&a, &again]);
    until("the name was never free again", || are_joined(&a, &again)).await;
}

#[tokio::test]
async fn who_posts_more_than_the_other_takes_is_told_to_hold_back_and_when_there_is_room() {
    let (a, b) = (start("a", 1).await, start("b", 2).await);
    join(&a, &b).await;
    let mut taken = 0;
    // Nothing is written while this task does not yield: there is one thread.
    while a.mesh.post(b.record.tag, Purpose::Live, None, Note(taken, 10_000)) == Posted::Queued {
        taken += 1;
    }
    taken += 1;
    assert!((100..120).contains(&taken), "{taken} notes of 10 kB in a queue of 1 MiB");
    let live = a.mesh.queued(b.record.tag)[Purpose::Live.index()].unwrap();
    assert!(live.is_full && live.bytes > 1 << 20);
    until("there was never room again", || a.heard.0.lock().room == 1).await;
    until("what was taken did not arrive", || notes(&b, &a, Purpose::Live).len() as u64 == taken).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_come_are_greeted_on_other_threads_than_heartbeats() {
    let (say_record, record) = tokio::sync::oneshot::channel();
    let (block, told_to_block) = tokio::sync::oneshot::channel::<()>();
    let (say_blocked, blocked) = tokio::sync::oneshot::channel();
    let (go_on, told_to_go_on) = std::sync::mpsc::channel::<()>();
    let data = Handle::current();
    let control = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let node = start_on(data, "a", 1, "127.0.0.1:0");
            say_record.send(node.record.clone()).unwrap();
            told_to_block.await.unwrap();
            say_blocked.send(()).unwrap();
            // The whole thread: its end, or that of the test.
            let _ = told_to_go_on.recv();
        });
    });
    let record = record.await.unwrap();
    let greeter = Greeter::new(identity("b", 2), &[SECRET.to_owned()], None).unwrap();
    let dial = async |purpose| {
        let socket = Socket::new(tokio::net::TcpStream::connect(&record.links).await.unwrap()).unwrap();
        greeter.dial(socket, purpose, &record.name).await
    };
    let _live = dial(Purpose::Live).await.unwrap();
    block.send(()).unwrap();
    blocked.await.unwrap();
    let greeted = dial(Purpose::Bulk).await;
    drop(go_on);
    tokio::task::spawn_blocking(|| control.join()).await.unwrap().unwrap();
    greeted.expect("it was greeted by the thread of the heartbeats, which was busy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_quick_strangers_parts_no_nodes_and_keeps_none_out() {
    let (a, b, c) = (start("a", 1).await, start("b", 2).await, start("c", 3).await);
    join(&a, &b).await;
    let made = (a.mesh.links(&b.record.name), b.mesh.links(&a.record.name));
    let stranger = Greeter::new(identity("d", 4), &["a secret of somebody else".to_owned()], None).unwrap();
    let strangers: Vec<_> = (0..16)
        .map(|_| {
            let (stranger, record) = (stranger.clone(), a.record.clone());
            let knocking = async move {
                loop {
                    if let Ok(stream) = tokio::net::TcpStream::connect(&record.links).await
                        && let Ok(socket) = Socket::new(stream)
                    {
                        assert!(stranger.dial(socket, Purpose::Live, &record.name).await.is_err());
                    }
                }
            };
            tokio_util::task::AbortOnDropHandle::new(tokio::spawn(knocking))
        })
        .collect();
    let refused = || a.heard.0.lock().refused.iter().filter(|refused| **refused == (Reason::Key, true)).count();
    until("no stranger came", || refused() > 20).await;
    join(&c, &a).await;
    until("no more strangers came", || refused() > 60).await;
    assert!(strangers.iter().all(|stranger| !stranger.is_finished()), "a stranger was let in");
    drop(strangers);
    assert!(are_joined(&a, &b), "the strangers parted them");
    assert_eq!((a.mesh.links(&b.record.name), b.mesh.links(&a.record.name)), made, "they were parted, and met again");
}
