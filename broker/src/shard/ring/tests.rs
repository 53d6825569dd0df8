//! The ring by itself: what is joined, what is trimmed, what must be seen again.

use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::close::CloseReason;
use crate::hub::namespace::Namespaces;
use crate::hub::{Bounds, CommitRule, Hub, Inbox, RuleBook};
use crate::log::{Cursor, Epoch, Gap, Slot, Tag};
use crate::message::{ChannelName, Draft, Headers, Payload};
use crate::metrics::{Front, Metrics};

/// Writes a message as its index and a comma.
struct Numbers;

impl Encoder for Numbers {
    fn form(&self) -> Form {
        Form { front: Front::Sse, number: 0 }
    }
    fn wants_own_cursor(&self) -> bool {
        false
    }
    fn message(&self, entry: &Entry, _: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{},", entry.pos.idx).as_bytes());
    }
    fn own_cursor(&self, _: &Cursor, _: &mut Vec<u8>) {}
    fn gap(&self, _: Slot, _: &ChannelName, _: &Gap, _: &mut Vec<u8>) {}
    fn cluster(&self, _: bool, _: &mut Vec<u8>) {}

    fn presence(&self, _: &ChannelName, _: &crate::presence::Notice, _: &mut Vec<u8>) {}

    fn unsubscribed(&self, _: &ChannelName, _: &mut Vec<u8>) {}

    fn heartbeat(&self, _: Option<&Cursor>, _: &mut Vec<u8>) {}
    fn farewell(&self, _: CloseReason, _: Duration, _: &mut Vec<u8>) {}
}

/// A channel on a shard with messages of index 2, 3 … `newest`.
fn channel_with(newest: u64) -> LocalChannel {
    let clock = Clock::start();
    let bounds = Bounds { channels: 9, channels_silent: 9, history_bytes: 1 << 30, dedupe_ids: 9 };
    let inbox = Arc::new(Inbox::new(1000));
    let rules = RuleBook::new(&Namespaces::default());
    let hub = Hub::new(
        rules,
        vec![inbox.clone()],
        bounds,
        Epoch::new(1, Tag::new(1).unwrap()),
        CommitRule::AtOnce,
        clock,
        Metrics::new(1, clock),
    );
    let name = ChannelName::parse("a").unwrap();
    let channel = hub.open(&name).unwrap();
    let base = hub.listen(&channel, 0, 0).unwrap();
    for _ in 1..newest {
        let payload = Payload::new(b"x", None).unwrap();
        hub.append(Draft { channel: name.clone(), id: None, event: None, payload, headers: Headers::default(), ttl: None }).unwrap();
    }
    let (mut items, mut missed) = (Vec::new(), Vec::new());
    inbox.drain(&mut items, &mut missed);
    let mut local = LocalChannel::new(channel, base);
    local.listeners = vec![10, 11, 12];
    items.into_iter().for_each(|item| local.push(item.entry));
    local
}

fn text(channel: &mut LocalChannel, after: u64, bytes_max: usize) -> Option<(String, u64)> {
    let joined = channel.joined(after, (Numbers.form(), &Numbers), bytes_max)?;
    Some((String::from_utf8(joined.bytes.to_vec()).unwrap(), joined.upto.idx))
}

#[test]
fn a_session_gets_everything_it_lacks_in_one_piece() {
    let mut channel = channel_with(5);
    assert_eq!(text(&mut channel, 1, 1000), Some(("2,3,4,5,".into(), 5)));
    assert_eq!(text(&mut channel, 3, 1000), Some(("4,5,".into(), 5)));
    assert_eq!(text(&mut channel, 4, 1000), Some(("5,".into(), 5)));
    assert_eq!(text(&mut channel, 5, 1000), None);
}

#[test]
fn a_piece_is_bounded_and_holds_at_least_one_message() {
    let mut channel = channel_with(5);
    assert_eq!(text(&mut channel, 1, 1), Some(("2,".into(), 2)));
    assert_eq!(text(&mut channel, 2, 4), Some(("3,4,".into(), 4)));
    assert_eq!(text(&mut channel, 2, 1000), Some(("3,4,5,".into(), 5)), "a cached smaller piece is not taken for all");
}

#[test]
fn a_piece_takes_no_more_memory_than_it_has_bytes() {
    let mut channel = channel_with(5);
    let piece = channel.join(1, (Numbers.form(), &Numbers), 64 << 10).unwrap().bytes.try_into_mut().unwrap();
    assert_eq!((&piece[..], piece.capacity()), (&b"2,3,4,5,"[..], 8));
}

#[test]
fn nothing_leaves_the_ring_before_a_whole_lap_delivered_it() {
    let mut channel = channel_with(3);
    assert_eq!(channel.finish_lap().0, 0, "the lap began before anything was here");
    assert_eq!(channel.finish_lap().0, 2, "now a lap has passed over both");
    assert_eq!((channel.base, channel.newest), (3, 3));
    assert_eq!(text(&mut channel, 3, 1000), None);
}

#[test]
fn what_one_write_had_no_room_for_stays_until_a_later_lap_delivered_it() {
    let mut channel = channel_with(5);
    assert_eq!(channel.finish_lap().0, 0);
    channel.visit_all_again(4);
    channel.visit_all_again(3);
    assert_eq!(channel.finish_lap().0, 2, "somebody only came to 3");
    assert_eq!((channel.base, channel.newest), (3, 5));
    assert_eq!(channel.finish_lap().0, 2, "a lap in which everybody got all");
}

#[test]
fn a_finished_walk_leaves_nothing_behind_and_a_reset_forgets_at_once() {
    let mut channel = channel_with(4);
    channel.hand = 2;
    assert_eq!(channel.finish_walk().0, 3);
    assert_eq!((channel.base, channel.hand), (4, 0));
    let mut channel = channel_with(4);
    assert_eq!(channel.reset(9).0, 3);
    assert_eq!((channel.base, channel.newest), (9, 9));
}

#[test]
fn what_is_pushed_must_be_seen_by_everyone_again() {
    let mut channel = channel_with(2);
    assert_eq!(channel.unvisited, 3);
    channel.unvisited = 1;
    channel.visit_all_again(1);
    assert_eq!(channel.unvisited, 3);
    assert_eq!(channel.encoded(2, &Numbers).unwrap(), "2,");
    assert!(channel.encoded(7, &Numbers).is_none());
}
