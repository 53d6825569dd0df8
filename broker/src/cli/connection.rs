//! What `tidings publish` and `tidings subscribe` share: which broker, with which key, and how they end.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use tidings_sdk::{Client, Code, Error, Tls};

/// The end of every `--help` of a client.
const EXIT_CODES: &str = "\
Ends with code
  0  all is done
  1  the broker refused it, or something failed here
  2  the command line is not understood
  3  the key is missing, unknown, or may not do this
  4  no broker was reached; nothing was done
  5  it was sent and no answer came: whether it is published is unknown";

/// What `--help` says below the options of a client: `-h` leaves the codes out.
pub(crate) fn help(examples: &str) -> String {
    format!("{examples}\n\n{EXIT_CODES}")
}

/// Which broker, and who asks.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The broker's gRPC address: http://HOST:PORT, https://HOST:PORT, HOST:PORT or unix:/PATH
    #[arg(long, env = "TIDINGS_URL", value_name = "ADDRESS", default_value = "http://127.0.0.1:8001")]
    url: String,
    /// The API key. Better in the environment or a file: other users of this machine can read command lines
    #[arg(long, env = "TIDINGS_KEY", hide_env_values = true, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    key: Option<String>,
    /// A file that holds the API key
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    key_file: Option<PathBuf>,
    /// Trust only the certificates in this PEM file and what they signed, instead of those that this system trusts
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The certificate to show to a broker that asks for one, a PEM file
    #[arg(long, value_name = "FILE", requires = "certificate_key")]
    certificate: Option<PathBuf>,
    /// Its private key, a PEM file
    #[arg(long, value_name = "FILE", requires = "certificate")]
    certificate_key: Option<PathBuf>,
}

impl Connection {
    /// Connects, and tries each call for this long.
    ///
    /// # Errors
    /// Said already; the code to end with.
    pub(crate) async fn open(&self, patience: Option<Duration>) -> Result<Client, Ended> {
        let key = match &self.key_file {
            Some(path) => Some(read(path)?.trim().to_owned()),
            None => self.key.clone(),
        };
        let mut client = Client::connect_with(&self.url, self.tls()?).await.map_err(|why| Ended::of(&why))?;
        if let Some(key) = key {
            client = client.with_key(&key).map_err(|why| Ended::of(&why))?;
        }
        Ok(match patience {
            Some(patience) => client.with_patience(patience),
            None => client,
        })
    }
}

impl Connection {
    fn tls(&self) -> Result<Tls, Ended> {
        let mut tls = Tls::new();
        if let Some(ca) = &self.ca {
            tls = tls.trusting(read(ca)?);
        }
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.certificate_key) {
            tls = tls.showing(read(certificate)?, read(key)?);
        }
        Ok(tls)
    }
}

fn read(path: &Path) -> Result<String, Ended> {
    std::fs::read_to_string(path).map_err(|why| Ended::failed(format_args!("{}: {why}", path.display())))
}

/// How a client ends. The worst of several counts, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Denied = 3,
    Unreachable = 4,
    Unknown = 5,
}

impl Ended {
    /// By an error, which is said.
    pub(crate) fn of(error: &Error) -> Self {
        say(error);
        Self::kind(error)
    }

    /// What an error amounts to.
    pub(crate) fn kind(error: &Error) -> Self {
        match error {
            Error::Address { .. } | Error::Key => Self::Usage,
            Error::Unavailable { .. } => Self::Unreachable,
            Error::OutcomeUnknown { .. } => Self::Unknown,
            _ if matches!(error.code(), Some(Code::Unauthenticated | Code::PermissionDenied | Code::Revoked)) => Self::Denied,
            _ => Self::Failed,
        }
    }

    /// By something that went wrong here, which is said.
    pub(crate) fn failed(why: impl Display) -> Self {
        say(why);
        Self::Failed
    }
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        Self::from(ended as u8)
    }
}

/// Says something to whoever started the program, and not to what reads its output.
pub(crate) fn say(what: impl Display) {
    eprintln!("tidings: {what}");
}

/// Runs a client to its end.
pub(crate) fn run(client: impl Future<Output = Ended>) -> ExitCode {
    // One thread beside this one, which may wait for a reader of its output: the connection is served meanwhile.
    match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => {
            let ended = runtime.block_on(client);
            // Nothing that still reads standard input holds up the end.
            runtime.shutdown_background();
            ended.into()
        }
        Err(why) => Ended::failed(why).into(),
    }
}

/// Reads a duration of the command line: a number and its unit.
///
/// # Errors
/// The form that is expected.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    use serde::de::IntoDeserializer as _;
    use serde::de::value::{Error, StrDeserializer};
    let text: StrDeserializer<'_, Error> = text.into_deserializer();
    tidings::config::units::duration::deserialize(text).map_err(|_| "a duration with its unit, such as 250ms, 30s, 5m, 1h or 2d")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_end_counts() {
        assert_eq!([Ended::Done, Ended::Unknown, Ended::Failed].into_iter().max(), Some(Ended::Unknown));
        let unavailable = Error::Unavailable { patience: Duration::ZERO, why: String::new() };
        assert_eq!((Ended::kind(&unavailable), Ended::kind(&Error::Key)), (Ended::Unreachable, Ended::Usage));
    }

    #[test]
    fn a_duration_has_its_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("30").unwrap_err().contains("such as"));
    }
}
