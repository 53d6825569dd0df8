//! One connection at work: what waits goes out, what comes is handed on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures_util::StreamExt;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_rustls::TlsStream;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::super::link::{FRAME_MAX, Link, Peer};
use super::Ear;
use super::outbox::{Letter, Outbox};
use super::roster::Id;
use super::socket::Socket;
use super::tally::Tally;

/// About as much goes out in one write. More would only wait in another buffer.
const WRITE_BYTES: usize = 64 << 10;
/// What a buffer may keep of its size after a large letter.
const BUFFER_BYTES_MAX: usize = 256 << 10;
/// How long the last bytes may take to leave when this end closes the connection.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs until the connection breaks, its outbox is closed or `stop`. Says why it ended.
pub(super) async fn run<L: Letter>(
    link: Link<Socket>,
    id: Id,
    outbox: Arc<Outbox<L>>,
    ear: Arc<dyn Ear>,
    tally: Arc<Tally>,
    stop: CancellationToken,
) -> String {
    let peer = Arc::new(link.peer);
    let parts = link.frames.into_parts();
    let mut stream = parts.io;
    let socket = match &mut stream {
        TlsStream::Client(stream) => stream.get_mut().0,
        TlsStream::Server(stream) => stream.get_mut().0,
    };
    if let Err(why) = socket.move_here() {
        return why.to_string();
    }
    let (reader, writer) = tokio::io::split(stream);
    let mut frames = FramedRead::new(reader, LengthDelimitedCodec::builder().max_frame_length(FRAME_MAX).new_codec());
    *frames.read_buffer_mut() = parts.read_buf;
    // Beside one another: a node that is busy with what it hears goes on saying what it has to say.
    let (wrote, whom, counts) = (outbox.clone(), peer.clone(), tally.clone());
    let room = ear.clone();
    let mut writing = AbortOnDropHandle::new(tokio::spawn(async move { write(writer, &wrote, &*room, (&whom, id), &counts).await }));
    let why = tokio::select! {
        biased;
        () = stop.cancelled() => {
            outbox.close();
            let _ = tokio::time::timeout(LAST_WORDS, writing).await;
            "closed here".to_owned()
        }
        ended = &mut writing => ended.unwrap_or_else(|died| Err(io::Error::other(died))).map_or_else(|why| why.to_string(), |()| "it takes nothing".to_owned()),
        why = read(frames, &*ear, (&peer, id), &tally, &stop) => why,
        never = outbox.tell_troubles() => match never {},
    };
    outbox.tell_troubles_now();
    why
}

async fn read(
    mut frames: FramedRead<ReadHalf<TlsStream<Socket>>, LengthDelimitedCodec>,
    ear: &dyn Ear,
    (peer, id): (&Peer, Id),
    tally: &Tally,
    stop: &CancellationToken,
) -> String {
    loop {
        let frame = match frames.next().await {
            Some(Ok(frame)) => frame.freeze(),
            Some(Err(why)) => return why.to_string(),
            None => return "closed by the other node".to_owned(),
        };
        // Another connection may have taken its place meanwhile.
        if stop.is_cancelled() {
            return "closed here".to_owned();
        }
        tally.heard(peer.purpose, frame.len());
        if let Err(what) = ear.heard(peer, id, frame) {
            return format!("it says what cannot be understood: {what}");
        }
    }
}

async fn write<L: Letter>(
    mut writer: WriteHalf<TlsStream<Socket>>,
    outbox: &Outbox<L>,
    ear: &dyn Ear,
    (peer, id): (&Peer, Id),
    tally: &Tally,
) -> io::Result<()> {
    let mut letters = Vec::new();
    let mut buffer = BytesMut::with_capacity(WRITE_BYTES);
    while let Some(booked) = outbox.take(&mut letters, WRITE_BYTES).await {
        let count = letters.len();
        for letter in letters.drain(..) {
            frame(&letter, &mut buffer)?;
        }
        writer.write_all(&buffer).await?;
        writer.flush().await?;
        tally.said(peer.purpose, count, buffer.len());
        if buffer.capacity() > BUFFER_BYTES_MAX {
            buffer = BytesMut::with_capacity(WRITE_BYTES);
        } else {
            buffer.clear();
        }
        let room = outbox.written(booked);
        if room.is_for_letters {
            ear.has_room(peer, id);
        }
        if room.is_for_states {
            ear.has_room_for_states(peer, id);
        }
    }
    writer.shutdown().await
}

/// One letter with its length before it: four bytes, big-endian.
fn frame<L: Letter>(letter: &L, buffer: &mut BytesMut) -> io::Result<()> {
    let at = buffer.len();
    buffer.put_u32(0);
    letter.write(buffer);
    let length = buffer.len() - at - 4;
    let Some(length) = u32::try_from(length).ok().filter(|length| *length as usize <= FRAME_MAX) else {
        return Err(io::Error::other(format!("a frame of {length} bytes is more than the {FRAME_MAX} that nodes take")));
    };
    buffer[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}
