//! Which channels a grant, a scope or a rule covers.
//!
//! Names are compared byte by byte: no case is folded and nothing is normalized, so two names that look alike are two
//! channels here as everywhere else in the broker.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::message::{CHANNEL_NAME_BYTES_MAX, ChannelName};

/// What stands for the token's `sub` in a [`Template`].
const SUB: &str = "{sub}";
/// What comes after it in a channel's name is the channel's owner.
const OWNED: char = '#';

/// Why a text is no pattern or template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It says nothing.
    #[error("a pattern is a channel's name, or its beginning and a `*`; it is not empty")]
    Empty,
    /// Longer than any channel's name.
    #[error("a pattern has at most {CHANNEL_NAME_BYTES_MAX} bytes")]
    TooLong,
    /// A star that is not the end.
    #[error("a pattern has at most one `*`, at its end")]
    Star,
    /// Not printable.
    #[error("a pattern holds no control characters")]
    Control,
    /// A template needs its user in one place.
    #[error("it holds `{{sub}}` once, and between `{{sub}}` and a `*` stands something, such as `user:{{sub}}:*`")]
    Sub,
}

/// One channel, or all whose names begin alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The name, or its beginning.
    text: Box<str>,
    is_prefix: bool,
}

impl Pattern {
    /// Reads a name, or the beginning of names with a `*` behind it.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        if text.is_empty() {
            return Err(BadPattern::Empty);
        }
        if text.len() > CHANNEL_NAME_BYTES_MAX {
            return Err(BadPattern::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(BadPattern::Control);
        }
        let (name, is_prefix) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
        if name.contains('*') {
            return Err(BadPattern::Star);
        }
        Ok(Self { text: name.into(), is_prefix })
    }

    /// Every channel.
    #[must_use]
    pub fn everything() -> Self {
        Self { text: "".into(), is_prefix: true }
    }

    /// This channel and no other, whatever its name holds.
    #[must_use]
    pub fn exact(channel: &ChannelName) -> Self {
        Self { text: channel.as_str().into(), is_prefix: false }
    }

    /// Whether a backend's scope with this pattern covers the channel: a `*` stands for anything.
    #[must_use]
    pub fn covers(&self, channel: &ChannelName) -> bool {
        let name = channel.as_str();
        if self.is_prefix { name.starts_with(&*self.text) } else { *name == *self.text }
    }

    /// Whether a user's grant with this pattern covers the channel: a `*` does not stand for a `#`, because what comes after
    /// one is the channel of one user ([`owner`]), and `chat:*` in a token is not meant to open all of those.
    #[must_use]
    pub fn covers_for_users(&self, channel: &ChannelName) -> bool {
        self.covers(channel) && !(self.is_prefix && channel.as_str()[self.text.len()..].contains(OWNED))
    }

    /// What the names begin with that it stands for; none for one channel.
    #[must_use]
    pub fn prefix(&self) -> Option<&str> {
        self.is_prefix.then_some(&self.text)
    }

    /// Whether every channel that begins so is covered, as far as backends go.
    #[must_use]
    pub fn covers_all_of(&self, prefix: &str) -> bool {
        self.is_prefix && prefix.starts_with(&*self.text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.is_prefix { f.write_str("*") } else { Ok(()) }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Cow::<str>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for Pattern {
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": CHANNEL_NAME_BYTES_MAX, "pattern": "^[^*]*\\*?$" })
    }
}

/// Whose channel this is by its name: what stands after its last `#`.
#[must_use]
pub fn owner(channel: &ChannelName) -> Option<&str> {
    let name = channel.as_str();
    let mark = name.bytes().rposition(|byte| char::from(byte) == OWNED)?;
    Some(&name[mark + 1..]).filter(|owner| !owner.is_empty())
}

/// Channels of one user each: `user:{sub}` or `user:{sub}:*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    before: Box<str>,
    after: Box<str>,
    is_prefix: bool,
}

impl Template {
    /// Reads a pattern with `{sub}` in it.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let Pattern { text, is_prefix } = Pattern::parse(text)?;
        let (before, after) = text.split_once(SUB).ok_or(BadPattern::Sub)?;
        // Without something in between, `user:a*` of the user `a` would be the channels of `ab` too.
        if after.contains(SUB) || (is_prefix && after.is_empty()) {
            return Err(BadPattern::Sub);
        }
        Ok(Self { before: before.into(), after: after.into(), is_prefix })
    }

    /// Whether this is a channel of this user.
    #[must_use]
    pub fn covers(&self, channel: &ChannelName, user: &str) -> bool {
        let rest = channel.as_str().strip_prefix(&*self.before).and_then(|rest| rest.strip_prefix(user));
        let Some(rest) = rest else { return false };
        // A user whose name goes on as the template does would reach into the channels of one with a shorter name, and the
        // other way round.
        let is_ambiguous = self.after.chars().next().is_some_and(|next| user.contains(next));
        if is_ambiguous || user.is_empty() {
            return false;
        }
        if self.is_prefix { rest.starts_with(&*self.after) } else { *rest == *self.after }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{SUB}{}{}", self.before, self.after, if self.is_prefix { "*" } else { "" })
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Cow::<str>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for Template {
    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": CHANNEL_NAME_BYTES_MAX, "pattern": "\\{sub\\}" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    fn for_users(pattern: &str, channel: &str) -> bool {
        Pattern::parse(pattern).unwrap().covers_for_users(&name(channel))
    }

    #[test]
    fn a_name_is_itself_and_a_star_is_whatever_follows() {
        assert!(for_users("chat:1", "chat:1") && !for_users("chat:1", "chat:12") && !for_users("chat:12", "chat:1"));
        assert!(for_users("chat:*", "chat:1") && for_users("chat:*", "chat:") && for_users("*", "anything at all"));
        assert!(!for_users("chat:*", "chat") && !for_users("chat:*", "Chat:1"));
    }

    #[test]
    fn names_that_only_look_alike_are_not_alike() {
        for (pattern, channel) in
            [("caf\u{e9}", "cafe\u{301}"), ("a", "\u{430}"), ("k", "\u{212a}"), ("news", "news\u{200b}"), ("news", "news ")]
        {
            assert!(!for_users(pattern, channel), "{pattern} {channel:?}");
        }
    }

    #[test]
    fn a_star_in_a_token_does_not_reach_the_channels_of_others() {
        assert!(!for_users("*", "inbox#bob") && !for_users("chat:*", "chat:1#bob"));
        assert!(for_users("inbox#*", "inbox#bob") && for_users("inbox#bob", "inbox#bob"));
        assert!(!for_users("inbox#*", "inbox#a#bob"), "not behind a second one either");
        assert!(Pattern::parse("*").unwrap().covers(&name("inbox#bob")), "a backend's does");
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, why) in [
            ("", BadPattern::Empty),
            ("a*b", BadPattern::Star),
            ("**", BadPattern::Star),
            ("*a", BadPattern::Star),
            ("a\n", BadPattern::Control),
        ] {
            assert_eq!(Pattern::parse(text), Err(why), "{text:?}");
        }
        assert_eq!(Pattern::parse(&"x".repeat(256)), Err(BadPattern::TooLong));
        assert_eq!(Pattern::parse("chat:*").unwrap().to_string(), "chat:*");
    }

    #[test]
    fn a_scope_covers_a_whole_prefix_or_it_does_not() {
        let covers = |pattern: &str, prefix: &str| Pattern::parse(pattern).unwrap().covers_all_of(prefix);
        assert!(covers("*", "") && covers("chat:*", "chat:") && covers("chat:*", "chat:1"));
        assert!(!covers("chat:*", "") && !covers("chat:*", "cha") && !covers("chat:1", "chat:1"));
    }

    #[test]
    fn the_owner_is_what_follows_the_last_hash() {
        assert_eq!(
            [owner(&name("inbox#bob")), owner(&name("a#b#c")), owner(&name("a#")), owner(&name("a"))],
            [Some("bob"), Some("c"), None, None]
        );
    }

    #[test]
    fn a_template_is_the_channels_of_one_user() {
        let covers = |template: &str, channel: &str, user: &str| Template::parse(template).unwrap().covers(&name(channel), user);
        assert!(covers("user:{sub}", "user:ann", "ann") && covers("user:{sub}:*", "user:ann:mail", "ann"));
        assert!(covers("{sub}/x", "ann/x", "ann"));
        for (template, channel, user) in [
            ("user:{sub}", "user:anna", "ann"),
            ("user:{sub}", "user:ann", "anna"),
            ("user:{sub}", "user:ann", "Ann"),
            ("user:{sub}", "user:*", "ann"),
            ("user:{sub}:*", "user:anna:mail", "ann"),
            ("user:{sub}:*", "user:ann:mail:x", "ann:mail"),
            ("user:{sub}", "user:", ""),
        ] {
            assert!(!covers(template, channel, user), "{template} {channel} {user}");
        }
        for wrong in ["user:ann", "{sub}*", "user:{sub}*", "{sub}{sub}", "", "a*{sub}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
