//! Stories of the hub: publishing meets listening, without a socket.

use std::sync::Arc;
use std::time::Duration;

use super::namespace::{Config, History, Namespaces};
use super::*;
use crate::log::{Cursor, GapReason, PageLimit, SlotCursor, Start, Tag};
use crate::message::{Draft, Headers, Payload, PublishId};

const PAGE: PageLimit = PageLimit { entries: 100, bytes: usize::MAX };
const INBOX: usize = 4;

fn hub_with(rule: CommitRule, history_bytes: u64) -> Hub {
    let mut namespaces = Namespaces::default();
    let none = History { size: 0, ttl: Duration::from_secs(1), ..History::default() };
    namespaces.insert("none", Config { history: none, ..Config::default() });
    let clock = Clock::start();
    let bounds = Bounds { channels: 100, channels_silent: 50, history_bytes, dedupe_ids: 1000 };
    let epoch = Epoch::new(1, Tag::new(7).unwrap());
    let inboxes = (0..2).map(|_| Arc::new(Inbox::new(INBOX))).collect();
    Hub::new(RuleBook::new(&namespaces), inboxes, bounds, epoch, rule, clock, Metrics::new(2, clock))
}

pub(super) fn hub_of(rule: CommitRule) -> Hub {
    hub_with(rule, 1 << 30)
}

pub(crate) fn hub() -> Hub {
    hub_with(CommitRule::AtOnce, 1 << 30)
}

pub(crate) fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap()
}

pub(crate) fn draft(channel: &str, text: &str) -> Draft {
    let payload = Payload::new(text.as_bytes(), None).unwrap();
    Draft { channel: name(channel), id: None, event: None, payload, headers: Headers::default(), ttl: None }
}

fn drained(hub: &Hub, shard: usize) -> (Vec<String>, Vec<u32>) {
    let (mut items, mut missed) = (Vec::new(), Vec::new());
    hub.inbox(shard).drain(&mut items, &mut missed);
    let texts = items.iter().map(|item| String::from_utf8(item.entry.payload.bytes().to_vec()).unwrap());
    (texts.collect(), missed)
}

#[test]
fn a_listening_shard_gets_what_is_published_after_it_came_and_nothing_after_it_left() {
    let hub = hub();
    hub.append(draft("a", "before")).unwrap();
    let channel = hub.open(&name("a")).unwrap();
    let base = hub.listen(&channel, 1, 42).unwrap();
    assert_eq!(base, hub.commit(channel.slot).idx);
    hub.append(draft("a", "one")).unwrap();
    hub.append(draft("b", "elsewhere")).unwrap();
    hub.append(draft("a", "two")).unwrap();
    assert_eq!(drained(&hub, 1), (vec!["one".into(), "two".into()], vec![]));
    assert_eq!(drained(&hub, 0), (vec![], vec![]), "a shard without listeners is left alone");
    hub.leave(&channel, 1);
    hub.append(draft("a", "three")).unwrap();
    assert_eq!(drained(&hub, 1), (vec![], vec![]));
}

#[test]
fn after_a_full_inbox_nothing_is_pushed_until_the_shard_has_read_the_log() {
    let hub = hub();
    let channel = hub.open(&name("a")).unwrap();
    let base = hub.listen(&channel, 0, 5).unwrap();
    for number in 0..INBOX + 3 {
        hub.append(draft("a", &number.to_string())).unwrap();
    }
    let (pushed, missed) = drained(&hub, 0);
    assert_eq!((pushed.len(), missed), (INBOX, vec![5]), "what did not fit is named once");
    hub.append(draft("a", "still missed")).unwrap();
    assert_eq!(drained(&hub, 0), (vec![], vec![]), "a hole must never be followed by an entry");

    let again = hub.listen_again(&channel, 0).unwrap();
    let page = hub.read(channel.slot, &[(channel.clone(), base)], PAGE).unwrap();
    assert_eq!(page.entries.len(), INBOX + 4, "the log has it all");
    assert_eq!(page.upto.idx, again);
    hub.append(draft("a", "pushed again")).unwrap();
    assert_eq!(drained(&hub, 0).0, ["pushed again"]);
}

#[tokio::test]
async fn nobody_sees_a_message_before_it_is_committed_and_the_publisher_waits_for_that() {
    let hub = hub_with(CommitRule::Later(Mutex::default()), 1 << 30);
    let channel = hub.open(&name("a")).unwrap();
    let base = hub.listen(&channel, 0, 1).unwrap();
    let receipt = hub.append(draft("a", "late")).unwrap();
    assert_eq!(drained(&hub, 0).0, [""; 0]);
    assert!(hub.read(channel.slot, &[(channel.clone(), base)], PAGE).unwrap().entries.is_empty());
    let waiting = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move { receipt.committed().await }));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    assert!(hub.commit_next());
    waiting.await.unwrap().unwrap();
    assert_eq!(drained(&hub, 0).0, ["late"]);
    assert!(!hub.commit_next());
}

#[tokio::test]
async fn a_publisher_whose_broker_stops_hears_that_nobody_knows_what_became_of_its_message() {
    let hub = hub_with(CommitRule::Later(Mutex::default()), 1 << 30);
    let receipt = hub.append(draft("a", "late")).unwrap();
    drop(hub);
    let why = receipt.committed().await.unwrap_err();
    assert_eq!(why.code, ErrorCode::Unconfirmed, "it may be published: {why}");
    let (tell, answer) = tokio::sync::oneshot::channel();
    drop(tell);
    assert_eq!(Way::Asked(answer).committed().await.unwrap_err().code, ErrorCode::Unconfirmed);
}

#[tokio::test]
async fn a_repeat_of_an_uncommitted_publish_is_acknowledged_with_its_commit() {
    let hub = hub_with(CommitRule::Later(Mutex::default()), 1 << 30);
    let keyed = || Draft { id: Some(PublishId::keyed("k").unwrap()), ..draft("a", "x") };
    let first = hub.append(keyed()).unwrap();
    let repeat = hub.append(keyed()).unwrap();
    let (placed, placed_again) = (first.placed().unwrap(), repeat.placed().unwrap());
    assert!(!placed.duplicate && placed_again.duplicate);
    assert_eq!(placed.pos, placed_again.pos);
    hub.commit_next();
    first.committed().await.unwrap();
    repeat.committed().await.unwrap();
}

#[tokio::test]
async fn publishers_wait_for_room_and_are_refused_when_none_comes() {
    let hub = Arc::new(hub());
    let channel = hub.open(&name("a")).unwrap();
    let _ = hub.listen(&channel, 0, 1).unwrap();
    for _ in 0..INBOX {
        hub.append(draft("a", "x")).unwrap();
    }
    let refused = hub.room(&channel, Duration::from_millis(5)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Overloaded);
    let (waiting_hub, waiting_channel) = (hub.clone(), channel.clone());
    let waiting = tokio::spawn(async move { waiting_hub.room(&waiting_channel, Duration::from_secs(60)).await });
    tokio::task::yield_now().await;
    let (taken, _) = drained(&hub, 0);
    hub.inbox(0).done(taken.len());
    assert!(waiting.await.unwrap().unwrap().is_some(), "it waited and then had room");
}

#[test]
fn at_the_bound_of_all_histories_the_oldest_of_the_slot_give_way_and_their_reader_is_told() {
    let hub = hub_with(CommitRule::AtOnce, 4 * 1024);
    let channel = hub.open(&name("a")).unwrap();
    let base = hub.commit(channel.slot).idx;
    for number in 0..50 {
        hub.append(draft("a", &format!("{number:0>100}"))).unwrap();
        assert!(hub.totals().history_bytes <= 4 * 1024);
    }
    let page = hub.read(channel.slot, &[(channel.clone(), base)], PAGE).unwrap();
    assert!(!page.entries.is_empty() && page.entries.len() < 50);
    assert_eq!(page.gaps.len(), 1, "what is lost is told");
}

#[test]
fn full_histories_refuse_no_channel_whose_slot_has_nothing_to_give() {
    let bound = 4 * 1024;
    let hub = hub_with(CommitRule::AtOnce, bound);
    for number in 0..50 {
        hub.append(draft("a", &format!("{number:0>100}"))).unwrap();
    }
    let full = hub.totals();
    let refused = hub.append(draft("b", &"x".repeat(bound as usize))).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Overloaded, "larger than all histories together");
    assert_eq!(
        (hub.totals().history_bytes, hub.totals().history_messages),
        (full.history_bytes, full.history_messages),
        "and nothing is given up for it"
    );
    for number in 0..20 {
        hub.append(draft(&format!("b{number}"), &"x".repeat(500))).unwrap();
        assert!(hub.totals().history_bytes <= bound);
    }
    hub.append(draft("a", &"x".repeat(3000))).unwrap();
    assert!(hub.totals().history_bytes <= bound, "more than its own slot has left");
    let first = hub.open(&name("a")).unwrap();
    assert_eq!(hub.read(first.slot, &[(first.clone(), 1)], PAGE).unwrap().gaps.len(), 1, "what gave way is told");
}

#[test]
fn the_bound_of_channels_is_an_error_and_known_channels_go_on() {
    let hub = hub();
    for number in 0..100 {
        hub.append(draft(&format!("c{number}"), "x")).unwrap();
    }
    assert_eq!(hub.open(&name("one more")).unwrap_err().code, ErrorCode::Overloaded);
    assert_eq!(hub.append(draft("one more", "x")).unwrap_err().code, ErrorCode::Overloaded);
    hub.append(draft("c7", "x")).unwrap();
}

#[test]
fn who_listens_where_nobody_speaks_has_a_bound_of_its_own_and_leaves_nothing_behind() {
    let hub = hub();
    let silent: Vec<_> = (0..50).map(|number| hub.open(&name(&format!("c{number}"))).unwrap()).collect();
    assert_eq!(hub.open(&name("one more")).unwrap_err().code, ErrorCode::Overloaded);
    hub.append(draft("published to", "x")).unwrap();
    hub.open(&name("published to")).unwrap();
    for (number, channel) in silent.iter().enumerate() {
        assert!(hub.listen(channel, 0, number as u32).is_some() && hub.listen(channel, 1, number as u32).is_some());
    }
    hub.append(draft("c0", "spoken")).unwrap();
    assert_eq!(hub.totals().channels_silent, 49);
    let signal = Arc::default();
    assert!(hub.listen_signal(&silent[1], &signal));
    for shard in [0, 1] {
        silent.iter().for_each(|channel| hub.leave(channel, shard));
    }
    assert_eq!((hub.totals().channels, hub.totals().channels_silent), (3, 1), "what was spoken on, and where somebody still listens");
    hub.leave_signal(&silent[1], &signal);
    assert_eq!((hub.totals().channels, hub.totals().channels_silent), (2, 0));
    // Handles from before are dead, and a cursor from before misses nothing.
    assert!(hub.listen(&silent[1], 0, 1).is_none());
    hub.append(draft("c1", "first")).unwrap();
    assert_eq!(hub.find(&name("c1")).map(|channel| hub.channel_stats(&channel).unwrap().offset), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_sweep_frees_what_is_old_and_a_dead_handle_is_looked_up_again() {
    let hub = hub();
    hub.append(draft("none:x", "gone at once")).unwrap();
    let stale = hub.find(&name("none:x")).unwrap();
    let kept = hub.open(&name("none:y")).unwrap();
    let _ = hub.listen(&kept, 0, 1).unwrap();
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(60)).await;
        hub.sweep(0, SLOTS);
    }
    assert!(hub.find(&name("none:x")).is_none(), "nobody needs it");
    assert!(hub.find(&name("none:y")).is_some(), "somebody listens");
    assert_eq!(hub.totals(), HubTotals { channels: 1, channels_silent: 1, ..HubTotals::default() });
    assert!(hub.listen(&stale, 0, 9).is_none());
    assert!(hub.join(stale.slot, std::slice::from_ref(&stale), &Start::Live).is_none());
    hub.append(draft("none:x", "again")).unwrap();
    assert!(!Arc::ptr_eq(&stale, &hub.find(&name("none:x")).unwrap()));
}

#[test]
fn a_listener_that_is_ahead_of_this_nodes_copy_waits_there() {
    let hub = hub();
    hub.append(draft("a", "one")).unwrap();
    let channel = hub.open(&name("a")).unwrap();
    let commit = hub.commit(channel.slot);
    // Another node told it of two more, which this one has not committed yet.
    let ahead = Pos { idx: commit.idx + 2, ..commit };
    let mut cursor = SlotCursor::new(channel.slot, ahead);
    let read = |cursor: &mut SlotCursor| {
        let from = [(channel.clone(), cursor.main.idx)];
        let Some(ReadOn::Page(page, _)) = hub.read_on(cursor, &from, PAGE) else { panic!("it stands on the line") };
        assert_eq!(page.upto, cursor.main);
        page.entries.iter().map(|entry| String::from_utf8(entry.payload.bytes().to_vec()).unwrap()).collect::<Vec<_>>()
    };
    assert!(read(&mut cursor).is_empty());
    assert_eq!(cursor.main, ahead, "not sent back to what this node has");
    assert!(!hub.move_quiet(&mut cursor, std::iter::once(&*channel)));
    assert_eq!(cursor.main, ahead);
    for text in ["two", "three"] {
        hub.append(draft("a", text)).unwrap();
        assert!(read(&mut cursor).is_empty(), "it has {text}");
    }
    hub.append(draft("a", "four")).unwrap();
    assert_eq!(read(&mut cursor), ["four"]);
}

/// Another process goes on with the slot of a channel.
fn take_over(hub: &Hub, channel: &Channel, is_uncertain: bool) {
    hub.with_slot(channel.slot, |state| {
        state.log.share();
        state.log.open_epoch(Epoch::new(state.log.epoch().term() + 1, Tag::new(8).unwrap()), is_uncertain);
        let head = state.log.head().idx;
        state.log.commit_to(head, hub.clock.now(), &mut Vec::<(ChannelKey, Arc<Entry>)>::new(), &mut Vec::new());
    });
}

#[test]
fn who_asks_for_the_newest_with_a_cursor_from_before_a_takeover_gets_only_what_is_new() {
    let hub = hub();
    hub.append(draft("a", "one")).unwrap();
    let channel = hub.open(&name("a")).unwrap();
    let cursor = Cursor::single(channel.slot, hub.commit(channel.slot));
    take_over(&hub, &channel, false);
    hub.append(draft("a", "two")).unwrap();
    let (newest, after) = hub.newest(&name("a"), Some(&cursor), PAGE);
    assert_eq!(newest.iter().map(|entry| entry.payload.bytes().to_vec()).collect::<Vec<_>>(), [b"two"]);
    assert_eq!(hub.newest(&name("a"), Some(&after), PAGE).0.len(), 0);
    let positions = after.get(channel.slot).unwrap();
    assert!(positions.extras.contains(&cursor.get(channel.slot).unwrap().main), "the cursor says where the epoch before ended");
}

#[test]
fn a_quiet_listener_that_moves_into_another_epoch_keeps_the_end_of_the_one_before() {
    let hub = hub();
    hub.append(draft("a", "one")).unwrap();
    let channel = hub.open(&name("a")).unwrap();
    let before = hub.commit(channel.slot);
    take_over(&hub, &channel, false);
    let mut cursor = SlotCursor::new(channel.slot, before);
    assert!(hub.move_quiet(&mut cursor, std::iter::once(&*channel)));
    assert_eq!((cursor.main, &cursor.extras[..]), (hub.commit(channel.slot), &[before][..]));
}

#[tokio::test]
async fn a_page_of_history_is_empty_only_at_its_end_though_something_was_lost_twice_with_nothing_between() {
    let hub = hub();
    hub.append(draft("a", "one")).unwrap();
    let channel = hub.open(&name("a")).unwrap();
    take_over(&hub, &channel, true);
    take_over(&hub, &channel, true);
    hub.append(draft("a", "two")).unwrap();
    let (mut told, mut since) = (Vec::new(), None);
    loop {
        let (entries, cursor, gap) = hub.history(&name("a"), since.as_ref(), PAGE).await;
        if entries.is_empty() {
            assert_eq!(gap, None, "nothing is left to tell");
            break;
        }
        let texts: Vec<String> = entries.iter().map(|entry| String::from_utf8(entry.payload.bytes().to_vec()).unwrap()).collect();
        told.push((texts, gap.map(|gap| gap.reason)));
        since = Some(cursor);
    }
    assert_eq!(told, [(vec!["one".to_owned()], None), (vec!["two".to_owned()], Some(GapReason::Failover))]);
}
