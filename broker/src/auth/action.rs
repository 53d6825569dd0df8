//! What can be asked for on a channel.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that can be asked for on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Listen to what comes, and resume by a cursor.
    Subscribe,
    /// Publish a message.
    Publish,
    /// Read what was kept: history, `since=earliest`, `last=`.
    History,
    /// Ask who is there.
    Presence,
    /// Clear channels and list them. Backends only: no token holds it.
    Admin,
    /// Disconnect, unsubscribe and revoke. Backends only: no token holds it.
    Control,
}

impl Action {
    /// Every action, in the order of the enum.
    pub const ALL: [Self; 6] = [Self::Subscribe, Self::Publish, Self::History, Self::Presence, Self::Admin, Self::Control];

    /// The name in tokens and in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::History => "history",
            Self::Presence => "presence",
            Self::Admin => "admin",
            Self::Control => "control",
        }
    }

    /// Whether only backends may be allowed it, and no token.
    #[must_use]
    pub fn is_for_backends(self) -> bool {
        matches!(self, Self::Admin | Self::Control)
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions(u8);

impl Actions {
    /// Whether the action is among them.
    #[must_use]
    pub fn has(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// Those in it, in the order of the enum.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.into_iter().filter(move |action| self.has(*action))
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        Self(actions.into_iter().fold(0, |bits, action| bits | action.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_it_was_made_of_and_nothing_else() {
        let set: Actions = [Action::Publish, Action::Admin, Action::Publish].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Action::Publish, Action::Admin]);
        assert!(!set.has(Action::Subscribe) && !Actions::default().has(Action::Publish));
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        assert!(Action::ALL.iter().all(|action| Action::parse(action.as_str()) == Some(*action)));
        for wrong in ["", "Publish", "write", "publish ", "*"] {
            assert_eq!(Action::parse(wrong), None, "{wrong}");
        }
    }
}
