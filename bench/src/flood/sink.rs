//! A program that answers what floods wait for, and does nothing else: flooded in the broker's place, it shows what honest clients notice
//! of the flood's own load on the same processors. What differs from that, the broker does.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// As much as a slow writer sends of a body, and of a message; then it is ended, as the broker ends it, and the writer comes again.
const BODY_MAX: usize = 900_000;
const MESSAGE_MAX: usize = 90_000;
/// Bytes of a page of `histories`: 400 messages of 16 KiB, and what is written around each.
const PAGE_BYTES: usize = 400 * (16 * 1024 + 150);
/// What is read, or written of a page, at once.
const PIECE: usize = 16 << 10;
const FINE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// The program, while it runs.
pub(crate) struct Sink {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Sink {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut child =
            Command::new(std::env::current_exe()?).args(["flood", "sink"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        Ok(Self { child, address: line.trim().parse().with_context(|| line.clone())? })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says where it listens and answers until it is killed.
pub(crate) async fn run() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    println!("127.0.0.1:{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // Flooders go when they like.
        tokio::spawn(async move { drop(serve(stream).await) });
    }
}

async fn serve(mut stream: TcpStream) -> anyhow::Result<()> {
    let mut read = Vec::new();
    loop {
        while !read.windows(4).any(|at| at == b"\r\n\r\n") {
            ensure!(stream.read_buf(&mut read).await? > 0, "gone");
        }
        let end = memchr::memmem::find(&read, b"\r\n\r\n").map_or(0, |at| at + 4);
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        read.drain(..end);
        let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path {
            // HTTP/2: of it nobody waits for an answer.
            "*" => return forget(&mut stream, usize::MAX).await,
            "/ws" => {
                let key = value("Sec-WebSocket-Key").unwrap_or_default();
                return converse(stream, key).await;
            }
            "/v1/publish" => return forget(&mut stream, BODY_MAX).await,
            _ if head.starts_with("POST ") => {
                let length: usize = value("Content-Length").unwrap_or_default().parse()?;
                forget(&mut stream, length.saturating_sub(read.len())).await?;
                read.clear();
                stream.write_all(FINE).await?;
            }
            "/v1/channels/noise:big/messages?limit=400" => {
                stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {PAGE_BYTES}\r\n\r\n").as_bytes()).await?;
                let mut left = PAGE_BYTES;
                while left > 0 {
                    let piece = left.min(PIECE);
                    stream.write_all(&[b'x'; PIECE][..piece]).await?;
                    left -= piece;
                }
            }
            _ if path.starts_with("/poll") => stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await?,
            _ => stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?,
        }
    }
}

/// A WebSocket that says nothing (RFC 6455, section 4.2.2), and ends when a message becomes long.
async fn converse(mut stream: TcpStream, key: &str) -> anyhow::Result<()> {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes());
    let accept = STANDARD.encode(hash);
    let answer =
        format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
    stream.write_all(answer.as_bytes()).await?;
    let mut first = [0; 2];
    stream.read_exact(&mut first).await?;
    // A length in eight bytes is that of a slow writer's message.
    let most = if first[1] & 0x7f == 127 { MESSAGE_MAX } else { usize::MAX };
    forget(&mut stream, most).await
}

/// Reads so many bytes, or to the end.
async fn forget(stream: &mut TcpStream, most: usize) -> anyhow::Result<()> {
    let (mut buffer, mut left) = (vec![0; PIECE], most);
    while left > 0 {
        let room = left.min(PIECE);
        let count = stream.read(&mut buffer[..room]).await?;
        ensure!(count > 0, "gone");
        left -= count;
    }
    Ok(())
}
