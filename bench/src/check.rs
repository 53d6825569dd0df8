//! What one subscriber must see: the messages of one run, each once, in order.

/// Digits of the number every payload begins with.
pub(crate) const NUMBER_DIGITS: usize = 10;
/// Digits of the time (microseconds since the run began) that follows it.
pub(crate) const TIME_DIGITS: usize = 12;
/// What stands before a payload on the wire.
const BEFORE: &[u8] = b"data: ";
/// What stands for a declared gap.
const GAP: &[u8] = b"event: tidings:gap";

/// Follows one connection's bytes, however they are cut.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The number that must come next.
    next: u64,
    /// The end of what was read, when it may be the beginning of something.
    carry: Vec<u8>,
    head_seen: bool,
    pub(crate) gaps: u64,
}

/// What went wrong on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Another number came than the one expected.
    Order { expected: u64, got: u64 },
    /// The response was not a stream.
    Refused(String),
    /// A payload that this run did not publish.
    Foreign,
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self { next: 1, carry: Vec::new(), head_seen: false, gaps: 0 }
    }

    /// Messages seen.
    pub(crate) fn seen(&self) -> u64 {
        self.next - 1
    }

    /// Whether the response's head has come.
    pub(crate) fn is_open(&self) -> bool {
        self.head_seen
    }

    /// Takes bytes; calls `message` with each message's time.
    pub(crate) fn take(&mut self, bytes: &[u8], mut message: impl FnMut(u64)) -> Result<(), Fault> {
        let joined;
        let mut rest: &[u8] = if self.carry.is_empty() {
            bytes
        } else {
            self.carry.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.carry);
            &joined
        };
        if !self.head_seen {
            let Some(end) = find(rest, b"\r\n\r\n") else {
                self.carry = rest.to_vec();
                return Ok(());
            };
            if !rest.starts_with(b"HTTP/1.1 200") {
                return Err(Fault::Refused(String::from_utf8_lossy(&rest[..end]).into_owned()));
            }
            self.head_seen = true;
            rest = &rest[end + 4..];
        }
        while let Some(line) = rest.iter().position(|byte| *byte == b'\n') {
            let (text, after) = rest.split_at(line);
            rest = &after[1..];
            if text.starts_with(GAP) {
                self.gaps += 1;
            }
            let Some(payload) = text.strip_prefix(BEFORE) else { continue };
            if payload.starts_with(b"{\"channel\"") {
                continue;
            }
            let (Some(got), Some(time)) = (digits(payload, 0, NUMBER_DIGITS), digits(payload, NUMBER_DIGITS + 1, TIME_DIGITS)) else {
                return Err(Fault::Foreign);
            };
            if got != self.next {
                // After a declared gap the next number is whatever is still kept; never an older one.
                if self.gaps == 0 || got < self.next {
                    return Err(Fault::Order { expected: self.next, got });
                }
            }
            self.next = got + 1;
            message(time);
        }
        self.carry = rest.to_vec();
        Ok(())
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn digits(bytes: &[u8], from: usize, count: usize) -> Option<u64> {
    bytes.get(from..from + count)?.iter().try_fold(0u64, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(numbers: &[u64]) -> Vec<u8> {
        let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        for number in numbers {
            bytes.extend_from_slice(format!("20\r\nid: x\ndata: {number:010} {:012} xx\n\n\r\n", 7).as_bytes());
        }
        bytes
    }

    #[test]
    fn every_cut_of_a_good_stream_is_good() {
        let bytes = stream(&[1, 2, 3]);
        for cut in 0..bytes.len() {
            let mut checked = Stream::new();
            let mut times = 0;
            checked.take(&bytes[..cut], |_| times += 1).unwrap();
            checked.take(&bytes[cut..], |_| times += 1).unwrap();
            assert_eq!((checked.seen(), times), (3, 3), "cut at {cut}");
        }
    }

    #[test]
    fn loss_doubles_and_disorder_are_found() {
        for bad in [&[1, 3][..], &[1, 1], &[2], &[1, 2, 1]] {
            assert!(Stream::new().take(&stream(bad), |_| {}).is_err(), "{bad:?}");
        }
    }
}
