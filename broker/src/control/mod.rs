//! Orders of backends about clients that are here: that their stays end, that their subscriptions do, that what they show
//! counts no longer. Given on any node, carried out on all, answered with the nodes that have done it and those that have not.
//!
//! It finds stays in its [`Register`] and tells them; how a stay obeys is its front's. Of other nodes it knows only
//! [`Elsewhere`].

mod order;
mod register;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout_at};

pub use order::{Done, Missed, Order, Outcome, Reached, Whom, Word};
pub use register::{Entered, Register, Told};

use crate::auth::{Identity, Revocation, Revocations, Revoked};
use crate::clock::Clock;
use crate::error::Result;
use crate::journal::SessionId;
use crate::metrics::{Metrics, Reach};

/// How long the stays of one node have to obey before the order is answered without them.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long another node has to answer: longer than its stays have.
const ELSEWHERE: Duration = Duration::from_secs(2);
/// The name of a node that is part of no cluster.
const ALONE: &str = "this node";

/// The other nodes.
pub trait Elsewhere: Send + Sync + fmt::Debug {
    /// Has an order carried out on every other node that is not known to have left or ended: by each, what it did or why not.
    fn carry_out(&self, order: &Order, limit: Duration) -> BoxFuture<'static, Vec<(String, Result<Done, String>)>>;
}

/// Stays that are in no register: they show nothing, and have only a name.
pub trait Nameless: Send + Sync {
    /// Tells those of this session, and says what came of it. Answers in bounded time, whoever hangs.
    fn tell(&self, session: SessionId, word: Word) -> BoxFuture<'static, Done>;
}

/// Orders on one node. A cheap handle.
#[derive(Clone)]
pub struct Control(Arc<Shared>);

struct Shared {
    register: Register,
    revocations: Revocations,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// This node's own name.
    name: String,
    elsewhere: Option<Arc<dyn Elsewhere>>,
    nameless: OnceLock<Arc<dyn Nameless>>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl Control {
    /// Over the stays of this register. `elsewhere` is this node's name and the others, in a cluster.
    #[must_use]
    pub fn new(
        register: Register,
        revocations: Revocations,
        clock: Clock,
        metrics: Arc<Metrics>,
        elsewhere: Option<(String, Arc<dyn Elsewhere>)>,
    ) -> Self {
        let (name, elsewhere) = elsewhere.map_or_else(|| (ALONE.to_owned(), None), |(name, elsewhere)| (name, Some(elsewhere)));
        Self(Arc::new(Shared { register, revocations, clock, metrics, name, elsewhere, nameless: OnceLock::new() }))
    }

    /// Whom to ask for stays that are in no register. Known once all who own stays are there.
    pub fn reach_nameless(&self, nameless: Arc<dyn Nameless>) {
        // Said once, by whoever builds the node.
        let _ = self.0.nameless.set(nameless);
    }

    /// The stays that orders find.
    #[must_use]
    pub fn register(&self) -> &Register {
        &self.0.register
    }

    /// What is revoked on this node.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.0.revocations
    }

    /// A revocation from now on: until it expires, or for as long as the configuration says. Of a user it is about all that was
    /// issued until `issued_until`, or until now. All in seconds since 1970.
    #[must_use]
    pub fn revocation(&self, whom: RevokeWhom, until: Option<u64>) -> Revocation {
        let now = self.now();
        let what = match whom {
            RevokeWhom::User(user, issued_until) => Revoked::User(user, issued_until.unwrap_or(now)),
            RevokeWhom::Token(id) => Revoked::Token(id),
        };
        let until = until.unwrap_or_else(|| now.saturating_add(self.0.revocations.default_length().as_secs()));
        Revocation { what, until }
    }

    /// Whether this moment, in seconds since 1970, has passed.
    #[must_use]
    pub fn has_passed(&self, moment: u64) -> bool {
        moment <= self.now()
    }

    /// Gives an order: it is carried out here and on all other nodes. `by` is who ordered it, for the log.
    ///
    /// # Errors
    /// `overloaded` when no revocation more can be kept here; then nobody else was asked.
    pub async fn give(&self, order: Order, by: &str) -> Result<Outcome> {
        let (metrics, kind) = (&self.0.metrics, order.kind());
        // Whoever is revoked must not come in here while the others are told.
        if let Err(error) = self.note(&order) {
            metrics.ordered(kind, Reach::Refused);
            tracing::warn!(event = "order_refused", order = kind.as_str(), by, why = %error, "an order about clients was refused");
            return Err(error);
        }
        let elsewhere = self.0.elsewhere.as_ref().map(|elsewhere| elsewhere.carry_out(&order, ELSEWHERE));
        let elsewhere = async {
            match elsewhere {
                Some(answers) => answers.await,
                None => Vec::new(),
            }
        };
        let (here, answers) = tokio::join!(self.obey(&order), elsewhere);
        let mut outcome = Outcome::default();
        outcome.reached.push(Reached { node: self.0.name.clone(), done: here });
        for (node, answer) in answers {
            match answer {
                Ok(done) => outcome.reached.push(Reached { node, done }),
                Err(why) => outcome.missed.push(Missed { node, why }),
            }
        }
        if let Order::Revoke(revocation) = &order {
            outcome.until = Some(revocation.until);
        }
        metrics.ordered(kind, if outcome.missed.is_empty() { Reach::Everywhere } else { Reach::Partly });
        log(&order, by, &outcome);
        Ok(outcome)
    }

    /// Carries out what another node was ordered, on this one.
    ///
    /// # Errors
    /// As [`Control::give`].
    pub async fn carry_out(&self, order: &Order) -> Result<Done> {
        self.note(order)?;
        let done = self.obey(order).await;
        let (kind, ended, pending) = (order.kind().as_str(), done.ended, done.pending);
        tracing::info!(event = "order_carried_out", order = kind, whom = %Shown(&order.whom()), ended, pending, "an order of another node was carried out");
        Ok(done)
    }

    /// Takes in what another node has revoked, and ends the stays that began with it: this node was not there when it was
    /// ordered. What the list has no room for is said in the log.
    pub fn take_in(&self, revocations: &[Revocation]) {
        let (mut new, mut unkept) = (0_u64, 0_u64);
        for revocation in revocations {
            match self.0.revocations.add(revocation, self.now()) {
                Ok(true) => {
                    new += 1;
                    let order = Order::Revoke(revocation.clone());
                    // They end by themselves; nobody waits for it.
                    drop(self.tell(&order));
                }
                Ok(false) => {}
                Err(_) => unkept += 1,
            }
        }
        if new > 0 {
            tracing::info!(event = "revocations_learned", count = new, "another node knew of users and tokens that are revoked");
        }
        if unkept > 0 {
            tracing::error!(
                event = "revocations_lost",
                count = unkept,
                "there is no room for what another node has revoked (tokens.revocations)"
            );
        }
    }

    /// Lets go of revocations of what has expired.
    pub fn sweep(&self) {
        self.0.revocations.sweep(self.now());
    }

    /// Puts a revocation into the list, before anybody is told.
    fn note(&self, order: &Order) -> Result<()> {
        match order {
            Order::Revoke(revocation) => self.0.revocations.add(revocation, self.now()).map(drop),
            Order::Disconnect { .. } | Order::Unsubscribe { .. } => Ok(()),
        }
    }

    fn tell(&self, order: &Order) -> register::Telling {
        let issued_until = match order {
            Order::Revoke(Revocation { what: Revoked::User(_, issued_until), .. }) => Some(*issued_until),
            _ => None,
        };
        let passes = |identity: &Identity| match (issued_until, identity.issued) {
            (Some(until), Some(issued)) => issued <= until,
            _ => true,
        };
        self.0.register.tell(&order.whom(), &order.word(), passes)
    }

    /// Tells everyone here whom it is about, and waits for them, for a while.
    async fn obey(&self, order: &Order) -> Done {
        let deadline = Instant::now() + PATIENCE;
        let register::Telling { count, mut obeyed } = self.tell(order);
        let nameless = self.nameless(order);
        let named = async {
            let (mut ended, mut answered) = (0, 0);
            while let Ok(Some(one)) = timeout_at(deadline, obeyed.recv()).await {
                ended += one;
                answered += 1;
            }
            Done { ended, pending: count - answered }
        };
        let (named, nameless) = tokio::join!(named, nameless);
        Done { ended: named.ended + nameless.ended, pending: named.pending + nameless.pending }
    }

    async fn nameless(&self, order: &Order) -> Done {
        match (order.whom(), self.0.nameless.get()) {
            (Whom::Session(session), Some(nameless)) => nameless.tell(session, order.word()).await,
            _ => Done::default(),
        }
    }

    fn now(&self) -> u64 {
        self.0.clock.now().unix_ms / 1000
    }
}

/// Whom a revocation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokeWhom {
    /// A user: all that was issued until this moment, or until now.
    User(Arc<str>, Option<u64>),
    /// The token of this id.
    Token(Arc<str>),
}

/// For the log.
struct Shown<'a>(&'a Whom);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Whom::User(user) => write!(f, "user {user}"),
            Whom::Token(id) => write!(f, "token {id}"),
            Whom::Session(session) => write!(f, "session {session}"),
        }
    }
}

fn log(order: &Order, by: &str, outcome: &Outcome) {
    let (kind, whom, ended) = (order.kind().as_str(), order.whom(), outcome.ended());
    let nodes = outcome.reached.len();
    if outcome.missed.is_empty() {
        tracing::info!(event = "order_given", order = kind, by, whom = %Shown(&whom), ended, nodes, "an order about clients was carried out");
        return;
    }
    let missed: Vec<String> = outcome.missed.iter().map(|missed| format!("{} ({})", missed.node, missed.why)).collect();
    let missed = missed.join(", ");
    tracing::warn!(event = "order_given", order = kind, by, whom = %Shown(&whom), ended, nodes, missed, "an order about clients did not reach every node");
}

#[cfg(test)]
mod tests;
