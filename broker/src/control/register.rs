//! Who is here under which name, so that an order finds them: one entry for each stay that shows a user or a token's id, none
//! for all others. A stay is told through its entry and obeys on its own task, whatever front it is of.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::mpsc;

use super::order::{Whom, Word};
use crate::auth::{Identity, Revocations};
use crate::clock::Clock;
use crate::close::CloseReason;
use crate::journal::SessionId;

/// Stays looked at under one lock when a session is searched by its name.
const SEARCHED_AT_ONCE: usize = 1024;

/// Different words that wait for one stay. Who takes none of so many takes nothing, and is rather told that it is over.
const WORDS_MAX: usize = 16;

/// All of them. A cheap handle.
#[derive(Clone)]
pub struct Register(Arc<Shared>);

struct Shared {
    clock: Clock,
    revocations: Revocations,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    stays: Slab<Entry>,
    users: HashMap<Arc<str>, Vec<u32>>,
    tokens: HashMap<Arc<str>, Vec<u32>>,
}

struct Entry {
    stay: Arc<Stay>,
    /// Where it stands in the lists of its user and its token, so that leaving costs the same however long they are.
    places: [u32; 2],
}

/// One client's stay, as orders see it.
#[derive(Debug)]
struct Stay {
    session: SessionId,
    identity: Identity,
    is_told: AtomicBool,
    words: Mutex<Vec<Told>>,
    waker: AtomicWaker,
}

/// A word for a stay, to be obeyed.
#[derive(Clone, Debug)]
pub struct Told {
    /// What it is told.
    pub word: Word,
    done: Option<mpsc::Sender<u64>>,
}

impl Told {
    /// It was obeyed, and so many stays or subscriptions ended by it.
    pub fn done(self, ended: u64) {
        if let Some(done) = self.done {
            // Whoever ordered it may wait no longer.
            let _ = done.try_send(ended);
        }
    }
}

/// That a stay is in the register. It has left when this is dropped.
pub struct Entered {
    register: Register,
    stay: Arc<Stay>,
    key: u32,
}

/// What was told, until all have obeyed.
#[derive(Debug)]
pub(super) struct Telling {
    /// How many stays.
    pub(super) count: u64,
    /// Of each what ended; closed when nobody is left who could obey.
    pub(super) obeyed: mpsc::Receiver<u64>,
}

impl std::fmt::Debug for Register {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Register").field("count", &self.count()).finish()
    }
}

impl std::fmt::Debug for Entered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.stay.fmt(f)
    }
}

impl Register {
    /// An empty one; who enters with what these hold is told at once that it is over.
    #[must_use]
    pub fn new(revocations: Revocations, clock: Clock) -> Self {
        Self(Arc::new(Shared { clock, revocations, book: Mutex::default() }))
    }

    /// How many stays are in it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.book.lock().stays.len()
    }

    /// A stay begins.
    #[must_use]
    pub fn enter(&self, session: SessionId, identity: Identity) -> Entered {
        let words = Mutex::default();
        let stay = Arc::new(Stay { session, identity, is_told: AtomicBool::new(false), words, waker: AtomicWaker::new() });
        let key = self.0.book.lock().insert(stay.clone());
        // After it can be found: whoever revokes adds to the list first and looks here then.
        if self.0.revocations.hold_identity(&stay.identity, self.0.clock.now().unix_ms / 1000) {
            stay.tell(Told { word: Word::End(CloseReason::Revoked), done: None });
        }
        Entered { register: self.clone(), stay, key }
    }

    /// As [`Register::enter`], for a stay that shows something else from now on. What it was told before it still is.
    #[must_use]
    pub fn enter_again(&self, before: Option<Entered>, session: SessionId, identity: Option<Identity>) -> Option<Entered> {
        let entered = self.enter(session, identity?);
        if let Some(before) = before {
            let words = std::mem::take(&mut *before.stay.words.lock());
            words.into_iter().for_each(|told| entered.stay.tell(told));
        }
        Some(entered)
    }

    /// Tells all stays that this is about and that pass.
    pub(super) fn tell(&self, whom: &Whom, word: &Word, passes: impl Fn(&Identity) -> bool) -> Telling {
        let mut stays = match whom {
            Whom::User(user) => self.0.book.lock().of(Key::User, user),
            Whom::Token(id) => self.0.book.lock().of(Key::Token, id),
            Whom::Session(session) => self.search(*session),
        };
        stays.retain(|stay| passes(&stay.identity));
        let (done, obeyed) = mpsc::channel(stays.len().max(1));
        for stay in &stays {
            stay.tell(Told { word: word.clone(), done: Some(done.clone()) });
        }
        Telling { count: stays.len() as u64, obeyed }
    }

    /// Looks at everyone, a few at a time: sessions by name are asked for by people, and an index would cost every stay.
    fn search(&self, session: SessionId) -> Vec<Arc<Stay>> {
        let mut found = Vec::new();
        let mut next = 0;
        loop {
            let book = self.0.book.lock();
            let end = book.stays.capacity().min(next + SEARCHED_AT_ONCE);
            let here = (next..end).filter_map(|key| book.stays.get(key)).filter(|entry| entry.stay.session == session);
            found.extend(here.map(|entry| entry.stay.clone()));
            if end == book.stays.capacity() {
                return found;
            }
            next = end;
        }
    }
}

/// By what a stay is found.
#[derive(Clone, Copy)]
enum Key {
    User,
    Token,
}

impl Key {
    fn of(self, identity: &Identity) -> Option<&Arc<str>> {
        match self {
            Self::User => identity.user.as_ref(),
            Self::Token => identity.id.as_ref(),
        }
    }
}

impl Book {
    fn list(&mut self, key: Key) -> &mut HashMap<Arc<str>, Vec<u32>> {
        match key {
            Key::User => &mut self.users,
            Key::Token => &mut self.tokens,
        }
    }

    fn of(&mut self, key: Key, name: &str) -> Vec<Arc<Stay>> {
        let keys = self.list(key).get(name).cloned().unwrap_or_default();
        keys.iter().filter_map(|key| self.stays.get(*key as usize)).map(|entry| entry.stay.clone()).collect()
    }

    fn insert(&mut self, stay: Arc<Stay>) -> u32 {
        let identity = stay.identity.clone();
        let key = self.stays.insert(Entry { stay, places: [0; 2] }) as u32;
        for by in [Key::User, Key::Token] {
            if let Some(name) = by.of(&identity) {
                let list = self.list(by).entry(name.clone()).or_insert_with(|| Vec::with_capacity(1));
                list.push(key);
                let place = list.len() as u32 - 1;
                self.stays[key as usize].places[by as usize] = place;
            }
        }
        key
    }

    fn remove(&mut self, key: u32) -> Option<Entry> {
        let entry = self.stays.try_remove(key as usize)?;
        for by in [Key::User, Key::Token] {
            let Some(name) = by.of(&entry.stay.identity) else { continue };
            let place = entry.places[by as usize];
            let Some(list) = self.list(by).get_mut(name) else { continue };
            list.swap_remove(place as usize);
            let moved = list.get(place as usize).copied();
            if list.is_empty() {
                self.list(by).remove(name);
            }
            if let Some(moved) = moved.and_then(|moved| self.stays.get_mut(moved as usize)) {
                moved.places[by as usize] = place;
            }
        }
        Some(entry)
    }
}

impl Stay {
    fn tell(&self, told: Told) {
        keep(&mut self.words.lock(), told);
        self.is_told.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// Puts a word to those that wait. Whoever ordered what is said again, or needs no saying any more, hears no answer.
fn keep(words: &mut Vec<Told>, mut told: Told) {
    let waiting = words.iter_mut().find(|waiting| waiting.word == told.word || matches!(waiting.word, Word::End(_)));
    match waiting {
        Some(waiting) => match (&waiting.word, &told.word) {
            (Word::End(before), Word::End(_)) if !before.may_retry() => waiting.done = told.done,
            (Word::End(_), Word::Unsubscribe(_)) => {}
            _ => *waiting = told,
        },
        None => {
            if words.len() >= WORDS_MAX {
                told.word = Word::End(CloseReason::Unsubscribed);
            }
            if matches!(told.word, Word::End(_)) {
                words.clear();
            }
            words.push(told);
        }
    }
}

impl Entered {
    /// The next word, if there is one. Costs one look at a flag when there is none.
    #[must_use]
    pub fn take(&self) -> Option<Told> {
        if !self.stay.is_told.load(Ordering::Acquire) {
            return None;
        }
        let mut words = self.stay.words.lock();
        let told = if words.is_empty() { None } else { Some(words.remove(0)) };
        self.stay.is_told.store(!words.is_empty(), Ordering::Release);
        told
    }

    /// Ready with the next word; else whoever asks is woken when there is one.
    pub fn poll_told(&self, context: &mut Context<'_>) -> Poll<Told> {
        // First the waker, then the look: what is told in between wakes it.
        self.stay.waker.register(context.waker());
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits for [`Entered::poll_told`].
    pub async fn told(&self) -> Told {
        std::future::poll_fn(|context| self.poll_told(context)).await
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let gone = self.register.0.book.lock().remove(self.key);
        // Not under the lock: names may be freed with it.
        drop(gone);
        let untaken = std::mem::take(&mut *self.stay.words.lock());
        // Ended by itself, before it could obey.
        untaken.into_iter().for_each(|told| told.done(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::token::config::Config;
    use crate::auth::{Revocation, Revoked};

    fn register() -> Register {
        Register::new(Revocations::new(&Config::default()), Clock::start())
    }

    fn identity(user: &str, id: &str) -> Identity {
        let named = |name: &str| (!name.is_empty()).then(|| name.into());
        Identity { user: named(user), id: named(id), issued: None }
    }

    fn session(name: &str) -> SessionId {
        SessionId::parse(name).unwrap()
    }

    fn end() -> Word {
        Word::End(CloseReason::Disconnected)
    }

    #[test]
    fn a_stay_is_found_by_its_user_its_token_and_its_session_and_by_no_other() {
        let register = register();
        let ann = register.enter(session("s1"), identity("ann", "t1"));
        let bob = register.enter(session("s2"), identity("bob", ""));
        let told = |whom: Whom| {
            let count = register.tell(&whom, &end(), |_| true).count;
            let heard = [&ann, &bob].map(|stay| stay.take().is_some());
            (count, heard)
        };
        assert_eq!(told(Whom::User("ann".into())), (1, [true, false]));
        assert_eq!(told(Whom::Token("t1".into())), (1, [true, false]));
        assert_eq!(told(Whom::Session(session("s2"))), (1, [false, true]));
        for nobody in [Whom::User("t1".into()), Whom::Token("ann".into()), Whom::User("".into()), Whom::Session(session("s3"))] {
            assert_eq!(told(nobody), (0, [false; 2]));
        }
        assert_eq!(register.tell(&Whom::User("ann".into()), &end(), |_| false).count, 0);
    }

    #[test]
    fn whoever_left_leaves_nothing_behind_in_whatever_order() {
        let register = register();
        // The same shuffle each time: xorshift from a fixed seed.
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as usize % below
        };
        let mut here: Vec<(usize, Entered)> = Vec::new();
        for round in 0..2_000 {
            if here.is_empty() || next(5) < 3 && round < 1_500 {
                let user = next(4);
                here.push((user, register.enter(session("s"), identity(&user.to_string(), &format!("t{}", next(3))))));
            } else {
                here.swap_remove(next(here.len()));
            }
            let user = next(4);
            let expected = here.iter().filter(|(of, _)| *of == user).count() as u64;
            assert_eq!(register.tell(&Whom::User(user.to_string().into()), &end(), |_| true).count, expected);
        }
        drop(here);
        let book = register.0.book.lock();
        assert!(book.stays.is_empty() && book.users.is_empty() && book.tokens.is_empty());
    }

    #[tokio::test]
    async fn who_orders_hears_of_each_that_obeyed_and_the_end_when_the_others_left() {
        let register = register();
        let [a, b] = [(); 2].map(|()| register.enter(session("s"), identity("ann", "")));
        let mut telling = register.tell(&Whom::User("ann".into()), &end(), |_| true);
        assert_eq!(telling.count, 2);
        let told = a.told().await;
        assert_eq!(told.word, end());
        told.done(1);
        assert_eq!(telling.obeyed.recv().await, Some(1));
        drop(b);
        assert_eq!(telling.obeyed.recv().await, Some(0));
        assert_eq!(telling.obeyed.recv().await, None);
    }

    #[test]
    fn who_enters_with_what_was_revoked_a_moment_ago_is_told_so() {
        let revocations = Revocations::new(&Config::default());
        let clock = Clock::start();
        let register = Register::new(revocations.clone(), clock);
        let now = clock.now().unix_ms / 1000;
        revocations.add(&Revocation { what: Revoked::User("ann".into(), now), until: now + 60 }, now).unwrap();
        let told = |identity| register.enter(session("s"), identity).take().map(|told| told.word);
        assert_eq!(told(identity("ann", "")), Some(Word::End(CloseReason::Revoked)));
        assert_eq!(told(identity("bob", "")), None);
    }

    #[test]
    fn what_was_told_before_a_stay_showed_something_else_is_not_lost() {
        let register = register();
        let before = register.enter(session("s"), identity("ann", "t1"));
        let _telling = register.tell(&Whom::Token("t1".into()), &end(), |_| true);
        let now = register.enter_again(Some(before), session("s"), Some(identity("ann", "t2"))).unwrap();
        assert_eq!(now.take().map(|told| told.word), Some(end()));
        assert_eq!((register.count(), register.tell(&Whom::Token("t1".into()), &end(), |_| true).count), (1, 0));
    }

    #[test]
    fn a_stay_that_takes_nothing_holds_few_words_and_the_end_is_one_of_them() {
        let register = register();
        let stay = register.enter(session("s"), identity("ann", ""));
        let tell = |word: Word| drop(register.tell(&Whom::User("ann".into()), &word, |_| true));
        let leave = |number: usize| Word::Unsubscribe(crate::auth::pattern::Pattern::parse(&format!("c{number}")).unwrap());
        for number in (0..WORDS_MAX).chain(0..WORDS_MAX) {
            tell(leave(number));
        }
        assert_eq!(stay.stay.words.lock().len(), WORDS_MAX, "what is said twice waits once");
        tell(leave(WORDS_MAX));
        tell(leave(0));
        tell(Word::End(CloseReason::Reconnect));
        let words: Vec<Word> = std::iter::from_fn(|| stay.take()).map(|told| told.word).collect();
        assert_eq!(words, [Word::End(CloseReason::Unsubscribed)], "an end for good is not taken back");
        tell(Word::End(CloseReason::Reconnect));
        tell(Word::End(CloseReason::Revoked));
        assert_eq!(stay.take().map(|told| told.word), Some(Word::End(CloseReason::Revoked)));
        assert_eq!(stay.take().map(|told| told.word), None);
    }

    #[test]
    fn an_entry_costs_what_the_page_says() {
        // docs/ARCHITECTURE.md: about 450 bytes with the names, which stand beside it, and nothing for stays without.
        let entry = size_of::<Entry>() + 8;
        let stay = size_of::<Stay>() + 16;
        let lists = 2 * (size_of::<(Arc<str>, Vec<u32>)>() * 8 / 7 + 1 + 16);
        assert!(entry + stay + lists <= 320, "{entry} + {stay} + {lists}");
    }
}
