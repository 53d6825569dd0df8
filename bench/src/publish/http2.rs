//! As much of HTTP/2 (RFC 9113) as a client of one request needs that never ends: frames out, frames in. Settings that matter
//! to the sender are heeded, everything else is left at what the protocol begins with.

use anyhow::{bail, ensure};

/// What a connection begins with (section 3.4), with an empty SETTINGS frame.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head (section 4.1).
pub(super) const HEAD_BYTES: usize = 9;
/// Bytes that may be on their way before the peer says otherwise (section 6.9.2).
pub(super) const WINDOW_INITIAL: i64 = 65_535;
/// Payload of a frame before the peer says otherwise (section 6.5.2).
pub(super) const FRAME_INITIAL: usize = 16_384;
/// The largest window there is.
const WINDOW_MAX: u32 = i32::MAX as u32;
/// The stream that is spoken on.
pub(super) const STREAM: u32 = 1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;

/// What a frame tells the sender.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    /// Bytes of the answer.
    Data { bytes: &'a [u8], is_last: bool },
    /// The answer's head, or its end.
    Head { is_last: bool },
    /// What the sender must heed, and confirm.
    Settings { window: Option<i64>, frame: Option<usize> },
    /// So many bytes more may be sent: on the connection, or on the stream.
    Window { on_stream: bool, more: i64 },
    /// To be sent back.
    Ping([u8; 8]),
    /// Nothing that matters here.
    Other,
}

/// Appends a frame's head.
pub(super) fn head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// Appends what opens the connection and one gRPC request to this path. The answer may be as long as a window can be, so that
/// nothing needs to be granted later.
pub(super) fn open(out: &mut Vec<u8>, path: &str) {
    out.extend_from_slice(PREFACE);
    head(out, 6, SETTINGS, 0, 0);
    out.extend_from_slice(&INITIAL_WINDOW_SIZE.to_be_bytes());
    out.extend_from_slice(&WINDOW_MAX.to_be_bytes());
    head(out, 4, WINDOW_UPDATE, 0, 0);
    out.extend_from_slice(&(WINDOW_MAX - WINDOW_INITIAL as u32).to_be_bytes());
    // Fields by their place in the static table, or as literals that are not remembered (RFC 7541, sections 6.1 and 6.2.2).
    let mut fields = vec![0x83, 0x86, 0x04];
    text(&mut fields, path);
    fields.push(0x01);
    text(&mut fields, "localhost");
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
        fields.push(0);
        text(&mut fields, name);
        text(&mut fields, value);
    }
    head(out, fields.len(), HEADERS, END_HEADERS, STREAM);
    out.extend_from_slice(&fields);
}

/// A literal without Huffman's code; all are shorter than what one byte of length tells (RFC 7541, section 5.2).
fn text(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

/// Appends a DATA frame.
pub(super) fn data(out: &mut Vec<u8>, bytes: &[u8], is_last: bool) {
    head(out, bytes.len(), DATA, if is_last { END_STREAM } else { 0 }, STREAM);
    out.extend_from_slice(bytes);
}

/// Appends what confirms the peer's settings.
pub(super) fn confirm_settings(out: &mut Vec<u8>) {
    head(out, 0, SETTINGS, ACK, 0);
}

/// Appends the answer to a ping.
pub(super) fn pong(out: &mut Vec<u8>, bytes: [u8; 8]) {
    head(out, 8, PING, ACK, 0);
    out.extend_from_slice(&bytes);
}

/// The frame at the front and its length, once it is all there.
pub(super) fn hear(input: &[u8]) -> anyhow::Result<Option<(Heard<'_>, usize)>> {
    let Some((head, rest)) = input.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let [a, b, c, kind, flags, stream @ ..] = *head;
    let (length, stream) = (u32::from_be_bytes([0, a, b, c]) as usize, u32::from_be_bytes(stream));
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    let heard = match kind {
        DATA => {
            ensure!(flags & PADDED == 0, "the server pads");
            Heard::Data { bytes: payload, is_last: flags & END_STREAM != 0 }
        }
        HEADERS => Heard::Head { is_last: flags & END_STREAM != 0 },
        SETTINGS if flags & ACK == 0 => {
            let settings = payload.as_chunks::<6>().0;
            let of = |wanted: u16| {
                let found = settings.iter().rfind(|setting| u16::from_be_bytes([setting[0], setting[1]]) == wanted);
                found.map(|setting| u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]))
            };
            Heard::Settings { window: of(INITIAL_WINDOW_SIZE).map(i64::from), frame: of(MAX_FRAME_SIZE).map(|size| size as usize) }
        }
        WINDOW_UPDATE => {
            let Ok(more) = <[u8; 4]>::try_from(payload) else { bail!("a window of {length} bytes") };
            Heard::Window { on_stream: stream == STREAM, more: i64::from(u32::from_be_bytes(more)) }
        }
        PING if flags & ACK == 0 => {
            let Ok(bytes) = payload.try_into() else { bail!("a ping of {length} bytes") };
            Heard::Ping(bytes)
        }
        RST_STREAM => bail!("the server cut the stream: {payload:?}"),
        GOAWAY => bail!("the server leaves: {}", String::from_utf8_lossy(payload)),
        _ => Heard::Other,
    };
    Ok(Some((heard, HEAD_BYTES + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_heard_when_it_is_whole() {
        let mut bytes = Vec::new();
        data(&mut bytes, b"abc", true);
        for cut in 0..bytes.len() {
            assert_eq!(hear(&bytes[..cut]).unwrap(), None);
        }
        assert_eq!(hear(&bytes).unwrap(), Some((Heard::Data { bytes: b"abc", is_last: true }, bytes.len())));
    }

    #[test]
    fn settings_and_windows_are_heeded() {
        let mut bytes = Vec::new();
        head(&mut bytes, 12, SETTINGS, 0, 0);
        bytes.extend_from_slice(&[0, 4, 0, 0, 0, 9, 0, 5, 0, 1, 0, 0]);
        assert_eq!(hear(&bytes).unwrap().unwrap().0, Heard::Settings { window: Some(9), frame: Some(65_536) });
        bytes.clear();
        head(&mut bytes, 4, WINDOW_UPDATE, 0, 1);
        bytes.extend_from_slice(&[0, 0, 1, 0]);
        assert_eq!(hear(&bytes).unwrap().unwrap().0, Heard::Window { on_stream: true, more: 256 });
        bytes.clear();
        head(&mut bytes, 4, RST_STREAM, 0, 1);
        bytes.extend_from_slice(&[0, 0, 0, 8]);
        assert!(hear(&bytes).is_err());
    }
}
