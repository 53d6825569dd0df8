//! The admin API: JSON under `/api/…` for the page and for scripts. Each call is a question about this node, or one of the
//! few changes that an operator makes while it runs.

mod channels;
mod log;
mod overview;
mod sessions;
mod tail;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Serialize;
use std::time::Duration;
use tokio::time::timeout;

pub(super) use overview::step;

use super::{Admin, access};
use crate::error::{Error, ErrorCode, Result};
use crate::limits::{Caller, ClientAddress};
use crate::metrics::Denied;
use crate::wire::{error_json, percent_decode};

/// Largest body of a request.
const BODY_BYTES_MAX: usize = 256 << 10;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether this path belongs to the API.
pub(super) fn is_api_path(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// Answers one request. Every outcome is an answer.
pub(super) async fn handle<B>(admin: &Admin, request: Request<B>) -> Response<Full<Bytes>>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let answered = act(admin, &parts, body).await;
    let (status, body) = match answered {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => {
            let mut body = error_json(&error);
            body.push(b'\n');
            (error.code.http_status(), body)
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110, section 11.6.1.
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

async fn act<B>(admin: &Admin, parts: &Parts, body: B) -> Result<Vec<u8>>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    admin.access.check(&parts.headers).inspect_err(|error| {
        let shown = parts.headers.contains_key(header::AUTHORIZATION);
        let cause = if shown { Denied::UnknownKey } else { Denied::Missing };
        let whose = parts.extensions.get::<ClientAddress>().map(|address| Caller::Address(address.0));
        admin.metrics.admin_refused(cause, parts.uri.path(), error.code.as_str(), whose);
    })?;
    let path: Vec<&str> = parts.uri.path().split('/').skip(2).collect();
    let query = Query::parse(parts.uri.query().unwrap_or_default())?;
    let is_get = matches!(parts.method, Method::GET | Method::HEAD);
    match (&parts.method, &path[..]) {
        (_, ["overview"]) if is_get => json(&overview::overview(admin)),
        (_, ["trend"]) if is_get => json(&overview::trend(admin, &query)?),
        (_, ["cluster"]) if is_get => json(&admin.inside.cluster()),
        (_, ["channels"]) if is_get => json(&channels::list(admin, &query).await?),
        (_, ["channels", name]) if is_get => channels::one(admin, name).await,
        (_, ["sessions"]) if is_get => json(&sessions::recent(admin, &query)?),
        (_, ["sessions", name]) if is_get => json(&sessions::story(admin, name).await?),
        (_, ["tail"]) if is_get => tail::tail(admin, &query).await,
        (_, ["log"]) if is_get => json(&log::level(admin)?),
        (&Method::PUT, ["log"]) => json(&log::set_level(admin, &change(parts, body).await?)?),
        (&Method::POST, ["publish"]) => channels::publish(admin, &change(parts, body).await?).await,
        (_, ["overview" | "trend" | "cluster" | "channels" | "sessions" | "tail" | "log" | "publish", ..]) => {
            Err(Error::new(ErrorCode::MethodNotAllowed, "there is no such call; see docs/OPERATING.md for those there are"))
        }
        _ => Err(Error::new(ErrorCode::NotFound, "there is no such call; see docs/OPERATING.md for those there are")),
    }
}

/// The body of a change.
async fn change<B>(parts: &Parts, body: B) -> Result<Bytes>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    access::check_change(&parts.headers)?;
    let read = timeout(BODY_TIMEOUT, Limited::new(std::pin::pin!(body), BODY_BYTES_MAX).collect()).await;
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(Error::new(ErrorCode::TooLarge, format!("a body has at most {BODY_BYTES_MAX} bytes, and must arrive whole"))),
        Err(_) => Err(Error::invalid(format!("the body did not arrive within {BODY_TIMEOUT:?}"))),
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let written = serde_json::to_vec(value).map(|mut out| {
        out.push(b'\n');
        out
    });
    written.map_err(|why| Error::new(ErrorCode::Internal, why.to_string()))
}

/// The parameters of a request.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Result<Self> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((percent_decode(name)?.into_owned(), percent_decode(&value.replace('+', " "))?.into_owned()))
        });
        pairs.collect::<Result<_>>().map(Self)
    }

    /// The first value that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(super) fn number(&self, name: &str, default: u64, max: u64) -> Result<u64> {
        match self.get(name).map(str::parse) {
            None => Ok(default),
            Some(Ok(number)) if number <= max => Ok(number),
            _ => Err(Error::invalid(format!("`{name}` is a number from 0 to {max}"))),
        }
    }
}
