//! `POST /v1/disconnect`, `/v1/unsubscribe`, `/v1/revoke`: orders about clients.

use bytes::Bytes;
use http::Response;
use http_body::Body;
use http_body_util::Full;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::query::Query;
use super::{HttpApi, answer, body};
use crate::api::order::{self, Clients};
use crate::auth::Pass;
use crate::control::{Order, Outcome};
use crate::error::{Error, Result};
use crate::wire;

/// Room for the longest names.
const BODY_BYTES_MAX: usize = 16 << 10;
/// Most of the parser's complaint that goes back; it may quote what was sent.
const COMPLAINT_CHARS_MAX: usize = 300;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disconnect {
    user: Option<String>,
    token_id: Option<String>,
    session: Option<String>,
    #[serde(default)]
    reconnect: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unsubscribe {
    user: Option<String>,
    token_id: Option<String>,
    session: Option<String>,
    channel: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    user: Option<String>,
    token_id: Option<String>,
    until: Option<u64>,
    issued_until: Option<u64>,
}

/// Takes `{"user"|"token_id"|"session","reconnect"?}`.
pub(super) async fn disconnect<B: Body<Data = Bytes>>(api: &HttpApi, pass: &Pass, query: &str, body: B) -> Result<Response<Full<Bytes>>> {
    let Disconnect { user, token_id, session, reconnect } = read(api, query, body).await?;
    let clients = Clients { user: user.as_deref(), token_id: token_id.as_deref(), session: session.as_deref() };
    give(api, pass, order::disconnect(clients, reconnect)?).await
}

/// Takes `{"user"|"token_id"|"session","channel"}`.
pub(super) async fn unsubscribe<B: Body<Data = Bytes>>(api: &HttpApi, pass: &Pass, query: &str, body: B) -> Result<Response<Full<Bytes>>> {
    let Unsubscribe { user, token_id, session, channel } = read(api, query, body).await?;
    let clients = Clients { user: user.as_deref(), token_id: token_id.as_deref(), session: session.as_deref() };
    give(api, pass, order::unsubscribe(clients, &channel)?).await
}

/// Takes `{"user"|"token_id","until"?,"issued_until"?}`.
pub(super) async fn revoke<B: Body<Data = Bytes>>(api: &HttpApi, pass: &Pass, query: &str, body: B) -> Result<Response<Full<Bytes>>> {
    let Revoke { user, token_id, until, issued_until } = read(api, query, body).await?;
    let clients = Clients { user: user.as_deref(), token_id: token_id.as_deref(), session: None };
    give(api, pass, order::revoke(&api.control, clients, until, issued_until)?).await
}

async fn read<T: DeserializeOwned, B: Body<Data = Bytes>>(api: &HttpApi, query: &str, body: B) -> Result<T> {
    Query::parse(query, &[])?;
    let bytes = body::read(body, BODY_BYTES_MAX, api).await?;
    // The library would take an array for the fields in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Error::invalid("the body is no order in JSON: that is an object"));
    }
    serde_json::from_slice(&bytes).map_err(|why| {
        let why: String = why.to_string().chars().take(COMPLAINT_CHARS_MAX).collect();
        Error::invalid(format!("the body is no order in JSON: {why}"))
    })
}

/// Answers `{"ended","reached":[{"node","ended","pending"}…],"missed":[{"node","reason"}…],"until"?}`.
async fn give(api: &HttpApi, pass: &Pass, order: Order) -> Result<Response<Full<Bytes>>> {
    let outcome = order::give(&api.control, pass, order).await?;
    Ok(answer::json(described(&outcome)))
}

fn described(outcome: &Outcome) -> Vec<u8> {
    let mut out = b"{\"ended\":".to_vec();
    wire::write_number(&mut out, outcome.ended());
    out.extend_from_slice(b",\"reached\":[");
    for (at, reached) in outcome.reached.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"{\"node\":" } else { b",{\"node\":" });
        wire::write_string(&mut out, &reached.node);
        out.extend_from_slice(b",\"ended\":");
        wire::write_number(&mut out, reached.done.ended);
        out.extend_from_slice(b",\"pending\":");
        wire::write_number(&mut out, reached.done.pending);
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"missed\":[");
    for (at, missed) in outcome.missed.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"{\"node\":" } else { b",{\"node\":" });
        wire::write_string(&mut out, &missed.node);
        out.extend_from_slice(b",\"reason\":");
        wire::write_string(&mut out, &missed.why);
        out.push(b'}');
    }
    out.push(b']');
    if let Some(until) = outcome.until {
        out.extend_from_slice(b",\"until\":");
        wire::write_number(&mut out, until);
    }
    out.push(b'}');
    out
}
