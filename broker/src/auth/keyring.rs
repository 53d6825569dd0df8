//! Backends by the keys they show: static API keys, known only by their hashes.

use std::sync::Arc;

use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::config::{Key, KeyHash};
use super::grant::{Backend, Proof};

/// All keys.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Vec<(KeyHash, Arc<Backend>)>);

impl Keyring {
    /// The keys of the configuration.
    #[must_use]
    pub fn new(keys: &[Key]) -> Self {
        let backend = |key: &Key| Backend {
            name: key.name.as_str().into(),
            proof: Proof::Key(key.sha256),
            can: key.can.iter().copied().collect(),
            channels: key.channels.iter().cloned().collect(),
        };
        Self(keys.iter().map(|key| (key.sha256, Arc::new(backend(key)))).collect())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose key this is. Compared with every key and in constant time, so that the time taken tells nothing about how close a
    /// guess was.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&Arc<Backend>> {
        let hash = KeyHash::of(key.as_bytes());
        let mut found = u64::MAX;
        for (nth, (known, _)) in self.0.iter().enumerate() {
            found.conditional_assign(&(nth as u64), known.0.ct_eq(&hash.0));
        }
        self.0.get(usize::try_from(found).ok()?).map(|(_, backend)| backend)
    }

    /// Whose key has this hash, which was looked up before: nobody's guess, so no time is hidden.
    #[must_use]
    pub fn of(&self, hash: &KeyHash) -> Option<&Arc<Backend>> {
        // The last one, as above.
        self.0.iter().rev().find(|(known, _)| known == hash).map(|(_, backend)| backend)
    }
}

#[cfg(test)]
mod tests {
    use super::super::action::Action;
    use super::*;

    #[test]
    fn each_listed_key_is_found_and_no_other() {
        let ring = Keyring::new(&["one", "two"].map(|key| Key::new(key, KeyHash::of(key.as_bytes()))));
        for key in ["one", "two"] {
            let backend = ring.find(key).unwrap();
            assert_eq!(&*backend.name, key);
            assert!(backend.can.has(Action::Admin) && backend.channels[0].covers_all_of(""));
        }
        for guess in ["", "three", "One", "one ", "onetwo"] {
            assert_eq!(ring.find(guess), None, "{guess:?}");
        }
        assert_eq!(Keyring::default().find("one"), None);
    }

    #[test]
    fn a_hash_is_read_from_64_digits_only_and_shown_as_it_was() {
        let hash = KeyHash::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), text);
        assert_eq!(KeyHash::parse(text), Some(hash));
        assert_eq!(KeyHash::parse(&text.to_uppercase()), Some(hash));
        for wrong in ["", "abc", &text[1..], &format!("{text}0"), &text.replace('b', "g"), &text.replace("ba", "ä")] {
            assert_eq!(KeyHash::parse(wrong), None, "{wrong}");
        }
    }
}
