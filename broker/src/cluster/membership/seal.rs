//! The seal on every gossip datagram: who does not hold the cluster key can neither read nor speak. AES-256-GCM-SIV (RFC 8452) with the cluster's name as associated data, so that two clusters that share a key
//! by mistake do not hear each other.
//!
//! ```text
//! datagram = version:1 ‖ key:4 ‖ sender:8 ‖ counter:8 ‖ sealed text ‖ tag:16
//! ```
//! `sender` is chance, new with every start of a process; `counter` grows with each datagram it sends. A receiver takes
//! each (sender, counter) once and nothing that is [`WINDOW`] older than the newest, so nobody can repeat to it what it has heard.
//!
//! What it has *not* heard can be said to it by whoever recorded that: a datagram that was meant for another node, or any of those from
//! before it was started. Nothing in one says for whom it is, as a sender may not know under which address it is reached, nor when it was
//! sealed. So the gossip above must bear to hear what was true before: a newer version of a record wins over it, and whether a process is
//! there is for its links to say. Until then a node may be made to look, and to wait, for processes that are gone.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;

use super::super::config::{KEYS_MAX, SECRET_MIN};

const VERSION: u8 = 1;
const KEY_AT: usize = 1;
const SENDER_AT: usize = 5;
const COUNTER_AT: usize = 13;
const TEXT_AT: usize = 21;
const TAG_LEN: usize = 16;

/// Bytes a datagram grows by.
pub const OVERHEAD: usize = TEXT_AT + TAG_LEN;
/// How far a datagram may come behind a newer one of its sender.
const WINDOW: u64 = 128;
/// Senders remembered. Every one of them held the key, so more than this many are restarts; the one that was silent the
/// longest is forgotten, and its datagrams could be repeated then, too.
const SENDERS_MAX: usize = 1024;

/// Why a datagram was thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too short to be one of ours.
    #[error("it is no gossip of this program: {0} bytes are too few")]
    Short(usize),
    /// Another version of the seal.
    #[error("it is sealed in version {0}, this node knows version {VERSION}")]
    Version(u8),
    /// Sealed with a key that is not configured here.
    #[error("it is sealed with another key than cluster.keys has here")]
    Key,
    /// The key is right, the text is not, or it is of another cluster.
    #[error("its seal is broken, or it is of a cluster with another cluster.id")]
    Broken,
    /// Seen before, or too old to tell.
    #[error("it was seen before")]
    Repeated,
}

/// Why a secret cannot be a cluster key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    /// None was given.
    #[error("a cluster needs a key: the same secret of {SECRET_MIN} characters or more on every node")]
    None,
    /// One is short.
    #[error("a cluster key has {SECRET_MIN} characters or more, this one has {0}")]
    Short(usize),
    /// More than the old and the new one.
    #[error("at most {KEYS_MAX} cluster keys are taken: the one to seal with, and one that is still accepted; {0} were given")]
    Many(usize),
}

struct Key {
    id: [u8; 4],
    aead: LessSafeKey,
}

/// Length of what HKDF makes: the AEAD's key and the public id that tells keys apart.
struct Derived;

impl hkdf::KeyType for Derived {
    fn len(&self) -> usize {
        32 + 4
    }
}

impl Key {
    /// RFC 5869 over the secret. The id is made beside the key and says nothing about it.
    fn derive(secret: &str) -> Self {
        let mut bytes = [0; 36];
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"tidings gossip");
        salt.extract(secret.as_bytes())
            .expand(&[b"seal 1"], Derived)
            .and_then(|made| made.fill(&mut bytes))
            .expect("36 bytes are fewer than the 8,160 that HKDF with SHA-256 gives");
        let (key, id) = bytes.split_at(32);
        let unbound = UnboundKey::new(&AES_256_GCM_SIV, key).expect("the key has the 32 bytes that AES-256 takes");
        Self { id: id.try_into().expect("four of 36 bytes are left"), aead: LessSafeKey::new(unbound) }
    }
}

/// What was heard of one sender.
struct Heard {
    newest: u64,
    /// Bit n: `newest - n` was heard.
    seen: u128,
    /// When, counted in datagrams taken from anybody.
    at: u64,
}

impl Heard {
    /// `true` the first time a counter is met inside the window.
    fn takes(&mut self, counter: u64) -> bool {
        if counter > self.newest {
            let ahead = counter - self.newest;
            self.seen = if ahead < WINDOW { self.seen << ahead } else { 0 } | 1;
            self.newest = counter;
            return true;
        }
        let behind = self.newest - counter;
        if behind >= WINDOW || self.seen >> behind & 1 == 1 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

/// Seals what this process sends and opens what it receives.
pub struct Seal {
    keys: Vec<Key>,
    cluster: String,
    sender: [u8; 8],
    counter: u64,
    heard: HashMap<[u8; 8], Heard>,
    taken: u64,
}

impl fmt::Debug for Seal {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("cluster", &self.cluster).field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Seal {
    /// The first secret seals, all of them open. `sender` must be new with every start of a process.
    ///
    /// # Errors
    /// Without a secret, with more than [`KEYS_MAX`], or when one is shorter than [`SECRET_MIN`].
    pub fn new(secrets: &[String], cluster: &str, sender: u64) -> Result<Self, BadKeys> {
        if secrets.is_empty() {
            return Err(BadKeys::None);
        }
        if secrets.len() > KEYS_MAX {
            return Err(BadKeys::Many(secrets.len()));
        }
        if let Some(short) = secrets.iter().find(|secret| secret.chars().count() < SECRET_MIN) {
            return Err(BadKeys::Short(short.chars().count()));
        }
        Ok(Self {
            keys: secrets.iter().map(|secret| Key::derive(secret)).collect(),
            cluster: cluster.to_owned(),
            sender: sender.to_be_bytes(),
            counter: 0,
            heard: HashMap::new(),
            taken: 0,
        })
    }

    /// Writes the sealed datagram into `out`, over what was there.
    pub fn seal(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.counter += 1;
        let Some(key) = self.keys.first() else { return };
        out.clear();
        out.push(VERSION);
        out.extend_from_slice(&key.id);
        out.extend_from_slice(&self.sender);
        out.extend_from_slice(&self.counter.to_be_bytes());
        let associated = associated(out, &self.cluster);
        let nonce = nonce(&self.sender, &self.counter.to_be_bytes());
        let mut sealed = text.to_vec();
        key.aead
            .seal_in_place_append_tag(nonce, Aad::from(associated), &mut sealed)
            .expect("a datagram is far below the 64 GiB that one nonce may seal");
        out.extend_from_slice(&sealed);
    }

    /// Opens a datagram in place and gives its text.
    ///
    /// # Errors
    /// When it was not sealed for this cluster by a holder of a key, or was seen before.
    pub fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Result<&'a [u8], Refused> {
        if datagram.len() < OVERHEAD {
            return Err(Refused::Short(datagram.len()));
        }
        let (head, sealed) = datagram.split_at_mut(TEXT_AT);
        if head[0] != VERSION {
            return Err(Refused::Version(head[0]));
        }
        let key = self.keys.iter().find(|key| key.id == head[KEY_AT..SENDER_AT]).ok_or(Refused::Key)?;
        let nonce = nonce(&head[SENDER_AT..COUNTER_AT], &head[COUNTER_AT..TEXT_AT]);
        let text = key.aead.open_in_place(nonce, Aad::from(associated(head, &self.cluster)), sealed).map_err(|_| Refused::Broken)?;
        // Only now: who has no key must not be able to fill the memory of senders, or to move a window.
        let sender = head[SENDER_AT..COUNTER_AT].try_into().expect("the range has eight bytes");
        let counter = u64::from_be_bytes(head[COUNTER_AT..TEXT_AT].try_into().expect("the range has eight bytes"));
        self.taken += 1;
        if let Some(heard) = self.heard.get_mut(&sender) {
            heard.at = self.taken;
            return if heard.takes(counter) { Ok(text) } else { Err(Refused::Repeated) };
        }
        if self.heard.len() >= SENDERS_MAX
            && let Some(oldest) = self.heard.iter().min_by_key(|(_, heard)| heard.at).map(|(sender, _)| *sender)
        {
            self.heard.remove(&oldest);
        }
        self.heard.insert(sender, Heard { newest: counter, seen: 1, at: self.taken });
        Ok(text)
    }
}

fn associated(head: &[u8], cluster: &str) -> Vec<u8> {
    [head, cluster.as_bytes()].concat()
}

/// Unique for each datagram under one key but for two processes that drew the same 32 bits; with GCM-SIV even they would only
/// show that two equal texts are equal (RFC 8452, section 9).
fn nonce(sender: &[u8], counter: &[u8]) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..4].copy_from_slice(&sender[4..]);
    bytes[4..].copy_from_slice(counter);
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(of: char) -> String {
        of.to_string().repeat(SECRET_MIN)
    }

    fn seal(secrets: &[char], cluster: &str, sender: u64) -> Seal {
        Seal::new(&secrets.iter().map(|of| secret(*of)).collect::<Vec<_>>(), cluster, sender).unwrap()
    }

    fn sealed(by: &mut Seal, text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        by.seal(text.as_bytes(), &mut out);
        out
    }

    fn opened(by: &mut Seal, datagram: &[u8]) -> Result<String, Refused> {
        let mut datagram = datagram.to_vec();
        by.open(&mut datagram).map(|text| String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn a_holder_of_the_key_reads_what_another_one_sealed_and_nothing_shows_outside() {
        let (mut a, mut b) = (seal(&['k'], "prod", 1), seal(&['k'], "prod", 2));
        let datagram = sealed(&mut a, "who is there");
        assert_eq!(datagram.len(), "who is there".len() + OVERHEAD);
        assert!(!datagram.windows(3).any(|bytes| bytes == b"who"));
        assert_eq!(opened(&mut b, &datagram).unwrap(), "who is there");
    }

    #[test]
    fn another_key_another_cluster_and_every_changed_byte_are_refused() {
        let mut a = seal(&['k'], "prod", 1);
        let datagram = sealed(&mut a, "x");
        assert_eq!(opened(&mut seal(&['o'], "prod", 2), &datagram), Err(Refused::Key));
        assert_eq!(opened(&mut seal(&['k'], "test", 2), &datagram), Err(Refused::Broken));
        assert_eq!(opened(&mut seal(&['k'], "prod", 2), b"hello"), Err(Refused::Short(5)));
        for at in 0..datagram.len() {
            let mut changed = datagram.clone();
            changed[at] ^= 1;
            assert!(opened(&mut seal(&['k'], "prod", 2), &changed).is_err(), "byte {at} may be changed");
        }
    }

    #[test]
    fn a_datagram_is_taken_once_and_in_any_order_inside_the_window() {
        let (mut a, mut b) = (seal(&['k'], "prod", 1), seal(&['k'], "prod", 2));
        let all: Vec<_> = (0..200).map(|n| sealed(&mut a, &n.to_string())).collect();
        assert_eq!(opened(&mut b, &all[1]).unwrap(), "1");
        assert_eq!(opened(&mut b, &all[0]).unwrap(), "0");
        assert_eq!(opened(&mut b, &all[0]), Err(Refused::Repeated));
        assert_eq!(opened(&mut b, &all[199]).unwrap(), "199");
        assert_eq!(opened(&mut b, &all[199 - WINDOW as usize + 1]).unwrap(), "72");
        assert_eq!(opened(&mut b, &all[199 - WINDOW as usize]), Err(Refused::Repeated), "too old to tell");
        assert_eq!(opened(&mut b, &all[1]), Err(Refused::Repeated));
    }

    #[test]
    fn a_cluster_changes_its_key_without_a_moment_of_silence() {
        let mut old = seal(&['o'], "prod", 1);
        let mut between = seal(&['n', 'o'], "prod", 2);
        let mut new = seal(&['n'], "prod", 3);
        assert!(opened(&mut between, &sealed(&mut old, "x")).is_ok());
        assert!(opened(&mut new, &sealed(&mut between, "x")).is_ok());
        assert_eq!(opened(&mut new, &sealed(&mut old, "x")), Err(Refused::Key));
    }

    #[test]
    fn the_memory_of_senders_is_bounded_and_forgets_the_one_that_was_silent_the_longest() {
        let mut receiver = seal(&['k'], "prod", 0);
        let first = sealed(&mut seal(&['k'], "prod", 1), "x");
        let second = sealed(&mut seal(&['k'], "prod", 2), "x");
        opened(&mut receiver, &first).unwrap();
        opened(&mut receiver, &second).unwrap();
        // The first one speaks again, so the second one is the one to go.
        assert_eq!(opened(&mut receiver, &first), Err(Refused::Repeated));
        for sender in 3..=SENDERS_MAX as u64 + 1 {
            opened(&mut receiver, &sealed(&mut seal(&['k'], "prod", sender), "x")).unwrap();
        }
        assert_eq!(receiver.heard.len(), SENDERS_MAX);
        assert_eq!(opened(&mut receiver, &first), Err(Refused::Repeated));
        assert!(opened(&mut receiver, &second).is_ok());
    }

    #[test]
    fn short_secrets_none_and_too_many_are_refused_with_words() {
        assert_eq!(Seal::new(&[], "prod", 1).unwrap_err(), BadKeys::None);
        assert_eq!(Seal::new(&["short".into()], "prod", 1).unwrap_err(), BadKeys::Short(5));
        assert_eq!(Seal::new(&[secret('a'), secret('b'), secret('c')], "prod", 1).unwrap_err(), BadKeys::Many(3));
        assert!(!format!("{:?}", seal(&['k'], "prod", 1)).contains("kkkk"));
    }
}
