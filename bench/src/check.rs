//! What one subscriber must see: the messages of its channel, each once, in order, and none of another channel.

use memchr::memmem::Finder;

use crate::payload::{self, HEAD_BYTES, MARK, Said};

/// What declares a gap, in an event stream and in JSON; a cursor cannot hold either.
const GAPS: [&[u8]; 2] = [b":gap", b"\"gap\""];
/// The end of a read that holds no beginning of a payload is kept from this length on: what is shorter can only be the
/// end of one wrapping and the beginning of the next.
const WRAPPING_BYTES: usize = 8;
/// Bytes kept of what is neither a payload nor the beginning of one.
const CARRY_BYTES_MAX: usize = 4096;

/// What went wrong on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Another number came than the one expected: a message was lost, doubled or out of order.
    Order { expected: u64, got: u64 },
    /// A message of another channel.
    Misrouted { channel: u32 },
    /// Something that begins like a payload and is not one.
    Damaged,
}

/// Follows one connection's bytes, however they are cut.
#[derive(Debug)]
pub(crate) struct Checker {
    channel: u32,
    /// Declared gaps that explained a jump.
    pub(crate) gaps: u32,
    /// The number that must come next; 0: whatever comes first.
    next: u64,
    /// The end of what was read, when it may be the beginning of something.
    carry: Vec<u8>,
}

/// What all connections of a crowd have in common.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Bytes of each payload.
    pub(crate) length: usize,
    mark: Finder<'static>,
}

impl Rules {
    pub(crate) fn new(length: usize) -> Self {
        Self { length, mark: Finder::new(MARK) }
    }
}

impl Checker {
    /// Expects messages of this channel, from number `next` on; 0: from whichever comes first.
    pub(crate) fn new(channel: u32, next: u64) -> Self {
        Self { channel, gaps: 0, next, carry: Vec::new() }
    }

    /// Takes bytes; calls `message` with each message, and with how far the count moved (more than one over a gap).
    pub(crate) fn take(&mut self, rules: &Rules, bytes: &[u8], mut message: impl FnMut(Said, u64)) -> Result<(), Fault> {
        let joined;
        let mut rest: &[u8] = if self.carry.is_empty() {
            bytes
        } else {
            self.carry.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.carry);
            &joined
        };
        let mut search = 0;
        while let Some(found) = rules.mark.find(&rest[search..]) {
            let at = search + found;
            let begun = &rest[at..];
            if !payload::may_begin(begun) {
                search = at + 1;
                continue;
            }
            if begun.len() < rules.length {
                // Before the head is whole it may still turn out to be something else; both are carried.
                self.carry = rest.to_vec();
                return Ok(());
            }
            let said = payload::read(&begun[..rules.length]).ok_or(Fault::Damaged)?;
            let moved = self.admit(said, &rest[..at])?;
            message(said, moved);
            rest = &begun[rules.length..];
            search = 0;
        }
        self.keep(rest);
        Ok(())
    }

    /// How far the count moves with this message. `between` is what stands between the last message and this one.
    fn admit(&mut self, said: Said, between: &[u8]) -> Result<u64, Fault> {
        if said.channel != self.channel {
            return Err(Fault::Misrouted { channel: said.channel });
        }
        let moved = match self.next {
            0 => 1,
            next if next == said.number => 1,
            next if next < said.number && GAPS.iter().any(|gap| memchr::memmem::find(between, gap).is_some()) => {
                self.gaps += 1;
                said.number - next + 1
            }
            expected => return Err(Fault::Order { expected, got: said.number }),
        };
        self.next = said.number + 1;
        Ok(moved)
    }

    fn keep(&mut self, rest: &[u8]) {
        let may_be_cut = rest.last() == MARK.first();
        if rest.len() > CARRY_BYTES_MAX {
            self.carry = rest[rest.len() - HEAD_BYTES..].to_vec();
        } else if may_be_cut || rest.len() > WRAPPING_BYTES {
            self.carry = rest.to_vec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Batch;

    const LENGTH: usize = 64;

    fn stream(numbers: &[u64]) -> Vec<u8> {
        let mut bytes = b": hello\n\n".to_vec();
        for number in numbers {
            if *number == 0 {
                bytes.extend_from_slice(b"2a\r\nevent: tidings:gap\ndata: {}\n\n\r\n");
                continue;
            }
            let mut batch = Batch::new(LENGTH).unwrap();
            batch.push(Said { channel: 7, number: *number, due: 9 });
            bytes.extend_from_slice(b"20\r\nid: x\ndata: ");
            bytes.extend_from_slice(batch.iter().next().unwrap().1);
            bytes.extend_from_slice(b"\n\n\r\n");
        }
        bytes
    }

    #[test]
    fn every_cut_of_a_good_stream_is_good() {
        let bytes = stream(&[1, 2, 3, 0, 9, 10]);
        for cut in 0..bytes.len() {
            let mut checker = Checker::new(7, 1);
            let (mut count, mut progress) = (0, 0);
            for part in [&bytes[..cut], &bytes[cut..]] {
                let rules = Rules::new(LENGTH);
                checker
                    .take(&rules, part, |_, moved| {
                        count += 1;
                        progress += moved;
                    })
                    .unwrap();
            }
            assert_eq!((count, progress, checker.gaps), (5, 10, 1), "cut at {cut}");
        }
    }

    #[test]
    fn loss_doubles_and_disorder_are_found() {
        for bad in [&[1, 3][..], &[1, 1], &[2], &[1, 2, 1], &[1, 0, 1]] {
            let taken = Checker::new(7, 1).take(&Rules::new(LENGTH), &stream(bad), |_, _| {});
            assert!(matches!(taken, Err(Fault::Order { .. })), "{bad:?}: {taken:?}");
        }
    }

    #[test]
    fn what_is_misrouted_or_damaged_is_found() {
        let rules = Rules::new(LENGTH);
        assert_eq!(Checker::new(8, 1).take(&rules, &stream(&[1]), |_, _| {}), Err(Fault::Misrouted { channel: 7 }));
        let mut bytes = stream(&[1]);
        let last_x = bytes.iter().rposition(|byte| *byte == b'.').unwrap();
        bytes.remove(last_x - 1);
        assert_eq!(Checker::new(7, 1).take(&rules, &bytes, |_, _| {}), Err(Fault::Damaged));
    }

    #[test]
    fn wrappings_that_look_like_a_mark_are_passed_over() {
        let mut bytes = b"\x81~Tx~T12".to_vec();
        bytes.extend_from_slice(&stream(&[1]));
        let mut count = 0;
        Checker::new(7, 1).take(&Rules::new(LENGTH), &bytes, |_, _| count += 1).unwrap();
        assert_eq!(count, 1);
    }
}
