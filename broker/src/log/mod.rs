//! The log: what every message passes and everything else stands on.
//!
//! Channels are spread over [`SLOTS`]; each slot is one [`SlotLog`] with one order for all its channels. It gives
//! positions, keeps committed messages as long as their namespace says, recognises repeated publishes, and answers a
//! client's [`Cursor`] with what follows or with an honest [`Gap`]. It knows no clock, no lock, no task and no socket:
//! time comes in as `now`, what is to be done goes out as values. Only what is committed is ever read.

mod channel;
mod conflate;
mod copy;
mod cursor;
mod dedupe;
mod entry;
mod gap;
mod leb128;
mod line;
mod pos;
mod read;
mod retention;
mod shared;
mod slot;
mod trail;

pub use copy::{ChannelState, Floor, KnownId, Lack, Lost, LostAt, LostOf, Record};
pub use cursor::{
    CURSOR_SLOTS_MAX, CURSOR_TEXT_BYTES_MAX, Cursor, CursorError, CursorText, SLOT_BYTES_MAX, SLOT_POSITIONS_MAX, SlotCursor,
};
pub use dedupe::{KEYED_WINDOW, RETRY_WINDOW};
pub use entry::{Adopted, ENTRY_FIXED_BYTES, Entry, Waited};
pub use gap::{Gap, GapReason};
pub use line::{Admission, LINEAGE_MAX, Line, Place, Segment, Verdict};
pub use pos::{Epoch, Pos, SLOTS, Slot, Tag};
pub use read::{Joined, Page, PageLimit, Start};
pub use retention::{NamespaceId, Retention};
pub use shared::{Copied, add_lost};
pub use slot::{Appended, ChannelKey, ChannelStats, SlotLog, SlotStats};
pub use trail::{TRAIL_BRANCHES_MAX, TRAIL_STRETCHES_MAX, Trail};
