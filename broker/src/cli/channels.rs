//! `tidings channels`.

use std::process::ExitCode;

use clap::Args;

use super::connection::{self, Connection, Ended, say};
use super::output::{Gone, Output};

pub(crate) const EXAMPLES: &str = "\
Examples:
  tidings channels
  tidings channels news: | jq -r .channel

The channels with messages or listeners, of all nodes of a cluster, by name: on a terminal a table, elsewhere (or with --json) a line
of JSON each. Nodes that did not answer are named on standard error, and then the code is 1. Needs a key with the scope `admin`.";

/// Channels asked for at a time.
const PAGE: u32 = 500;

/// Which channels.
#[derive(Clone, Debug, Args)]
pub(crate) struct Channels {
    /// Only names that begin so
    #[arg(value_name = "PREFIX", default_value = "")]
    prefix: String,
    /// Write JSON on a terminal too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Channels {
    pub(crate) fn run(&self) -> ExitCode {
        connection::run(async { self.list().await.unwrap_or_else(|ended| ended) })
    }

    async fn list(&self) -> Result<Ended, Ended> {
        let client = self.connection.open(None).await?;
        let output = Output::new(self.json);
        let mut after = String::new();
        let mut silent = Vec::new();
        loop {
            let asked = client.channels().prefix(&self.prefix).after(&after).limit(PAGE);
            let page = asked.await.map_err(|why| Ended::of(&why))?;
            if let Err(Gone) = output.channels(&page.channels, after.is_empty()) {
                return Ok(Ended::Done);
            }
            silent.extend(page.silent_nodes);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        if silent.is_empty() {
            return Ok(Ended::Done);
        }
        silent.sort_unstable();
        silent.dedup();
        say(format_args!("no answer from {}: channels that only they hold are missing", silent.join(", ")));
        Ok(Ended::Failed)
    }
}
