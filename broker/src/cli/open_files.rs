//! The limit on open files, which bounds connections before anything else does.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidings::config::Config;

/// Raises the soft limit to the hard one, and says how many connections that allows.
pub(crate) fn raise(config: &Config) {
    let before = getrlimit(Resource::Nofile);
    if let Err(why) = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum }) {
        tracing::warn!(event = "open_files_not_raised", "cannot raise the limit on open files: {why}");
    }
    // None is "no limit".
    let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = config.connections_max(open_files);
    tracing::info!(event = "capacity", open_files, connections, "connections this process can hold");
    if connections < config.limits.connections.into() {
        tracing::warn!(
            event = "capacity_short",
            "`limits.connections` is {}, but open files allow only {connections}: raise the hard limit",
            config.limits.connections
        );
    }
}
