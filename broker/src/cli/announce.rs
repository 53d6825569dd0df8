//! What the daemon says of itself when it starts.

use tidings::config::Config;
use tidings::node::Addresses;

/// Whatever opens the broker further than its defaults, so that nobody can say it was hidden.
pub(crate) fn warnings(config: &Config) {
    if config.dev && config.keys.is_empty() {
        tracing::warn!(
            event = "open",
            why = "dev",
            "DEV MODE: everyone on this machine may publish and query without a key; set `dev: false` in production"
        );
    } else if config.dev {
        tracing::warn!(
            event = "open",
            why = "dev_with_keys",
            "dev mode with keys: the demo is served, but publishing and querying need a key all the same"
        );
    } else if config.insecure && config.keys.is_empty() {
        tracing::warn!(event = "open", why = "insecure", "INSECURE: everyone who reaches a listener may publish and query without a key");
    } else if config.keys.is_empty() {
        tracing::warn!(
            event = "closed",
            why = "no_keys",
            "no API key is configured: nobody can publish; add one under `keys` (`tidings key NAME`) or run with --dev"
        );
    }
}

/// Where to connect: on standard output for people and scripts, whatever the log's level and format are.
pub(crate) fn addresses(config: &Config, addresses: &Addresses) {
    let mut lines = format!("tidings {}\n", env!("CARGO_PKG_VERSION"));
    let what = if config.dev { "open it in a browser" } else { "subscribe, publish" };
    lines.push_str(&format!("  http   http://{}/  ({what})\n", addresses.http));
    if let Some(grpc) = addresses.grpc {
        lines.push_str(&format!("  grpc   http://{grpc}  (publish from a backend)\n"));
    }
    if let Some(unix) = &addresses.unix {
        lines.push_str(&format!("  grpc   unix:{}\n", unix.display()));
    }
    lines.push_str(&format!("  admin  http://{}/metrics  (also /livez, /readyz)\n", addresses.admin));
    // When nobody reads standard output there is nobody to tell; the log has it too.
    super::print(&lines);
    let grpc = addresses.grpc.map(tracing::field::display);
    tracing::info!(event = "listening", http = %addresses.http, grpc, admin = %addresses.admin, "listening");
}
