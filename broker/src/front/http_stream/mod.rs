//! HTTP streaming: `GET /stream`, one JSON object a line for whoever reads a response as it comes, and with
//! `format=html` the same objects as script calls for a hidden frame, where nothing else gets through.

pub(super) mod encoder;
mod script;

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;

use super::cors::Cors;
use super::ground::Ground;
use super::presence;
use super::request::{self, Request, may_listen};
use super::stream::{self, Stream};
use crate::auth::Pass;
use crate::error::{Error, Result};
use crate::journal::SessionId;
use crate::metrics::Front;
use crate::session::{Bounds, Glance, Subscription};
use encoder::{Layout, encoder};

/// Browsers begin to run a document's scripts once they have about this much of it.
const PAGE_PADDING: usize = 1024;
const PAGE_BEGIN: &[u8] = b"<!doctype html><meta charset=\"utf-8\"><title>tidings</title>\n";
/// The document may run its scripts and do nothing else, inside pages of its own origin only: no other page could be
/// called anyway.
const PAGE_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'");

/// The front of one node.
#[derive(Clone, Debug)]
pub struct HttpStream {
    /// How much one request may ask for.
    pub bounds: Bounds,
    /// Who may read across origins.
    pub cors: Cors,
}

/// What the stream is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Lines,
    Page,
}

impl Format {
    fn of(request: &Request) -> Result<Self> {
        match request.get("format") {
            None | Some("ndjson") => Ok(Self::Lines),
            Some("html") => Ok(Self::Page),
            Some(_) => Err(Error::invalid("`format` is `ndjson` (the default) or `html`")),
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Page => "text/html; charset=utf-8",
        }
    }
}

impl HttpStream {
    /// Answers `GET /stream`.
    pub(crate) fn answer<G: Ground>(&self, ground: &G, parts: &Parts, pass: Result<Pass>, attended: Result<()>) -> G::Answer {
        let mut format = Format::Lines;
        let asked = request::session(parts);
        let session = asked.clone().unwrap_or_else(|_| request::fresh_session());
        asked.and_then(|session| self.open(ground, parts, (pass, attended), session, &mut format)).unwrap_or_else(|error| {
            ground.refused(session, Front::HttpStream, &error);
            G::whole(self.refuse(format, &error, &parts.headers, session))
        })
    }

    /// Leaves in `format` what the client understands, for the refusal too.
    fn open<G: Ground>(
        &self,
        ground: &G,
        parts: &Parts,
        (pass, attended): (Result<Pass>, Result<()>),
        session: SessionId,
        format: &mut Format,
    ) -> Result<G::Answer> {
        let request = stream::request(parts)?;
        *format = Format::of(&request)?;
        let pass = pass?;
        stream::may_begin(ground)?;
        let starts = request.starts(None)?;
        let padding = stream::padding(&request)?;
        may_listen(&pass, &request.channels, &starts)?;
        attended?;
        let glance = Glance::at(ground.hub(), &request.channels);
        let subscription = Subscription::open(ground.hub(), &request.channels, self.bounds)?;
        let layout = match (*format, subscription.groups.len() > 1) {
            (Format::Lines, false) => Layout::Line,
            (Format::Lines, true) => Layout::LineWithOwnCursor,
            (Format::Page, false) => Layout::Script,
            (Format::Page, true) => Layout::ScriptWithOwnCursor,
        };
        let presence = presence::enter(ground.hub(), parts, &pass, session, &request, &subscription)?;
        let (user, stay) = (pass.take_place()?, pass.left());
        let headers = self.headers(*format, &parts.headers, session);
        let (greeting, tells_cluster) = (greeting(*format, padding), request.is_set("cluster"));
        let identity = pass.identity();
        let stream = Stream { session, headers, greeting, subscription, starts, identity, presence, user, stay, tells_cluster };
        stream::answer(ground, stream, parts, glance, |framing| encoder(layout, framing))
    }

    fn headers(&self, format: Format, request: &HeaderMap, session: SessionId) -> HeaderMap {
        let mut headers = stream::headers(format.content_type(), &self.cors, request, session);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if format == Format::Page {
            headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
            headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
        }
        headers
    }

    /// Says no in the client's format: a page in a hidden frame sees neither status nor body, so it is called.
    fn refuse(&self, format: Format, error: &Error, request: &HeaderMap, session: SessionId) -> Response<Bytes> {
        let mut response = super::error_response(error);
        super::request::tell_session(session, response.headers_mut());
        if format == Format::Page {
            let mut text = PAGE_BEGIN.to_vec();
            script::write_call(&mut text, |json| {
                json.extend_from_slice(b"{\"close\":");
                crate::wire::write_refusal(json, error);
                json.push(b'}');
            });
            *response.body_mut() = Bytes::from(text);
            response.headers_mut().extend(self.headers(format, request, session));
        } else {
            self.cors.apply(request, response.headers_mut());
        }
        response
    }
}

/// The first bytes. Before a line there may be spaces, which mean nothing in JSON (RFC 8259, section 2).
fn greeting(format: Format, padding: usize) -> Vec<u8> {
    match format {
        Format::Lines => vec![b' '; padding],
        Format::Page => {
            let mut greeting = PAGE_BEGIN.to_vec();
            greeting.resize(padding.max(PAGE_PADDING), b' ');
            greeting.push(b'\n');
            greeting
        }
    }
}
