//! What the process logs, changed while it runs.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::{Admin, Log};
use crate::error::{Error, ErrorCode, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    level: String,
}

/// `GET /api/log`.
pub(super) fn level(admin: &Admin) -> Result<Value> {
    Ok(json!({"level": log(admin)?.level()}))
}

/// `PUT /api/log`.
pub(super) fn set_level(admin: &Admin, body: &[u8]) -> Result<Value> {
    let change: Change = serde_json::from_slice(body).map_err(|why| Error::invalid(format!("the body is not understood: {why}")))?;
    let log = log(admin)?;
    log.set_level(&change.level).map_err(Error::invalid)?;
    Ok(json!({"level": log.level()}))
}

fn log(admin: &Admin) -> Result<&dyn Log> {
    admin.log.as_deref().ok_or_else(|| Error::new(ErrorCode::NotFound, "this process keeps its own log, which is not changed here"))
}
