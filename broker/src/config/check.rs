//! What parses but does not fit together. Every rule is here, and every breach is reported, not the first one only.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Config;
use crate::cluster::NodeName;
use crate::cluster::config::{self as cluster, KEYS_MAX, SECRET_MIN, SEEDS_MAX, is_address};
use crate::hub::namespace;

/// A cursor holds no more slots than this.
const CURSOR_SLOTS_MAX: usize = 16;
/// Threads past this only compete.
const SHARDS_MAX: u16 = 64;
/// hyper reads a head into no less than this.
const HEADER_BYTES_MIN: usize = 8 << 10;
/// Payloads are copied whole several times on their way; larger things belong into a file store, their address into a message.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// What a gRPC request needs beside its payload: names, headers, framing.
const GRPC_OVERHEAD_BYTES: usize = 16 << 10;
/// /readyz looks back this far for a probe that passed.
const PROBE_WINDOW: Duration = Duration::from_secs(10);
/// A Unix socket's path must fit into sockaddr_un, with its final zero.
const UNIX_PATH_BYTES_MAX: usize = 107;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A breach of a rule: the key it is about, what is wrong, what to do.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) path: String,
    pub(super) what: String,
    pub(super) hint: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, path: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Finding { path: path.into(), what: what.into(), hint: hint.into() });
    }

    fn duration(&mut self, path: impl Into<String>, value: Duration, min: Duration, max: Duration) {
        if value < min || value > max {
            let show = super::units::show_duration;
            let hint = format!("between {} and {}", show(min), show(max));
            self.add(path, format!("{} is out of bounds", show(value)), hint);
        }
    }

    fn size(&mut self, path: impl Into<String>, value: u64, min: u64, max: u64) {
        if value < min || value > max {
            let show = super::units::show_size;
            let hint = if max == u64::MAX { format!("at least {}", show(min)) } else { format!("between {} and {}", show(min), show(max)) };
            self.add(path, format!("{} is out of bounds", show(value)), hint);
        }
    }

    fn count(&mut self, path: &str, value: u64, min: u64, max: u64) {
        if value < min || value > max {
            let hint = if max == u64::MAX { format!("at least {min}") } else { format!("between {min} and {max}") };
            self.add(path, format!("{value} is out of bounds"), hint);
        }
    }
}

impl Config {
    /// Everything that does not fit.
    pub(super) fn check(&self) -> Vec<Finding> {
        let mut findings = Findings::default();
        self.check_log(&mut findings);
        self.check_listeners(&mut findings);
        self.check_tls(&mut findings);
        self.check_http(&mut findings);
        self.check_cors(&mut findings);
        self.check_grpc(&mut findings);
        self.check_keys(&mut findings);
        self.check_tokens(&mut findings);
        self.check_namespaces(&mut findings);
        self.check_payloads_between_nodes(&mut findings);
        self.check_bounds(&mut findings);
        self.check_shards(&mut findings);
        self.check_cluster(&mut findings);
        self.check_drain(&mut findings);
        findings.0
    }

    fn check_log(&self, findings: &mut Findings) {
        for (what, hint) in super::logging::wrong_levels(&self.log.level) {
            findings.add("log.level", what, hint);
        }
    }

    fn check_listeners(&self, findings: &mut Findings) {
        let listeners: Vec<(&str, SocketAddr)> =
            [("http.listen", Some(self.http.listen)), ("grpc.listen", self.grpc.listen), ("admin.listen", Some(self.admin.listen))]
                .into_iter()
                .filter_map(|(path, address)| Some((path, address?)))
                .collect();
        for (path, address) in &listeners {
            if address.ip().to_canonical().is_loopback() {
                continue;
            }
            if self.dev {
                let what = format!("{address} is beyond loopback, which `dev` does not allow: it lets everyone in");
                findings.add(*path, what, "set `dev: false` and an entry in `keys` or `tokens`, or listen on 127.0.0.1");
            } else if !self.knows_anybody() && !self.insecure {
                let what = format!("{address} is beyond loopback and there are neither keys nor tokens");
                let hint = "add an entry to `keys` (`tidings key NAME` makes one) or `tokens`, listen on 127.0.0.1, or set `insecure: true` if \
                            what `namespaces` allow to anyone may be allowed to the whole network";
                findings.add(*path, what, hint);
            }
        }
        // Whoever connects there proves that it knows the cluster's secret, so it may lie beyond loopback.
        let cluster = self.cluster.is_on().then_some(("cluster.listen", self.cluster.listen));
        let listeners: Vec<_> = listeners.into_iter().chain(cluster).collect();
        for (i, (path, address)) in listeners.iter().enumerate() {
            if let Some((other, _)) = listeners[..i].iter().find(|(_, taken)| collide(*address, *taken)) {
                findings.add(*path, format!("{address} is taken by `{other}`"), "give each listener its own port");
            }
        }
    }

    fn check_tls(&self, findings: &mut Findings) {
        for (listener, tls) in [("http", &self.http.tls), ("grpc", &self.grpc.tls), ("admin", &self.admin.tls)] {
            findings.duration(format!("{listener}.tls.handshake_timeout"), tls.handshake_timeout, SECOND / 10, HOUR);
            match (&tls.certificate, &tls.key) {
                (Some(_), None) => {
                    findings.add(format!("{listener}.tls.certificate"), "has no key", "set `key` beside it, the file of its private key")
                }
                (None, Some(_)) => findings.add(format!("{listener}.tls.key"), "has no certificate", "set `certificate` beside it"),
                (None, None) if tls.clients.is_some() => {
                    let hint = "set `certificate` and `key` beside it: only a listener that speaks TLS can ask for certificates";
                    findings.add(format!("{listener}.tls.clients"), "means nothing without TLS", hint);
                }
                _ => {}
            }
        }
    }

    fn check_http(&self, findings: &mut Findings) {
        let http = &self.http;
        findings.duration("http.header_timeout", http.header_timeout, SECOND / 10, HOUR);
        findings.size("http.header_bytes", http.header_bytes as u64, HEADER_BYTES_MIN as u64, 1 << 20);
        findings.duration("http.idle_timeout", http.idle_timeout, SECOND / 10, DAY);
        findings.count("http.http2_streams", http.http2_streams.into(), 1, 100_000);
        findings.duration("http.write_timeout", http.write_timeout, SECOND, DAY);
        findings.size("http.notsent_lowat", http.notsent_lowat.into(), 0, 1 << 30);
        findings.size("http.send_buffer_bytes", http.send_buffer_bytes.into(), 0, 1 << 30);
        findings.count("admin.journal", self.admin.journal.into(), 0, 1_000_000);
        findings.duration("admin.probe_interval", self.admin.probe_interval, SECOND / 10, PROBE_WINDOW / 2);
    }

    fn check_cors(&self, findings: &mut Findings) {
        let any = self.cors.origins.iter().any(|origin| origin == "*");
        if any && self.cors.credentials {
            let what = "browsers refuse credentials for any origin";
            findings.add("cors.credentials", what, "list the exact origins instead of \"*\", or set `credentials: false`");
        }
        if any && self.cors.origins.len() > 1 {
            findings.add("cors.origins", "\"*\" covers the others", "either \"*\" alone or exact origins");
        }
        for origin in self.cors.origins.iter().filter(|origin| *origin != "*" && !is_origin(origin)) {
            let hint = "scheme, host and port as browsers send them, in lower case and with no path: https://app.example, http://localhost:3000, or https://*.app.example for all below";
            findings.add("cors.origins", format!("`{origin}` is no origin"), hint);
        }
        findings.duration("cors.max_age", self.cors.max_age, Duration::ZERO, DAY);
    }

    fn check_grpc(&self, findings: &mut Findings) {
        let grpc = &self.grpc;
        findings.count("grpc.streams", grpc.streams.into(), 1, 100_000);
        findings.duration("grpc.first_call_timeout", grpc.first_call_timeout, SECOND / 10, DAY);
        findings.duration("grpc.idle_timeout", grpc.idle_timeout, SECOND / 10, DAY);
        findings.duration("grpc.write_timeout", grpc.write_timeout, SECOND, DAY);
        if let Some(path) = &grpc.unix
            && (path.as_os_str().is_empty() || path.as_os_str().len() > UNIX_PATH_BYTES_MAX)
        {
            let hint = format!("1 to {UNIX_PATH_BYTES_MAX} bytes; null for none");
            findings.add("grpc.unix", "the path of a Unix socket does not fit", hint);
        }
        let largest = self.namespaces.iter().map(|(_, namespace)| namespace.payload_bytes).max().unwrap_or_default();
        let needed = largest.min(PAYLOAD_BYTES_MAX) + GRPC_OVERHEAD_BYTES;
        findings.size("grpc.message_bytes", grpc.message_bytes as u64, needed as u64, 1 << 30);
    }

    fn check_keys(&self, findings: &mut Findings) {
        let (mut names, mut hashes) = (BTreeSet::new(), BTreeSet::new());
        for key in &self.keys {
            if key.name.trim().is_empty() || key.name.chars().any(char::is_control) {
                findings.add("keys", format!("{:?} is no name for a key", key.name), "say who uses it: it is shown in logs");
            }
            if !names.insert(&key.name) {
                findings.add("keys", format!("two keys are named `{}`", key.name), "give each its own name, so that logs tell them apart");
            }
            if !hashes.insert(key.sha256.0) {
                findings.add("keys", format!("the key `{}` is listed twice", key.name), "make a key for each user with `tidings key NAME`");
            }
        }
    }

    fn check_tokens(&self, findings: &mut Findings) {
        let tokens = &self.tokens;
        let peers: Vec<&str> = self.unix_peers.iter().map(|peer| &*peer.name).collect();
        let certificates: Vec<&str> = self.certificates.iter().map(|certificate| &*certificate.name).collect();
        for (list, names) in [("unix_peers", peers), ("certificates", certificates)] {
            for (nth, name) in names.iter().enumerate() {
                if name.trim().is_empty() || name.chars().any(char::is_control) || names[..nth].contains(name) {
                    let hint = "say who it is, each in other words: it is shown in logs";
                    findings.add(list, format!("{name:?} is no name of its own"), hint);
                }
            }
        }
        if !self.certificates.is_empty() && self.http.tls.clients.is_none() && self.grpc.tls.clients.is_none() {
            let hint = "set `http.tls.clients` or `grpc.tls.clients`, the file of the certificates that sign those of clients";
            findings.add("certificates", "means nothing where no listener asks for certificates", hint);
        }
        for (nth, key) in self.signed_urls.iter().enumerate() {
            if key.id.is_empty() || key.id.len() > 64 || key.id.chars().any(char::is_control) {
                findings.add(
                    "signed_urls",
                    format!("{:?} is no id of a key", key.id),
                    "1 to 64 bytes; it stands in every address as `key=`",
                );
            }
            if self.signed_urls[..nth].iter().any(|other| other.id == key.id) {
                findings.add("signed_urls", format!("two keys have the id `{}`", key.id), "give each its own");
            }
        }
        if tokens.keys.len() > crate::auth::token::KEYS_MAX {
            findings.add(
                "tokens.keys",
                format!("there are {} keys", tokens.keys.len()),
                "at most 32: a token without a `kid` is held against each",
            );
        }
        findings.duration("tokens.leeway", tokens.leeway, Duration::ZERO, 5 * SECOND * 60);
        findings.size("tokens.bytes", tokens.bytes as u64, 256, 64 << 10);
        findings.count("tokens.revocations", tokens.revocations.into(), 1, 10_000_000);
        findings.duration("tokens.revoked_for", tokens.revoked_for, SECOND, 366 * DAY);
        if let Some(cookie) = &tokens.cookie
            && (cookie.is_empty() || !cookie.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)))
        {
            findings.add("tokens.cookie", "is no name of a cookie", "letters, digits, `-`, `_`, `.`; `__Host-tidings` is a good one");
        }
        if let Some(url) = &tokens.jwks_url {
            if let Err(why) = crate::auth::token::set_address(url) {
                findings.add("tokens.jwks_url", why, "https://issuer.example/.well-known/jwks.json; http only to this machine");
            }
            if tokens.audience.is_empty() {
                let hint = "name what the tokens are for: the issuer signs tokens for its other customers, too, with the same keys";
                findings.add("tokens.audience", "is empty although there is a `jwks_url`", hint);
            }
        }
        // Reads the files that hold keys, too: a broker that starts must be able to.
        if let Err(problem) = crate::auth::Book::read(&self.auth()) {
            findings.add(problem.path, problem.what, "a secret or a public key of its algorithm; docs/TOKENS.md shows each");
        }
    }

    fn check_namespaces(&self, findings: &mut Findings) {
        for (name, namespace) in self.namespaces.iter() {
            let path = |key: &str| format!("namespaces.{name}{key}");
            if name.is_empty() || name.len() > 254 || name.contains(':') || name.chars().any(char::is_control) {
                let hint = "a namespace is what stands before the first `:` of a channel's name; 1 to 254 bytes";
                findings.add("namespaces", format!("{name:?} is no namespace"), hint);
            }
            if namespace.unlisted && name != namespace::DEFAULT {
                let hint = "it says whether namespaces that are not listed are as `default`, so it stands there";
                findings.add(path(".unlisted"), "means nothing here", hint);
            }
            if namespace.join_leave && !namespace.presence {
                findings.add(path(".join_leave"), "means nothing without `presence`", "set `presence: true` too");
            }
            if namespace.conflate && namespace.lagging == namespace::Lagging::Close {
                let hint =
                    "a listener that is behind gets the newest message and is not closed: leave `lagging: gap`, or set `conflate: false`";
                findings.add(path(".lagging"), "means nothing with `conflate: true`", hint);
            }
            if namespace.payload_kinds.is_empty() {
                findings.add(path(".payload_kinds"), "is empty, so nothing could be published", "any of json, text, binary");
            }
            let payload = namespace.payload_bytes as u64;
            findings.size(path(".payload_bytes"), payload, 1, PAYLOAD_BYTES_MAX as u64);
            findings.count(&path(".replicas"), namespace.replicas.into(), 1, 2);
            findings.count(&path(".min_copies"), namespace.min_copies.into(), 1, namespace.replicas.into());
            if namespace.history.size > 0 {
                findings.duration(path(".history.ttl"), namespace.history.ttl, SECOND, 30 * DAY);
                self.check_history_bytes(&path(".history.bytes"), &namespace.history, payload, findings);
            }
        }
    }

    /// A payload that is larger than nodes send each other would break the connection to every node that it is for, again and again.
    fn check_payloads_between_nodes(&self, findings: &mut Findings) {
        if !self.cluster.is_on() {
            return;
        }
        for (name, namespace) in self.namespaces.iter() {
            let payload = namespace.payload_bytes;
            if payload > cluster::PAYLOAD_BYTES_MAX && payload <= PAYLOAD_BYTES_MAX {
                let show = |bytes: usize| super::units::show_size(bytes as u64);
                let hint = format!("at most {} where `cluster.keys` has a key", show(cluster::PAYLOAD_BYTES_MAX));
                let path = format!("namespaces.{name}.payload_bytes");
                findings.add(path, format!("{} is more than nodes send each other at once", show(payload)), hint);
            }
        }
    }

    /// What would break a cluster on its way. Asked again where a node starts: a program may build its configuration itself.
    pub(crate) fn breaks_cluster(&self) -> Option<String> {
        let mut findings = Findings::default();
        self.check_payloads_between_nodes(&mut findings);
        let told = findings.0.into_iter().map(|Finding { path, what, hint }| format!("{path}: {what}: {hint}"));
        told.reduce(|all, one| format!("{all}; {one}"))
    }

    fn check_history_bytes(&self, path: &str, history: &namespace::History, payload: u64, findings: &mut Findings) {
        if history.bytes < payload {
            let what = "one message of the largest payload does not fit into a channel's history";
            findings.add(path, what, format!("at least `payload_bytes` ({}), or `size: 0` to keep none", super::units::show_size(payload)));
        } else if history.bytes > self.limits.history_bytes {
            let what = "one channel may keep more than all channels together";
            findings.add(path, what, format!("at most `limits.history_bytes` ({})", super::units::show_size(self.limits.history_bytes)));
        }
    }

    fn check_bounds(&self, findings: &mut Findings) {
        let limits = &self.limits;
        findings.count("limits.connections_pending", limits.connections_pending.into(), 1, u64::MAX);
        findings.count("limits.channels", limits.channels.into(), 1, u64::MAX);
        findings.count("limits.channels_silent", limits.channels_silent.into(), 1, u64::MAX);
        findings.size("limits.history_bytes", limits.history_bytes, 1 << 10, u64::MAX);
        findings.size("limits.unsent_bytes", limits.unsent_bytes, 1 << 20, u64::MAX);
        findings.size("limits.incoming_bytes", limits.incoming_bytes, 1 << 20, u64::MAX);
        findings.count("limits.dedupe_ids", limits.dedupe_ids.into(), 1, u64::MAX);
        findings.duration("limits.publish_wait", limits.publish_wait, Duration::ZERO, HOUR);
        findings.count("limits.rate_callers", limits.rate_callers.into(), 1, u64::MAX);
        findings.count("limits.subscribe_channels", limits.subscribe_channels as u64, 1, 10_000);
        findings.count("limits.subscribe_slots", limits.subscribe_slots as u64, 1, CURSOR_SLOTS_MAX as u64);
        findings.count("limits.batch_messages", limits.batch_messages as u64, 1, 100_000);

        let presence = &self.presence;
        findings.duration("presence.grace", presence.grace, Duration::ZERO, HOUR);
        findings.count("presence.told", presence.told.into(), 0, crate::presence::BATCH as u64);
        findings.count("presence.members", presence.members.into(), 1, 10_000_000);
        findings.count("presence.members_of_node", presence.members_of_node.into(), 1, u64::MAX);
        findings.count("presence.members_held", presence.members_held.into(), 1, u64::MAX);

        findings.duration("sse.retry", self.sse.retry, SECOND / 10, HOUR);
        findings.size("websocket.message_bytes", self.websocket.message_bytes as u64, 1 << 10, 64 << 20);
        findings.count("websocket.requests", self.websocket.requests as u64, 1, 1000);
        findings.duration("poll.wait_max", self.poll.wait_max, SECOND, HOUR);
        if self.poll.wait > self.poll.wait_max {
            findings.add("poll.wait", "is longer than `poll.wait_max`", "at most `wait_max`");
        }
        findings.count("poll.messages", self.poll.messages as u64, 1, 100_000);
        findings.size("poll.bytes", self.poll.bytes as u64, 1 << 10, 1 << 30);
    }

    fn check_shards(&self, findings: &mut Findings) {
        let shard = &self.shard;
        findings.count("shards", self.shards.into(), 0, SHARDS_MAX.into());
        findings.count("shard.inbox", shard.inbox as u64, 16, 1 << 24);
        findings.size("shard.page_bytes", shard.page_bytes as u64, 4 << 10, 16 << 20);
        if shard.ring_bytes < shard.page_bytes {
            findings.add("shard.ring_bytes", "is smaller than `shard.page_bytes`", "at least one page; 8MiB is a good start");
        }
        findings.duration("shard.heartbeat_min", shard.heartbeat_min, SECOND, HOUR);
        findings.duration("shard.heartbeat_max", shard.heartbeat_max, SECOND, HOUR);
        if shard.heartbeat_min > shard.heartbeat_max {
            findings.add("shard.heartbeat_min", "is longer than `shard.heartbeat_max`", "each stream draws its interval between the two");
        }
    }

    fn check_cluster(&self, findings: &mut Findings) {
        let cluster = &self.cluster;
        if !cluster.is_on() {
            if !cluster.seeds.is_empty() {
                let hint = "give every node the same secret, such as `openssl rand -hex 32` prints, or remove the seeds";
                findings.add("cluster.keys", "seeds are named, but a node without a key is alone", hint);
            }
            return;
        }
        if !cfg!(feature = "cluster") {
            let hint = "build with the feature `cluster`, or set `cluster.keys: []`";
            findings.add("cluster.keys", "this build knows no other nodes", hint);
        }
        if cluster.keys.len() > KEYS_MAX {
            let hint = format!("at most {KEYS_MAX}: the one in use and the one that is accepted besides");
            findings.add("cluster.keys", format!("{} keys are too many", cluster.keys.len()), hint);
        }
        for key in cluster.keys.iter().filter(|key| key.0.chars().count() < SECRET_MIN) {
            let hint = format!("{SECRET_MIN} or more; `openssl rand -hex 32` prints a good one");
            findings.add("cluster.keys", format!("a secret of {} characters could be guessed", key.0.chars().count()), hint);
        }
        if cluster.seeds.len() > SEEDS_MAX {
            findings.add("cluster.seeds", format!("{} seeds are too many", cluster.seeds.len()), "a few are enough: each knows all others");
        }
        for seed in cluster.seeds.iter().filter(|seed| !is_address(seed)) {
            findings.add("cluster.seeds", format!("`{seed}` is no address of a node"), "HOST:PORT, such as node-1.internal:8003");
        }
        if let Some(advertise) = cluster.advertise.as_ref().filter(|advertise| !is_address(advertise)) {
            let hint = "HOST:PORT that the other nodes can connect to, or null";
            findings.add("cluster.advertise", format!("`{advertise}` is no address of a node"), hint);
        }
        if let Some(node) = cluster.node.as_ref().filter(|node| NodeName::new(node).is_none()) {
            findings.add(
                "cluster.node",
                format!("{node:?} is no name for a node"),
                "1 to 63 letters, digits, dots, hyphens and underscores",
            );
        }
        let tls = [("certificate", &cluster.tls.certificate), ("key", &cluster.tls.key), ("ca", &cluster.tls.ca)];
        if tls.iter().any(|(_, file)| file.is_some()) {
            for (name, _) in tls.iter().filter(|(_, file)| file.is_none()) {
                let hint = "certificate, key and ca go together: name all three files, or none";
                findings.add(format!("cluster.tls.{name}"), "is missing", hint);
            }
        }
        if cluster.id.is_empty() || cluster.id.len() > 63 || cluster.id.chars().any(char::is_control) {
            findings.add("cluster.id", format!("{:?} is no name for a cluster", cluster.id), "1 to 63 characters, the same on every node");
        }
    }

    fn check_drain(&self, findings: &mut Findings) {
        let drain = &self.drain;
        findings.duration("drain.grace", drain.grace, SECOND / 10, HOUR);
        if drain.notice >= drain.grace && !drain.notice.is_zero() {
            findings.add("drain.notice", "leaves no time of `drain.grace`", "`grace` is the whole time, `notice` a part of it");
        }
        findings.count("drain.waves", drain.waves.into(), 1, 1000);
        findings.duration("drain.retry_max", drain.retry_max, Duration::ZERO, HOUR);
        if drain.retry_min > drain.retry_max {
            findings.add("drain.retry_min", "is longer than `drain.retry_max`", "each client is told its own wait between the two");
        }
    }
}

/// Whether binding one keeps the other from being bound. Port 0 takes a free one each time.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |a: IpAddr, b: IpAddr| a == b || a.is_unspecified() && a.is_ipv4() == b.is_ipv4();
    one.port() != 0 && one.port() == other.port() && (covers(one.ip(), other.ip()) || covers(other.ip(), one.ip()))
}

/// RFC 6454, section 6.2: scheme, "://", host, optional port; browsers send it in lower case. A host may begin with `*.` and
/// two more names: below a whole top-level domain is everybody.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let host = match host.strip_prefix("*.") {
        Some(rest) if rest.split(':').next().is_some_and(|name| name.split('.').filter(|part| !part.is_empty()).count() < 2) => {
            return false;
        }
        Some(rest) => rest,
        None => host,
    };
    let plain = |c: char| c.is_ascii_graphic() && !c.is_ascii_uppercase() && !"/?#@,*\"".contains(c);
    !scheme.is_empty()
        && scheme.chars().all(|c| c.is_ascii_lowercase() || "+-.".contains(c) || c.is_ascii_digit())
        && !host.is_empty()
        && host.chars().all(plain)
}
