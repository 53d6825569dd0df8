//! How the node is, now and over the last hour.

use serde_json::{Value, json};

use super::Query;
use crate::admin::Admin;
use crate::admin::inside::by_front;
use crate::admin::trend::{Point, STEP};
use crate::close::CloseReason;
use crate::error::Result;

/// `GET /api/overview`.
pub(super) fn overview(admin: &Admin) -> Value {
    let gauges = (admin.gauges)();
    let seen = admin.metrics.snapshot(&gauges);
    let not_ready = admin.readiness.check().err();
    let closed: serde_json::Map<String, Value> =
        CloseReason::ALL.iter().zip(seen.closed).map(|(reason, count)| (reason.as_str().to_owned(), count.into())).collect();
    let bounds: Vec<Value> =
        seen.bounds.iter().map(|(bound, used, limit)| json!({"bound": bound.as_str(), "used": used, "limit": limit})).collect();
    let shards: Vec<Value> =
        seen.shards.iter().map(|(sockets, busy)| json!({"connections": sockets, "busy_seconds": busy.as_secs_f64()})).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now_ms": admin.clock.now().unix_ms,
        "up_seconds": admin.clock.mono().as_secs(),
        "is_open": admin.access.is_open(),
        "is_ready": not_ready.is_none(),
        "is_draining": admin.readiness.is_draining(),
        "not_ready": not_ready.map(|reason| json!({"reason": reason.as_str(), "message": reason.sentence()})),
        "cluster": admin.inside.condition(),
        "connections": seen.connections,
        "sessions": by_front(&seen.sessions),
        "behind": by_front(&seen.behind),
        "behind_seconds": seen.behind_longest,
        "behind_messages": seen.lacked_most,
        "sessions_closed": closed,
        "published": seen.published,
        "publishes_refused": seen.publishes_refused,
        "delivered": seen.delivered,
        "gaps": seen.gaps,
        "connections_refused": seen.connections_refused,
        "calls_refused": seen.calls_refused,
        "channels": gauges.channels,
        "history_messages": gauges.history_messages,
        "history_bytes": gauges.history_bytes,
        "bounds": bounds,
        "shards": shards,
    })
}

/// `GET /api/trend`.
pub(super) fn trend(admin: &Admin, query: &Query) -> Result<Value> {
    let after = query.number("after", 0, u64::MAX)?;
    let points: Vec<Point> = admin.trend.lock().after(after);
    Ok(json!({"step_seconds": STEP.as_secs(), "points": points}))
}

/// Takes the figures of this moment into the trend.
pub(in crate::admin) fn step(admin: &Admin) {
    let now = admin.clock.now();
    let snapshot = admin.metrics.snapshot(&(admin.gauges)());
    admin.trend.lock().step(now.mono, now.unix_ms, snapshot);
}
