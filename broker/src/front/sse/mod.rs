//! Server-Sent Events: `GET /sse` (WHATWG HTML, section 9.2).

pub(super) mod encoder;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};

use super::config::SseConfig;
use super::cors::Cors;
use super::ground::Ground;
use super::presence;
use super::request::{self, header as text_of, may_listen};
use super::stream::{self, Stream};
use crate::auth::Pass;
use crate::error::{Error, ErrorCode, RETRY_AFTER_MAX, Result};
use crate::journal::SessionId;
use crate::metrics::Front;
use crate::session::{Bounds, Glance, Subscription};
use crate::wire::write_number;
use encoder::{Layout, encoder};

const CONTENT_TYPE: &str = "text/event-stream";
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
    pub(crate) fn answer<G: Ground>(&self, ground: &G, parts: &Parts, pass: Result<Pass>, attended: Result<()>) -> G::Answer {
        let resume = text_of(&parts.headers, "last-event-id");
        if resume.is_some_and(|id| id.starts_with(OVER)) {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            self.cors.apply(&parts.headers, response.headers_mut());
            return G::whole(response);
        }
        let asked = request::session(parts);
        let session = asked.clone().unwrap_or_else(|_| request::fresh_session());
        let opened = asked.and_then(|session| self.open(ground, parts, (&pass?, attended), session, resume));
        if let Err(error) = &opened {
            ground.refused(session, Front::Sse, error);
        }
        match opened {
            Ok(answer) => answer,
            Err(error) if is_event_source(&parts.headers) => self.refuse_event_source(ground, parts, session, &error),
            Err(error) => {
                let mut response = super::error_response(&error);
                request::tell_session(session, response.headers_mut());
                self.cors.apply(&parts.headers, response.headers_mut());
                G::whole(response)
            }
        }
    }

    fn open<G: Ground>(
        &self,
        ground: &G,
        parts: &Parts,
        (pass, attended): (&Pass, Result<()>),
        session: SessionId,
        resume: Option<&str>,
    ) -> Result<G::Answer> {
        stream::may_begin(ground)?;
        let request = stream::request(parts)?;
        // Nothing is guessed: who says where it was, but not in a way that can be read, must not be taken for new.
        let mut given = parts.headers.get_all("last-event-id").iter();
        if given.next().is_some_and(|id| id.to_str().is_err()) || given.next().is_some() {
            return Err(Error::new(ErrorCode::InvalidCursor, "send one Last-Event-ID, in ASCII"));
        }
        // Stand-ins for EventSource that cannot set headers send the id as a parameter.
        let starts = request.starts(resume.or_else(|| request.get("lastEventId")))?;
        let padding = stream::padding(&request)?;
        let wants_envelope = request.is_set("envelope");
        may_listen(pass, &request.channels, &starts)?;
        attended?;
        let glance = Glance::at(ground.hub(), &request.channels);
        let subscription = Subscription::open(ground.hub(), &request.channels, self.bounds)?;
        let channels: usize = subscription.channels().count();
        let layout = if subscription.groups.len() > 1 {
            Layout::EnvelopeWithOwnId
        } else if channels > 1 || wants_envelope {
            Layout::Envelope
        } else {
            Layout::Payload
        };
        let presence = presence::enter(ground.hub(), parts, pass, session, &request, &subscription)?;
        let (user, stay) = (pass.take_place()?, pass.left());
        let headers = stream::headers(CONTENT_TYPE, &self.cors, &parts.headers, session);
        let (greeting, tells_cluster) = (self.greeting(padding), request.is_set("cluster"));
        let identity = pass.identity();
        let stream = Stream { session, headers, greeting, subscription, starts, identity, presence, user, stay, tells_cluster };
        stream::answer(ground, stream, parts, glance, |framing| encoder(layout, framing))
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
        greeting.extend_from_slice(b"retry: ");
        write_number(&mut greeting, rand::random_range(retry..=retry + retry / 2));
        greeting.extend_from_slice(b"\n\n");
        greeting
    }

    fn refuse_event_source<G: Ground>(&self, ground: &G, parts: &Parts, session: SessionId, error: &Error) -> G::Answer {
        let next = if error.code.may_retry() {
            // No id: what the client resumes from stays what it was.
            format!("retry: {}", ground.retry_hint().max(error.wait.unwrap_or_default().min(RETRY_AFTER_MAX)).as_millis())
        } else {
            format!("id: {OVER}{}", error.code.as_str())
        };
        let mut text = format!("{next}\nevent: tidings:close\ndata: ").into_bytes();
        crate::wire::write_refusal(&mut text, error);
        text.extend_from_slice(b"\n\n");
        let mut response = Response::new(Bytes::from(text));
        *response.headers_mut() = stream::headers(CONTENT_TYPE, &self.cors, &parts.headers, session);
        G::whole(response)
    }
}

/// Whether the client says it is an event source: browsers and the usual stand-ins send exactly this.
fn is_event_source(headers: &HeaderMap) -> bool {
    text_of(headers, "accept").is_some_and(|accept| accept.contains(CONTENT_TYPE))
}
