//! Who is on a channel.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use serde::Deserialize;

use super::query::{Query, complaint};
use super::read::{LIMIT_DEFAULT, LIMIT_MAX};
use super::{HttpApi, answer};
use crate::auth::{Action, Pass};
use crate::error::{Error, Result};
use crate::message::ChannelName;
use crate::presence;
use crate::wire;

/// `GET /v1/channels/{channel}/presence` → a page of [`wire::write_presence`].
pub(super) async fn presence(api: &HttpApi, pass: &Pass, channel: &ChannelName, query: &str) -> Result<Response<Full<Bytes>>> {
    let query = Query::parse(query, &["after", "limit"])?;
    let limit = query.count("limit", LIMIT_DEFAULT, LIMIT_MAX)?;
    Ok(answer::json(page(api, pass, channel, query.get("after"), limit).await?))
}

/// The same query as an object of JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    channel: String,
    after: Option<String>,
    limit: Option<usize>,
}

/// A page asked for in JSON, as [`presence`] answers it.
pub(super) async fn described(api: &HttpApi, pass: &Pass, query: &str) -> Result<Vec<u8>> {
    // The library would take an array for the fields in their order.
    if !query.trim_ascii_start().starts_with('{') {
        return Err(Error::invalid("a presence query is an object of JSON"));
    }
    let Described { channel, after, limit } = serde_json::from_str(query).map_err(|why| complaint("a presence query", &why))?;
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Error::invalid(format!("`limit` is a number from 1 to {LIMIT_MAX}")));
    }
    page(api, pass, &ChannelName::parse(&channel)?, after.as_deref(), limit).await
}

async fn page(api: &HttpApi, pass: &Pass, channel: &ChannelName, after: Option<&str>, limit: usize) -> Result<Vec<u8>> {
    pass.check_page(Action::Presence, channel)?;
    let after = after.filter(|after| !after.is_empty()).map(Into::into);
    let page = api.broker.presence(channel, presence::Query { after, limit }).await?;
    let mut out = Vec::with_capacity(256);
    wire::write_presence(&mut out, channel, &page);
    Ok(out)
}
