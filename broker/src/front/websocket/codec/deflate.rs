//! permessage-deflate (RFC 7692), without context takeover on either side: every message is compressed by itself, so one
//! compressed frame serves every client, and no connection keeps a window.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::close::Violation;

mod offer;
#[cfg(test)]
mod tests;

pub use offer::{Agreed, WINDOW_BITS_MAX, WINDOW_BITS_MIN, negotiate};

/// What ends a flush, and is left away on the wire (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// First guess at how much there will be.
const OUT_BYTES_MIN: usize = 256;

/// Decompresses messages. One serves all connections of a thread; it costs nothing until the first message.
#[derive(Debug, Default)]
pub struct Inflater(Option<Decompress>);

impl Inflater {
    /// Most compressed bytes that a message of `bytes_max` can have become: nine bits for each byte, and some framing
    /// (RFC 1951, section 3.2.6).
    pub(super) fn compressed_max(bytes_max: usize) -> usize {
        bytes_max.saturating_add(bytes_max / 8).saturating_add(64)
    }

    /// Decompresses one message of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`Violation::TooLarge`] before more than that is made of it, [`Violation::BrokenCompression`].
    pub fn inflate(&mut self, compressed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Violation> {
        let stream = self.0.get_or_insert_with(|| Decompress::new(false));
        stream.reset(false);
        // One byte more than allowed is enough to know.
        let room_max = bytes_max.saturating_add(1);
        let mut out = Vec::with_capacity(compressed.len().saturating_mul(4).clamp(OUT_BYTES_MIN, OUT_BYTES_MIN.max(1 << 16)).min(room_max));
        for mut rest in [compressed, &TAIL] {
            loop {
                if out.len() == out.capacity() {
                    let more = out.len().max(OUT_BYTES_MIN).min(room_max - out.len());
                    out.reserve_exact(more);
                }
                let (in_before, out_before) = (stream.total_in(), out.len());
                let status = stream.decompress_vec(rest, &mut out, FlushDecompress::Sync).map_err(|_| Violation::BrokenCompression)?;
                let taken = (stream.total_in() - in_before) as usize;
                rest = &rest[taken..];
                if out.len() > bytes_max {
                    return Err(Violation::TooLarge);
                }
                if status == Status::StreamEnd {
                    // A last block may stand in the middle (RFC 7692, section 7.2.3.4); what follows begins anew.
                    stream.reset(false);
                    if rest.is_empty() {
                        break;
                    }
                } else if out.len() < out.capacity() {
                    if rest.is_empty() {
                        break;
                    }
                    if taken == 0 && out.len() == out_before {
                        return Err(Violation::BrokenCompression);
                    }
                }
            }
        }
        Ok(out)
    }
}

/// Compresses messages, each by itself.
#[derive(Debug)]
pub struct Deflater(Compress);

impl Deflater {
    /// `level` is zlib's, 1 (fast) to 9 (small); `window_bits` is what was agreed upon, 9 to 15.
    #[must_use]
    pub fn new(level: u32, window_bits: u8) -> Self {
        let window_bits = window_bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        Self(Compress::new_with_window_bits(Compression::new(level.min(9)), false, window_bits))
    }

    /// The payload of a frame that [`is compressed`](super::Frame::compressed).
    #[must_use]
    pub fn deflate(&mut self, payload: &[u8]) -> Vec<u8> {
        self.0.reset();
        let mut out = Vec::with_capacity(payload.len() / 2 + 64);
        let mut rest = payload;
        loop {
            let before = self.0.total_in();
            // Fails only for a stream in a state that no call here brings about; then nothing more comes either.
            let status = self.0.compress_vec(rest, &mut out, FlushCompress::Sync);
            rest = &rest[(self.0.total_in() - before) as usize..];
            // Room left over is what says that the flush is complete.
            if status.is_err() || (rest.is_empty() && out.len() < out.capacity()) {
                break;
            }
            out.reserve(rest.len() / 2 + 64);
        }
        debug_assert!(out.ends_with(&TAIL), "a flush ends with an empty stored block");
        out.truncate(out.len().saturating_sub(TAIL.len()));
        out
    }
}
