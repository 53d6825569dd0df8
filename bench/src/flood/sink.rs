//! A program that takes connections and forgets what it reads: flooded in the broker's place, it shows what honest clients notice of the
//! flood's own load, on the same processors.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// As much as a slow writer sends of a body, and of a message; then it is ended, as the broker ends it, and the writer comes again.
const BODY_MAX: usize = 900_000;
const MESSAGE_MAX: usize = 90_000;

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

/// Says where it listens and reads until it is killed.
pub(crate) async fn run() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    println!("127.0.0.1:{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(forget(stream));
    }
}

async fn forget(mut stream: TcpStream) {
    let (mut buffer, mut read, mut most) = (vec![0; 16 << 10], 0, BODY_MAX);
    while read < most
        && let Ok(count @ 1..) = stream.read(&mut buffer).await
    {
        if read == 0 && buffer.starts_with(b"GET /ws") {
            // It writes on once it has an answer.
            most = MESSAGE_MAX;
            let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await;
        }
        read += count;
    }
}
