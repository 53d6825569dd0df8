//! HTTP and JSON under `/v1/…`, so that `curl` suffices: publish, history, clear, list of channels.
//!
//! This room turns requests into calls of the broker and results into JSON. It knows no sockets: who owns the
//! connection hands in a request and writes the response.

mod answer;
mod body;
mod connected;
mod control;
mod description;
mod explain;
mod presence;
mod publish;
mod query;
mod read;
mod route;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::Full;

pub use self::connected::{Connected, Published};
use self::route::{Action, Routed};
use crate::api::refusals;
use crate::auth::carrier;
use crate::auth::origin::Origins;
use crate::auth::{self, Gate, Pass};
use crate::broker::Broker;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::limits::{Caller, ClientAddress, Crowd};
use crate::message::ChannelName;
use crate::metrics::{Metrics, Source};

/// What the HTTP API needs. Cheap to clone; one per node is enough.
#[derive(Clone)]
pub struct HttpApi {
    /// The one door.
    pub broker: Broker,
    /// Lets callers in.
    pub gate: Gate,
    /// Where orders about clients are given.
    pub control: Control,
    /// Where calls are counted.
    pub metrics: Arc<Metrics>,
    /// Where it is told which publishes are refused.
    pub journal: Journal,
    /// Origins whose pages may change things here besides our own.
    pub origins: Origins,
    /// Bodies that are half here, in bytes.
    pub incoming: Arc<Crowd>,
    /// What a request may cost.
    pub limits: Limits,
}

impl std::fmt::Debug for HttpApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpApi").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Bounds of one request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest payload that any namespace takes, in bytes.
    pub payload_bytes_max: usize,
    /// Most channels of one publish.
    pub batch_channels_max: usize,
    /// How long a body may take to arrive as a whole.
    pub body_timeout: Duration,
}

impl Limits {
    /// The largest JSON body: room for a payload that base64 or escapes make longer, and for the longest list of names.
    #[must_use]
    pub fn json_bytes_max(&self) -> usize {
        self.payload_bytes_max.saturating_mul(2).saturating_add(512 * 1024)
    }
}

/// Whether this path belongs to the HTTP API.
#[must_use]
pub fn is_api_path(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

/// Answers one request whose path [is the API's](is_api_path). Every outcome is an answer, none a panic.
pub async fn handle<B>(api: &HttpApi, request: Request<B>) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes>,
{
    let (parts, body) = request.into_parts();
    let mut body = pin!(body);
    let answered = match route::route(&parts.method, parts.uri.path()) {
        Ok(Routed::Action(action)) => {
            let mut asked = Asked { pass: None, is_publish: action.is_publish(), channel: action.publishes_to().cloned() };
            let acted = act(api, action, &parts, body.as_mut(), &mut asked).await;
            acted.inspect_err(|error| asked.refused(api, &parts, error))
        }
        Ok(Routed::Options(allow)) => Ok(answer::options(allow)),
        Ok(Routed::WrongMethod(allow)) => Ok(answer::wrong_method(allow)),
        Err(error) => Err(error),
    };
    let response = answered.unwrap_or_else(|error| answer::error(&error));
    if !response.status().is_success() {
        body::discard(body).await;
    }
    if parts.method == Method::HEAD { answer::without_body(response) } else { response }
}

/// What a request turned out to be, for whoever tells that it was refused.
struct Asked {
    /// Whose it is, once that is known.
    pass: Option<Pass>,
    is_publish: bool,
    /// To which channel it publishes, once that is known and if it is one.
    channel: Option<ChannelName>,
}

impl Asked {
    fn refused(&self, api: &HttpApi, parts: &Parts, error: &Error) {
        if !self.is_publish {
            return;
        }
        match &self.pass {
            Some(pass) => api.publish_refused(pass, parts, self.channel.as_ref(), error),
            None => api.publish_refused(&api.gate.anyone(), parts, self.channel.as_ref(), error),
        }
    }
}

impl HttpApi {
    fn publish_refused(&self, pass: &Pass, parts: &Parts, channel: Option<&ChannelName>, error: &Error) {
        let from = parts.extensions.get::<ClientAddress>().map(|address| Caller::Address(address.0));
        refusals::tell(&self.journal, Source::Http, (pass, from), channel, error);
    }
}

async fn act<B>(api: &HttpApi, action: Action, parts: &Parts, body: Pin<&mut B>, asked: &mut Asked) -> Result<Response<Full<Bytes>>>
where
    B: Body<Data = Bytes>,
{
    let Asked { pass, channel: to, .. } = asked;
    let pass = &*pass.insert(api.gate.admit_request(parts).await?);
    if action.changes_state() {
        api.origins.check(parts, pass.is_by_browser(&parts.headers), "change anything").map_err(|refusal| api.gate.refuse(&refusal))?;
    }
    // Where or whom is said in the body, which nobody needs to read of who may do it nowhere.
    match action {
        Action::PublishJson => pass.check_somewhere(auth::Action::Publish)?,
        Action::Disconnect | Action::Unsubscribe | Action::Revoke => pass.check_somewhere(auth::Action::Control)?,
        _ => {}
    }
    let query = carrier::without_token(parts.uri.query().unwrap_or_default());
    match action {
        Action::PublishJson => counted(api, publish::json(api, pass, parts, &query, body, to).await),
        Action::PublishRaw(channel) => counted(api, publish::raw(api, pass, parts, channel, &query, body).await),
        Action::History(channel) => read::history(api, pass, &channel, &query).await,
        Action::Clear(channel) => read::clear(api, pass, &channel, &query).await,
        Action::Presence(channel) => presence::presence(api, pass, &channel, &query).await,
        Action::Channels => read::channels(api, pass, &query).await,
        Action::Disconnect => control::disconnect(api, pass, &query, body).await,
        Action::Unsubscribe => control::unsubscribe(api, pass, &query, body).await,
        Action::Revoke => control::revoke(api, pass, &query, body).await,
        Action::Explain => explain::explain(api, pass, &query, body).await,
    }
}

/// Counts a publish that failed before or while a message was made of it.
fn counted<T>(api: &HttpApi, outcome: Result<T>) -> Result<T> {
    outcome.inspect_err(|error| api.metrics.published(Source::Http, Err(error.code), 0))
}
