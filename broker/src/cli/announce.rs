//! What the daemon says of itself when it starts.

use tidings::auth::grant::{Permissions, Who};
use tidings::config::Config;
use tidings::node::Addresses;

/// Whatever opens the broker further than its defaults, so that nobody can say it was hidden.
pub(crate) fn warnings(config: &Config) {
    if config.dev && !config.knows_anybody() {
        tracing::warn!(
            event = "open",
            why = "dev",
            "DEV MODE: everyone on this machine may do everything without a key or a token; set `dev: false` in production"
        );
    } else if config.dev {
        tracing::warn!(
            event = "open",
            why = "dev_with_keys",
            "dev mode with keys or tokens: the demo is served, but nothing is open; its pages may do what `namespaces` allow to anyone"
        );
    } else if config.insecure && !config.knows_anybody() {
        tracing::warn!(
            event = "open",
            why = "insecure",
            "INSECURE: there is no key and no token; whoever reaches a listener may do what `namespaces` allow to anyone"
        );
    }
    let anyone = |pick: fn(&Permissions) -> Who| {
        let open = config.namespaces.iter().filter(|(_, namespace)| pick(&namespace.allow) == Who::Anyone);
        open.map(|(name, _)| name).collect::<Vec<_>>().join(", ")
    };
    let (subscribe, publish) = (anyone(|allow| allow.subscribe), anyone(|allow| allow.publish));
    let (history, presence) = (anyone(|allow| allow.history), anyone(|allow| allow.presence));
    if [&subscribe, &publish, &history, &presence].iter().any(|names| !names.is_empty()) {
        tracing::info!(event = "open", why = "namespaces", subscribe, publish, history, presence, "namespaces that are open to anyone");
    } else if !config.dev && !config.knows_anybody() {
        tracing::warn!(
            event = "closed",
            why = "no_keys",
            "nobody can do anything: add a key (`tidings key NAME`), `tokens`, open a namespace (`allow`), or run with --dev"
        );
    }
}

/// What nobody but the operator knows, said once where clients may come from elsewhere and no proxy speaks for them.
pub(crate) fn unbounded(config: &Config) {
    let is_exposed = !config.http.listen.ip().is_loopback() && config.http.trusted_proxies.is_empty();
    if is_exposed && config.limits.connections_per_address == 0 {
        tracing::info!(
            event = "unbounded",
            limit = "limits.connections_per_address",
            "one address may have all the connections there are; docs/SECURITY.md has a list of what to set before strangers come"
        );
    }
}

/// Where to connect: on standard output for people and scripts, whatever the log's level and format are.
pub(crate) fn addresses(config: &Config, addresses: &Addresses) {
    let mut lines = format!("tidings {}\n", env!("CARGO_PKG_VERSION"));
    let what = if config.dev { "open it in a browser" } else { "subscribe, publish" };
    let scheme = |speaks_tls| if speaks_tls { "https" } else { "http" };
    lines.push_str(&format!("  http   {}://{}/  ({what})\n", scheme(config.http.tls.is_on()), addresses.http));
    if let Some(grpc) = addresses.grpc {
        lines.push_str(&format!("  grpc   {}://{grpc}  (publish from a backend)\n", scheme(config.grpc.tls.is_on())));
    }
    if let Some(unix) = &addresses.unix {
        lines.push_str(&format!("  grpc   unix:{}\n", unix.display()));
    }
    let page = if config.dev || !config.admin.keys.is_empty() { "; the page for operators at /" } else { "" };
    let admin = format!("{}://{}", scheme(config.admin.tls.is_on()), addresses.admin);
    lines.push_str(&format!("  admin  {admin}/metrics  (also /livez, /readyz{page})\n"));
    // When nobody reads standard output there is nobody to tell; the log has it too.
    super::print(&lines);
    let grpc = addresses.grpc.map(tracing::field::display);
    tracing::info!(event = "listening", http = %addresses.http, grpc, admin = %addresses.admin, "listening");
}
