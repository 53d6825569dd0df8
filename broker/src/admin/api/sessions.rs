//! What happened to clients: lately to all, and everything that is known of one.

use serde_json::{Value, json};

use super::Query;
use crate::admin::Admin;
use crate::error::{Error, Result};
use crate::journal::{Record, SessionId, What};
use crate::metrics::Front;

/// Records of one page without `limit`.
const PAGE: u64 = 50;
const PAGE_MAX: u64 = 500;

/// `GET /api/sessions`: the newest happenings. `event` names kinds, joined by commas; `text` is looked for in everything, and then each
/// refusal of a flood is one of its own. Polls that went well are found only by who looks for them.
pub(super) fn recent(admin: &Admin, query: &Query) -> Result<Value> {
    let limit = query.number("limit", PAGE, PAGE_MAX)? as usize;
    let before = query.get("before").map(|_| query.number("before", 0, u64::MAX)).transpose()?;
    let events: Vec<&str> = query.get("event").map(|events| events.split(',').map(known).collect()).transpose()?.unwrap_or_default();
    let text = query.get("text").map(str::to_lowercase);
    let is_wanted = |record: &Record| {
        (events.is_empty() || events.contains(&named(record.what.event())))
            && text.as_ref().is_none_or(|text| described(record).to_string().to_lowercase().contains(text))
    };
    let records = if text.is_some() || events.contains(&"polled") {
        admin.journal.search(limit, before, is_wanted)
    } else {
        admin.journal.newest(limit, before, is_wanted)
    };
    let next = records.last().filter(|_| records.len() == limit).map(|record| record.number);
    Ok(json!({"happenings": records.iter().map(described).collect::<Vec<_>>(), "before": next}))
}

/// `GET /api/sessions/{name}`.
pub(super) async fn story(admin: &Admin, name: &str) -> Result<Value> {
    let session = SessionId::parse(name).ok_or_else(|| Error::invalid("a session's name has 1 to 32 letters, digits, `-` or `_`"))?;
    let now = admin.inside.find(session).await;
    let story: Vec<Value> = admin.journal.story(session).iter().map(described).collect();
    Ok(json!({"session": name, "now": now, "story": story}))
}

/// The short name of an event.
fn named(event: &str) -> &str {
    event.strip_prefix("session_").unwrap_or(event)
}

/// The same of an event that somebody asks for, as it stands here or in the log. One that there is not would find nothing, and who looks
/// for a trouble would take that for good news.
fn known(asked: &str) -> Result<&'static str> {
    let found = What::EVENTS.into_iter().map(named).find(|event| *event == named(asked));
    found.ok_or_else(|| Error::invalid(format!("`event` is a list of {}", What::EVENTS.map(named).join(", "))))
}

fn described(record: &Record) -> Value {
    let mut value = json!({
        "number": record.number,
        "at_ms": record.unix_ms,
        "session": record.session.as_ref().map(SessionId::as_str),
        "front": record.front.map(Front::as_str),
        "event": record.what.event(),
        "message": record.what.to_string(),
    });
    if record.times > 1 {
        value["times"] = record.times.into();
    }
    if let Some(reason) = record.what.reason() {
        value["reason"] = reason.into();
    }
    match &record.what {
        What::Opened { channels, address, .. } => {
            value["channels"] = channels.to_string().into();
            value["address"] = address.map(|address| address.to_string()).into();
        }
        What::Polled { channels, address, messages, since_ms, .. } => {
            value["channels"] = channels.to_string().into();
            value["address"] = address.map(|address| address.to_string()).into();
            (value["messages"], value["since_ms"]) = ((*messages).into(), (*since_ms).into());
        }
        What::Refused { address, .. } => value["address"] = address.map(|address| address.to_string()).into(),
        What::PublishRefused(refused) => {
            value["by"] = (&*refused.by).into();
            value["channel"] = refused.channel.as_ref().map(|channel| channel.as_str()).into();
            value["rule"] = refused.rule.into();
            value["over"] = refused.source.as_str().into();
            value["address"] = refused.address.map(|address| address.to_string()).into();
        }
        What::Closed { lasted, .. } => value["lasted_ms"] = (lasted.as_millis() as u64).into(),
        _ => {}
    }
    value
}
