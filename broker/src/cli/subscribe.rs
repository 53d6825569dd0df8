//! `tidings subscribe CHANNEL…`.

use std::process::ExitCode;

use clap::Args;
use tidings_sdk::{Client, Delivery, Subscription};

use super::connection::{self, Connection, Ended, say};
use super::output::{Gone, Output};
use super::signals::Signals;

pub(crate) const EXAMPLES: &str = "\
Examples:
  tidings subscribe news
  tidings subscribe news sports --last 10
  tidings subscribe orders --since earliest | jq .data
  tidings subscribe orders --since \"$(cat cursor)\" --count 1

On a terminal a message is a line of text, elsewhere (or with --json) a line of JSON: messages as they are,
{\"gap\":{…}} where some are missing, {\"close\":{…}} when the broker ends the stream. When the connection breaks the
subscription comes back by itself and goes on where it was. The newest `cursor` of any line goes on with --since.
Ctrl-C ends it with code 0, and so does a reader that went away.";

/// What to listen to.
#[derive(Clone, Debug, Args)]
pub(crate) struct Subscribe {
    /// The channels
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Begin after this cursor, or with `earliest` at the oldest message that is kept
    #[arg(long, value_name = "CURSOR", conflicts_with = "last")]
    since: Option<String>,
    /// Begin with the newest so many messages of each channel
    #[arg(long, value_name = "N")]
    last: Option<u32>,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Write JSON on a terminal too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Subscribe {
    pub(crate) fn run(&self) -> ExitCode {
        connection::run(async {
            // Before anything else: an end that is asked for is no failure at any moment.
            let mut signals = match Signals::listen() {
                Ok(signals) => signals,
                Err(why) => return Ended::failed(why),
            };
            tokio::select! {
                _ = signals.next() => Ended::Done,
                ended = self.listen() => ended.unwrap_or_else(|ended| ended),
            }
        })
    }

    async fn listen(&self) -> Result<Ended, Ended> {
        let client = self.connection.open(None).await?;
        let mut subscription = self.begin(&client).await?;
        let output = Output::new(self.json);
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let delivery = match subscription.next().await {
                Some(Ok(delivery)) => delivery,
                Some(Err(why)) => return Err(Ended::of(&why)),
                None => break,
            };
            let written = match delivery {
                Delivery::Message(message) => {
                    left -= 1;
                    output.message(&message)
                }
                Delivery::Gap(gap) => output.gap(&gap),
                Delivery::Interrupted(why) => output.interrupted(&why),
                Delivery::Resumed => output.resumed(),
                Delivery::Unsubscribed(left) => output.unsubscribed(&left),
                _ => Ok(()),
            };
            if let Err(Gone) = written {
                break;
            }
        }
        Ok(Ended::Done)
    }

    async fn begin(&self, client: &Client) -> Result<Subscription, Ended> {
        let subscribe = client.subscribe(&self.channels);
        let subscribe = match (self.since.as_deref(), self.last) {
            (Some("earliest"), _) => subscribe.earliest(),
            (Some(cursor), _) => subscribe.since(cursor),
            (None, Some(last)) => subscribe.last(last),
            (None, None) => subscribe,
        };
        let subscription = subscribe.await.map_err(|why| Ended::of(&why))?;
        if Output::new(self.json).is_for_people() {
            say(format_args!("listening to {}; Ctrl-C ends", self.channels.join(", ")));
        }
        Ok(subscription)
    }
}
