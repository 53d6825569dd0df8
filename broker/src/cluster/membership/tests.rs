use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const KEY: &str = "a key for tests only";

struct Node {
    membership: Membership,
    record: Record,
}

async fn start(name: &str, tag: u64, settings: Settings) -> Node {
    start_hearing(name, tag, settings, |_| false).await
}

async fn start_hearing(name: &str, tag: u64, settings: Settings, is_up: impl Fn(Tag) -> bool + Send + 'static) -> Node {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let gossip = socket.local_addr().unwrap();
    let record = Record {
        name: NodeName::new(name).unwrap(),
        tag: Tag::new(tag).unwrap(),
        started: tag,
        gossip,
        links: format!("127.0.0.1:{}", 1000 + tag),
        state: State::Joining,
        protocol: (1, 1),
        features: 0,
        version: "test".into(),
    };
    Node { membership: Membership::start(settings, socket, &record, is_up).await.unwrap(), record }
}

fn settings(seeds: &[&Node]) -> Settings {
    Settings {
        cluster: "test".into(),
        keys: vec![KEY.into()],
        seeds: seeds.iter().map(|node| node.record.gossip.to_string()).collect(),
        interval: Duration::from_millis(20),
    }
}

/// Real sockets: waits until it holds, and fails loudly when it never does.
async fn until(node: &Node, what: &str, holds: impl Fn(&Members) -> bool) {
    let mut members = node.membership.members();
    let found = tokio::time::timeout(Duration::from_secs(20), members.wait_for(|members| holds(members))).await.is_ok();
    assert!(found, "{}: {what}; it knows {:?}", node.record.name, node.membership.members().borrow());
}

fn knows(members: &Members, node: &Node) -> bool {
    members.get(&node.record.name) == Some(&node.record)
}

#[tokio::test]
async fn three_nodes_that_share_one_seed_know_each_other_and_hear_of_changes() {
    let a = start("a", 1, settings(&[])).await;
    let b = start("b", 2, settings(&[&a])).await;
    let mut c = start("c", 3, settings(&[&a])).await;
    for (node, others) in [(&a, [&b, &c]), (&b, [&a, &c]), (&c, [&a, &b])] {
        until(node, "it never knew both others", |members| members.len() == 2 && others.iter().all(|other| knows(members, other))).await;
    }
    c.record.state = State::Active;
    c.membership.update(&c.record).await;
    for node in [&a, &b] {
        until(node, "it never heard that c is active", |members| knows(members, &c)).await;
    }
}

#[tokio::test]
async fn a_restarted_node_replaces_its_predecessor_under_the_same_name() {
    let a = start("a", 1, settings(&[])).await;
    let first = start("b", 2, settings(&[&a])).await;
    until(&a, "it never knew b", |members| knows(members, &first)).await;
    drop(first);
    let second = start("b", 5, settings(&[&a])).await;
    until(&a, "it never knew the new b", |members| members.len() == 1 && knows(members, &second)).await;
}

#[tokio::test]
async fn a_process_that_is_heard_keeps_its_name_until_it_is_heard_no_more() {
    let heard = Arc::new(AtomicU64::new(2));
    let is_heard = heard.clone();
    let a = start_hearing("a", 1, settings(&[]), move |tag| tag.get() == is_heard.load(Ordering::Relaxed)).await;
    let first = start("b", 2, settings(&[&a])).await;
    until(&a, "it never knew b", |members| knows(members, &first)).await;
    let second = start("b", 5, settings(&[&a])).await;
    // Gossip of the duplicate has come once that of a third node has, which only knows it and was started after it.
    let c = start("c", 6, settings(&[&second])).await;
    until(&a, "it never knew c", |members| members.len() == 2 && knows(members, &c)).await;
    assert!(knows(&a.membership.members().borrow(), &first), "a duplicate hides the one that is heard");
    heard.store(0, Ordering::Relaxed);
    until(&a, "it never knew the new b", |members| members.len() == 2 && knows(members, &second)).await;
}

#[tokio::test]
async fn of_two_processes_of_one_name_the_second_one_learns_of_the_first() {
    let first = start("a", 1, settings(&[])).await;
    let second = start("a", 2, settings(&[&first])).await;
    let mut namesake = second.membership.namesake();
    let learnt = namesake.wait_for(|known| known.as_ref() == Some(&first.record));
    assert!(tokio::time::timeout(Duration::from_secs(20), learnt).await.is_ok(), "it never learnt of it");
    assert!(first.membership.namesake().borrow().is_none(), "the one that was there first need not ask");
}

#[tokio::test]
async fn a_node_with_another_key_is_not_heard_and_hears_nobody() {
    let a = start("a", 1, settings(&[])).await;
    let stranger = start("x", 2, Settings { keys: vec!["another key altogether".into()], ..settings(&[&a]) }).await;
    let b = start("b", 3, settings(&[&a])).await;
    until(&a, "it never knew b", |members| knows(members, &b)).await;
    let asked = tokio::time::timeout(Duration::from_secs(20), async {
        while a.membership.refused() < 3 {
            tokio::task::yield_now().await;
        }
    });
    assert!(asked.await.is_ok(), "the stranger never knocked");
    assert_eq!(a.membership.members().borrow().len(), 1);
    assert!(stranger.membership.members().borrow().is_empty());
}

#[tokio::test]
async fn junk_and_repeated_datagrams_change_nothing() {
    let a = start("a", 1, settings(&[])).await;
    let junk = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for bytes in [&b""[..], b"hello", &[1; 21], &[0xff; 1400]] {
        junk.send_to(bytes, a.record.gossip).await.unwrap();
    }
    let b = start("b", 2, settings(&[&a])).await;
    until(&a, "it never knew b", |members| knows(members, &b)).await;
    assert!(a.membership.refused() >= 4, "{}", a.membership.refused());
}

#[tokio::test]
async fn two_halves_that_lost_each_other_meet_again_by_themselves() {
    // Seeds are asked for ever, so the one that started alone is found as soon as it is there.
    let port = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let later = port.local_addr().unwrap();
    drop(port);
    let b = start("b", 2, Settings { seeds: vec![later.to_string()], ..settings(&[]) }).await;
    let socket = UdpSocket::bind(later).await.unwrap();
    let record = Record { name: NodeName::new("a").unwrap(), gossip: later, ..b.record.clone() };
    let a = Node { membership: Membership::start(settings(&[]), socket, &record, |_| false).await.unwrap(), record };
    until(&b, "it never found its seed", |members| knows(members, &a)).await;
    until(&a, "it never heard of b", |members| knows(members, &b)).await;
}

#[tokio::test]
async fn a_seed_is_found_by_its_name() {
    let a = start("a", 1, settings(&[])).await;
    let named = format!("localhost:{}", a.record.gossip.port());
    let b = start("b", 2, Settings { seeds: vec!["no-such-host.invalid:1".into(), named], ..settings(&[]) }).await;
    until(&b, "it never found its seed", |members| knows(members, &a)).await;
    until(&a, "it never heard of b", |members| knows(members, &b)).await;
}
