//! The names of all metrics, and how the counts become text.

use std::fmt::Write as _;
use std::time::Duration;

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::bounds::Bound;
use super::cell::{BOUNDS_MICROS, Cell, DurationsSum};
use super::labels::{Denied, Front, Handshake, Listener, Ordered, ProtocolError, Rate, Reach, RefusedConnection, Source, Stage};
use super::shard::{FrontCells, ShardMetrics};
use super::{Gauges, Metrics, PublishCells, cluster, namespaces};
use crate::close::CloseReason;
use crate::error::ErrorCode;
use crate::log::GapReason;

const DELIVERY_LATENCY: &str = "tidings_delivery_latency_seconds";
const SHARD_BUSY: &str = "tidings_shard_busy_seconds_total";
const DELIVERY_STAGE: &str = "tidings_delivery_stage_seconds";
const PUBLISH_WAIT: &str = "tidings_publish_wait_seconds";

/// Each family with its one line of help. What moves it and what to do about it stands in `docs/OPERATING.md`.
const HELP: [(&str, &str); 69] = [
    ("tidings_build_info", "Always 1; the version is a label."),
    ("tidings_connections_accepted_total", "Sockets accepted, public and gRPC."),
    ("tidings_connections_closed_total", "Accepted sockets that are gone."),
    ("tidings_connections", "Sockets open now."),
    ("tidings_connections_limit", "Most connections the public listener takes."),
    ("tidings_bound_used", "How much of each bound is used."),
    ("tidings_bound_limit", "Where each bound is."),
    ("tidings_connections_refused_total", "Connections turned away, by reason."),
    ("tidings_rates_exceeded_total", "Requests refused because too many came in a second, by rate."),
    ("tidings_open_files_limit", "Soft limit on open files."),
    ("tidings_protocol_errors_seen_total", "Peers that broke their protocol, by kind."),
    ("tidings_tls_handshakes_ended_total", "TLS handshakes by listener and what they came to."),
    ("tidings_tls_certificates_read_total", "Times certificate files were read, by listener and result."),
    ("tidings_tls_certificate_stale", "1 when the files on disk changed and cannot be used, by listener."),
    (
        "tidings_tls_certificate_expires_timestamp_seconds",
        "When the certificate in use expires, seconds since 1970, by listener; 0 without TLS.",
    ),
    ("tidings_sessions_opened_total", "Clients that began to listen, by front."),
    ("tidings_sessions_closed_total", "Clients whose stay ended, by front and reason."),
    ("tidings_sessions", "Clients listening now, by front."),
    ("tidings_sessions_resumed_total", "Clients that came back with a cursor, by front and whether all was still there."),
    ("tidings_sessions_fell_behind_total", "Times a session that stood at the head fell behind, by front."),
    ("tidings_sessions_caught_up_total", "Times a session that had fallen behind reached the head, by front."),
    ("tidings_sessions_behind", "Sessions that are not caught up, or whose socket is full, by front."),
    ("tidings_sessions_behind_seconds", "For how long the session that has been behind for longest has been so."),
    ("tidings_sessions_behind_messages", "How many messages the session lacks that lacks most, of those kept for it."),
    ("tidings_subscriptions_joined_total", "Session and channel pairs that began."),
    ("tidings_subscriptions_left_total", "Session and channel pairs that ended."),
    ("tidings_subscriptions", "Session and channel pairs now."),
    ("tidings_publishes_answered_total", "Publishes by source and outcome."),
    ("tidings_publishes_kept_bytes_total", "Payload bytes of publishes that were kept, by source."),
    (PUBLISH_WAIT, "How long publishes waited for room."),
    ("tidings_messages_delivered_total", "Messages handed to sockets, by front."),
    ("tidings_messages_delivered_bytes_total", "Bytes of the wire form handed to sockets, by front."),
    (DELIVERY_LATENCY, "From the accepted publish to the written socket, by front."),
    (DELIVERY_STAGE, "From the accepted publish to a stage on the way to the socket."),
    ("tidings_socket_writes_made_total", "System calls that wrote to sockets."),
    ("tidings_gaps_declared_total", "Clients told that messages are missing, by front and reason."),
    ("tidings_log_pages_read_total", "Pages read from the log for sessions that are behind."),
    ("tidings_log_messages_read_total", "Messages in those pages."),
    ("tidings_shard_inbox_overflowed_total", "Times an inbox was full and its shard went on from the log, by shard."),
    ("tidings_shard_inbox_depth", "Messages that wait for the shard, or that it has not delivered to everyone, by shard."),
    (SHARD_BUSY, "Time the shard's thread was at work, by shard."),
    ("tidings_shard_connections", "Sockets that the shard owns, by shard."),
    ("tidings_shard_ring_bytes", "Bytes of the messages in the rings, by shard."),
    ("tidings_shard_cache_bytes", "Bytes of encoded messages kept for sessions that read the log, by shard."),
    ("tidings_shards_died_total", "Shards that ended by a fault of the broker."),
    ("tidings_channels", "Channels with state on this node."),
    ("tidings_history_messages", "Messages kept in all histories."),
    ("tidings_history_bytes", "Bytes of all histories."),
    ("tidings_history_messages_evicted_total", "Messages that left the histories."),
    ("tidings_dedupe_ids", "Publish ids remembered."),
    ("tidings_dedupe_windows_shortened_total", "Times publish ids were forgotten before their time."),
    ("tidings_presence_connected", "Members with connections to this node, over all channels with presence."),
    ("tidings_presence_members", "Members of the channels whose home is here, wherever they are connected."),
    ("tidings_presence_bytes", "About what these take in memory."),
    ("tidings_presence_joined_total", "Members that joined channels whose home is here."),
    ("tidings_presence_left_total", "Members that left them, after the grace."),
    ("tidings_presence_refused_total", "Members that were more than a bound allows, and were refused or not listed."),
    ("tidings_auth_calls_refused_total", "Callers not let in, or not allowed what they asked for, by cause."),
    ("tidings_control_orders_given_total", "Orders of backends about clients that came in here, by order and how far they came."),
    ("tidings_control_sessions", "Sessions that orders can find by their user or token."),
    ("tidings_probes_made_total", "Self-probes by result."),
    ("tidings_probe_passed_age_seconds", "Time since a self-probe passed, or since the start."),
    ("tidings_config_reloads_tried_total", "Reloads of the configuration by result."),
    ("tidings_config_refused", "1 while the configuration that is wanted cannot be used."),
    ("tidings_config_keys_waiting", "Keys of the configuration that are wanted otherwise and need a restart."),
    ("tidings_config_applied_timestamp_seconds", "When the configuration was reloaded last, seconds since 1970; 0 before the first time."),
    ("tidings_log_lines_left_out_total", "Lines of the log that were not written, by reason."),
    ("tidings_ready", "1 when this node should get traffic."),
    ("tidings_draining", "1 when this node is leaving."),
];

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// Gives the exporter its help lines.
pub(super) fn describe(recorder: &PrometheusRecorder, process: &metrics_process::Collector) {
    for (name, help) in HELP {
        recorder.describe_gauge(KeyName::from_const_str(name), None::<Unit>, (*help).into());
    }
    metrics::with_local_recorder(recorder, || process.describe());
}

/// Hands all counts and gauges to the exporter.
pub(super) fn collect(metrics: &Metrics, gauges: &Gauges) {
    let out = Out(&metrics.recorder);
    out.gauge("tidings_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    connections(&out, metrics);
    bounds(&out, metrics, gauges);
    tls(&out, metrics);
    for front in Front::ALL {
        sessions(&out, metrics, gauges, front);
    }
    for source in Source::ALL {
        publishes(&out, source.as_str(), &metrics.publishes[source.index()]);
    }
    shards(&out, metrics, gauges);
    state(&out, metrics, gauges);
    metrics::with_local_recorder(&metrics.recorder, || metrics.process.collect());
}

/// Appends the histograms, and a counter of fractions: the exporter keeps samples for the first and whole numbers for the second.
pub(super) fn append(metrics: &Metrics, gauges: &Gauges, text: &mut String) {
    head(text, DELIVERY_LATENCY, help(DELIVERY_LATENCY), "histogram");
    for front in Front::ALL {
        let sum = DurationsSum::of(metrics.groups().map(|group| &group.fronts[front.index()].latency));
        histogram(text, DELIVERY_LATENCY, &format!("front=\"{}\"", front.as_str()), &sum);
    }
    head(text, DELIVERY_STAGE, help(DELIVERY_STAGE), "histogram");
    histogram(text, DELIVERY_STAGE, "stage=\"shard\"", &DurationsSum::of(metrics.groups().map(|group| &group.taken)));
    for stage in Stage::ALL {
        let sum = DurationsSum::of([&metrics.stages[stage.index()]].into_iter());
        histogram(text, DELIVERY_STAGE, &format!("stage=\"{}\"", stage.as_str()), &sum);
    }
    head(text, PUBLISH_WAIT, help(PUBLISH_WAIT), "histogram");
    histogram(text, PUBLISH_WAIT, "", &DurationsSum::of([&metrics.publish_wait].into_iter()));
    head(text, SHARD_BUSY, help(SHARD_BUSY), "counter");
    for (n, shard) in metrics.shards.iter().enumerate() {
        let busy = Duration::from_micros(shard.busy_micros.get());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{SHARD_BUSY}{{shard=\"{n}\"}} {}", busy.as_secs_f64());
    }
    namespaces::append(&gauges.namespaces, text);
    if let Some(figures) = &gauges.cluster {
        cluster::append(figures, text);
    }
}

fn connections(out: &Out<'_>, metrics: &Metrics) {
    // Closed before accepted: a socket that comes and goes in between must not make the difference negative.
    let closed = total(metrics, |group| &group.connections_closed);
    let accepted = total(metrics, |group| &group.connections_accepted);
    out.counter("tidings_connections_accepted_total", &[], accepted);
    out.counter("tidings_connections_closed_total", &[], closed);
    out.gauge("tidings_connections", &[], accepted.saturating_sub(closed) as f64);
    out.gauge("tidings_connections_limit", &[], metrics.bounds[Bound::Connections.index()].get() as f64);
    out.gauge("tidings_open_files_limit", &[], metrics.open_files_limit.get() as f64);
    for reason in RefusedConnection::ALL {
        let count = metrics.connections_refused[reason.index()].get();
        out.counter("tidings_connections_refused_total", &[("reason", reason.as_str())], count);
    }
    for rate in Rate::ALL {
        out.counter("tidings_rates_exceeded_total", &[("rate", rate.as_str())], metrics.rates_exceeded[rate.index()].get());
    }
    for kind in ProtocolError::ALL {
        let count = total(metrics, |group| &group.protocol_errors[kind.index()]);
        out.counter("tidings_protocol_errors_seen_total", &[("kind", kind.as_str())], count);
    }
}

fn bounds(out: &Out<'_>, metrics: &Metrics, gauges: &Gauges) {
    for bound in Bound::ALL {
        let label = [("bound", bound.as_str())];
        out.gauge("tidings_bound_used", &label, bound_used(metrics, gauges, bound) as f64);
        out.gauge("tidings_bound_limit", &label, metrics.bounds[bound.index()].get() as f64);
    }
}

/// How much of a bound is used.
pub(super) fn bound_used(metrics: &Metrics, gauges: &Gauges, bound: Bound) -> u64 {
    let cluster = gauges.cluster.as_deref();
    match bound {
        Bound::Connections => metrics.shards.iter().map(|shard| open(shard)).sum(),
        Bound::GrpcConnections => open(&metrics.off_shard),
        Bound::ConnectionsPending => gauges.connections_pending,
        Bound::GrpcConnectionsPending => gauges.grpc_connections_pending,
        Bound::AdminConnections => gauges.admin_connections,
        Bound::ConnectionsPerAddress => gauges.connections_per_address,
        Bound::ConnectionsPerUser => gauges.connections_per_user,
        Bound::Guests => gauges.guests,
        Bound::Channels => gauges.channels,
        Bound::ChannelsSilent => gauges.channels_silent,
        Bound::HistoryBytes => gauges.history_bytes,
        Bound::DedupeIds => gauges.dedupe_ids,
        Bound::PresenceMembers => gauges.presence.connected,
        Bound::PresenceHeld => gauges.presence.held,
        Bound::ShardInbox => gauges.inbox_depths.iter().copied().max().unwrap_or(0),
        Bound::ShardCommands => gauges.shard_commands,
        Bound::ShardRing => metrics.shards.iter().map(|shard| shard.ring_bytes.get()).max().unwrap_or(0),
        Bound::UnsentBytes => metrics.shards.iter().map(|shard| shard.unsent_bytes.get()).max().unwrap_or(0),
        Bound::UnreadBytes => gauges.unread_bytes,
        Bound::IncomingBytes => gauges.incoming_bytes,
        Bound::ClusterLink => cluster.map_or(0, cluster::ClusterFigures::queued_most),
        Bound::ClusterPublishes => cluster.map_or(0, |cluster| cluster.publishes_waiting_bytes),
        Bound::ClusterNodes => cluster.map_or(0, |cluster| cluster.gossip_peers),
        Bound::ClusterGreetings => cluster.map_or(0, |cluster| cluster.greetings),
        Bound::ClusterQuestions => cluster.map_or(0, |cluster| cluster.questions),
        Bound::ClusterOrders => cluster.map_or(0, |cluster| cluster.orders),
        Bound::ClusterInputs => cluster.map_or(0, |cluster| cluster.inputs),
        Bound::Revocations => gauges.revocations,
        Bound::RateCallers => gauges.rate_callers,
        Bound::Journal => gauges.journal,
        Bound::LogLines => gauges.log.waiting,
    }
}

fn tls(out: &Out<'_>, metrics: &Metrics) {
    for listener in Listener::ALL {
        let (cells, label) = (&metrics.tls[listener.index()], ("listener", listener.as_str()));
        for outcome in Handshake::ALL.into_iter().filter(|_| listener != Listener::Cluster) {
            let count = cells.handshakes[outcome.index()].get();
            out.counter("tidings_tls_handshakes_ended_total", &[label, ("outcome", outcome.as_str())], count);
        }
        out.counter("tidings_tls_certificates_read_total", &[label, ("result", "used")], cells.loaded.get());
        out.counter("tidings_tls_certificates_read_total", &[label, ("result", "refused")], cells.refused.get());
        out.gauge("tidings_tls_certificate_stale", &[label], cells.is_stale.get() as f64);
        out.gauge("tidings_tls_certificate_expires_timestamp_seconds", &[label], cells.expires.get() as f64);
    }
}

/// Sockets of one group that are open now.
pub(super) fn open(group: &ShardMetrics) -> u64 {
    let closed = group.connections_closed.get();
    group.connections_accepted.get().saturating_sub(closed)
}

fn sessions(out: &Out<'_>, metrics: &Metrics, gauges: &Gauges, front: Front) {
    let label = ("front", front.as_str());
    let sum = |pick: fn(&FrontCells) -> &Cell| total(metrics, |group| pick(&group.fronts[front.index()]));
    let mut closed_now = 0_u64;
    for reason in CloseReason::ALL {
        let closed = total(metrics, |group| &group.fronts[front.index()].sessions_closed[reason.index()]);
        closed_now = closed_now.wrapping_add(closed);
        out.counter("tidings_sessions_closed_total", &[label, ("reason", reason.as_str())], closed);
    }
    let opened = sum(|cells| &cells.sessions_opened);
    out.counter("tidings_sessions_opened_total", &[label], opened);
    out.gauge("tidings_sessions", &[label], opened.saturating_sub(closed_now) as f64);
    out.counter("tidings_sessions_resumed_total", &[label, ("outcome", "recovered")], sum(|cells| &cells.resumed));
    out.counter("tidings_sessions_resumed_total", &[label, ("outcome", "gap")], sum(|cells| &cells.resumed_with_gap));
    out.counter("tidings_sessions_fell_behind_total", &[label], sum(|cells| &cells.fell_behind));
    out.counter("tidings_sessions_caught_up_total", &[label], sum(|cells| &cells.caught_up));
    out.gauge("tidings_sessions_behind", &[label], behind(metrics, gauges, front) as f64);
    out.counter("tidings_messages_delivered_total", &[label], sum(|cells| &cells.messages_delivered));
    out.counter("tidings_messages_delivered_bytes_total", &[label], sum(|cells| &cells.bytes_delivered));
    for reason in GapReason::ALL {
        let gaps = total(metrics, |group| &group.fronts[front.index()].gaps[reason.index()]);
        out.counter("tidings_gaps_declared_total", &[label, ("reason", reason.as_str())], gaps);
    }
}

/// Sessions of a front that are behind, on sockets of shards and elsewhere.
pub(super) fn behind(metrics: &Metrics, gauges: &Gauges, front: Front) -> u64 {
    // Ended before began: who catches up in between must not make the difference negative.
    let ended = total(metrics, |group| &group.fronts[front.index()].behind_ended);
    let on_shards = total(metrics, |group| &group.fronts[front.index()].behind_began).saturating_sub(ended);
    on_shards + gauges.behind_elsewhere[front.index()]
}

/// For how many seconds the one that has been so for longest has been behind.
pub(super) fn behind_longest(metrics: &Metrics, gauges: &Gauges) -> u64 {
    let on_shards = metrics.shards.iter().map(|shard| shard.behind_longest.get());
    on_shards.fold(gauges.behind_elsewhere_longest.as_secs(), u64::max)
}

/// How many messages the one lacks that lacks most.
pub(super) fn lacked_most(metrics: &Metrics, gauges: &Gauges) -> u64 {
    let on_shards = metrics.shards.iter().map(|shard| shard.lacked_most.get());
    on_shards.fold(gauges.behind_elsewhere_lacked_most, u64::max)
}

fn publishes(out: &Out<'_>, source: &'static str, cells: &PublishCells) {
    let answered = |outcome, count| out.counter("tidings_publishes_answered_total", &[("source", source), ("outcome", outcome)], count);
    answered("kept", cells.kept.get());
    answered("duplicate", cells.duplicates.get());
    for code in ErrorCode::ALL {
        answered(code.as_str(), cells.errors[code.index()].get());
    }
    out.counter("tidings_publishes_kept_bytes_total", &[("source", source)], cells.bytes.get());
}

fn shards(out: &Out<'_>, metrics: &Metrics, gauges: &Gauges) {
    let left = total(metrics, |group| &group.listeners_left);
    let joined = total(metrics, |group| &group.listeners_joined);
    out.counter("tidings_subscriptions_joined_total", &[], joined);
    out.counter("tidings_subscriptions_left_total", &[], left);
    out.gauge("tidings_subscriptions", &[], joined.saturating_sub(left) as f64);
    out.counter("tidings_socket_writes_made_total", &[], total(metrics, |group| &group.writes));
    out.counter("tidings_log_pages_read_total", &[], total(metrics, |group| &group.pages_read));
    out.counter("tidings_log_messages_read_total", &[], total(metrics, |group| &group.page_messages_read));
    out.gauge("tidings_sessions_behind_seconds", &[], behind_longest(metrics, gauges) as f64);
    out.gauge("tidings_sessions_behind_messages", &[], lacked_most(metrics, gauges) as f64);
    out.counter("tidings_shards_died_total", &[], metrics.shards_died.get());
    // A shard's number is a label because one hot shard hides in a sum; there are at most as many as configured.
    for (n, shard) in metrics.shards.iter().enumerate() {
        let label = Label::new("shard", n.to_string());
        let depth = gauges.inbox_depths.get(n).copied().unwrap_or(0);
        out.count("tidings_shard_inbox_overflowed_total", vec![label.clone()], shard.inbox_overflows.get());
        out.value("tidings_shard_inbox_depth", vec![label.clone()], depth as f64);
        out.value("tidings_shard_connections", vec![label.clone()], open(shard) as f64);
        out.value("tidings_shard_ring_bytes", vec![label.clone()], shard.ring_bytes.get() as f64);
        out.value("tidings_shard_cache_bytes", vec![label], shard.cache_bytes.get() as f64);
    }
}

fn state(out: &Out<'_>, metrics: &Metrics, gauges: &Gauges) {
    out.gauge("tidings_channels", &[], gauges.channels as f64);
    out.gauge("tidings_history_messages", &[], gauges.history_messages as f64);
    out.gauge("tidings_history_bytes", &[], gauges.history_bytes as f64);
    out.counter("tidings_history_messages_evicted_total", &[], metrics.evicted.get());
    out.gauge("tidings_dedupe_ids", &[], gauges.dedupe_ids as f64);
    out.counter("tidings_dedupe_windows_shortened_total", &[], gauges.dedupe_shortened);
    let presence = &gauges.presence;
    out.gauge("tidings_presence_connected", &[], presence.connected as f64);
    out.gauge("tidings_presence_members", &[], presence.members as f64);
    out.gauge("tidings_presence_bytes", &[], presence.bytes as f64);
    out.counter("tidings_presence_joined_total", &[], presence.joined);
    out.counter("tidings_presence_left_total", &[], presence.left);
    out.counter("tidings_presence_refused_total", &[], presence.refused);
    for cause in Denied::ALL {
        out.counter("tidings_auth_calls_refused_total", &[("cause", cause.as_str())], metrics.denied[cause.index()].get());
    }
    for order in Ordered::ALL {
        for reach in Reach::ALL {
            let count = metrics.orders[order.index()][reach.index()].get();
            out.counter("tidings_control_orders_given_total", &[("order", order.as_str()), ("reach", reach.as_str())], count);
        }
    }
    out.gauge("tidings_control_sessions", &[], gauges.sessions_named as f64);
    out.counter("tidings_probes_made_total", &[("result", "passed")], metrics.probes_passed.get());
    out.counter("tidings_probes_made_total", &[("result", "failed")], metrics.probes_failed.get());
    let age = metrics.clock.mono().saturating_sub(Duration::from_millis(metrics.probe_passed_at.get()));
    out.gauge("tidings_probe_passed_age_seconds", &[], age.as_secs_f64());
    let reloads = &metrics.reloads;
    out.counter("tidings_config_reloads_tried_total", &[("result", "applied")], reloads.applied.get());
    out.counter("tidings_config_reloads_tried_total", &[("result", "refused")], reloads.refused.get());
    out.gauge("tidings_config_refused", &[], reloads.is_refused.get() as f64);
    out.gauge("tidings_config_keys_waiting", &[], reloads.waiting.get() as f64);
    out.gauge("tidings_config_applied_timestamp_seconds", &[], reloads.applied_at.get() as f64);
    out.counter("tidings_log_lines_left_out_total", &[("reason", "flood")], gauges.log.left_out_of_floods);
    out.counter("tidings_log_lines_left_out_total", &[("reason", "queue_full")], gauges.log.left_out_at_full);
    out.gauge("tidings_ready", &[], f64::from(u8::from(gauges.ready)));
    out.gauge("tidings_draining", &[], f64::from(u8::from(gauges.draining)));
}

pub(super) fn total(metrics: &Metrics, pick: impl Fn(&ShardMetrics) -> &Cell) -> u64 {
    metrics.groups().map(|group| pick(group).get()).fold(0, u64::wrapping_add)
}

/// Writes values into our own recorder without the macros, which would look for a global one.
struct Out<'a>(&'a PrometheusRecorder);

impl Out<'_> {
    fn counter(&self, name: &'static str, labels: &[(&'static str, &'static str)], value: u64) {
        self.count(name, labels.iter().map(Label::from).collect(), value);
    }

    fn gauge(&self, name: &'static str, labels: &[(&'static str, &'static str)], value: f64) {
        self.value(name, labels.iter().map(Label::from).collect(), value);
    }

    fn count(&self, name: &'static str, labels: Vec<Label>, value: u64) {
        self.0.register_counter(&Key::from_parts(name, labels), &METADATA).absolute(value);
    }

    fn value(&self, name: &'static str, labels: Vec<Label>, value: f64) {
        self.0.register_gauge(&Key::from_parts(name, labels), &METADATA).set(value);
    }
}

fn help(name: &str) -> &'static str {
    HELP.iter().find(|(known, _)| *known == name).map_or("", |(_, help)| help)
}

/// What stands before a family. Writing to a string cannot fail.
pub(super) fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// The lines of one histogram; `labels` is empty or `name="value"`. Writing to a string cannot fail.
fn histogram(text: &mut String, name: &str, labels: &str, sum: &DurationsSum) {
    let comma = if labels.is_empty() { "" } else { "," };
    let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    for (bound, count) in BOUNDS_MICROS.iter().zip(&sum.cumulative) {
        let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{}\"}} {count}", *bound as f64 / 1e6);
    }
    let count = sum.cumulative.last().copied().unwrap_or_default();
    let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
    let _ = writeln!(text, "{name}_sum{braces} {}\n{name}_count{braces} {count}", sum.sum.as_secs_f64());
}
