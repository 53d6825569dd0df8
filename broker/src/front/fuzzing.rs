//! What fuzz targets may see of the fronts and nobody else needs: every wire form, and the reader of what WebSocket clients ask.

use super::http_stream::encoder as objects;
use super::sse::encoder as events;
use super::stream::Framing;
use super::websocket::encoder as frames;
use super::websocket::request;
use crate::shard::Encoder;

/// What a client takes a wire form for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// An event stream whose data is the payload itself, if that is text.
    Events,
    /// One whose data is the message as JSON.
    Envelopes,
    /// Lines of JSON.
    Lines,
    /// Calls of a script in a page.
    Scripts,
    /// Frames of a WebSocket.
    Frames,
}

/// One wire form.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    /// How it is read.
    pub dialect: Dialect,
    /// Whether it comes in chunks of HTTP/1.1.
    pub is_chunked: bool,
    /// Writes it.
    pub encoder: &'static dyn Encoder,
}

/// Every wire form there is.
#[must_use]
pub fn wires() -> Vec<Wire> {
    let mut wires = Vec::new();
    for framing in [Framing::Chunked, Framing::Plain] {
        let mut add = |dialect, encoder| wires.push(Wire { dialect, is_chunked: framing == Framing::Chunked, encoder });
        add(Dialect::Events, events::encoder(events::Layout::Payload, framing));
        for layout in [events::Layout::Envelope, events::Layout::EnvelopeWithOwnId] {
            add(Dialect::Envelopes, events::encoder(layout, framing));
        }
        for layout in [objects::Layout::Line, objects::Layout::LineWithOwnCursor] {
            add(Dialect::Lines, objects::encoder(layout, framing));
        }
        for layout in [objects::Layout::Script, objects::Layout::ScriptWithOwnCursor] {
            add(Dialect::Scripts, objects::encoder(layout, framing));
        }
    }
    for encoder in [&frames::PLAIN, frames::Objects::compressing(64)] {
        wires.push(Wire { dialect: Dialect::Frames, is_chunked: false, encoder });
    }
    wires
}

/// Whether what a WebSocket client says is a request.
#[must_use]
pub fn is_request(text: &str) -> bool {
    request::Request::parse(text).is_ok()
}
