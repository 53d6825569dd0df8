//! `PublishStream`, one stream for all, answered in order: written by the publishing thread itself, so that no thread of this
//! program stands between a message that is due and the server. Another thread takes the acks as they come.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use prost::Message;
use tidings_proto::v1;

use super::http2::{self, Heard};
use super::{Publisher, Unanswered};
use crate::payload::Batch;

/// Longest wait for the server.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// The writing side.
pub(super) struct Stream {
    shared: Arc<Shared>,
    channels: Vec<String>,
    /// Messages until now.
    sent: u64,
    window: usize,
    request: v1::PublishStreamRequest,
    messages: Vec<u8>,
    frames: Vec<u8>,
    reader: Option<JoinHandle<()>>,
}

struct Shared {
    /// Whole frames only, from whichever thread.
    socket: Mutex<TcpStream>,
    state: Mutex<State>,
    /// Rung whenever an ack or a window came, or the end.
    changed: Condvar,
}

struct State {
    /// Bytes that may still be sent.
    on_connection: i64,
    on_stream: i64,
    /// What a new stream's window is, as the server said last.
    initial: i64,
    frame: usize,
    unanswered: Unanswered,
    /// Why nothing more comes; nothing, when the stream ended as it should.
    ended: Option<Option<String>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, frames: &[u8]) -> std::io::Result<()> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).write_all(frames)
    }

    /// Waits until this gives something.
    fn wait<T>(&self, what: &str, mut take: impl FnMut(&mut State) -> Option<T>) -> anyhow::Result<T> {
        let mut state = self.state();
        loop {
            if let Some(taken) = take(&mut state) {
                return Ok(taken);
            }
            if let Some(why) = &state.ended {
                bail!("the stream ended: {}", why.as_deref().unwrap_or("the server had enough"));
            }
            let (next, waited) = self.changed.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            ensure!(!waited.timed_out(), "{what} did not come for {PATIENCE:?}");
            state = next;
        }
    }
}

impl Stream {
    pub(super) fn open(address: SocketAddr, channels: Vec<String>, window: usize) -> anyhow::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut frames = Vec::new();
        http2::open(&mut frames, "/tidings.v1.Broker/PublishStream");
        socket.write_all(&frames)?;
        let reading = socket.try_clone()?;
        let state = State {
            on_connection: http2::WINDOW_INITIAL,
            on_stream: http2::WINDOW_INITIAL,
            initial: http2::WINDOW_INITIAL,
            frame: http2::FRAME_INITIAL,
            unanswered: Unanswered::new()?,
            ended: None,
        };
        let shared = Arc::new(Shared { socket: Mutex::new(socket), state: Mutex::new(state), changed: Condvar::new() });
        let told = shared.clone();
        let reader = std::thread::Builder::new().name("acks".to_owned()).spawn(move || {
            let ended = Reader { shared: &told, answer: Vec::new(), expected: 0 }.run(reading).err().map(|why| format!("{why:#}"));
            told.state().ended = Some(ended);
            told.changed.notify_all();
        })?;
        let publish = v1::PublishRequest { content_type: "text/plain".to_owned(), ..Default::default() };
        let request = v1::PublishStreamRequest { seq: 0, publish: Some(publish) };
        Ok(Self { shared, channels, sent: 0, window, request, messages: Vec::new(), frames: Vec::new(), reader: Some(reader) })
    }

    /// Waits until so many are unanswered at most.
    fn wait_for_acks(&self, most: usize) -> anyhow::Result<()> {
        self.shared.wait("an ack", |state| (state.unanswered.sent.len() <= most).then_some(()))
    }

    fn write(&mut self, channel: u32, payload: &[u8]) -> anyhow::Result<()> {
        self.sent += 1;
        self.request.seq = self.sent;
        let publish = self.request.publish.as_mut().context("a request without a message")?;
        publish.channel.clone_from(&self.channels[channel as usize]);
        publish.data = Bytes::copy_from_slice(payload);
        self.messages.push(0);
        self.messages.extend_from_slice(&(self.request.encoded_len() as u32).to_be_bytes());
        Ok(self.request.encode(&mut self.messages)?)
    }

    /// Sends what was written, as fast as the server grants it.
    fn flush(&mut self) -> anyhow::Result<()> {
        let mut rest = self.messages.as_slice();
        while !rest.is_empty() {
            let count = self.shared.wait("room for more bytes", |state| {
                let room = state.on_connection.min(state.on_stream).min(rest.len() as i64);
                (room > 0).then(|| {
                    state.on_connection -= room;
                    state.on_stream -= room;
                    (room as usize, state.frame)
                })
            });
            let (count, frame) = count?;
            let (now, later) = rest.split_at(count);
            self.frames.clear();
            now.chunks(frame).for_each(|piece| http2::data(&mut self.frames, piece, false));
            self.shared.write(&self.frames).context("publishing")?;
            rest = later;
        }
        self.messages.clear();
        Ok(())
    }
}

impl Publisher for Stream {
    fn publish(&mut self, batch: &Batch) -> anyhow::Result<()> {
        for (channel, payload) in batch.iter() {
            if self.shared.state().unanswered.sent.len() >= self.window {
                self.flush()?;
                self.wait_for_acks(self.window - 1)?;
            }
            self.write(channel, payload)?;
            self.shared.state().unanswered.sent();
        }
        self.flush()
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.wait_for_acks(0)?;
        let Some(reader) = self.reader.take() else { return Ok(()) };
        self.frames.clear();
        http2::data(&mut self.frames, &[], true);
        self.shared.write(&self.frames)?;
        reader.join().map_err(|_| anyhow::anyhow!("the thread that takes acks panicked"))?;
        match self.shared.state().ended.take().flatten() {
            Some(why) => bail!("the stream ended: {why}"),
            None => Ok(()),
        }
    }

    fn acks(&self) -> anyhow::Result<Histogram<u64>> {
        Ok(self.shared.state().unanswered.latency.clone())
    }
}

/// A stream that was not finished is cut, so that its reader ends.
impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            // Nothing is lost that anybody would ask for.
            let _ = self.shared.socket.lock().unwrap_or_else(PoisonError::into_inner).shutdown(std::net::Shutdown::Both);
            let _ = reader.join();
        }
    }
}

/// The reading side.
struct Reader<'a> {
    shared: &'a Shared,
    /// Of the answer, what is not whole yet.
    answer: Vec<u8>,
    expected: u64,
}

impl Reader<'_> {
    /// Reads until the stream ends.
    fn run(&mut self, mut socket: TcpStream) -> anyhow::Result<()> {
        let mut input = Vec::new();
        let mut chunk = vec![0; 64 << 10];
        loop {
            let count = socket.read(&mut chunk)?;
            ensure!(count > 0, "the server closed the connection");
            input.extend_from_slice(&chunk[..count]);
            let mut taken = 0;
            while let Some((heard, length)) = http2::hear(&input[taken..])? {
                if self.take(heard)? {
                    return Ok(());
                }
                taken += length;
            }
            input.drain(..taken);
            self.shared.changed.notify_all();
        }
    }

    /// Whether it was the last.
    fn take(&mut self, heard: Heard<'_>) -> anyhow::Result<bool> {
        let mut reply = Vec::new();
        match heard {
            Heard::Data { bytes, is_last } => {
                self.answer.extend_from_slice(bytes);
                self.acks()?;
                return Ok(is_last);
            }
            Heard::Head { is_last } => return Ok(is_last),
            Heard::Settings { window, frame } => {
                let mut state = self.shared.state();
                if let Some(window) = window {
                    state.on_stream += window - state.initial;
                    state.initial = window;
                }
                state.frame = frame.unwrap_or(state.frame);
                http2::confirm_settings(&mut reply);
            }
            Heard::Window { on_stream, more } => {
                let mut state = self.shared.state();
                *(if on_stream { &mut state.on_stream } else { &mut state.on_connection }) += more;
            }
            Heard::Ping(bytes) => http2::pong(&mut reply, bytes),
            Heard::Other => {}
        }
        if !reply.is_empty() {
            self.shared.write(&reply)?;
        }
        Ok(false)
    }

    /// Takes the acks that are whole.
    fn acks(&mut self) -> anyhow::Result<()> {
        let mut taken = 0;
        let mut state = self.shared.state();
        while let Some((prefix, rest)) = self.answer[taken..].split_first_chunk::<PREFIX_BYTES>() {
            let [_, length @ ..] = *prefix;
            let Some(ack) = rest.get(..u32::from_be_bytes(length) as usize) else { break };
            taken += PREFIX_BYTES + ack.len();
            let ack = v1::PublishAck::decode(ack)?;
            self.expected += 1;
            ensure!(ack.seq == self.expected, "ack {} where {} was due", ack.seq, self.expected);
            if let Some(v1::publish_ack::Outcome::Error(error)) = ack.outcome {
                bail!("a publish was refused: {}", error.message);
            }
            state.unanswered.answered()?;
        }
        self.answer.drain(..taken);
        Ok(())
    }
}
