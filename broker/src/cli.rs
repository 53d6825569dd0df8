//! The command line.

pub(crate) mod announce;
pub(crate) mod demo;
pub(crate) mod key;
pub(crate) mod log;
pub(crate) mod open_files;
pub(crate) mod signals;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidings::config::{Config, File, Override, Problem, Problems};

/// Read when no file is named.
const DEFAULT_FILE: &str = "config.yaml";

/// A real-time push broker: publish over gRPC or HTTP, subscribe from any browser.
#[derive(Debug, Parser)]
#[command(name = "tidings", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration; without it ./config.yaml, and without that the defaults
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Open everything on loopback and serve the demo (`dev: true`)
    #[arg(long, global = true)]
    dev: bool,
    /// Set one key over file and environment, such as http.listen=127.0.0.1:9000; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = Override::flag)]
    set: Vec<Override>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the broker (the default)
    Serve,
    /// Say whether the configuration is fine, and if not, everything that is wrong with it
    Check,
    /// Print the configuration in effect
    Config {
        /// Print the JSON Schema of config.yaml instead
        #[arg(long)]
        schema: bool,
    },
    /// Make an API key and print it with its entry for `keys`
    Key {
        /// Who will use it; shown in logs
        name: String,
    },
    /// Publish this machine's figures for the demo; the daemon starts this by itself
    #[command(hide = true)]
    DemoMonitor {
        /// The broker's gRPC address
        #[arg(long)]
        grpc: String,
        /// Where the broker's metrics are, http://HOST:PORT/metrics
        #[arg(long)]
        metrics: String,
    },
}

/// A configuration and where it is from.
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) source: String,
}

impl Arguments {
    /// Reads the command line; ends the process with code 2 when it is not understood.
    pub(crate) fn read() -> Self {
        Self::parse()
    }

    pub(crate) fn command(&self) -> &Command {
        self.command.as_ref().unwrap_or(&Command::Serve)
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
