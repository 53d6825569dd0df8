//! Names of nodes.

use std::fmt;

/// Longest name of a node, in bytes.
const NAME_MAX: usize = 63;

/// The name of a node: stable over restarts, since the node's slots follow from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(String);

impl NodeName {
    /// `None` unless it is 1 to 63 of `a-z A-Z 0-9 . _ -`.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = (1..=NAME_MAX).contains(&name.len());
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        (fits && plain).then(|| Self(name.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for good in ["a", "node-1.eu_west", &"n".repeat(NAME_MAX)] {
            assert!(NodeName::new(good).is_some(), "{good}");
        }
        for bad in ["", "a b", "ä", "a/b", &"n".repeat(NAME_MAX + 1)] {
            assert!(NodeName::new(bad).is_none(), "{bad}");
        }
    }
}
