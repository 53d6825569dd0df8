//! What every front's request may ask of presence: `presence=1`.

use std::sync::Arc;

use http::Method;
use http::request::Parts;

use super::request::Request;
use crate::auth::{Action, Pass};
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::journal::SessionId;
use crate::message::ChannelName;
use crate::session::{Presence, Subscription};

/// Whether the client wants to be told who comes and goes.
///
/// # Errors
/// `invalid_request` for anything but `1` and `0`.
pub(super) fn is_wanted(request: &Request) -> Result<bool> {
    match request.get("presence") {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(Error::invalid("`presence` is `1` (tell who is there, who joins and who leaves) or `0`")),
    }
}

/// Whether the caller may be told who comes and goes on this channel.
///
/// # Errors
/// What the gate says, or `invalid_request` when nobody is told that of this channel.
pub(super) fn may_be_told(pass: &Pass, hub: &Hub, channel: &ChannelName) -> Result<()> {
    pass.check(Action::Presence, channel)?;
    hub.check_join_leave(channel)
}

/// Lets the client of a stream be seen on its channels, and be told of others if it asks for that.
///
/// # Errors
/// As [`is_wanted`] and [`may_be_told`]; `overloaded` at a bound of members.
pub(super) fn enter(
    hub: &Arc<Hub>,
    parts: &Parts,
    pass: &Pass,
    session: SessionId,
    request: &Request,
    subscription: &Subscription,
) -> Result<Option<Box<Presence>>> {
    let wants = is_wanted(request)?;
    let names = || subscription.channels().map(|channel| &channel.name);
    if wants {
        names().try_for_each(|channel| may_be_told(pass, hub, channel))?;
    }
    let mut presence = None;
    // A request for the head alone is nobody's stay.
    if parts.method != Method::HEAD && (wants || names().any(|channel| hub.has_presence(channel))) {
        let member = pass.member(session.as_str());
        let since = wants.then_some(0);
        names().try_for_each(|channel| Presence::enter(&mut presence, hub, channel, member.as_ref(), since))?;
    }
    Ok(presence)
}
