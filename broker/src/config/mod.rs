//! The tree of config.yaml, made of each room's own `Config`. Reads file, then environment, then flags; refuses what does
//! not fit together. Knows nothing of what the rooms do with their parts.

mod check;
mod file;
mod hint;
mod logging;
mod overlay;
mod reload;
#[cfg(test)]
mod tests;
mod threads;
pub mod units;
mod words;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use logging::{LogConfig, LogFormat};
pub use overlay::Override;
pub use reload::Change;
pub use threads::workers;

use crate::hub::namespace::Namespaces;
use crate::{admin, api, auth, cluster, drain, front, limits, net, presence, shard};

/// Everything a node can be told. Every field has a default; an embedder starts from `Config::default()`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Tidings configuration")]
pub struct Config {
    /// For trying things out: the demo is served, every listener must stay on loopback, and as long as no key and no token is configured everyone may do everything.
    pub dev: bool,
    /// Allow listeners beyond loopback although no key and no token is configured. It opens nothing by itself: `namespaces` do.
    pub insecure: bool,
    /// Threads that own connections, 1 to 64; 0: one for each core but one in eight, and at least one.
    pub shards: u16,
    /// Give each shard a file table of its own, so that the limit on open files holds for each shard instead of for the whole process; for the daemon on Linux only.
    pub own_file_tables: bool,
    /// The broker's own log, on standard error.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<LogConfig>")]
    pub log: LogConfig,
    /// The public HTTP listener: browser fronts, HTTP API, demo.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<net::config::Config>")]
    pub http: net::config::Config,
    /// Which pages of other origins may use the public listener from a browser.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<front::config::CorsConfig>")]
    pub cors: front::config::CorsConfig,
    /// The gRPC listener: publish, subscribe, query; health and reflection.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<api::config::GrpcConfig>")]
    pub grpc: api::config::GrpcConfig,
    /// The admin listener: /metrics, /livez, /readyz for machines; a page and its API for people.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<admin::config::Config>")]
    pub admin: admin::config::Config,
    /// Backends, by the keys they show. `tidings key NAME` makes a key and prints the entry for this list.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Vec<auth::config::Key>>")]
    pub keys: Vec<auth::config::Key>,
    /// Backends, by the user of this machine who runs them: over `grpc.unix` the system says who that is, and no key is needed.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Vec<auth::config::UnixPeer>>")]
    pub unix_peers: Vec<auth::config::UnixPeer>,
    /// Backends, by their certificates, on listeners that ask for certificates (`tls.clients`): no key is needed.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Vec<auth::config::Certificate>>")]
    pub certificates: Vec<auth::config::Certificate>,
    /// Tokens (JWT) that browsers show; docs/TOKENS.md tells how to make them.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<auth::token::config::Config>")]
    pub tokens: auth::token::config::Config,
    /// Keys that sign addresses (HMAC): who is handed one may listen to the channels it names until it expires.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Vec<auth::signed_url::Key>>")]
    pub signed_urls: Vec<auth::signed_url::Key>,
    /// What channels keep and accept and who may use them, by the part of their name before the first `:`.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Namespaces>")]
    pub namespaces: Namespaces,
    /// Who is on a channel; namespaces say where that is known at all.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<presence::config::Config>")]
    pub presence: presence::config::Config,
    /// Other nodes that make up one broker with this one.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<cluster::config::Config>")]
    pub cluster: cluster::config::Config,
    /// Bounds of the whole node and of one request.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<limits::Config>")]
    pub limits: limits::Config,
    /// The threads that own connections.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<shard::config::Config>")]
    pub shard: shard::config::Config,
    /// Server-Sent Events (GET /sse).
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<front::config::SseConfig>")]
    pub sse: front::config::SseConfig,
    /// WebSocket (GET /ws).
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<front::config::WebSocketConfig>")]
    pub websocket: front::config::WebSocketConfig,
    /// Long-poll (GET /poll).
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<front::config::PollConfig>")]
    pub poll: front::config::PollConfig,
    /// Commit each record up to this long after its append, as replication would, instead of with it. For tests: no file,
    /// variable or flag sets it.
    #[serde(skip)]
    pub commit_delay: Option<std::time::Duration>,
    /// How the node leaves after SIGTERM.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<drain::Config>")]
    pub drain: drain::Config,
}

/// A configuration file as it was read.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// What errors call it.
    pub name: &'a str,
    /// The whole of it.
    pub text: &'a str,
}

/// One thing that is wrong, and where it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File, line and column; or the variable or flag; or the key, when nobody set it.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to do instead.
    pub hint: Option<String>,
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n  hint: {hint}"))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl Config {
    /// The file's keys, or the defaults without one; the overrides over them, later ones winning; then a check that all of
    /// it fits together.
    ///
    /// # Errors
    /// The first thing in the file that cannot be read; else every override that cannot; else everything that does not fit.
    pub fn load(file: Option<File<'_>>, overrides: &[Override]) -> Result<Self, Problems> {
        let (mut config, places) = match file {
            Some(file) => file::read(file.text, file.name).map_err(|problem| Problems(vec![problem]))?,
            None => Default::default(),
        };
        let mut problems = Vec::new();
        for over in overrides {
            match over.apply(&config) {
                Ok(changed) => config = changed,
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            problems = config
                .check()
                .into_iter()
                .map(|finding| Problem {
                    place: place_of(&finding.path, file, &places, overrides),
                    what: format!("{}: {}", finding.path, finding.what),
                    hint: Some(finding.hint),
                })
                .collect();
        }
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }

    /// How many shards there are: as configured, or one for each core that the workers leave.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        threads::shards(self.shards)
    }

    /// How many connections the public listener takes when a file table holds so many open files.
    #[must_use]
    pub fn connections_max(&self, open_files: u64) -> u64 {
        if self.own_file_tables {
            self.limits.connections_max_of_own_tables(open_files, self.shard_count())
        } else {
            self.limits.connections_max(open_files)
        }
    }

    /// Every key with its value in effect, as YAML that can be loaded again; secrets are hidden.
    ///
    /// # Errors
    /// What the YAML writer says; none is known.
    pub fn to_yaml(&self) -> Result<String, String> {
        file::write(&self.without_secrets())
    }

    /// The same with every secret hidden, for those who look at it.
    fn without_secrets(&self) -> Self {
        let mut shown = self.clone();
        let keys = shown.tokens.keys.iter_mut().map(|key| &mut key.secret);
        for secret in keys.chain(shown.signed_urls.iter_mut().map(|key| &mut key.secret)) {
            *secret = secret.take().map(|_| auth::secret::Secret::hidden());
        }
        shown.cluster.keys.fill(cluster::config::Secret::hidden());
        shown
    }

    /// The JSON Schema of config.yaml (draft 2020-12), for editors.
    #[must_use]
    pub fn schema() -> String {
        format!("{:#}\n", schemars::schema_for!(Self).to_value())
    }

    /// The gate's part of the tree.
    #[must_use]
    pub fn auth(&self) -> auth::config::Config {
        let default = self.namespaces.get(None);
        let policy = auth::grant::Policy {
            default: default.allow.clone(),
            namespaces: self.namespaces.iter().map(|(name, namespace)| (name.to_owned(), namespace.allow.clone())).collect(),
            unlisted: default.unlisted,
        };
        auth::config::Config {
            keys: self.keys.clone(),
            unix_peers: self.unix_peers.clone(),
            certificates: self.certificates.clone(),
            tokens: self.tokens.clone(),
            signed_urls: self.signed_urls.clone(),
            policy,
            open: self.dev,
        }
    }

    /// Whether any credential would be believed.
    #[must_use]
    pub fn knows_anybody(&self) -> bool {
        let Self { keys, unix_peers, certificates, signed_urls, tokens, .. } = self;
        let has_backends = !keys.is_empty() || !unix_peers.is_empty() || !certificates.is_empty();
        has_backends || !signed_urls.is_empty() || !tokens.keys.is_empty() || tokens.jwks_url.is_some()
    }
}

/// Who said what stands at this key: the last override, else the file, else nobody.
fn place_of(path: &str, file: Option<File<'_>>, places: &file::Places, overrides: &[Override]) -> String {
    let covers = |over: &&Override| path.strip_prefix(&over.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if let Some(over) = overrides.iter().rev().find(covers) {
        return over.to_string();
    }
    match (file, places.find(path)) {
        (Some(file), Some((line, column))) => format!("{}:{line}:{column}", file.name),
        _ => "default".to_owned(),
    }
}
