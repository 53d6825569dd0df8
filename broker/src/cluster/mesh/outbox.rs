//! What waits to be written to one connection: a bounded queue, emptied in as few writes as possible.
//!
//! States that the other end asked for have a lane beside it, since they may be large: what is said later of other things overtakes them.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::super::link::Purpose;
use super::super::membership::NodeName;
use super::tally::Strain;

/// Something to be said to another node.
pub trait Letter: Send + 'static {
    /// About what it takes while it waits and on the wire.
    fn bytes(&self) -> usize;
    /// Appends its encoding, which is at most [`super::super::link::FRAME_MAX`] bytes long.
    fn write(&self, to: &mut BytesMut);
    /// Whether it is a part of a state that the other end asked for. It lies in a log, or did a moment ago, and whoever says it asks for
    /// room first ([`super::Mesh::takes_state`]), so the bound of the queue is not about it.
    fn is_state(&self) -> bool {
        false
    }
    /// Whether it is a publish on its way. Those fill a queue like all letters, so that publishers wait; but who waits has a bound of its own, and
    /// when a slot moves all that wait for it are sent to its next home at once: no connection is given up for them.
    fn is_publish(&self) -> bool {
        false
    }
    /// What it is about. Letters about one thing stay in order.
    fn about(&self) -> Option<u16> {
        None
    }
}

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// It goes out unless the connection breaks first.
    Queued,
    /// It does, but too much waits: who is told so says nothing more that can be read from a log later, until there is room.
    Behind,
    /// There is no such connection (any more).
    Closed,
}

/// Where a queue is full, and where it has room again.
#[derive(Clone, Copy, Debug)]
pub struct OutboxBounds {
    /// Above this many bytes posters are told to hold back. Above twice as many, without publishes on their way, the connection is given up.
    pub high: usize,
    /// Below this many, after it was full, there is room again.
    pub low: usize,
    /// Below this many bytes of states there is room for one more. Little, so that it is on its way at once: who asked asks anew
    /// after a second in which nothing came, and later and later.
    pub states: usize,
}

impl Default for OutboxBounds {
    fn default() -> Self {
        Self { high: 8 << 20, low: 1 << 20, states: 64 << 10 }
    }
}

/// How much of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Booked {
    /// Bytes of letters that are no states.
    pub(super) letters: usize,
    /// Bytes of states.
    pub(super) states: usize,
}

/// Where there is room again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// For those who were told to hold back.
    pub(super) is_for_letters: bool,
    /// For a state that somebody wanted to say.
    pub(super) is_for_states: bool,
}

#[derive(Debug)]
struct Queue<L> {
    /// Each with its number: they are counted in both lanes together.
    letters: VecDeque<(u64, L)>,
    /// States, and what is about the same things and came later.
    states: VecDeque<(u64, L)>,
    /// How many of `states` are about each thing.
    held_up: HashMap<u16, u32>,
    posted: u64,
    /// Of what is in the queue and what is taken and not yet written.
    booked: Booked,
    /// Bytes of publishes in the queue.
    publishes: usize,
    /// Somebody was told to hold back since there was room last.
    is_full: bool,
    /// Somebody wanted to say a state, and there was no room.
    is_awaited: bool,
    is_closed: bool,
}

impl<L: Letter> Queue<L> {
    fn is_empty(&self) -> bool {
        self.letters.is_empty() && self.states.is_empty()
    }

    fn book(&mut self, letter: &L) {
        let of = if letter.is_state() { &mut self.booked.states } else { &mut self.booked.letters };
        *of += letter.bytes();
        if letter.is_publish() {
            self.publishes += letter.bytes();
        }
    }

    /// The next letter of those that are no states.
    fn next_letter(&mut self) -> Option<L> {
        let (_, letter) = self.letters.pop_front()?;
        self.took(&letter);
        Some(letter)
    }

    fn took(&mut self, letter: &L) {
        if letter.is_publish() {
            self.publishes = self.publishes.saturating_sub(letter.bytes());
        }
    }

    /// The next state, unless a letter that waits was there before it.
    fn next_state(&mut self) -> Option<L> {
        let (number, _) = self.states.front()?;
        if self.letters.front().is_some_and(|(before, _)| before < number) {
            return None;
        }
        let (_, letter) = self.states.pop_front()?;
        self.took(&letter);
        if let Some(about) = letter.about()
            && let Some(count) = self.held_up.get_mut(&about)
        {
            *count -= 1;
            if *count == 0 {
                self.held_up.remove(&about);
            }
        }
        Some(letter)
    }
}

/// Whom a queue is for, and what is counted of it.
#[derive(Debug)]
pub(super) struct Whom {
    pub(super) name: NodeName,
    pub(super) purpose: Purpose,
    pub(super) strain: Arc<Strain>,
}

/// The queue of one connection.
#[derive(Debug)]
pub(super) struct Outbox<L> {
    queue: Mutex<Queue<L>>,
    bounds: OutboxBounds,
    whom: Whom,
    wake: Notify,
    troubles: Troubles,
}

/// What is still to be said in the log: who posts may hold a slot's lock, and waits for no log. Bytes that waited, 0 for none.
#[derive(Debug, Default)]
struct Troubles {
    filled: AtomicUsize,
    given_up: AtomicUsize,
    wake: Notify,
}

impl<L: Letter> Outbox<L> {
    pub(super) fn new(bounds: OutboxBounds, whom: Whom) -> Self {
        let queue = Queue {
            letters: VecDeque::new(),
            states: VecDeque::new(),
            held_up: HashMap::new(),
            posted: 0,
            booked: Booked::default(),
            publishes: 0,
            is_full: false,
            is_awaited: false,
            is_closed: false,
        };
        Self { queue: Mutex::new(queue), bounds, whom, wake: Notify::new(), troubles: Troubles::default() }
    }

    /// Puts a letter in, behind all others that it may not overtake. Never waits.
    pub(super) fn post(&self, letter: L) -> Posted {
        let mut queue = self.queue.lock();
        if queue.is_closed {
            return Posted::Closed;
        }
        let is_state = letter.is_state();
        if !is_state && queue.booked.letters.saturating_sub(queue.publishes) > self.bounds.high * 2 {
            // The peer takes nothing and they go on all the same: it must begin anew.
            let bytes = queue.booked.letters;
            queue.is_closed = true;
            drop(queue);
            self.wake.notify_one();
            self.gave_up(bytes);
            return Posted::Closed;
        }
        queue.book(&letter);
        let was_full = queue.is_full;
        queue.is_full |= queue.booked.letters > self.bounds.high;
        let filled = (queue.is_full && !was_full).then_some(queue.booked.letters);
        let posted = if queue.is_full && !is_state { Posted::Behind } else { Posted::Queued };
        let was_empty = queue.is_empty();
        queue.posted += 1;
        let number = queue.posted;
        let about = letter.about();
        if is_state || !queue.held_up.is_empty() && about.is_some_and(|about| queue.held_up.contains_key(&about)) {
            if let Some(about) = about {
                *queue.held_up.entry(about).or_default() += 1;
            }
            queue.states.push_back((number, letter));
        } else {
            queue.letters.push_back((number, letter));
        }
        drop(queue);
        if was_empty {
            self.wake.notify_one();
        }
        if let Some(bytes) = filled {
            self.filled(bytes);
        }
        posted
    }

    fn filled(&self, bytes: usize) {
        self.whom.strain.filled();
        self.troubles.filled.store(bytes, Ordering::Relaxed);
        self.troubles.wake.notify_one();
    }

    fn gave_up(&self, bytes: usize) {
        self.whom.strain.gave_up();
        self.troubles.given_up.store(bytes, Ordering::Relaxed);
        self.troubles.wake.notify_one();
    }

    /// Says in the log what becomes of the queue, for as long as it is polled.
    pub(super) async fn tell_troubles(&self) -> Infallible {
        loop {
            self.troubles.wake.notified().await;
            self.tell_troubles_now();
        }
    }

    /// Says what was not said yet.
    pub(super) fn tell_troubles_now(&self) {
        let Whom { name, purpose, .. } = &self.whom;
        let bytes = self.troubles.filled.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            tracing::warn!(event = "node_link_full", node = %name, purpose = purpose.as_str(), bytes, "so much waits for a node that publishers and copies wait for it");
        }
        let bytes = self.troubles.given_up.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            tracing::warn!(event = "node_link_given_up", node = %name, purpose = purpose.as_str(), bytes, "a node takes nothing of what is said to it: its connection begins anew");
        }
    }

    /// Waits for letters and moves about `bytes` of them, one at least, into `taken`, and half as much of the other lane. Returns what they
    /// are booked with; `None` when the connection is to be given up.
    pub(super) async fn take(&self, taken: &mut Vec<L>, bytes: usize) -> Option<Booked> {
        loop {
            {
                let mut queue = self.queue.lock();
                if queue.is_closed {
                    return None;
                }
                let mut booked = Booked::default();
                let mut take = |letter: L| {
                    let of = if letter.is_state() { &mut booked.states } else { &mut booked.letters };
                    *of += letter.bytes();
                    let bytes = letter.bytes();
                    taken.push(letter);
                    bytes
                };
                let mut room = bytes;
                while room > 0
                    && let Some(letter) = queue.next_letter()
                {
                    room = room.saturating_sub(take(letter));
                }
                let mut room = room.max(bytes / 2);
                while room > 0
                    && let Some(letter) = queue.next_state()
                {
                    room = room.saturating_sub(take(letter));
                }
                if !taken.is_empty() {
                    if !queue.is_empty() {
                        self.wake.notify_one();
                    }
                    return Some(booked);
                }
            }
            self.wake.notified().await;
        }
    }

    /// What was taken is written. Says where there is room again.
    pub(super) fn written(&self, booked: Booked) -> Room {
        let mut queue = self.queue.lock();
        queue.booked.letters = queue.booked.letters.saturating_sub(booked.letters);
        queue.booked.states = queue.booked.states.saturating_sub(booked.states);
        let is_for_letters = queue.is_full && queue.booked.letters < self.bounds.low;
        queue.is_full &= !is_for_letters;
        let is_for_states = queue.is_awaited && self.has_room_for_state(&queue);
        queue.is_awaited &= !is_for_states;
        Room { is_for_letters, is_for_states }
    }

    /// Whether a state may be said now. When not, [`Outbox::written`] says when.
    pub(super) fn takes_state(&self) -> bool {
        let mut queue = self.queue.lock();
        let has_room = self.has_room_for_state(&queue);
        queue.is_awaited |= !has_room;
        has_room
    }

    fn has_room_for_state(&self, queue: &Queue<L>) -> bool {
        !queue.is_full && queue.booked.states < self.bounds.states
    }

    /// Nothing more is taken, and what waits is let go.
    pub(super) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.is_closed = true;
        let let_go = (std::mem::take(&mut queue.letters), std::mem::take(&mut queue.states));
        queue.held_up.clear();
        (queue.booked, queue.publishes) = (Booked::default(), 0);
        drop(queue);
        drop(let_go);
        self.wake.notify_one();
    }

    /// What waits.
    pub(super) fn booked(&self) -> Booked {
        self.queue.lock().booked
    }

    /// Whether somebody was told to hold back and there is no room yet.
    pub(super) fn is_full(&self) -> bool {
        self.queue.lock().is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter of so many bytes, or a part of a state, about something.
    #[derive(Debug, PartialEq, Eq)]
    enum Note {
        Letter(usize),
        About(u16, usize),
        State(u16, usize),
        Publish(usize),
    }
    use Note::{About, Letter as Plain, Publish, State};

    impl Letter for Note {
        fn bytes(&self) -> usize {
            let (Plain(bytes) | About(_, bytes) | State(_, bytes) | Publish(bytes)) = self;
            *bytes
        }

        fn is_state(&self) -> bool {
            matches!(self, State(..))
        }

        fn is_publish(&self) -> bool {
            matches!(self, Publish(_))
        }

        fn about(&self) -> Option<u16> {
            if let About(what, _) | State(what, _) = self { Some(*what) } else { None }
        }

        fn write(&self, to: &mut BytesMut) {
            to.resize(to.len() + self.bytes(), 0);
        }
    }

    fn outbox() -> Outbox<Note> {
        let whom = Whom { name: NodeName::new("b").unwrap(), purpose: Purpose::Live, strain: Arc::default() };
        Outbox::new(OutboxBounds { high: 100, low: 20, states: 10 }, whom)
    }

    /// How often it was full, and given up.
    fn strain(outbox: &Outbox<Note>) -> (u64, u64) {
        outbox.whom.strain.read()
    }

    async fn take(outbox: &Outbox<Note>, bytes: usize) -> Option<(Vec<Note>, Booked)> {
        let mut taken = Vec::new();
        let booked = outbox.take(&mut taken, bytes).await?;
        Some((taken, booked))
    }

    fn letters(bytes: usize) -> Booked {
        Booked { letters: bytes, states: 0 }
    }

    const NOWHERE: Room = Room { is_for_letters: false, is_for_states: false };
    const FOR_LETTERS: Room = Room { is_for_letters: true, is_for_states: false };

    #[tokio::test]
    async fn what_waits_goes_out_together_and_in_order() {
        let outbox = outbox();
        for bytes in [1, 2, 3, 4] {
            assert_eq!(outbox.post(Plain(bytes)), Posted::Queued);
        }
        assert_eq!(take(&outbox, 3).await, Some((vec![Plain(1), Plain(2)], letters(3))));
        assert_eq!(take(&outbox, 100).await, Some((vec![Plain(3), Plain(4)], letters(7))));
        assert_eq!(outbox.booked(), letters(10), "taken is not written");
        assert_eq!(outbox.written(letters(10)), NOWHERE);
        assert_eq!(outbox.booked(), letters(0));
    }

    #[tokio::test]
    async fn who_posts_to_a_full_queue_is_told_to_hold_back_and_once_that_there_is_room() {
        let outbox = outbox();
        assert_eq!(outbox.post(Plain(100)), Posted::Queued);
        assert_eq!(outbox.post(Plain(1)), Posted::Behind);
        let (_, booked) = take(&outbox, 101).await.unwrap();
        assert_eq!(outbox.written(letters(80)), NOWHERE);
        assert_eq!(outbox.post(Plain(1)), Posted::Behind, "until there is room, not until it is a little less");
        let (_, more) = take(&outbox, 1).await.unwrap();
        assert_eq!(outbox.written(letters(booked.letters - 80 + more.letters)), FOR_LETTERS);
        assert_eq!(outbox.written(letters(0)), NOWHERE);
        assert!(!outbox.is_full());
        assert_eq!(strain(&outbox), (1, 0));
        outbox.post(Plain(101));
        assert_eq!(strain(&outbox), (2, 0));
    }

    #[tokio::test]
    async fn who_posts_leaves_the_words_to_whoever_serves_the_connection() {
        let outbox = outbox();
        outbox.post(Plain(150));
        assert_eq!(outbox.troubles.filled.load(Ordering::Relaxed), 150);
        outbox.post(Plain(60));
        assert_eq!((outbox.post(Plain(1)), strain(&outbox)), (Posted::Closed, (1, 1)));
        assert_eq!(outbox.troubles.given_up.load(Ordering::Relaxed), 210);
        let mut tells = Box::pin(outbox.tell_troubles());
        assert!(futures_util::FutureExt::now_or_never(&mut tells).is_none());
        assert_eq!([&outbox.troubles.filled, &outbox.troubles.given_up].map(|bytes| bytes.load(Ordering::Relaxed)), [0, 0]);
    }

    #[tokio::test]
    async fn who_takes_nothing_at_all_is_given_up_at_twice_the_bound() {
        let outbox = outbox();
        for _ in 0..4 {
            outbox.post(Plain(60));
        }
        assert_eq!(strain(&outbox), (1, 0));
        assert_eq!(outbox.post(Plain(1)), Posted::Closed);
        assert_eq!(outbox.post(Plain(1)), Posted::Closed);
        assert_eq!(strain(&outbox), (1, 1), "once");
        assert_eq!(take(&outbox, 1).await, None);
        outbox.close();
        assert_eq!((outbox.booked(), outbox.post(Plain(1))), (letters(0), Posted::Closed));
    }

    #[tokio::test]
    async fn publishes_on_their_way_fill_a_queue_and_no_connection_is_given_up_for_them() {
        let outbox = outbox();
        for _ in 0..20 {
            assert_ne!(outbox.post(Publish(60)), Posted::Closed);
        }
        assert!(outbox.is_full());
        assert_eq!(outbox.post(Plain(201)), Posted::Behind);
        assert_eq!(strain(&outbox), (1, 0));
        assert_eq!(outbox.post(Publish(1)), Posted::Closed, "what is none of them is too much");
        assert_eq!(strain(&outbox), (1, 1));
    }

    #[tokio::test]
    async fn a_large_state_holds_up_only_what_is_about_the_same_and_came_later() {
        let outbox = outbox();
        outbox.post(About(1, 5));
        for _ in 0..3 {
            outbox.post(State(1, 6));
        }
        outbox.post(About(1, 1));
        outbox.post(About(2, 2));
        outbox.post(Plain(3));
        // Nothing overtakes what was there before it.
        assert_eq!(take(&outbox, 4).await.unwrap().0, [About(1, 5), State(1, 6)]);
        assert_eq!(take(&outbox, 4).await.unwrap().0, [About(2, 2), Plain(3), State(1, 6)]);
        outbox.post(State(2, 1));
        assert_eq!(take(&outbox, 100).await.unwrap().0, [State(1, 6), About(1, 1), State(2, 1)]);
        outbox.post(About(1, 7));
        outbox.post(State(3, 1));
        outbox.post(About(2, 7));
        assert_eq!(take(&outbox, 100).await.unwrap().0, [About(1, 7), About(2, 7), State(3, 1)]);
    }

    #[tokio::test]
    async fn states_fill_no_queue_and_who_waits_to_say_one_is_told_once_that_there_is_room() {
        let outbox = outbox();
        assert!(outbox.takes_state());
        for _ in 0..30 {
            assert_eq!(outbox.post(State(1, 20)), Posted::Queued);
        }
        assert_eq!(outbox.post(Plain(1)), Posted::Queued);
        assert_eq!(outbox.booked(), Booked { letters: 1, states: 600 });
        assert!(!outbox.takes_state());
        let (_, booked) = take(&outbox, 2).await.unwrap();
        assert_eq!(booked, Booked { letters: 1, states: 20 });
        assert_eq!(outbox.written(booked), NOWHERE);
        let (_, booked) = take(&outbox, 2000).await.unwrap();
        assert_eq!(outbox.written(booked), Room { is_for_states: true, ..NOWHERE });
        assert_eq!(outbox.written(letters(0)), NOWHERE);
        // A queue that is full takes no state either.
        assert_eq!(outbox.post(Plain(101)), Posted::Behind);
        assert!(!outbox.takes_state());
        let (_, booked) = take(&outbox, 1).await.unwrap();
        assert_eq!(outbox.written(booked), Room { is_for_letters: true, is_for_states: true });
    }
}
