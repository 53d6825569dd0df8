//! Encoded messages for those who read the log: many sessions that replay the same history share one encoding.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::encoder::{Encoder, Form};
use crate::log::{Entry, Pos, Slot};

type Key = (Slot, Pos, Form);

/// First in, first out, bounded in bytes.
#[derive(Debug)]
pub(super) struct EncodeCache {
    known: HashMap<Key, Bytes, RandomState>,
    order: VecDeque<Key>,
    bytes: usize,
    bytes_max: usize,
}

impl EncodeCache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { known: HashMap::default(), order: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Bytes of all that is kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The message in the encoder's form, encoded now if nobody did before.
    pub(super) fn message(&mut self, encoder: &dyn Encoder, entry: &Entry) -> Bytes {
        let key = (entry.slot, entry.pos, encoder.form());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let encoded = encode(encoder, entry);
        self.bytes += encoded.len();
        self.order.push_back(key);
        self.known.insert(key, encoded.clone());
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(dropped) = self.known.remove(&oldest) {
                self.bytes -= dropped.len();
            }
        }
        encoded
    }
}

/// What a thread keeps to write into; a larger message gets room that is given back.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

thread_local! {
    /// Here, and not with the shard, because guests encode on threads of their own.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One message in the encoder's form, in an allocation of its own size.
pub(crate) fn encode(encoder: &dyn Encoder, entry: &Entry) -> Bytes {
    SCRATCH.with_borrow_mut(|out| {
        out.clear();
        encoder.message(entry, &entry.cursor(), out);
        let encoded = Bytes::copy_from_slice(out);
        if out.capacity() > SCRATCH_BYTES_MAX {
            *out = Vec::new();
        }
        encoded
    })
}
