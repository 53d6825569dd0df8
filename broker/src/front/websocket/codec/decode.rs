//! What a client sends, taken apart: frames to messages, judged byte by byte (RFC 6455, sections 5 and 8.1).

use std::borrow::Cow;

use super::close::{Close, CloseCode, Violation};
use super::deflate::Inflater;
use super::frame::{Context, HEAD_BYTES_MAX, Head, OpCode, unmask};
use super::utf8::{NotUtf8, Utf8};

#[cfg(test)]
mod tests;

/// What one connection may send.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Most bytes of a message, all its fragments together and decompressed.
    pub message_bytes_max: usize,
    /// Whether messages may be compressed: permessage-deflate was agreed upon.
    pub has_deflate: bool,
}

/// Bytes as they were read; what is taken is unmasked in its place.
#[derive(Debug)]
pub struct Input<'a>(&'a mut [u8]);

impl<'a> Input<'a> {
    /// The bytes of one read.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes so many bytes, or all that are left.
    fn take(&mut self, count: u64) -> &'a mut [u8] {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.0.len());
        let (taken, left) = std::mem::take(&mut self.0).split_at_mut(count);
        self.0 = left;
        taken
    }
}

/// Something complete that a client said. What came in one piece still lies in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A message of text.
    Text(Cow<'a, str>),
    /// A message of bytes.
    Binary(Cow<'a, [u8]>),
    /// To be answered with a pong of the same payload.
    Ping(Cow<'a, [u8]>),
    /// The answer to a ping, or a sign of life.
    Pong(Cow<'a, [u8]>),
    /// The client is done; to be answered with the same code. Nothing comes after it. `None` when it gave no code.
    Close(Option<Close>),
}

/// The decoder of one connection. Between two reads it keeps what is unfinished, and else nothing.
#[derive(Debug)]
pub struct Decoder {
    rules: Rules,
    partial: Option<Box<Partial>>,
    is_over: bool,
}

/// What is unfinished. There may be a control frame in the middle of a message, both of them half here.
#[derive(Debug, Default)]
struct Partial {
    head: [u8; HEAD_BYTES_MAX],
    head_len: u8,
    frame: Option<Current>,
    control: Vec<u8>,
    message: Option<Message>,
}

/// A frame whose head was read.
#[derive(Clone, Copy, Debug)]
struct Current {
    head: Head,
    /// Of its payload, not yet read.
    left: u64,
}

/// A message that was begun.
#[derive(Debug)]
struct Message {
    is_text: bool,
    is_compressed: bool,
    bytes: Vec<u8>,
    /// Judges text as it comes, unless it is compressed.
    utf8: Utf8,
}

impl Decoder {
    /// For a connection that begins.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, partial: None, is_over: false }
    }

    /// The next item of the input; `None` when the rest of it, if any, is kept for the next read. To be called until then.
    /// After a close or a violation everything else is thrown away.
    ///
    /// # Errors
    /// What the client did that the connection must be closed for, and with which code.
    pub fn next<'a>(&mut self, input: &mut Input<'a>, inflater: &mut Inflater) -> Result<Option<Item<'a>>, Violation> {
        if self.is_over {
            input.take(u64::MAX);
            return Ok(None);
        }
        // On the stack, since nearly always nothing of it remains.
        let mut partial = self.partial.take().map_or_else(Partial::default, |partial| *partial);
        let next = partial.next(self.rules, input, inflater);
        self.is_over = matches!(next, Err(_) | Ok(Some(Item::Close(_))));
        if !self.is_over && partial.is_begun() {
            self.partial = Some(Box::new(partial));
        }
        next
    }

    /// Memory that an unfinished message takes here.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.partial.as_ref().and_then(|partial| partial.message.as_ref()).map_or(0, |message| message.bytes.capacity())
    }

    /// Lets go of what is unfinished, and listens to nothing any more.
    pub fn give_up(&mut self) {
        (self.partial, self.is_over) = (None, true);
    }

    /// Whether a client that leaves now leaves in the middle of something.
    #[must_use]
    pub fn is_in_the_middle(&self) -> bool {
        self.partial.is_some()
    }
}

impl Partial {
    fn is_begun(&self) -> bool {
        self.head_len > 0 || self.frame.is_some() || self.message.is_some()
    }

    fn next<'a>(&mut self, rules: Rules, input: &mut Input<'a>, inflater: &mut Inflater) -> Result<Option<Item<'a>>, Violation> {
        loop {
            let frame = match self.frame.take() {
                Some(frame) => Some(frame),
                None => self.begin_frame(rules, input)?,
            };
            let Some(mut frame) = frame else { return Ok(None) };
            let piece = input.take(frame.left);
            unmask(piece, frame.head.mask, frame.head.length - frame.left);
            frame.left -= piece.len() as u64;
            let item = if frame.head.opcode.is_control() { self.control(frame, piece)? } else { self.data(frame, piece, rules, inflater)? };
            if item.is_some() {
                return Ok(item);
            }
            if frame.left > 0 {
                self.frame = Some(frame);
                return Ok(None);
            }
        }
    }

    /// Reads a head and what follows from it; `None` when it is not whole yet.
    fn begin_frame(&mut self, rules: Rules, input: &mut Input<'_>) -> Result<Option<Current>, Violation> {
        let known = usize::from(self.head_len);
        let more = input.0.len().min(HEAD_BYTES_MAX - known);
        self.head[known..known + more].copy_from_slice(&input.0[..more]);
        let context = Context { has_deflate: rules.has_deflate, is_in_message: self.message.is_some() };
        let Some((head, length)) = Head::parse(&self.head[..known + more], context)? else {
            input.take(more as u64);
            self.head_len = (known + more) as u8;
            return Ok(None);
        };
        input.take((length - known) as u64);
        self.head_len = 0;
        if matches!(head.opcode, OpCode::Text | OpCode::Binary) {
            let (is_text, is_compressed) = (head.opcode == OpCode::Text, head.is_compressed);
            self.message = Some(Message { is_text, is_compressed, bytes: Vec::new(), utf8: Utf8::default() });
        }
        if let Some(message) = self.message.as_ref().filter(|_| !head.opcode.is_control()) {
            // Said before it is sent, so that nobody needs to read it.
            let bound = if message.is_compressed { Inflater::compressed_max(rules.message_bytes_max) } else { rules.message_bytes_max };
            if head.length > (bound - message.bytes.len()) as u64 {
                return Err(Violation::TooLarge);
            }
        }
        Ok(Some(Current { head, left: head.length }))
    }

    fn control<'a>(&mut self, frame: Current, piece: &'a [u8]) -> Result<Option<Item<'a>>, Violation> {
        if frame.left > 0 {
            self.control.extend_from_slice(piece);
            return Ok(None);
        }
        let payload = join(std::mem::take(&mut self.control), piece);
        match frame.head.opcode {
            OpCode::Ping => Ok(Some(Item::Ping(payload))),
            OpCode::Pong => Ok(Some(Item::Pong(payload))),
            _ => Ok(Some(Item::Close(close(&payload)?))),
        }
    }

    fn data<'a>(&mut self, frame: Current, piece: &'a [u8], rules: Rules, inflater: &mut Inflater) -> Result<Option<Item<'a>>, Violation> {
        if frame.left == 0 && frame.head.is_last {
            let message = self.message.take().ok_or(Violation::NothingToContinue)?;
            return message.finish(piece, rules, inflater).map(Some);
        }
        if let Some(message) = &mut self.message {
            message.push(piece)?;
        }
        Ok(None)
    }
}

impl Message {
    fn push(&mut self, piece: &[u8]) -> Result<(), Violation> {
        if self.is_text && !self.is_compressed {
            self.utf8.push(piece)?;
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    fn finish<'a>(mut self, piece: &'a [u8], rules: Rules, inflater: &mut Inflater) -> Result<Item<'a>, Violation> {
        if self.is_text && !self.is_compressed && !self.bytes.is_empty() {
            self.utf8.push(piece)?;
            self.utf8.finish()?;
        }
        let mut bytes = join(std::mem::take(&mut self.bytes), piece);
        if self.is_compressed {
            bytes = Cow::Owned(inflater.inflate(&bytes, rules.message_bytes_max)?);
        }
        if !self.is_text {
            return Ok(Item::Binary(bytes));
        }
        let text = match bytes {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Violation::NotUtf8)?,
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Violation::NotUtf8)?,
        };
        Ok(Item::Text(text))
    }
}

impl From<NotUtf8> for Violation {
    fn from(_: NotUtf8) -> Self {
        Self::NotUtf8
    }
}

fn join(mut begun: Vec<u8>, piece: &[u8]) -> Cow<'_, [u8]> {
    if begun.is_empty() {
        return Cow::Borrowed(piece);
    }
    begun.extend_from_slice(piece);
    Cow::Owned(begun)
}

/// Reads a close frame's payload (RFC 6455, section 5.5.1).
fn close(payload: &[u8]) -> Result<Option<Close>, Violation> {
    match payload.split_first_chunk() {
        None if payload.is_empty() => Ok(None),
        None => Err(Violation::HalfCloseCode),
        Some((code, reason)) => {
            let code = CloseCode::new(u16::from_be_bytes(*code)).ok_or(Violation::BadCloseCode)?;
            let reason = std::str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?.to_owned();
            Ok(Some(Close { code, reason }))
        }
    }
}
