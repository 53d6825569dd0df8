//! What the daemon's own log looks like. Read by the command line, not by the library, which installs no subscriber.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The daemon's log, on standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Log")]
pub struct LogConfig {
    /// What is written: error, warn, info, debug, trace, or per module as in `info,tidings::net=debug`.
    pub level: String,
    /// human: one readable line each; json: one object each; auto: human on a terminal, else json.
    pub format: LogFormat,
    /// Most lines of one event in a second; how many were left out is said in a line of its own. 0: all are written.
    pub lines_per_second: u32,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, else JSON.
    #[default]
    Auto,
    /// Readable lines.
    Human,
    /// One JSON object a line.
    Json,
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl LogConfig {
    /// Whether this can stand at `level`.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn check_level(level: &str) -> Result<(), String> {
        match wrong_levels(level).next() {
            None => Ok(()),
            Some((what, hint)) => Err(format!("{what}: {hint}")),
        }
    }
}

/// What is wrong with the text of `log.level`, each with a hint. A bare word that is no level would be read as a module's
/// name, and silence everything else.
pub(super) fn wrong_levels(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split(',').filter_map(|part| {
        let (module, level) = part.split_once('=').map_or((None, part), |(module, level)| (Some(module), level));
        if LEVELS.contains(&level.trim()) && module.is_none_or(|module| !module.trim().is_empty()) {
            return None;
        }
        let hint = super::hint::closest(level.trim(), &LEVELS);
        let hint = hint.unwrap_or_else(|| format!("one of {}, or `module=level`, joined by commas", LEVELS.join(", ")));
        Some((format!("`{}` is no level", part.trim()), hint))
    })
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Auto, lines_per_second: 100 }
    }
}
