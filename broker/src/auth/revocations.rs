//! Who is not believed any more although the signature is right: users and tokens that a backend revoked. A list in memory,
//! bounded, in which nothing stays longer than the tokens it is about.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::claims::{Claims, Identity};
use super::token::config::Config;
use crate::error::{Error, ErrorCode, Result};

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// All that names this user (`sub`) and was issued no later than this moment, in seconds since 1970, or does not say when.
    User(Arc<str>, u64),
    /// The token of this id (`jti`).
    Token(Arc<str>),
}

/// One entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// What.
    pub what: Revoked,
    /// Until when, in seconds since 1970: by then it has expired anyway.
    pub until: u64,
}

/// The list of one node. A cheap handle.
#[derive(Clone, Debug)]
pub struct Revocations(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// How many entries there are. Nobody is looked up in an empty list.
    count: AtomicUsize,
    lists: RwLock<Lists>,
}

#[derive(Debug)]
struct Lists {
    users: HashMap<Arc<str>, OfUser>,
    /// Until when.
    tokens: HashMap<Arc<str>, u64>,
    count_max: usize,
    default_length: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OfUser {
    /// What was issued later is believed.
    issued_until: u64,
    until: u64,
}

impl Revocations {
    /// An empty list with these bounds.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let (count_max, default_length) = (config.revocations as usize, config.revoked_for);
        let lists = Lists { users: HashMap::new(), tokens: HashMap::new(), count_max, default_length };
        Self(Arc::new(Shared { count: AtomicUsize::new(0), lists: RwLock::new(lists) }))
    }

    /// Goes on with other bounds. What is in the list stays, though it may be more.
    pub fn rebound(&self, config: &Config) {
        let mut lists = self.0.lists.write();
        (lists.count_max, lists.default_length) = (config.revocations as usize, config.revoked_for);
    }

    /// How long a revocation counts that does not say so itself.
    #[must_use]
    pub fn default_length(&self) -> Duration {
        self.0.lists.read().default_length
    }

    /// Adds an entry, or makes one that is there count for more; `now` is in seconds since 1970. `true` when that changed
    /// anything.
    ///
    /// # Errors
    /// `overloaded` when the list is full of what still counts.
    pub fn add(&self, revocation: &Revocation, now: u64) -> Result<bool> {
        let mut lists = self.0.lists.write();
        if revocation.until <= now || lists.has(revocation) {
            return Ok(false);
        }
        let is_known = match &revocation.what {
            Revoked::User(user, _) => lists.users.contains_key(user),
            Revoked::Token(id) => lists.tokens.contains_key(id),
        };
        if !is_known && lists.count() >= lists.count_max {
            lists.sweep(now);
            if lists.count() >= lists.count_max {
                self.0.count.store(lists.count(), Ordering::Release);
                let bound = lists.count_max;
                return Err(Error::new(
                    ErrorCode::Overloaded,
                    format!(
                        "there are as many revocations as this broker keeps ({bound}, tokens.revocations); give each the expiry of its tokens"
                    ),
                ));
            }
        }
        lists.add(revocation);
        self.0.count.store(lists.count(), Ordering::Release);
        Ok(true)
    }

    /// Whether these claims are revoked; `now` is in seconds since 1970.
    #[must_use]
    pub fn hold(&self, claims: &Claims, now: u64) -> bool {
        !self.is_empty() && self.0.lists.read().hold(claims.user.as_deref(), claims.id.as_deref(), claims.issued, now)
    }

    /// As [`Revocations::hold`], of who is here already.
    #[must_use]
    pub fn hold_identity(&self, identity: &Identity, now: u64) -> bool {
        !self.is_empty() && self.0.lists.read().hold(identity.user.as_deref(), identity.id.as_deref(), identity.issued, now)
    }

    fn is_empty(&self) -> bool {
        self.0.count.load(Ordering::Acquire) == 0
    }

    /// How many entries there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Lets go of what counts no longer.
    pub fn sweep(&self, now: u64) {
        if self.is_empty() {
            return;
        }
        let mut lists = self.0.lists.write();
        lists.sweep(now);
        self.0.count.store(lists.count(), Ordering::Release);
    }

    /// Everything in it, for a node that may not know it.
    #[must_use]
    pub fn all(&self) -> Vec<Revocation> {
        let lists = self.0.lists.read();
        let users = lists.users.iter().map(|(user, of)| Revocation { what: Revoked::User(user.clone(), of.issued_until), until: of.until });
        let tokens = lists.tokens.iter().map(|(id, until)| Revocation { what: Revoked::Token(id.clone()), until: *until });
        users.chain(tokens).collect()
    }
}

impl Lists {
    fn count(&self) -> usize {
        self.users.len() + self.tokens.len()
    }

    /// Whether nothing would change by adding this.
    fn has(&self, revocation: &Revocation) -> bool {
        match &revocation.what {
            Revoked::User(user, issued_until) => {
                self.users.get(user).is_some_and(|of| of.issued_until >= *issued_until && of.until >= revocation.until)
            }
            Revoked::Token(id) => self.tokens.get(id).is_some_and(|until| *until >= revocation.until),
        }
    }

    fn add(&mut self, revocation: &Revocation) {
        match &revocation.what {
            Revoked::User(user, issued_until) => {
                let of = self.users.entry(user.clone()).or_insert(OfUser { issued_until: 0, until: 0 });
                of.issued_until = of.issued_until.max(*issued_until);
                of.until = of.until.max(revocation.until);
            }
            Revoked::Token(id) => {
                let until = self.tokens.entry(id.clone()).or_insert(0);
                *until = (*until).max(revocation.until);
            }
        }
    }

    fn hold(&self, user: Option<&str>, id: Option<&str>, issued: Option<u64>, now: u64) -> bool {
        let of_user = user.and_then(|user| self.users.get(user)).filter(|of| of.until > now);
        // What does not say when it was issued may be as old as any.
        of_user.is_some_and(|of| issued.is_none_or(|issued| issued <= of.issued_until))
            || id.and_then(|id| self.tokens.get(id)).is_some_and(|until| *until > now)
    }

    fn sweep(&mut self, now: u64) {
        self.users.retain(|_, of| of.until > now);
        self.tokens.retain(|_, until| *until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn list(revocations: u32) -> Revocations {
        Revocations::new(&Config { revocations, ..Config::default() })
    }

    fn user(name: &str, issued_until: u64, until: u64) -> Revocation {
        Revocation { what: Revoked::User(name.into(), issued_until), until }
    }

    fn token(id: &str, until: u64) -> Revocation {
        Revocation { what: Revoked::Token(id.into()), until }
    }

    fn held(list: &Revocations, user: &str, id: Option<&str>, issued: Option<u64>, now: u64) -> bool {
        list.hold_identity(&Identity { user: Some(user.into()), id: id.map(Into::into), issued }, now)
    }

    #[test]
    fn a_user_is_revoked_up_to_a_moment_and_what_does_not_say_when_it_was_issued_always() {
        let list = list(10);
        assert!(!held(&list, "ann", None, None, NOW));
        assert!(list.add(&user("ann", NOW, NOW + 60), NOW).unwrap());
        assert!(held(&list, "ann", None, Some(NOW - 1), NOW) && held(&list, "ann", None, Some(NOW), NOW));
        assert!(held(&list, "ann", None, None, NOW));
        assert!(!held(&list, "ann", None, Some(NOW + 1), NOW), "who logged in again is welcome");
        assert!(!held(&list, "bob", None, None, NOW));
        assert!(!held(&list, "ann", None, None, NOW + 60), "by then all of it has expired");
    }

    #[test]
    fn a_token_is_revoked_by_its_id_whoever_bears_it() {
        let list = list(10);
        list.add(&token("t-1", NOW + 60), NOW).unwrap();
        assert!(held(&list, "ann", Some("t-1"), Some(NOW + 5), NOW));
        assert!(!held(&list, "ann", Some("t-2"), None, NOW) && !held(&list, "t-1", None, None, NOW));
    }

    #[test]
    fn saying_it_again_makes_it_count_for_more_and_never_for_less() {
        let list = list(10);
        assert!(list.add(&user("ann", NOW, NOW + 60), NOW).unwrap());
        assert!(!list.add(&user("ann", NOW - 5, NOW + 30), NOW).unwrap());
        assert!(list.add(&user("ann", NOW - 5, NOW + 90), NOW).unwrap());
        assert_eq!(list.all(), [user("ann", NOW, NOW + 90)]);
        assert!(!list.add(&token("old", NOW), NOW).unwrap(), "what has expired need not be remembered");
        assert_eq!(list.count(), 1);
    }

    #[test]
    fn a_full_list_says_so_and_has_room_again_when_something_expired() {
        let list = list(2);
        list.add(&token("a", NOW + 10), NOW).unwrap();
        list.add(&user("ann", NOW, NOW + 20), NOW).unwrap();
        let full = list.add(&token("b", NOW + 10), NOW).unwrap_err();
        assert!(full.code == ErrorCode::Overloaded && full.message.contains("tokens.revocations"), "{full}");
        assert!(list.add(&token("a", NOW + 15), NOW).unwrap(), "who is there already needs no room");
        assert!(list.add(&token("b", NOW + 60), NOW + 15).unwrap());
        list.sweep(NOW + 59);
        assert_eq!(list.all(), [token("b", NOW + 60)]);
        list.sweep(NOW + 60);
        assert_eq!(list.count(), 0);
    }
}
