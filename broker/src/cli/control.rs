//! `tidings disconnect`, `tidings unsubscribe`, `tidings revoke`: orders about clients.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use tidings_sdk::{Clients, Controlled};

use super::connection::{self, Connection, Ended, say};
use super::output::Output;

pub(crate) const DISCONNECT_EXAMPLES: &str = "\
Examples:
  tidings disconnect --user ann
  tidings disconnect --user ann --reconnect
  tidings disconnect --session 2f8Kq0s7VvJxG1aB

Ends their connections on every node, and says how many on which. Without --reconnect they are told not to come back by
themselves. The key needs the scope `control` for all channels. Ends with code 1 when a node was not reached.";

pub(crate) const UNSUBSCRIBE_EXAMPLES: &str = "\
Examples:
  tidings unsubscribe --user ann chat:lobby
  tidings unsubscribe --user ann 'chat:*'

Ends their subscriptions on every node. It is no ban: who may subscribe may do so again, so take the permission away first. The
key needs the scope `control` for these channels. Ends with code 1 when a node was not reached.";

pub(crate) const REVOKE_EXAMPLES: &str = "\
Examples:
  tidings revoke --user ann
  tidings revoke --token-id 9c1f --for 1h

What was issued to the user up to now, or the token of this id (`jti`), is refused from now on, on every node, and the
connections end that showed it. It is remembered for as long as --for says, which is how long the longest of these tokens still
counts; without it for `tokens.revoked_for`. The key needs the scope `control` for all channels. Ends with code 1 when a node was
not reached; it learns of it as soon as it is.";

/// Whose.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// All that show a token or a signed address of this user
    #[arg(long)]
    user: Option<String>,
    /// All that show the token of this id (`jti`)
    #[arg(long, value_name = "ID")]
    token_id: Option<String>,
    /// The session of this name
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
}

impl Whose {
    fn clients(&self) -> Clients {
        match (&self.user, &self.token_id, &self.session) {
            (Some(user), ..) => Clients::of_user(user),
            (None, Some(id), _) => Clients::of_token(id),
            // Exactly one is given.
            (None, None, session) => Clients::of_session(session.as_deref().unwrap_or_default()),
        }
    }
}

/// Ends connections.
#[derive(Clone, Debug, Args)]
pub(crate) struct Disconnect {
    #[command(flatten)]
    whose: Whose,
    /// Tell them to come back
    #[arg(long)]
    reconnect: bool,
    /// Write JSON on a terminal too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Disconnect {
    pub(crate) fn run(&self) -> ExitCode {
        connection::run(async {
            let client = match self.connection.open(None).await {
                Ok(client) => client,
                Err(ended) => return ended,
            };
            told(self.json, "connections ended", client.disconnect(self.whose.clients(), self.reconnect).await)
        })
    }
}

/// Ends subscriptions.
#[derive(Clone, Debug, Args)]
pub(crate) struct Unsubscribe {
    #[command(flatten)]
    whose: Whose,
    /// A channel, or the beginning of channels and a `*`
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// Write JSON on a terminal too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Unsubscribe {
    pub(crate) fn run(&self) -> ExitCode {
        connection::run(async {
            let client = match self.connection.open(None).await {
                Ok(client) => client,
                Err(ended) => return ended,
            };
            told(self.json, "subscriptions ended", client.unsubscribe(self.whose.clients(), &self.channel).await)
        })
    }
}

/// What is revoked.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct Revoked {
    /// All tokens and signed addresses of this user that were issued up to now
    #[arg(long)]
    user: Option<String>,
    /// The token of this id (`jti`)
    #[arg(long, value_name = "ID")]
    token_id: Option<String>,
}

/// Revokes tokens.
#[derive(Clone, Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    what: Revoked,
    /// Remember it for so long, such as 1h
    #[arg(long = "for", value_name = "DURATION", value_parser = connection::duration)]
    length: Option<Duration>,
    /// Write JSON on a terminal too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Revoke {
    pub(crate) fn run(&self) -> ExitCode {
        connection::run(async {
            let client = match self.connection.open(None).await {
                Ok(client) => client,
                Err(ended) => return ended,
            };
            let mut revoke = match (&self.what.user, &self.what.token_id) {
                (Some(user), _) => client.revoke_user(user),
                // Exactly one is given.
                (None, id) => client.revoke_token(id.as_deref().unwrap_or_default()),
            };
            if let Some(length) = self.length {
                revoke = revoke.until(SystemTime::now() + length);
            }
            told(self.json, "connections ended", revoke.await)
        })
    }
}

/// Says what became of an order; a node that was not reached is a failure, for scripts.
fn told(json: bool, what: &str, outcome: tidings_sdk::Result<Controlled>) -> Ended {
    let done = match outcome {
        Ok(done) => done,
        Err(why) => return Ended::of(&why),
    };
    // Who reads no more was told everything it wanted.
    let _ = Output::new(json).controlled(what, &done);
    if done.missed.is_empty() {
        return Ended::Done;
    }
    say(format_args!("{} of {} nodes were not reached", done.missed.len(), done.missed.len() + done.reached.len()));
    Ended::Failed
}
