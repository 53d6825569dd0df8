//! Server-Sent Events: `GET /sse` (WHATWG HTML, section 9.2).

mod body;
mod encoder;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};

use super::config::SseConfig;
use super::cors::Cors;
use super::request::{Bounds, Request, header as text_of};
use crate::error::{Error, ErrorCode, Result};
use crate::net::{Answer, Body, Peer, raw_head};
use crate::session::Subscription;
use crate::shard::{Opening, Shard};
use encoder::{Framing, Layout, encoder};

/// Old proxies hold back the first bytes until there are this many; nobody needs more.
const PADDING_MAX: u64 = 8192;
/// The `Last-Event-ID` of a stream that ended for good begins with this: no cursor does.
const OVER: &str = "!";

/// The front of one node.
#[derive(Clone, Debug)]
pub struct Sse {
    /// Its keys.
    pub config: SseConfig,
    /// How much one request may ask for.
    pub bounds: Bounds,
    /// Who may read across origins.
    pub cors: Cors,
}

impl Sse {
    /// Answers `GET /sse`.
    ///
    /// An `EventSource` cannot read an error and gives up for good on any status but 200, so it is told by an event. If
    /// coming back may help, its reconnect is another try; if not, it is answered with 204, which ends it (WHATWG HTML,
    /// section 9.2.3). Everyone else gets the plain error.
    pub fn answer(&self, shard: &Shard, peer: Peer, parts: &Parts) -> Answer {
        let resume = text_of(&parts.headers, "last-event-id");
        if resume.is_some_and(|id| id.starts_with(OVER)) {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::NO_CONTENT;
            self.cors.apply(&parts.headers, response.headers_mut());
            return response.into();
        }
        match self.open(shard, peer, parts, resume) {
            Ok(answer) => answer,
            Err(error) if is_event_source(&parts.headers) => self.refuse_event_source(shard, parts, &error),
            Err(error) => {
                let mut response = super::error_response(&error);
                self.cors.apply(&parts.headers, response.headers_mut());
                response.into()
            }
        }
    }

    fn open(&self, shard: &Shard, peer: Peer, parts: &Parts, resume: Option<&str>) -> Result<Answer> {
        if shard.is_draining() {
            return Err(Error::new(ErrorCode::Draining, "this node is leaving; connect to another one"));
        }
        let request = Request::parse(parts.uri.query().unwrap_or_default())?;
        // Stand-ins for EventSource that cannot set headers send the id as a parameter.
        let since = request.since(resume.or_else(|| request.get("lastEventId")))?;
        let padding = request.number("padding", 0, PADDING_MAX)?.unwrap_or(0) as usize;
        let wants_envelope = matches!(request.get("envelope"), Some("1" | "true"));
        let subscription = Subscription::open(shard.hub(), &request.channels, self.bounds.channels, self.bounds.slots)?;
        let channels: usize = subscription.channels().count();
        let layout = if subscription.groups.len() > 1 {
            Layout::EnvelopeWithOwnId
        } else if channels > 1 || wants_envelope {
            Layout::Envelope
        } else {
            Layout::Payload
        };

        let mut headers = self.headers(&parts.headers);
        if parts.method == Method::HEAD {
            let mut response = Response::new(Body::Empty);
            *response.headers_mut() = headers;
            return Ok(response.into());
        }
        let greeting = self.greeting(padding);
        if !peer.may_take_over {
            let begun = body::EventStream::begin(shard, encoder(layout, Framing::Plain), subscription, &since, greeting)?;
            let mut response = Response::new(Body::Stream(Box::new(begun)));
            *response.headers_mut() = headers;
            return Ok(response.into());
        }
        // HTTP/1.0 knows no chunks: there the end of the connection ends the stream.
        let framing = if parts.version == Version::HTTP_10 { Framing::Plain } else { Framing::Chunked };
        if framing == Framing::Chunked {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let mut head = raw_head(parts.version, StatusCode::OK, &headers);
        framing.write(&mut head, |out| out.extend_from_slice(&greeting));
        Ok(Answer::TakeOver(Box::new(Opening { head, encoder: encoder(layout, framing), subscription, since })))
    }

    fn headers(&self, request: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        // `no-transform` and the nginx header keep proxies from holding events back to compress or to collect them.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        self.cors.apply(request, &mut headers);
        headers
    }

    /// The first bytes of a stream, so that client and proxies see it is open. Each client is told its own time to wait
    /// before it reconnects, up to half as long again as configured, so that they do not come back all at once.
    fn greeting(&self, padding: usize) -> Vec<u8> {
        let retry = self.config.retry.as_millis() as u64;
        let mut greeting = Vec::with_capacity(padding + 32);
        if padding > 0 {
            greeting.push(b':');
            greeting.resize(padding, b' ');
            greeting.push(b'\n');
        }
        greeting.extend_from_slice(format!("retry: {}\n\n", rand::random_range(retry..=retry + retry / 2)).as_bytes());
        greeting
    }

    fn refuse_event_source(&self, shard: &Shard, parts: &Parts, error: &Error) -> Answer {
        let next = if error.code.may_retry() {
            // No id: what the client resumes from stays what it was.
            format!("retry: {}", shard.retry_hint().as_millis())
        } else {
            format!("id: {OVER}{}", error.code.as_str())
        };
        let mut text = format!("{next}\nevent: tidings:close\ndata: ").into_bytes();
        crate::wire::write_refusal(&mut text, error);
        text.extend_from_slice(b"\n\n");
        let mut response = Response::new(Body::full(text));
        *response.headers_mut() = self.headers(&parts.headers);
        response.into()
    }
}

/// Whether the client says it is an event source: browsers and the usual stand-ins send exactly this.
fn is_event_source(headers: &HeaderMap) -> bool {
    text_of(headers, "accept").is_some_and(|accept| accept.contains("text/event-stream"))
}
