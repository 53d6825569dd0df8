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

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Auto }
    }
}
