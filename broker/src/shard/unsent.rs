//! How much memory the unsent rests of a shard's sessions hold. Rests that are parts of one write to many share its bytes, and
//! these count once.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use foldhash::fast::RandomState;

/// The sum over one shard. Only changes are booked: a session whose socket takes everything costs nothing here.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    bytes: Cell<usize>,
    /// Who holds what, by the address where it ends, which all rests of one write have in common. How many hold it, and how
    /// long the longest of them was.
    held: RefCell<HashMap<usize, (u32, usize), RandomState>>,
}

/// One rest's part of it; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    unsent: Rc<Unsent>,
    end: usize,
    encrypted: usize,
}

impl Unsent {
    /// Bytes held now.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// A rest is kept, for as long as the guard lives; before it so many bytes that TLS holds, which nobody can share.
    pub(super) fn hold(self: &Rc<Self>, rest: &Bytes, encrypted: usize) -> Held {
        let end = rest.as_ptr() as usize + rest.len();
        let mut held = self.held.borrow_mut();
        let (holders, longest) = held.entry(end).or_default();
        *holders += 1;
        let more = rest.len().saturating_sub(*longest);
        *longest += more;
        self.bytes.set(self.bytes.get() + more + encrypted);
        Held { unsent: self.clone(), end, encrypted }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.unsent.bytes.set(self.unsent.bytes.get() - self.encrypted);
        let mut held = self.unsent.held.borrow_mut();
        let Some((holders, longest)) = held.get_mut(&self.end) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.unsent.bytes.set(self.unsent.bytes.get() - *longest);
            held.remove(&self.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_hold_of_one_write_counts_once_and_until_the_last_lets_go() {
        let unsent = Rc::new(Unsent::default());
        let (write, other) = (Bytes::from(vec![1; 1000]), Bytes::from(vec![2; 10]));
        let short = unsent.hold(&write.slice(900..), 0);
        let long = unsent.hold(&write.slice(100..), 0);
        let beside = unsent.hold(&other, 7);
        assert_eq!(unsent.bytes(), 917);
        drop(long);
        assert_eq!(unsent.bytes(), 917);
        drop(short);
        assert_eq!(unsent.bytes(), 17);
        drop(beside);
        assert_eq!((unsent.bytes(), unsent.held.borrow().len()), (0, 0));
    }
}
