//! The command line.

pub(crate) mod announce;
mod channels;
mod cluster;
pub(crate) mod connection;
pub(crate) mod control;
pub(crate) mod demo;
pub(crate) mod key;
pub(crate) mod log;
pub(crate) mod open_files;
mod output;
pub(crate) mod presence;
pub(crate) mod publish;
pub(crate) mod reload;
pub(crate) mod signals;
pub(crate) mod subscribe;
pub(crate) mod token;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use tidings::config::{Config, File, Override, Problem, Problems};

/// Read when no file is named.
const DEFAULT_FILE: &str = "config.yaml";

/// What `tidings --help` says below the list of commands.
const EXAMPLES: &str = "\
Examples:
  tidings --dev                    a broker with its demo, open on this machine only
  tidings -c /etc/tidings.yaml     a broker as that file says
  tidings publish news hello       a message, from another terminal
  tidings subscribe news           and whoever listens";

/// A real-time push broker: publish over gRPC or HTTP, subscribe from any browser.
///
/// Without a command it runs the broker, with ./config.yaml if there is one.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    broker: Settings,
}

/// What the broker runs with. Understood before and after its commands.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Broker")]
pub(crate) struct Settings {
    /// The configuration; without it ./config.yaml, and without that the defaults
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Open everything on loopback and serve the demo (`dev: true`)
    #[arg(long)]
    dev: bool,
    /// Set one key over file and environment, such as http.listen=127.0.0.1:9000; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = Override::flag)]
    set: Vec<Override>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the broker (the default)
    Serve(Settings),
    /// Publish a message, or each line of standard input
    #[command(after_help = publish::EXAMPLES, after_long_help = connection::help(publish::EXAMPLES))]
    Publish(publish::Publish),
    /// Listen to channels and print what comes
    #[command(after_help = subscribe::EXAMPLES, after_long_help = connection::help(subscribe::EXAMPLES))]
    Subscribe(subscribe::Subscribe),
    /// List the channels that there are
    #[command(after_help = channels::EXAMPLES, after_long_help = connection::help(channels::EXAMPLES))]
    Channels(channels::Channels),
    /// Say who is on a channel
    #[command(after_help = presence::EXAMPLES, after_long_help = connection::help(presence::EXAMPLES))]
    Presence(presence::Presence),
    Cluster(cluster::Cluster),
    /// End connections of clients
    #[command(after_help = control::DISCONNECT_EXAMPLES, after_long_help = connection::help(control::DISCONNECT_EXAMPLES))]
    Disconnect(control::Disconnect),
    /// End subscriptions of clients
    #[command(after_help = control::UNSUBSCRIBE_EXAMPLES, after_long_help = connection::help(control::UNSUBSCRIBE_EXAMPLES))]
    Unsubscribe(control::Unsubscribe),
    /// Make tokens count no longer, and end the connections that showed them
    #[command(after_help = control::REVOKE_EXAMPLES, after_long_help = connection::help(control::REVOKE_EXAMPLES))]
    Revoke(control::Revoke),
    /// Say whether the configuration is fine, and if not, everything that is wrong with it
    Check(Settings),
    /// Print the configuration in effect
    Config {
        /// Print the JSON Schema of config.yaml instead
        #[arg(long)]
        schema: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Make an API key and print it with its entry for `keys`
    Key {
        /// Who will use it; shown in logs
        #[arg(value_parser = key::name)]
        name: String,
    },
    /// Make a token (JWT), or say what one is worth here
    #[command(subcommand)]
    Token(token::Token),
    /// Publish this machine's figures for the demo; the daemon starts this by itself
    #[command(hide = true)]
    DemoMonitor {
        /// The broker's gRPC address
        #[arg(long)]
        grpc: String,
        /// Where the broker's metrics are, http://HOST:PORT/metrics
        #[arg(long)]
        metrics: String,
        /// The process it ends with
        #[arg(long)]
        parent: u32,
    },
}

/// A configuration and where it is from.
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) source: String,
}

/// What is to be done.
pub(crate) enum Task {
    /// Something for a broker, with these settings.
    Broker(BrokerTask, Settings),
    /// Something that needs none, and has ended.
    Done(ExitCode),
}

/// What is done with a configuration.
pub(crate) enum BrokerTask {
    Serve,
    Check,
    Print,
}

impl Arguments {
    /// Reads the command line; ends the process with code 2 when it is not understood.
    pub(crate) fn read() -> Self {
        Self::parse()
    }

    /// Does what needs no configuration, and says what else is to be done.
    pub(crate) fn task(self) -> Task {
        let Self { command, broker } = self;
        let (task, settings) = match command.unwrap_or(Command::Serve(Settings::default())) {
            Command::Serve(settings) => (BrokerTask::Serve, settings),
            Command::Check(settings) => (BrokerTask::Check, settings),
            Command::Config { schema: false, settings } => (BrokerTask::Print, settings),
            // It reads the broker's configuration, and runs none.
            Command::Token(token) => return Task::Done(token.run(&broker)),
            _ if broker.is_given() => {
                let what = "--config, --dev and --set are about a broker that is run here; this command is not";
                Self::command().error(clap::error::ErrorKind::ArgumentConflict, what).exit()
            }
            Command::Config { .. } => return Task::Done(print(&Config::schema())),
            Command::Key { name } => return Task::Done(key::print(&name)),
            Command::DemoMonitor { grpc, metrics, parent } => return Task::Done(demo::monitor(&grpc, &metrics, parent)),
            Command::Publish(publish) => return Task::Done(publish.run()),
            Command::Subscribe(subscribe) => return Task::Done(subscribe.run()),
            Command::Channels(channels) => return Task::Done(channels.run()),
            Command::Presence(presence) => return Task::Done(presence.run()),
            Command::Disconnect(disconnect) => return Task::Done(disconnect.run()),
            Command::Unsubscribe(unsubscribe) => return Task::Done(unsubscribe.run()),
            Command::Revoke(revoke) => return Task::Done(revoke.run()),
            Command::Cluster(cluster) => return Task::Done(cluster.run()),
        };
        Task::Broker(task, broker.under(settings))
    }
}

impl Settings {
    fn is_given(&self) -> bool {
        self.config.is_some() || self.dev || !self.set.is_empty()
    }

    /// Those before a command, under those after it.
    fn under(mut self, over: Self) -> Self {
        self.set.extend(over.set);
        Self { config: over.config.or(self.config), dev: self.dev || over.dev, set: self.set }
    }

    /// The file, if one is read.
    fn file(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| Path::new(DEFAULT_FILE).exists().then(|| DEFAULT_FILE.into()))
    }

    /// File, then environment, then flags.
    pub(crate) fn load(&self) -> Result<Loaded, Problems> {
        let (path, source) = match &self.config {
            Some(path) => (Some(path.as_path()), path.display().to_string()),
            None if Path::new(DEFAULT_FILE).exists() => (Some(Path::new(DEFAULT_FILE)), DEFAULT_FILE.to_owned()),
            None => (None, format!("built-in defaults (no {DEFAULT_FILE} here)")),
        };
        let text = path.map(|path| read(path, &source)).transpose()?;
        let file = text.as_ref().map(|text| File { name: &source, text });
        let config = Config::load(file, &self.overrides()?)?;
        Ok(Loaded { config, source })
    }

    fn overrides(&self) -> Result<Vec<Override>, Problems> {
        let mut overrides = Vec::new();
        let mut problems = Vec::new();
        for (name, value) in std::env::vars_os() {
            let name = name.to_string_lossy();
            match value.to_str() {
                Some(value) => overrides.extend(Override::variable(&name, value)),
                None if Override::variable(&name, "").is_some() => {
                    problems.push(Problem { place: name.into_owned(), what: "is not UTF-8".to_owned(), hint: None });
                }
                None => {}
            }
        }
        overrides.extend(self.dev.then(Override::dev));
        overrides.extend(self.set.iter().cloned());
        if problems.is_empty() { Ok(overrides) } else { Err(Problems(problems)) }
    }
}

fn read(path: &Path, source: &str) -> Result<String, Problems> {
    std::fs::read_to_string(path).map_err(|why| {
        let what = format!("cannot be read: {why}");
        Problems(vec![Problem { place: source.to_owned(), what, hint: None }])
    })
}

/// Prints to standard output. A reader that went away (`tidings config | head -1`) is no failure.
pub(crate) fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(why) if why.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

pub(crate) fn print_config(config: &Config) -> ExitCode {
    match config.to_yaml() {
        Ok(yaml) => print(&yaml),
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with the configuration; code 2, as for a command line that is not understood.
pub(crate) fn refuse(problems: &Problems) -> ExitCode {
    eprintln!("{problems}");
    ExitCode::from(2)
}
