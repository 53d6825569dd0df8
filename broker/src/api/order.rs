//! Orders about clients, however they came in: whom they are about, and whether the one who orders may.

use std::sync::Arc;

use crate::auth::grant::Caller;
use crate::auth::pattern::Pattern;
use crate::auth::{Action, Pass};
use crate::control::{Control, Order, Outcome, RevokeWhom, Whom};
use crate::error::{Error, Result};
use crate::journal::SessionId;
use crate::message::ChannelName;

/// Longest user and token id, as in tokens.
const NAME_BYTES_MAX: usize = 255;
/// The end of the year 9999, in seconds since 1970.
const TIME_MAX: u64 = 253_402_300_799;

/// Whom an order names, as it is written. Exactly one is given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clients<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) token_id: Option<&'a str>,
    pub(super) session: Option<&'a str>,
}

impl Clients<'_> {
    fn whom(self) -> Result<Whom> {
        match (self.user, self.token_id, self.session) {
            (Some(user), None, None) => named(user, "user").map(Whom::User),
            (None, Some(id), None) => named(id, "token_id").map(Whom::Token),
            (None, None, Some(session)) => SessionId::parse(session)
                .map(Whom::Session)
                .ok_or_else(|| Error::invalid("a `session` has 1 to 32 letters, digits, `-` or `_`")),
            _ => Err(Error::invalid("say whom it is about: exactly one of `user`, `token_id` and `session`")),
        }
    }
}

/// That stays end.
///
/// # Errors
/// `invalid_request` when it is not said whose.
pub(super) fn disconnect(clients: Clients<'_>, reconnect: bool) -> Result<Order> {
    Ok(Order::Disconnect { whom: clients.whom()?, reconnect })
}

/// That subscriptions end.
///
/// # Errors
/// `invalid_request` when it is not said whose, or to what.
pub(super) fn unsubscribe(clients: Clients<'_>, channel: &str) -> Result<Order> {
    let channels = Pattern::parse(channel)
        .map_err(|why| Error::invalid(format!("`channel` is a channel, or the beginning of channels and a `*`: {why}")))?;
    if channels.prefix().is_none() {
        ChannelName::parse(channel)?;
    }
    Ok(Order::Unsubscribe { whom: clients.whom()?, channels })
}

/// That tokens count no longer.
///
/// # Errors
/// `invalid_request` when it is not said which, or a moment is none.
pub(super) fn revoke(control: &Control, clients: Clients<'_>, until: Option<u64>, issued_until: Option<u64>) -> Result<Order> {
    for (moment, name) in [(until, "until"), (issued_until, "issued_until")] {
        if moment.is_some_and(|moment| moment > TIME_MAX) {
            return Err(Error::invalid(format!("`{name}` is a number of seconds since 1970")));
        }
    }
    let whom = match clients.whom() {
        Ok(Whom::User(user)) => RevokeWhom::User(user, issued_until),
        Ok(Whom::Token(_)) if issued_until.is_some() => {
            return Err(Error::invalid("`issued_until` is for a `user`: a token is revoked whenever it was issued"));
        }
        Ok(Whom::Token(id)) => RevokeWhom::Token(id),
        Ok(Whom::Session(_)) => return Err(Error::invalid("a session cannot be revoked, only a `user` or a `token_id`")),
        Err(_) => return Err(Error::invalid("say what is revoked: exactly one of `user` and `token_id`")),
    };
    let revocation = control.revocation(whom, until);
    if control.has_passed(revocation.until) {
        return Err(Error::invalid("`until` has passed: what has expired by then is refused anyway"));
    }
    Ok(Order::Revoke(revocation))
}

/// Gives an order in the name of who calls.
///
/// # Errors
/// `permission_denied` without the scope `control` for all channels that it touches; what the control says.
pub(super) async fn give(control: &Control, pass: &Pass, order: Order) -> Result<Outcome> {
    match &order {
        Order::Unsubscribe { channels, .. } => match channels.prefix() {
            Some(prefix) => pass.check_all_of(Action::Control, prefix)?,
            None => pass.check(Action::Control, &ChannelName::parse(&channels.to_string())?)?,
        },
        // Whatever they listen to.
        Order::Disconnect { .. } | Order::Revoke(_) => pass.check_all_of(Action::Control, "")?,
    }
    control.give(order, caller(pass)).await
}

/// What the log calls who orders.
fn caller(pass: &Pass) -> &str {
    match pass.caller() {
        Caller::Backend(backend) => &backend.name,
        Caller::Everyone => "anyone (dev)",
        Caller::Anyone | Caller::Token(_) => "nobody",
    }
}

fn named(name: &str, what: &str) -> Result<Arc<str>> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!("`{what}` has 1 to {NAME_BYTES_MAX} bytes and no control characters")));
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::token::config::Config;
    use crate::auth::{Revocations, Revoked};
    use crate::clock::Clock;
    use crate::control::Register;
    use crate::metrics::Metrics;

    fn of_user(user: &str) -> Clients<'_> {
        Clients { user: Some(user), ..Clients::default() }
    }

    #[test]
    fn an_order_says_whom_it_is_about_in_one_way() {
        assert_eq!(disconnect(of_user("ann"), true).unwrap(), Order::Disconnect { whom: Whom::User("ann".into()), reconnect: true });
        let session = Clients { session: Some("s-1"), ..Clients::default() };
        assert!(matches!(disconnect(session, false), Ok(Order::Disconnect { whom: Whom::Session(_), reconnect: false })));
        let both = Clients { token_id: Some("t"), ..of_user("ann") };
        let long = "x".repeat(256);
        for wrong in
            [Clients::default(), both, of_user(""), of_user("a\nb"), of_user(&long), Clients { session: Some("a b"), ..Clients::default() }]
        {
            assert!(disconnect(wrong, false).is_err(), "{wrong:?}");
        }
        for wrong in ["", "a*b", "a\n", "tidings-probe:x"] {
            assert!(unsubscribe(of_user("ann"), wrong).is_err(), "{wrong:?}");
        }
        assert!(unsubscribe(of_user("ann"), "*").is_ok() && unsubscribe(of_user("ann"), "news").is_ok());
    }

    #[test]
    fn a_revocation_names_a_user_or_a_token_and_lies_ahead() {
        let clock = Clock::start();
        let revocations = Revocations::new(&Config::default());
        let control = Control::new(Register::new(revocations.clone(), clock), revocations, clock, Metrics::new(0, clock), None);
        let Ok(Order::Revoke(revocation)) = revoke(&control, of_user("ann"), None, Some(7)) else { panic!() };
        assert_eq!(revocation.what, Revoked::User("ann".into(), 7));
        let now = clock.now().unix_ms / 1000;
        assert!((now + 86_399..=now + 86_401).contains(&revocation.until), "for as long as the configuration says");
        let token = Clients { token_id: Some("t"), ..Clients::default() };
        assert!(revoke(&control, token, Some(now + 9), None).is_ok());
        let session = Clients { session: Some("s"), ..Clients::default() };
        for (wrong, until, issued_until) in [
            (token, None, Some(7)),
            (session, None, None),
            (Clients::default(), None, None),
            (token, Some(now - 9), None),
            (token, Some(u64::MAX), None),
        ] {
            assert!(revoke(&control, wrong, until, issued_until).is_err(), "{wrong:?} {until:?}");
        }
    }
}
