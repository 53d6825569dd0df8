//! What a client carries to go on where it was: positions, one slot at a time, as a short opaque text.
//!
//! A cursor comes back from anywhere, so it is untrusted: [`Cursor::parse`] takes exactly what [`Cursor::encode`] gives
//! and nothing else. Bytes, before base64url without padding (RFC 4648, section 5):
//!
//! ```text
//! kind 0, one position:  0x10 ‖ slot u16 ‖ epoch u64 ‖ LEB128 idx
//! kind 1, all others:    0x11 ‖ LEB128 count of epochs ‖ epoch u64 each, in order of first use
//!                             ‖ LEB128 count of slots, ascending, for each:
//!                               slot u16 ‖ count of positions u8 ‖ main: LEB128 epoch number, LEB128 idx
//!                               ‖ extras: LEB128 epoch number, zigzag LEB128 (idx − main idx)
//! ```
//!
//! Integers of fixed size are big-endian. Epochs are written once because the slots of one node share them.

use std::fmt;
use std::ops::Deref;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use smallvec::{SmallVec, smallvec};

use super::leb128::{self, Reader};
use super::pos::{Epoch, Pos, Slot};
use crate::error::{Error, ErrorCode};

/// Most slots in one cursor.
pub const CURSOR_SLOTS_MAX: usize = 16;
/// Most positions of one slot: main and extras.
pub const SLOT_POSITIONS_MAX: usize = 8;
/// Most bytes one slot takes, the epochs it refers to included.
pub const SLOT_BYTES_MAX: usize = 128;
/// Longest text of a cursor, in bytes.
pub const CURSOR_TEXT_BYTES_MAX: usize = 2048;

const ONE: u8 = 0x10;
const SEVERAL: u8 = 0x11;
/// 1 + 2 + 8 + 10 bytes of kind 0 in base64.
const ONE_TEXT_BYTES_MAX: usize = 28;

/// What a client has seen of one slot: the union of the line's prefixes that end at these positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotCursor {
    /// Which slot.
    pub slot: Slot,
    /// How far it has read the line.
    pub main: Pos,
    /// Branches it has seen besides, the most important first; mere hints come last and are dropped first.
    pub extras: Vec<Pos>,
}

impl SlotCursor {
    /// A cursor with one position, as nearly all are.
    #[must_use]
    pub fn new(slot: Slot, main: Pos) -> Self {
        Self { slot, main, extras: Vec::new() }
    }

    /// All positions, main first.
    pub fn positions(&self) -> impl Iterator<Item = Pos> {
        std::iter::once(self.main).chain(self.extras.iter().copied())
    }
}

/// Why a text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// Longer than any cursor.
    #[error("a cursor has at most {CURSOR_TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// More slots than one cursor holds.
    #[error("a cursor spans at most {CURSOR_SLOTS_MAX} slots; put channels that belong together into one with a {{tag}} in their names")]
    TooManySlots,
    /// Made by a version of the broker that this one does not know.
    #[error("the cursor has version {0}, this broker knows version 1")]
    Version(u8),
    /// Anything else.
    #[error("the cursor is damaged, or not from this broker")]
    Damaged,
}

impl From<CursorError> for Error {
    fn from(why: CursorError) -> Self {
        Self::new(ErrorCode::InvalidCursor, why.to_string())
    }
}

/// Positions in one to [`CURSOR_SLOTS_MAX`] slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Ascending by slot, never empty.
    slots: SmallVec<[SlotCursor; 1]>,
}

impl From<SlotCursor> for Cursor {
    fn from(slot: SlotCursor) -> Self {
        Self { slots: smallvec![slot] }
    }
}

impl Cursor {
    /// A cursor of one position.
    #[must_use]
    pub fn single(slot: Slot, pos: Pos) -> Self {
        SlotCursor::new(slot, pos).into()
    }

    /// Its slots, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &SlotCursor> {
        self.slots.iter()
    }

    /// What it says of one slot.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&SlotCursor> {
        self.find(slot).ok().map(|at| &self.slots[at])
    }

    /// Adds a slot, or replaces what was said of it.
    ///
    /// # Errors
    /// [`CursorError::TooManySlots`] when it would be one too many; the cursor stays as it was.
    pub fn insert(&mut self, slot: SlotCursor) -> Result<(), CursorError> {
        match self.find(slot.slot) {
            Ok(at) => self.slots[at] = slot,
            Err(_) if self.slots.len() == CURSOR_SLOTS_MAX => return Err(CursorError::TooManySlots),
            Err(at) => self.slots.insert(at, slot),
        }
        Ok(())
    }

    fn find(&self, slot: Slot) -> Result<usize, usize> {
        self.slots.binary_search_by_key(&slot, |known| known.slot)
    }

    /// The text for the client. What does not fit (a repeated position, extras past the limits of this file) is left
    /// out, last extras first.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut kept: SmallVec<[(Slot, SmallVec<[Pos; 1]>); 1]> = self.slots.iter().map(|slot| (slot.slot, fitting(slot))).collect();
        if let [(slot, positions)] = &kept[..]
            && let [pos] = positions[..]
        {
            return CursorText::of(*slot, pos).as_str().to_owned();
        }
        loop {
            let text = URL_SAFE_NO_PAD.encode(several(&kept));
            if text.len() <= CURSOR_TEXT_BYTES_MAX {
                return text;
            }
            // Sixteen mains alone take a quarter of the room, so whoever has the most has an extra to give.
            if let Some((_, most)) = kept.iter_mut().max_by_key(|(_, positions)| positions.len()) {
                most.pop();
            }
        }
    }

    /// Reads a cursor's text.
    ///
    /// # Errors
    /// [`CursorError`] for everything that [`Cursor::encode`] does not write, to the last bit: one position has one text.
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        if text.len() > CURSOR_TEXT_BYTES_MAX {
            return Err(CursorError::TooLong);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError::Damaged)?;
        let mut reader = Reader::new(&bytes);
        let cursor = match reader.byte().ok_or(CursorError::Damaged)? {
            ONE => read_one(&mut reader).ok_or(CursorError::Damaged)?.into(),
            SEVERAL => read_several(&mut reader)?,
            other if other >> 4 == ONE >> 4 => return Err(CursorError::Damaged),
            other => return Err(CursorError::Version(other >> 4)),
        };
        // One comparison stands for all rules of canonical form: shortest integers, order of epochs, the right kind, no
        // repeats, no trailing bytes, sizes. None of them can be forgotten here.
        if cursor.encode() != text {
            return Err(CursorError::Damaged);
        }
        Ok(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encode())
    }
}

impl std::str::FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        Self::parse(text)
    }
}

/// The text of a cursor of one slot. With one position, as nearly all have, it takes no heap allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct CursorText(Text);

#[derive(Clone, PartialEq, Eq)]
enum Text {
    One { text: [u8; ONE_TEXT_BYTES_MAX], len: u8 },
    Several(Box<str>),
}

impl CursorText {
    /// The same text as `Cursor::single(slot, pos).encode()`.
    #[must_use]
    pub fn of(slot: Slot, pos: Pos) -> Self {
        debug_assert!(pos.idx > 0, "zero is no position");
        let mut bytes: SmallVec<[u8; 21]> = smallvec![ONE];
        bytes.extend_from_slice(&slot.number().to_be_bytes());
        bytes.extend_from_slice(&pos.epoch.get().to_be_bytes());
        leb128::write(&mut bytes, pos.idx.max(1));
        let mut text = [0; ONE_TEXT_BYTES_MAX];
        // 21 bytes at most give 28 characters at most, so it always fits.
        let len = URL_SAFE_NO_PAD.encode_slice(&bytes, &mut text).unwrap_or_default();
        Self(Text::One { text, len: len as u8 })
    }

    /// The same text as `Cursor::from(cursor).encode()`.
    #[must_use]
    pub fn after(cursor: SlotCursor) -> Self {
        match *cursor.extras {
            [] => Self::of(cursor.slot, cursor.main),
            _ => Self(Text::Several(Cursor::from(cursor).encode().into())),
        }
    }

    /// The same, for a position and others of which none is said twice: what goes out with a message after a takeover.
    #[must_use]
    pub fn trailing(slot: Slot, main: Pos, extras: &[Pos]) -> Self {
        debug_assert!(extras.iter().enumerate().all(|(nth, extra)| *extra != main && !extras[..nth].contains(extra)), "said twice");
        let mut epochs: SmallVec<[Epoch; SLOT_POSITIONS_MAX]> = smallvec![main.epoch];
        let mut positions: SmallVec<[u8; SLOT_BYTES_MAX]> = SmallVec::new();
        for extra in extras {
            let number = number_of(&mut epochs, extra.epoch);
            leb128::write(&mut positions, number);
            leb128::write(&mut positions, leb128::zigzag(extra.idx.wrapping_sub(main.idx) as i64));
        }
        let mut bytes: SmallVec<[u8; SLOT_BYTES_MAX]> = smallvec![SEVERAL];
        leb128::write(&mut bytes, epochs.len() as u64);
        epochs.iter().for_each(|epoch| bytes.extend_from_slice(&epoch.get().to_be_bytes()));
        leb128::write(&mut bytes, 1);
        bytes.extend_from_slice(&slot.number().to_be_bytes());
        bytes.push(1 + extras.len() as u8);
        leb128::write(&mut bytes, 0);
        leb128::write(&mut bytes, main.idx);
        bytes.extend_from_slice(&positions);
        // Nothing of it has to be left out, unless indices of twenty digits meet.
        if extras.is_empty() || bytes.len() - 3 > SLOT_BYTES_MAX || extras.len() >= SLOT_POSITIONS_MAX {
            return Self::after(SlotCursor { slot, main, extras: extras.to_vec() });
        }
        Self(Text::Several(URL_SAFE_NO_PAD.encode(&bytes).into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::One { text, len } => std::str::from_utf8(&text[..usize::from(*len)]).unwrap_or_default(),
            Text::Several(text) => text,
        }
    }
}

impl Deref for CursorText {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for CursorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CursorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The positions of a slot that a cursor has room for: main, then extras without repeats.
fn fitting(cursor: &SlotCursor) -> SmallVec<[Pos; 1]> {
    let mut kept = SmallVec::new();
    for pos in cursor.positions() {
        debug_assert!(pos.idx > 0, "zero is no position");
        // Index 1 is always a control record: a reader that starts after it misses nothing.
        let pos = Pos { idx: pos.idx.max(1), ..pos };
        if !kept.contains(&pos) && kept.len() < SLOT_POSITIONS_MAX {
            kept.push(pos);
        }
    }
    // Alone, kind byte and two counts (3 bytes) are not the slot's own.
    while kept.len() > 1 && several(&[(cursor.slot, kept.clone())]).len() - 3 > SLOT_BYTES_MAX {
        kept.pop();
    }
    kept
}

fn several(slots: &[(Slot, SmallVec<[Pos; 1]>)]) -> Vec<u8> {
    let mut epochs: SmallVec<[Epoch; SLOT_POSITIONS_MAX]> = SmallVec::new();
    let mut body = Vec::with_capacity(16 * slots.len());
    leb128::write(&mut body, slots.len() as u64);
    for (slot, positions) in slots {
        body.extend_from_slice(&slot.number().to_be_bytes());
        body.push(positions.len() as u8);
        for (nth, pos) in positions.iter().enumerate() {
            let number = number_of(&mut epochs, pos.epoch);
            leb128::write(&mut body, number);
            let main = positions[0].idx;
            leb128::write(&mut body, if nth == 0 { main } else { leb128::zigzag(pos.idx.wrapping_sub(main) as i64) });
        }
    }
    let mut bytes = vec![SEVERAL];
    leb128::write(&mut bytes, epochs.len() as u64);
    for epoch in epochs {
        bytes.extend_from_slice(&epoch.get().to_be_bytes());
    }
    bytes.append(&mut body);
    bytes
}

/// The number of an epoch among those that are written, which it joins.
fn number_of(epochs: &mut SmallVec<[Epoch; SLOT_POSITIONS_MAX]>, epoch: Epoch) -> u64 {
    let known = epochs.iter().position(|known| *known == epoch);
    known.unwrap_or_else(|| {
        epochs.push(epoch);
        epochs.len() - 1
    }) as u64
}

fn read_one(reader: &mut Reader<'_>) -> Option<SlotCursor> {
    let slot = Slot::new(u16::from_be_bytes(reader.array()?))?;
    let epoch = Epoch::from_bits(u64::from_be_bytes(reader.array()?))?;
    let idx = reader.leb128().filter(|idx| *idx > 0)?;
    Some(SlotCursor::new(slot, Pos { epoch, idx }))
}

fn read_several(reader: &mut Reader<'_>) -> Result<Cursor, CursorError> {
    let mut epochs: SmallVec<[Epoch; 8]> = SmallVec::new();
    for _ in 0..reader.leb128().ok_or(CursorError::Damaged)? {
        let bits = reader.array().ok_or(CursorError::Damaged)?;
        epochs.push(Epoch::from_bits(u64::from_be_bytes(bits)).ok_or(CursorError::Damaged)?);
    }
    let count = reader.leb128().ok_or(CursorError::Damaged)?;
    if count > CURSOR_SLOTS_MAX as u64 {
        return Err(CursorError::TooManySlots);
    }
    let mut slots: SmallVec<[SlotCursor; 1]> = SmallVec::new();
    for _ in 0..count {
        let slot = read_slot(reader, &epochs).ok_or(CursorError::Damaged)?;
        if slots.last().is_some_and(|last| last.slot >= slot.slot) {
            return Err(CursorError::Damaged);
        }
        slots.push(slot);
    }
    if slots.is_empty() { Err(CursorError::Damaged) } else { Ok(Cursor { slots }) }
}

fn read_slot(reader: &mut Reader<'_>, epochs: &[Epoch]) -> Option<SlotCursor> {
    let slot = Slot::new(u16::from_be_bytes(reader.array()?))?;
    let count = usize::from(reader.byte()?);
    if !(1..=SLOT_POSITIONS_MAX).contains(&count) {
        return None;
    }
    let main = Pos { epoch: read_epoch(reader, epochs)?, idx: reader.leb128().filter(|idx| *idx > 0)? };
    let mut extras = Vec::with_capacity(count - 1);
    for _ in 1..count {
        let epoch = read_epoch(reader, epochs)?;
        let idx = main.idx.wrapping_add(leb128::unzigzag(reader.leb128()?) as u64);
        extras.push(Pos { epoch, idx: Some(idx).filter(|idx| *idx > 0)? });
    }
    Some(SlotCursor { slot, main, extras })
}

fn read_epoch(reader: &mut Reader<'_>, epochs: &[Epoch]) -> Option<Epoch> {
    epochs.get(usize::try_from(reader.leb128()?).ok()?).copied()
}

#[cfg(test)]
mod tests;
