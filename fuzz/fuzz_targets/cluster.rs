//! What arrives on the ports between nodes: no bytes may make a reader panic or take more memory than its bound, a greeting
//! without the secret is believed by nobody, and what was understood is understood as the same when it is said again. What the
//! library for gossip reads behind the seal it reads from its own socket alone, so that is not tried here.
//!
//! `scripts/fuzz cluster 60`

#![no_main]

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use tidings::clock::Moment;
use tidings::cluster::fuzzing::{self, Greeted};
use tidings::cluster::link::FRAME_MAX;
use tidings::cluster::membership::{OVERHEAD, Seal};
use tidings::cluster::translate::{Heard, Names, hear_beat, hear_slot, say_beat, say_presence, say_slot};
use tikv_jemalloc_ctl::thread;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Memory that one byte of a frame may be the reason for: an element of a list takes two bytes there when everything in it is
/// left out, and a few hundred once it is read, twice over while the list grows. Only who proved to know the secret gets so far.
const BYTES_PER_BYTE: u64 = 512;
/// And for the little that every frame takes.
const BYTES_AT_LEAST: u64 = 16 << 10;
/// Everybody's clock stands at a long time, so that ages are told apart.
const NOW: Moment = Moment { mono: Duration::from_secs(10_000_000), unix_ms: 5 };

static GREETED: LazyLock<Greeted> = LazyLock::new(Greeted::default);

fuzz_target!(|bytes: &[u8]| {
    let [kind, bytes @ ..] = bytes else { return };
    if bytes.len() > FRAME_MAX {
        return;
    }
    match kind % 6 {
        0 => greeting(bytes),
        1 => control(bytes),
        2 => live(bytes),
        3 => assert!(bounded(bytes, || fuzzing::bulk(bytes)).is_none_or(|channels| channels <= 5_000)),
        4 => sealed(bytes),
        _ => record(bytes),
    }
});

/// Reads, and looks at what that takes.
fn bounded<T>(bytes: &[u8], read: impl FnOnce() -> T) -> T {
    // All that this thread ever asked for.
    let allocated = || thread::allocatedp::read().expect("jemalloc counts").get();
    let before = allocated();
    let heard = read();
    let taken = allocated() - before;
    assert!(taken <= BYTES_AT_LEAST + BYTES_PER_BYTE * bytes.len() as u64, "{taken} bytes for a frame of {}", bytes.len());
    heard
}

fn greeting(bytes: &[u8]) {
    if let Some(Ok(peer)) = bounded(bytes, || GREETED.hello(bytes)) {
        assert!(peer.name.as_str() != "me" && peer.version.chars().count() <= 32 && (1..=2).contains(&peer.common.protocol));
    }
    // It is a line of our own log.
    if let Some(words) = bounded(bytes, || GREETED.answer(bytes)) {
        assert!(words.chars().count() <= 300 && !words.chars().any(char::is_control), "{words:?}");
    }
}

fn control(bytes: &[u8]) {
    let Ok(beat) = bounded(bytes, || hear_beat(Bytes::copy_from_slice(bytes))) else { return };
    assert_eq!(hear_beat(say_beat(&beat).encode_to_vec().into()), Ok(beat));
}

fn live(bytes: &[u8]) {
    let hear = |bytes: Bytes| hear_slot(bytes, NOW, &mut Names::new(&|_| None));
    let Ok(Some(heard)) = bounded(bytes, || hear(Bytes::copy_from_slice(bytes))) else { return };
    let again = match &heard {
        Heard::Slot(slot, frame) => say_slot(*slot, frame, NOW.mono),
        Heard::Presence(frame) => say_presence(frame),
    };
    let again = hear(again.encode_to_vec().into()).expect("what was understood can be said").expect("its kind is known");
    assert_eq!(format!("{heard:?}"), format!("{again:?}"));
}

fn sealed(bytes: &[u8]) {
    let secrets = ["a secret that is long enough to be one".to_owned()];
    let [mut ours, mut theirs] = [1, 2].map(|sender| Seal::new(&secrets, "fuzz", sender).expect("the secret is long enough"));
    assert!(ours.open(&mut bytes.to_vec()).is_err(), "opened without our seal");
    let mut datagram = Vec::new();
    theirs.seal(bytes, &mut datagram);
    assert_eq!(datagram.len(), bytes.len() + OVERHEAD);
    assert_eq!(ours.open(&mut datagram.clone()), Ok(bytes));
    assert!(ours.open(&mut datagram).is_err(), "taken twice");
}

/// Lines: a name, then `key=value`.
fn record(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n');
    let name = lines.next().unwrap_or_default();
    let pairs: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once('=')).collect();
    let gossip = SocketAddr::from(([127, 0, 0, 1], 1));
    let Some((record, said)) = fuzzing::record(name, gossip, &pairs) else { return };
    assert!(record.version.chars().count() <= 32 && !record.version.chars().any(char::is_control));
    let said: Vec<(&str, &str)> = said.iter().map(|(key, value)| (*key, value.as_str())).collect();
    assert_eq!(fuzzing::record(name, gossip, &said).map(|(again, _)| again), Some(record));
}
