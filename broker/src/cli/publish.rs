//! `tidings publish CHANNEL [DATA|-]`.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tidings_sdk::{Ack, MESSAGE_BYTES_MAX, Message, PATIENCE_MAX};
use tokio::sync::mpsc;

use super::connection::{self, Connection, Ended, say};
use super::output::Output;

pub(crate) const EXAMPLES: &str = "\
Examples:
  tidings publish news 'hello'
  tidings publish orders '{\"total\": 42}' --content-type application/json --event created
  tidings publish news - < message.txt
  tail -F access.log | tidings publish logs --lines
  tidings publish orders --id order-17 < order.json   (repeated within 120 s it stays one message)

On a terminal a result is a line of text, elsewhere (or with --json) a line of JSON as `POST /v1/publish` gives it.";

/// Most lines on their way at once.
const IN_FLIGHT: usize = 256;

/// What to publish, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct Publish {
    /// The channel
    channel: String,
    /// The message; without it, or with -, standard input as it is
    #[arg(conflicts_with = "lines", allow_negative_numbers = true)]
    data: Option<String>,
    /// Publish each line of standard input as a message, without its line end
    #[arg(long)]
    lines: bool,
    /// The event name that browsers listen for
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// What the data is, such as application/json
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// A name and a value that go with the message; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// The message's own id: publishing it again within 120 s adds nothing
    #[arg(long, value_name = "ID", conflicts_with = "lines")]
    id: Option<String>,
    /// Keep it for at most this long, such as 30s or 5m
    #[arg(long, value_name = "DURATION", value_parser = connection::duration)]
    ttl: Option<Duration>,
    /// How long to try, at most 20s
    #[arg(long, value_name = "DURATION", value_parser = connection::duration, default_value = "20s")]
    timeout: Duration,
    /// Write results as JSON on a terminal too
    #[arg(long)]
    json: bool,
    /// Write no results
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    #[command(flatten)]
    connection: Connection,
}

fn header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("needs NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Publish {
    pub(crate) fn run(&self) -> ExitCode {
        connection::run(async {
            let ended = if self.lines { self.publish_lines().await } else { self.publish_one().await };
            ended.unwrap_or_else(|ended| ended)
        })
    }

    async fn publish_one(&self) -> Result<Ended, Ended> {
        let data = match self.data.as_deref() {
            None | Some("-") => standard_input()?,
            Some(data) => data.as_bytes().to_vec(),
        };
        let client = self.connection.open(Some(self.timeout.min(PATIENCE_MAX))).await?;
        let published = client.publish(&*self.channel, self.message(data)).await.map_err(|why| Ended::of(&why))?;
        if !self.quiet {
            // The message is published, whether or not somebody reads so.
            let _ = Output::new(self.json).published(&published);
        }
        Ok(Ended::Done)
    }

    /// Lines go out and answers come in at the same time, so that whoever feeds line by line sees each answer.
    async fn publish_lines(&self) -> Result<Ended, Ended> {
        let client = self.connection.open(Some(self.timeout.min(PATIENCE_MAX))).await?;
        let stream = client.publish_stream(IN_FLIGHT);
        let mut lines = lines();
        let (acks, mut answers) = mpsc::channel::<(u64, Ack)>(IN_FLIGHT);
        let send = async {
            let mut number = 0;
            loop {
                // When the other half stops it met what no further line would survive.
                let line = tokio::select! {
                    line = lines.recv() => line,
                    () = acks.closed() => None,
                };
                let Some(line) = line else { break };
                number += 1;
                let line = line.map_err(|why| Ended::failed(format_args!("line {number}: {why}")))?;
                let ack = stream.publish(&*self.channel, self.message(line)).await.map_err(|why| Ended::of(&why))?;
                if acks.send((number, ack)).await.is_err() {
                    break;
                }
            }
            drop(acks);
            Ok::<_, Ended>(())
        };
        let hear = async {
            let output = Output::new(self.json);
            let (mut count, mut worst, mut is_read) = (0_u64, Ended::Done, !self.quiet);
            while let Some((number, ack)) = answers.recv().await {
                match ack.await {
                    Ok(published) => {
                        count += 1;
                        is_read = is_read && (output.is_for_people() || output.published(&published).is_ok());
                    }
                    Err(why) => {
                        say(format_args!("line {number}: {why}"));
                        worst = worst.max(Ended::kind(&why));
                        // What is wrong with one line says nothing of the next; a broker that is away or a key that is wrong does.
                        if worst > Ended::Failed {
                            break;
                        }
                    }
                }
            }
            drop(answers);
            if is_read && output.is_for_people() {
                super::print(&format!("{count} messages published to {}\n", self.channel));
            }
            worst
        };
        let (sent, worst) = tokio::join!(send, hear);
        Ok(worst.max(sent.err().unwrap_or(Ended::Done)))
    }

    fn message(&self, data: Vec<u8>) -> Message {
        let mut message = Message::new(data);
        if let Some(event) = &self.event {
            message = message.event(event);
        }
        if let Some(content_type) = &self.content_type {
            message = message.content_type(content_type);
        }
        if let Some(id) = &self.id {
            message = message.id(id);
        }
        if let Some(ttl) = self.ttl {
            message = message.ttl(ttl);
        }
        self.header.iter().fold(message, |message, (name, value)| message.header(name, value))
    }
}

/// All of standard input, as long as it can be a message.
fn standard_input() -> Result<Vec<u8>, Ended> {
    if std::io::stdin().is_terminal() {
        say("the message is read from here; end it with Ctrl-D");
    }
    let mut data = Vec::new();
    let mut input = std::io::stdin().lock().take(MESSAGE_BYTES_MAX as u64 + 1);
    input.read_to_end(&mut data).map_err(|why| Ended::failed(format_args!("standard input: {why}")))?;
    if data.len() > MESSAGE_BYTES_MAX {
        return Err(Ended::failed(too_long()));
    }
    Ok(data)
}

/// The lines of standard input, read on a thread of their own since nothing else can wait for a file or a terminal.
fn lines() -> mpsc::Receiver<Result<Vec<u8>, String>> {
    let (send, lines) = mpsc::channel(IN_FLIGHT);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = input.by_ref().take(MESSAGE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
            let line = match read {
                Ok(0) => return,
                Ok(count) if count > MESSAGE_BYTES_MAX => Err(too_long()),
                Ok(_) => {
                    let end = line.strip_suffix(b"\n").map_or(line.len(), |line| line.strip_suffix(b"\r").unwrap_or(line).len());
                    line.truncate(end);
                    Ok(line)
                }
                Err(why) => Err(why.to_string()),
            };
            let is_last = line.is_err();
            if send.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    });
    lines
}

fn too_long() -> String {
    format!("a message has at most {MESSAGE_BYTES_MAX} bytes")
}
