//! Lets callers in, and says what each may do: the handle that fronts and skins hold. What it knows can be exchanged while
//! they hold it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;

use super::action::Action;
use super::book::{Book, Problem};
use super::carrier::Credential;
use super::config::Config;
use super::grant::{Caller, Rule, decide};
use super::refusal::{Denied, Refusal};
use super::sets::Sets;
use crate::clock::Clock;
use crate::error::{Error, ErrorCode, Result};
use crate::limits::{Callers, rate_exceeded};
use crate::message::ChannelName;
use crate::metrics::{Metrics, Rate};

/// Most denials logged in one second; more are only counted.
const LOGGED_PER_SECOND: u64 = 20;

/// All doors' gate. A cheap handle.
#[derive(Clone)]
pub struct Gate(Arc<Shared>);

struct Shared {
    book: ArcSwap<Book>,
    clock: Clock,
    metrics: Arc<Metrics>,
    logged: Logged,
    sets: Sets,
    rates: Rates,
}

/// How much each caller may do in a second.
#[derive(Debug)]
pub struct Rates {
    /// Publishes.
    pub publishes: Callers,
    /// Channels subscribed to.
    pub subscribes: Callers,
}

impl Default for Rates {
    fn default() -> Self {
        Self { publishes: Callers::new(0), subscribes: Callers::new(0) }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate that knows what the book says.
    #[must_use]
    pub fn new(book: Book, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self::with_rates(book, clock, metrics, Rates::default())
    }

    /// A gate that also bounds how much each caller does.
    #[must_use]
    pub fn with_rates(book: Book, clock: Clock, metrics: Arc<Metrics>, rates: Rates) -> Self {
        let (book, logged, sets) = (ArcSwap::from_pointee(book), Logged::default(), Sets::default());
        Self(Arc::new(Shared { book, clock, metrics, logged, sets, rates }))
    }

    /// Exchanges keys and permissions for those of another configuration, at once and for all who hold a pass too: what a key
    /// or a token of before no longer may, is refused from its next call on. Streams that are open stay until their tokens
    /// expire.
    ///
    /// # Errors
    /// What is wrong with it; nothing is changed then.
    pub fn exchange(&self, config: &Config) -> Result<(), Problem> {
        let book = Book::read(config)?;
        self.0.book.rcu(|now| Arc::new(book.clone().keeping_set_of(now)));
        // It may want another set, or one at all.
        self.0.sets.wake();
        Ok(())
    }

    /// Takes in a key set that was fetched from this address, if it is still the one that is wanted. Says how many keys for
    /// tokens are known now, if it changed anything.
    ///
    /// # Errors
    /// A sentence when it is none; the one before stays.
    pub fn take_set(&self, url: &str, text: &[u8]) -> Result<Option<usize>, String> {
        let mut outcome = Ok(None);
        self.0.book.rcu(|book| match book.with_set(url, text) {
            Ok(changed) => {
                outcome = Ok((!Arc::ptr_eq(&changed, book)).then(|| changed.key_count()));
                changed
            }
            Err(why) => {
                outcome = Err(why);
                book.clone()
            }
        });
        outcome
    }

    /// What it knows now.
    #[must_use]
    pub fn book(&self) -> Arc<Book> {
        self.0.book.load_full()
    }

    /// Lets in whoever sent a request. Waits only for a key set that is fetched because the token's key is not known yet.
    ///
    /// # Errors
    /// `unauthenticated` or `token_expired` for a credential that is not believed; it is counted and logged.
    pub async fn admit_request(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Pass> {
        let mut admitted = self.look_at_request(headers, query);
        if matches!(&admitted, Err(refusal) if refusal.cause == Denied::UnknownKid) && self.learn_keys().await {
            admitted = self.look_at_request(headers, query);
        }
        admitted.map_err(|refusal| self.refuse(&refusal))
    }

    fn look_at_request(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Pass, Refusal> {
        let book = self.0.book.load();
        // Where nothing is asked for, nothing can be wrong with it.
        if book.is_open() {
            return Ok(self.anyone());
        }
        self.look_at(&Credential::of_request(headers, query, book.cookie())?)
    }

    /// Lets in whoever shows this, or says why not, for those who decide what to make of it.
    ///
    /// # Errors
    /// The refusal, neither counted nor logged yet.
    pub fn look_at(&self, credential: &Credential<'_>) -> Result<Pass, Refusal> {
        let book = self.0.book.load();
        if book.is_open() {
            return Ok(self.pass(Caller::Everyone, false));
        }
        let is_by_cookie = matches!(credential, Credential::Cookie(_));
        book.caller(credential, self.now()).map(|caller| self.pass(caller, is_by_cookie))
    }

    /// Lets in whoever shows this, without waiting for anything.
    ///
    /// # Errors
    /// As [`Gate::admit_request`]; a key that may be learned is asked for meanwhile, and the error says to try again.
    pub fn admit(&self, credential: &Credential<'_>) -> Result<Pass> {
        self.look_at(credential).map_err(|refusal| {
            let refused = self.refuse(&refusal);
            if refusal.cause == Denied::UnknownKid && self.0.sets.ask(self.0.clock.mono()) {
                return Error::new(ErrorCode::Overloaded, "the token's key is being looked for; try again in a moment");
            }
            refused
        })
    }

    /// Whoever shows nothing.
    #[must_use]
    pub fn anyone(&self) -> Pass {
        self.pass(if self.0.book.load().is_open() { Caller::Everyone } else { Caller::Anyone }, false)
    }

    /// A process of this machine, by the user who runs it; none when the system does not vouch for that user.
    #[must_use]
    pub fn peer(&self, uid: u32) -> Option<Pass> {
        let backend = self.0.book.load().peer(uid)?.clone();
        Some(self.pass(Caller::Backend(backend), false))
    }

    /// Asks for the key set and waits for it, for a moment. `true` when it came: look again.
    pub async fn learn_keys(&self) -> bool {
        self.0.book.load().set_url().is_some() && self.0.sets.learn(self.0.clock.mono()).await
    }

    /// Where the one who fetches hears what is wanted.
    #[must_use]
    pub fn sets(&self) -> &Sets {
        &self.0.sets
    }

    fn pass(&self, caller: Caller, by_cookie: bool) -> Pass {
        Pass { gate: self.clone(), caller, by_cookie }
    }

    fn now(&self) -> u64 {
        self.0.clock.now().unix_ms / 1000
    }

    /// Counts a refusal, says it in the log, and makes it an answer.
    pub fn refuse(&self, refusal: &Refusal) -> Error {
        let Shared { metrics, logged, clock, .. } = &*self.0;
        metrics.denied(refusal.cause);
        if let Some(unsaid) = logged.may_log(clock.mono().as_secs()) {
            let (cause, why, detail) = (refusal.cause.as_str(), &*refusal.message, &*refusal.detail);
            tracing::info!(event = "denied", cause, why, detail, unsaid, "denied");
        }
        refusal.clone().into()
    }
}

/// Somebody who was let in, as long as it is kept.
#[derive(Clone)]
pub struct Pass {
    gate: Gate,
    caller: Caller,
    by_cookie: bool,
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass").field("caller", &self.caller).finish_non_exhaustive()
    }
}

impl Pass {
    /// Who it is.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether a browser sent the credential by itself, so that any page could have made it ask.
    #[must_use]
    pub fn is_by_cookie(&self) -> bool {
        self.by_cookie
    }

    /// The user of the token, if it names one.
    #[must_use]
    pub fn user(&self) -> Option<&Arc<str>> {
        match &self.caller {
            Caller::Token(claims) => claims.user.as_ref(),
            _ => None,
        }
    }

    /// Whether this is for the same user as before, or the first that names one: a connection stays with whom it began.
    #[must_use]
    pub fn may_replace(&self, before: &Self) -> bool {
        before.user().is_none_or(|user| self.user() == Some(user))
    }

    /// When the stay must end, in seconds since 1970; none without a token.
    #[must_use]
    pub fn until(&self) -> Option<u64> {
        match &self.caller {
            Caller::Token(claims) => Some(claims.until),
            _ => None,
        }
    }

    /// How much is left until then. The wall clock is asked once: a stay does not end because somebody sets it.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let until = Duration::from_secs(self.until()?);
        Some(until.saturating_sub(Duration::from_millis(self.gate.0.clock.now().unix_ms)))
    }

    /// Whether this may be done here.
    ///
    /// # Errors
    /// `permission_denied` with the rule that denied, `unauthenticated` when it might be allowed to somebody who is known,
    /// `token_expired` when the time is over; each is counted and logged.
    pub fn check(&self, action: Action, channel: &ChannelName) -> Result<()> {
        let refusal = {
            let book = self.gate.0.book.load();
            if self.until().is_some_and(|until| until <= self.gate.now()) {
                Refusal::new(Denied::Expired, "the token has expired; come back with a fresh one")
            } else {
                match decide(&self.caller, action, channel, book.policy()) {
                    rule if rule.allows() => return self.pace(action),
                    rule => refusal(rule, action, channel, &book, &self.caller),
                }
            }
        };
        Err(self.gate.refuse(&refusal))
    }

    /// One more of what has a rate. Callers without a name have none: their connections and addresses are bounded.
    fn pace(&self, action: Action) -> Result<()> {
        let Shared { rates, clock, metrics, .. } = &*self.gate.0;
        let (rate, callers) = match action {
            Action::Publish => (Rate::CallerPublishes, &rates.publishes),
            Action::Subscribe => (Rate::CallerSubscribes, &rates.subscribes),
            _ => return Ok(()),
        };
        let name = match &self.caller {
            Caller::Token(claims) => claims.user.as_deref(),
            Caller::Backend(backend) => Some(&*backend.name),
            Caller::Everyone | Caller::Anyone => None,
        };
        let (Some(name), 1..) = (name, callers.rate()) else { return Ok(()) };
        // A key and a user of the same name are two.
        let kind = if matches!(self.caller, Caller::Backend(_)) { "key" } else { "user" };
        callers.take(&format!("{kind} {name}"), clock.mono()).map_err(|wait| {
            metrics.rate_exceeded(rate);
            rate_exceeded(rate, callers.rate().into(), wait)
        })
    }

    /// Whether every channel that begins so may be looked after: for lists.
    ///
    /// # Errors
    /// As [`Pass::check`].
    pub fn check_all_of(&self, action: Action, prefix: &str) -> Result<()> {
        let refusal = match &self.caller {
            Caller::Everyone => return Ok(()),
            Caller::Backend(backend) => {
                if backend.can.has(action) && backend.channels.iter().any(|pattern| pattern.covers_all_of(prefix)) {
                    return Ok(());
                }
                let what = format!("`{}` has no scope for {action} on all channels that begin with `{prefix}`", backend.name);
                Refusal::new(Denied::Permission, what)
            }
            Caller::Token(_) => Refusal::new(Denied::Permission, format!("no token holds {action}: it is for keys")),
            Caller::Anyone => Refusal::new(Denied::Missing, self.gate.book().without_credential()),
        };
        Err(self.gate.refuse(&refusal))
    }

    /// Which rule decides, told to whoever wants to know: its name, whether it allows, and why.
    #[must_use]
    pub fn explain(&self, action: Action, channel: &ChannelName) -> (&'static str, bool, String) {
        let book = self.gate.0.book.load();
        let rule = decide(&self.caller, action, channel, book.policy());
        (rule.name(), rule.allows(), rule.sentence(action, channel))
    }

    /// The gate that let it in.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }
}

fn refusal(rule: Rule<'_>, action: Action, channel: &ChannelName, book: &Book, caller: &Caller) -> Refusal {
    let who = match caller {
        Caller::Token(claims) => format!("a token of `{}`", claims.user.as_deref().unwrap_or_default()),
        Caller::Backend(backend) => format!("the backend `{}`", backend.name),
        Caller::Anyone | Caller::Everyone => "nobody known".to_owned(),
    };
    let detail = format!("{who} asked for {action} on `{channel}`: {}", rule.name());
    let cause = match rule {
        Rule::Unlisted => Denied::Namespace,
        Rule::NoCredential if !book.knows_anybody() => return Refusal::new(Denied::Missing, book.without_credential()).with(detail),
        Rule::NoCredential => Denied::Missing,
        _ => Denied::Permission,
    };
    Refusal::new(cause, rule.sentence(action, channel)).with(detail)
}

/// Keeps a flood of denials from flooding the log.
#[derive(Debug, Default)]
struct Logged {
    second: AtomicU64,
    in_second: AtomicU64,
    unsaid: AtomicU64,
}

impl Logged {
    /// Whether one more may be said in this second, and how many were not since the last that was.
    fn may_log(&self, second: u64) -> Option<u64> {
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.in_second.store(0, Ordering::Relaxed);
        }
        if self.in_second.fetch_add(1, Ordering::Relaxed) >= LOGGED_PER_SECOND {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.unsaid.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests;
