//! Lets callers in, and says what each may do: the handle that fronts and skins hold. What it knows can be exchanged while
//! they hold it.

mod failures;
mod known;
mod look;
mod rates;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::{self, HeaderMap};
use http::request::Parts;

pub use look::Look;
pub use rates::Rates;

use super::action::Action;
use super::book::{Book, Problem};
use super::carrier::Credential;
use super::certificate::ClientName;
use super::claims::{Claims, Identity};
use super::config::Config;
use super::grant::{Caller, Rule, decide, may_somewhere};
use super::refusal::{Denied, Refusal};
use super::revocations::Revocations;
use super::sets::Sets;
use crate::clock::Clock;
use crate::error::{Error, ErrorCode, Result};
use crate::limits::{self, Callers, ClientAddress, UserPlace, rate_exceeded};
use crate::message::{ChannelName, Draft};
use crate::metrics::{Metrics, Rate, RefusedConnection, Sampled};
use crate::presence::{Member, MemberId};

/// What the bearer of something revoked hears.
const REVOKED: &str = "the token was revoked; only another one may pass";

/// All doors' gate. A cheap handle.
#[derive(Clone)]
pub struct Gate(Arc<Shared>);

struct Shared {
    book: ArcSwap<Book>,
    clock: Clock,
    metrics: Arc<Metrics>,
    logged: Sampled,
    sets: Sets,
    rates: Rates,
    revocations: Revocations,
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
        Self::with_bounds(book, clock, metrics, Rates::default(), Revocations::new(&super::token::config::Config::default()))
    }

    /// A gate that also bounds how much each caller does, and how much can be revoked.
    #[must_use]
    pub fn with_bounds(book: Book, clock: Clock, metrics: Arc<Metrics>, rates: Rates, revocations: Revocations) -> Self {
        let (book, logged, sets) = (ArcSwap::from_pointee(book), Sampled::default(), Sets::default());
        Self(Arc::new(Shared { book, clock, metrics, logged, sets, rates, revocations }))
    }

    /// Whether callers have a rate, so that it matters from where somebody comes.
    #[must_use]
    pub fn is_rated(&self) -> bool {
        self.0.rates.each().iter().any(|rate| rate.rate() > 0)
    }

    /// How many callers are remembered for their rates, of the rate with most.
    #[must_use]
    pub fn rate_callers(&self) -> usize {
        self.0.rates.each().map(Callers::count).into_iter().max().unwrap_or(0)
    }

    /// What is not believed any more.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.0.revocations
    }

    /// Exchanges keys and permissions for those of another configuration, at once and for all who hold a pass too: what a key
    /// or a token of before no longer may, is refused from its next call on, and so is everything when it is not known any more.
    /// What is listened to is not looked at again.
    ///
    /// # Errors
    /// What is wrong with it; nothing is changed then.
    pub fn exchange(&self, config: &Config) -> Result<(), Problem> {
        let book = Book::read(config)?;
        self.0.book.rcu(|now| Arc::new(book.clone().after(now)));
        self.0.revocations.rebound(&config.tokens);
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

    /// The clock by which it judges.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// What it knows now.
    #[must_use]
    pub fn book(&self) -> Arc<Book> {
        self.0.book.load_full()
    }

    /// Lets in whoever sent a request: by what it carries, or else by the certificate of its connection. Waits only for a key set
    /// that is fetched because the token's key is not known yet.
    ///
    /// # Errors
    /// `unauthenticated` or `token_expired` for a credential that is not believed; it is counted and logged.
    pub async fn admit_request(&self, parts: &Parts) -> Result<Pass> {
        let from = parts.extensions.get::<ClientAddress>().map(|address| limits::Caller::Address(address.0));
        let mut admitted = self.look_at_request(parts, from, Look::First);
        if matches!(&admitted, Err(refusal) if refusal.cause == Denied::UnknownKid) && self.learn_keys(from).await {
            admitted = self.look_at_request(parts, from, Look::Again);
        }
        admitted.map(|pass| pass.coming_from(from)).map_err(|refusal| self.refuse(&refusal))
    }

    fn look_at_request(&self, parts: &Parts, from: Option<limits::Caller<'_>>, look: Look) -> Result<Pass, Refusal> {
        let book = self.0.book.load();
        // Where nothing is asked for, nothing can be wrong with it.
        if book.is_open() {
            return Ok(self.anyone());
        }
        let credential = Credential::of_request(&parts.headers, parts.uri.query(), book.cookie())?;
        let certified = match credential {
            Credential::None => parts.extensions.get::<ClientName>().and_then(|client| self.certified(client)),
            _ => None,
        };
        certified.map_or_else(|| self.look_at(&credential, from, look), Ok)
    }

    /// Lets in whoever comes from there and shows this, or says why not, for those who decide what to make of it.
    ///
    /// # Errors
    /// The refusal, neither counted nor logged yet.
    pub fn look_at(&self, credential: &Credential<'_>, from: Option<limits::Caller<'_>>, look: Look) -> Result<Pass, Refusal> {
        let book = self.0.book.load();
        if book.is_open() {
            return Ok(self.pass(&book, Caller::Everyone, Carried::OnPurpose));
        }
        let carried = if matches!(credential, Credential::Cookie(_)) { Carried::ByCookie } else { Carried::OnPurpose };
        let caller = match book.unsigned(credential) {
            Some(caller) => caller?,
            None => self.check_signed(&book, credential, from, look)?,
        };
        Ok(self.pass(&book, caller, carried))
    }

    /// Lets in whoever shows this, without waiting for anything.
    ///
    /// # Errors
    /// As [`Gate::admit_request`].
    #[cfg(test)]
    pub(crate) fn admit(&self, credential: &Credential<'_>) -> Result<Pass> {
        self.look_at(credential, None, Look::First).map_err(|refusal| self.refuse(&refusal))
    }

    /// Whoever shows nothing.
    #[must_use]
    pub fn anyone(&self) -> Pass {
        let book = self.0.book.load();
        self.pass(&book, if book.is_open() { Caller::Everyone } else { Caller::Anyone }, Carried::OnPurpose)
    }

    /// A process of this machine, by the user who runs it; none when the system does not vouch for that user.
    #[must_use]
    pub fn peer(&self, uid: u32) -> Option<Pass> {
        let book = self.0.book.load();
        let backend = book.peer(uid)?.clone();
        Some(self.pass(&book, Caller::Backend(backend), Carried::OnPurpose))
    }

    /// The holder of this certificate; none when it is nobody's who is known here.
    #[must_use]
    pub fn certified(&self, client: &ClientName) -> Option<Pass> {
        let book = self.0.book.load();
        let backend = book.certified(client)?.clone();
        Some(self.pass(&book, Caller::Backend(backend), Carried::ByCertificate))
    }

    /// Where the one who fetches hears what is wanted.
    #[must_use]
    pub fn sets(&self) -> &Sets {
        &self.0.sets
    }

    /// Why a token that was believed is not any more.
    fn ended(&self, claims: &Claims) -> Option<Refusal> {
        let now = self.now();
        if claims.until <= now {
            return Some(Refusal::new(Denied::Expired, "the token has expired; come back with a fresh one"));
        }
        self.0.revocations.hold(claims, now).then(|| Refusal::new(Denied::Revoked, REVOKED))
    }

    fn is_revoked(&self, caller: &Caller, now: u64) -> bool {
        matches!(caller, Caller::Token(claims) if self.0.revocations.hold(claims, now))
    }

    fn pass(&self, book: &Book, caller: Caller, carried: Carried) -> Pass {
        Pass { gate: self.clone(), caller, carried, edition: book.edition(), from: None }
    }

    fn now(&self) -> u64 {
        self.0.clock.now().unix_ms / 1000
    }

    /// Counts a refusal, says it in the log, and makes it an answer.
    pub fn refuse(&self, refusal: &Refusal) -> Error {
        let Shared { metrics, logged, clock, .. } = &*self.0;
        metrics.denied(refusal.cause);
        // What was over its rate is said where that was found.
        if refusal.cause != Denied::Rate
            && let Some(unsaid) = logged.may_say(clock.mono().as_secs())
        {
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
    carried: Carried,
    /// The book in which the caller was found.
    edition: u32,
    /// Where it comes from, as far as that is known. Kept for those who have no name, and apart: every connection has a pass.
    from: Option<Box<limits::Caller<'static>>>,
}

/// How a credential came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried {
    /// Whoever asked has put it there.
    OnPurpose,
    /// A browser adds it by itself.
    ByCookie,
    /// The connection has it: a browser's too, if the user once chose a certificate.
    ByCertificate,
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

    /// The same caller, who comes from this address, or from this user's process: by it the rates know who has no name. Without a rate
    /// it is not kept.
    #[must_use]
    pub fn coming_from(self, from: Option<limits::Caller<'static>>) -> Self {
        let from = from.filter(|_| self.gate.is_rated());
        Self { from: from.map(Box::new), ..self }
    }

    /// Where it comes from.
    #[must_use]
    pub fn comes_from(&self) -> Option<limits::Caller<'static>> {
        self.from.as_deref().copied()
    }

    /// Whether a browser sent the credential of this request by itself, so that any page could have made it ask. Of a certificate
    /// that shows only by the origin, which a browser names when it asks for a page of another one, or to change something.
    #[must_use]
    pub fn is_by_browser(&self, headers: &HeaderMap) -> bool {
        match self.carried {
            Carried::OnPurpose => false,
            Carried::ByCookie => true,
            Carried::ByCertificate => headers.contains_key(header::ORIGIN),
        }
    }

    /// The user of the token, if it names one.
    #[must_use]
    pub fn user(&self) -> Option<&Arc<str>> {
        match &self.caller {
            Caller::Token(claims) => claims.user.as_ref(),
            _ => None,
        }
    }

    /// A place among the connections of its user, to be kept as long as this one lasts. `None` where these are not bounded.
    ///
    /// # Errors
    /// `overloaded` when the user has as many as one may have; it is counted.
    pub fn take_place(&self) -> Result<Option<UserPlace>> {
        let Shared { rates, metrics, .. } = &*self.gate.0;
        let Some(user) = self.user() else { return Ok(None) };
        rates.connections.enter(user).map_err(|_| {
            metrics.turned_away(RefusedConnection::User, "limits.connections_per_user", Some(limits::Caller::User(user)));
            let most = rates.connections.bound();
            let text =
                format!("this user has as many connections as one may have ({most}, limits.connections_per_user); close one of them");
            Error::new(ErrorCode::Overloaded, text)
        })
    }

    /// By what its stay is found when a backend orders something about it; none without a token that names anybody or itself.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        match &self.caller {
            Caller::Token(claims) => claims.identity(),
            _ => None,
        }
    }

    /// As whom others see it, in a session of this name: a user, or somebody who is only counted. Backends are seen by nobody.
    #[must_use]
    pub fn member(&self, session: &str) -> Option<Member> {
        let info = match &self.caller {
            Caller::Backend(_) => return None,
            Caller::Token(claims) => claims.info.as_ref(),
            Caller::Everyone | Caller::Anyone => None,
        };
        // Line ends in JSON are blanks between its parts: within strings they are escaped.
        let info = info.map(|info| info.get().replace(['\r', '\n'], " ").into());
        Some(match self.user() {
            Some(user) => Member { id: MemberId::User(user.clone()), info },
            None => Member { id: MemberId::Session(session.into()), info: None },
        })
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

    /// Who it is by this book, if what it has shown still counts.
    fn caller_by(&self, book: &Book) -> Result<Cow<'_, Caller>, Refusal> {
        if let Caller::Token(claims) = &self.caller
            && let Some(refusal) = self.gate.ended(claims)
        {
            return Err(refusal);
        }
        Ok(if book.edition() == self.edition { Cow::Borrowed(&self.caller) } else { Cow::Owned(book.again(&self.caller)?) })
    }

    /// Whether this may be done here.
    ///
    /// # Errors
    /// `permission_denied` with the rule that denied, `unauthenticated` when it might be allowed to somebody who is known,
    /// `token_expired` when the time is over, `revoked` since it was; each is counted and logged. `overloaded` when it is too soon
    /// for one more.
    pub fn check(&self, action: Action, channel: &ChannelName) -> Result<()> {
        self.check_permitted(action, channel)?;
        let Rates { publishes, subscribes, .. } = &self.gate.0.rates;
        match action {
            Action::Publish => self.pace((Rate::CallerPublishes, publishes), 1, Callers::take),
            Action::Subscribe => self.pace((Rate::CallerSubscribes, subscribes), 1, Callers::take),
            Action::History | Action::Presence | Action::Admin | Action::Control => Ok(()),
        }
    }

    /// As [`Pass::check`], without being one more of what has a rate.
    ///
    /// # Errors
    /// As [`Pass::check`].
    pub fn check_permitted(&self, action: Action, channel: &ChannelName) -> Result<()> {
        self.permit(action, channel).map_err(|refusal| self.gate.refuse(&refusal))
    }

    /// Whether a page of what is kept here may be read. It costs as much as to listen from before, and is taken from the same rate; but
    /// not of a backend, who asks for many.
    ///
    /// # Errors
    /// As [`Pass::check`].
    pub fn check_page(&self, action: Action, channel: &ChannelName) -> Result<()> {
        self.check_permitted(action, channel)?;
        self.check_question()
    }

    /// Whether it may ask one thing more, which costs what a page does.
    ///
    /// # Errors
    /// `overloaded`; it is counted and logged.
    pub fn check_question(&self) -> Result<()> {
        if matches!(self.caller, Caller::Backend(_)) {
            return Ok(());
        }
        self.pace((Rate::CallerSubscribes, &self.gate.0.rates.subscribes), 1, Callers::take)
    }

    /// Whether this may be published. It is taken from the rates of its publisher.
    ///
    /// # Errors
    /// As [`Pass::check`].
    pub fn check_publish(&self, draft: &Draft) -> Result<()> {
        self.check(Action::Publish, &draft.channel)?;
        self.pace((Rate::CallerBytes, &self.gate.0.rates.bytes), draft.bytes(), Callers::take)
    }

    /// Whether it is too soon for any publish that has so many bytes or more: known before they are here. With one byte, whether the
    /// bucket of bytes is empty. Nothing is taken from the rates.
    ///
    /// # Errors
    /// `overloaded`; it is counted and logged.
    pub fn check_pace_of_publish(&self, bytes_min: u64) -> Result<()> {
        let Rates { publishes, bytes, .. } = &self.gate.0.rates;
        self.pace((Rate::CallerPublishes, publishes), 1, Callers::look)?;
        self.pace((Rate::CallerBytes, bytes), bytes_min, Callers::look)
    }

    /// Whether this is permitted here, how often it was done aside.
    ///
    /// # Errors
    /// As [`Pass::check`]; the refusal is neither counted nor logged yet.
    pub fn permit(&self, action: Action, channel: &ChannelName) -> Result<(), Refusal> {
        let book = self.gate.0.book.load();
        let caller = self.caller_by(&book)?;
        match decide(&caller, action, channel, book.policy()) {
            rule if rule.allows() => Ok(()),
            rule => Err(refusal(rule, action, channel, &book, &caller)),
        }
    }

    /// Whether there can be anything at all that may be done here. Who is known is asked again, by what he asks for.
    ///
    /// # Errors
    /// As [`Pass::check`].
    pub fn check_anything(&self) -> Result<()> {
        self.permit_anything().map_err(|refusal| self.gate.refuse(&refusal))
    }

    /// As [`Pass::check_anything`].
    ///
    /// # Errors
    /// The refusal, neither counted nor logged yet.
    pub fn permit_anything(&self) -> Result<(), Refusal> {
        let book = self.gate.0.book.load();
        let caller = self.caller_by(&book)?;
        let may_ask = !matches!(*caller, Caller::Anyone);
        if may_ask || Action::ALL.into_iter().any(|action| may_somewhere(&caller, action, book.policy())) {
            return Ok(());
        }
        Err(Refusal::new(Denied::Missing, book.without_credential()))
    }

    /// Whether there can be a channel on which this may be done: who may nowhere need not say where.
    ///
    /// # Errors
    /// As [`Pass::check`].
    pub fn check_somewhere(&self, action: Action) -> Result<()> {
        let book = self.gate.0.book.load();
        let refusal = match self.caller_by(&book) {
            Ok(caller) if may_somewhere(&caller, action, book.policy()) => return Ok(()),
            Ok(Cow::Borrowed(Caller::Anyone) | Cow::Owned(Caller::Anyone)) => Refusal::new(Denied::Missing, book.without_credential()),
            Ok(_) => Refusal::new(Denied::Permission, format!("nothing here allows you {action} on any channel")),
            Err(refusal) => refusal,
        };
        Err(self.gate.refuse(&refusal))
    }

    /// So much more of what has a rate, of this caller. Of whom nothing is known at all has none: of a request the program around us
    /// may not have said where it comes from.
    fn pace(
        &self,
        (rate, callers): (Rate, &Callers),
        amount: u64,
        take: impl Fn(&Callers, limits::Caller<'_>, u64, Duration) -> Result<(), Duration>,
    ) -> Result<()> {
        // What is not bounded costs nothing.
        if callers.rate() == 0 {
            return Ok(());
        }
        let Some(caller) = self.name().or_else(|| self.comes_from()) else { return Ok(()) };
        let Shared { clock, metrics, .. } = &*self.gate.0;
        take(callers, caller, amount, clock.mono()).map_err(|wait| {
            metrics.caller_rate_exceeded(rate, caller);
            rate_exceeded(rate, callers.rate(), wait)
        })
    }

    /// Whether every channel that begins so may be looked after: for lists.
    ///
    /// # Errors
    /// As [`Pass::check`].
    pub fn check_all_of(&self, action: Action, prefix: &str) -> Result<()> {
        self.permit_all_of(action, prefix).map_err(|refusal| self.gate.refuse(&refusal))
    }

    fn permit_all_of(&self, action: Action, prefix: &str) -> Result<(), Refusal> {
        let book = self.gate.0.book.load();
        match &*self.caller_by(&book)? {
            Caller::Everyone => Ok(()),
            Caller::Backend(backend) => {
                if backend.can.has(action) && backend.channels.iter().any(|pattern| pattern.covers_all_of(prefix)) {
                    return Ok(());
                }
                let what = format!("`{}` has no scope for {action} on all channels that begin with `{prefix}`", backend.name);
                Err(Refusal::new(Denied::Permission, what))
            }
            Caller::Token(_) => Err(Refusal::new(Denied::Permission, format!("no token holds {action}: it is for keys"))),
            Caller::Anyone => Err(Refusal::new(Denied::Missing, book.without_credential())),
        }
    }

    /// Which rule decides, told to whoever wants to know: its name, whether it allows, and why.
    #[must_use]
    pub fn explain(&self, action: Action, channel: &ChannelName) -> (&'static str, bool, String) {
        let book = self.gate.0.book.load();
        match self.caller_by(&book) {
            Ok(caller) => {
                let rule = decide(&caller, action, channel, book.policy());
                (rule.name(), rule.allows(), rule.sentence(action, channel))
            }
            Err(refusal) => (refusal.cause.as_str(), false, refusal.message.into_owned()),
        }
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
        Rule::OnlyKeys if matches!(caller, Caller::Anyone) => Denied::Missing,
        _ => Denied::Permission,
    };
    Refusal::new(cause, rule.sentence(action, channel)).with(detail)
}

#[cfg(test)]
mod tests;
