//! Publishes that are refused, told to the journal: so that an operator finds there why, by who published or by the channel.

use crate::auth::{Action, Pass};
use crate::error::{Error, ErrorCode};
use crate::journal::{Journal, PublishRefused};
use crate::limits::Caller;
use crate::message::ChannelName;
use crate::metrics::Source;

/// Tells that a publish to this channel, as far as one is known, was refused. What a client hears is said, and nothing that it showed.
pub(super) fn tell(
    journal: &Journal,
    source: Source,
    (pass, from): (&Pass, Option<Caller<'_>>),
    channel: Option<&ChannelName>,
    error: &Error,
) {
    let from = from.or_else(|| pass.comes_from());
    let address = match from {
        Some(Caller::Address(address)) => Some(address),
        _ => None,
    };
    // The user of a process is vouched for by the system.
    let named = pass.name().or(from.filter(|from| matches!(from, Caller::Process(_))));
    let by = named.or(from).map_or_else(|| "somebody".to_owned(), Caller::name);
    let is_by_rule = matches!(error.code, ErrorCode::PermissionDenied | ErrorCode::Unauthenticated);
    let rule = channel.filter(|_| is_by_rule).map(|channel| pass.explain(Action::Publish, channel));
    let refused = PublishRefused {
        code: error.code,
        message: error.message.as_ref().into(),
        rule: rule.and_then(|(rule, allows, _)| (!allows).then_some(rule)),
        channel: channel.cloned(),
        by: by.into(),
        is_named: named.is_some(),
        address,
        source,
    };
    journal.publish_refused(refused, pass.gate().clock().now().unix_ms);
}
