//! What is published: a text that says which channel it is for, its number there and when it should have been sent.
//!
//! ```text
//! ~T ‖ channel, 6 digits ‖ number, 10 digits ‖ µs, 12 digits ‖ x… ‖ .
//! ```
//!
//! It is found again in whatever a server wraps around it, because no wrapping in use here holds `~T` and 28 digits.

use anyhow::ensure;

/// What a payload begins with.
pub(crate) const MARK: &[u8] = b"~T";
/// What it ends with.
const END: u8 = b'.';
const CHANNEL_DIGITS: usize = 6;
const NUMBER_DIGITS: usize = 10;
const TIME_DIGITS: usize = 12;
/// The mark and the three numbers.
pub(crate) const HEAD_BYTES: usize = MARK.len() + CHANNEL_DIGITS + NUMBER_DIGITS + TIME_DIGITS;

/// What a payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// Which channel it was published to.
    pub(crate) channel: u32,
    /// Its number in the channel, from 1.
    pub(crate) number: u64,
    /// When it was due, in microseconds of [`crate::clock`].
    pub(crate) due: u64,
}

/// Messages to be published one after the other, all of one length.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    length: usize,
    channels: Vec<u32>,
    bytes: Vec<u8>,
}

impl Batch {
    /// An empty one for payloads of this many bytes.
    pub(crate) fn new(length: usize) -> anyhow::Result<Self> {
        ensure!(length > HEAD_BYTES, "a payload needs at least {} bytes to be checked", HEAD_BYTES + 1);
        Ok(Self { length, channels: Vec::new(), bytes: Vec::new() })
    }

    /// Adds a message.
    pub(crate) fn push(&mut self, said: Said) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(MARK);
        write_digits(&mut self.bytes, u64::from(said.channel), CHANNEL_DIGITS);
        write_digits(&mut self.bytes, said.number, NUMBER_DIGITS);
        write_digits(&mut self.bytes, said.due, TIME_DIGITS);
        self.bytes.resize(begin + self.length - 1, b'x');
        self.bytes.push(END);
        self.channels.push(said.channel);
    }

    pub(crate) fn clear(&mut self) {
        self.channels.clear();
        self.bytes.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    /// Channel and payload of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.channels.iter().copied().zip(self.bytes.chunks_exact(self.length))
    }
}

/// Reads a payload that lies at the beginning of `bytes` and is whole. `None` when it is not one of ours.
pub(crate) fn read(bytes: &[u8]) -> Option<Said> {
    let (mark, rest) = bytes.split_at_checked(MARK.len())?;
    let (channel, rest) = rest.split_at_checked(CHANNEL_DIGITS)?;
    let (number, rest) = rest.split_at_checked(NUMBER_DIGITS)?;
    let (due, _) = rest.split_at_checked(TIME_DIGITS)?;
    let is_ours = mark == MARK && bytes.last() == Some(&END);
    is_ours.then_some(Said { channel: u32::try_from(read_digits(channel)?).ok()?, number: read_digits(number)?, due: read_digits(due)? })
}

/// Whether what begins here may be a payload, as far as it has come.
pub(crate) fn may_begin(bytes: &[u8]) -> bool {
    let end = bytes.len().min(HEAD_BYTES);
    bytes.iter().zip(MARK).all(|(byte, mark)| byte == mark) && bytes[MARK.len().min(end)..end].iter().all(u8::is_ascii_digit)
}

fn write_digits(out: &mut Vec<u8>, mut number: u64, digits: usize) {
    let begin = out.len();
    out.resize(begin + digits, b'0');
    for place in out[begin..].iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn read_digits(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0u64, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut batch = Batch::new(128).unwrap();
        let said = [Said { channel: 999_999, number: 12, due: 34 }, Said { channel: 0, number: 1, due: 999_999_999_999 }];
        said.into_iter().for_each(|said| batch.push(said));
        let read: Vec<_> = batch.iter().map(|(_, payload)| (payload.len(), read(payload).unwrap())).collect();
        assert_eq!(read, said.map(|said| (128, said)));
    }

    #[test]
    fn anything_else_is_not_ours() {
        let mut batch = Batch::new(40).unwrap();
        batch.push(Said { channel: 1, number: 2, due: 3 });
        let good = batch.iter().next().unwrap().1.to_vec();
        for at in (0..HEAD_BYTES).chain([39]) {
            let mut bad = good.clone();
            bad[at] = b'q';
            assert_eq!(read(&bad), None, "byte {at}");
        }
        assert_eq!(read(&good[..20]), None);
    }
}
