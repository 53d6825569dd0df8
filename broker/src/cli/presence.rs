//! `tidings presence CHANNEL`.

use std::process::ExitCode;

use clap::Args;
use tidings_sdk::{Client, Delivery};

use super::connection::{self, Connection, Ended};
use super::output::{Gone, Output};
use super::signals::Signals;

/// Users asked for at a time; the broker allows no more unless it is told to.
const PAGE: u32 = 1000;

pub(crate) const EXAMPLES: &str = "\
Examples:
  tidings presence chat:lobby
  tidings presence chat:lobby --json | jq -r .user
  tidings presence chat:lobby --follow

Prints the users, by name, and how many there are; with --json one user a line, and {\"counts\":{…}} at the end. With
--follow it goes on with who joins and who leaves. The channel's namespace must have `presence: true`, and for --follow
`join_leave: true`.";

/// Whose channel.
#[derive(Clone, Debug, Args)]
pub(crate) struct Presence {
    /// The channel
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// Go on with who joins and leaves
    #[arg(long)]
    follow: bool,
    /// Write JSON on a terminal too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Presence {
    pub(crate) fn run(&self) -> ExitCode {
        connection::run(async {
            // Before anything else: an end that is asked for is no failure at any moment.
            let mut signals = match Signals::listen() {
                Ok(signals) => signals,
                Err(why) => return Ended::failed(why),
            };
            tokio::select! {
                _ = signals.next() => Ended::Done,
                ended = self.look() => ended.unwrap_or_else(|ended| ended),
            }
        })
    }

    async fn look(&self) -> Result<Ended, Ended> {
        let client = self.connection.open(None).await?;
        if self.follow { self.follow(&client).await } else { self.list(&client).await }
    }

    async fn list(&self, client: &Client) -> Result<Ended, Ended> {
        let output = Output::new(self.json);
        let mut query = client.presence(&self.channel).limit(PAGE);
        loop {
            let page = query.await.map_err(|why| Ended::of(&why))?;
            for user in &page.users {
                if let Err(Gone) = output.user(user) {
                    return Ok(Ended::Done);
                }
            }
            match page.next {
                Some(next) => query = client.presence(&self.channel).limit(PAGE).after(next),
                None => {
                    // Who reads no more was told everything it wanted.
                    let _ = output.counts(&self.channel, page.counts);
                    return Ok(Ended::Done);
                }
            }
        }
    }

    async fn follow(&self, client: &Client) -> Result<Ended, Ended> {
        let output = Output::new(self.json);
        let mut subscription = client.subscribe([&self.channel]).presence().await.map_err(|why| Ended::of(&why))?;
        loop {
            let written = match subscription.next().await {
                Some(Ok(Delivery::Presence(told))) => output.presence(&told),
                Some(Ok(Delivery::Interrupted(why))) => output.interrupted(&why),
                Some(Ok(Delivery::Resumed)) => output.resumed(),
                Some(Ok(_)) => Ok(()),
                Some(Err(why)) => return Err(Ended::of(&why)),
                None => return Ok(Ended::Done),
            };
            if let Err(Gone) = written {
                return Ok(Ended::Done);
            }
        }
    }
}
