//! The backend that Pushpin asks what to do with a request: hold it as a stream on the channel its path names.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::ensure;
use clap::Args;

/// Connections served at one time; more wait.
const THREADS: usize = 8;
/// How many may wait.
const BACKLOG: i32 = 4096;
/// Longest wait for a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pushpin's backend.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Where Pushpin asks
    #[arg(long)]
    listen: SocketAddr,
}

/// Answers until it is ended by a signal.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.listen.ip().is_loopback(), "the backend stays on loopback");
    let listener = TcpListener::bind(options.listen)?;
    // Listening again only makes the queue longer.
    rustix::net::listen(&listener, BACKLOG)?;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Ok((stream, _)) = listener.accept() {
                    // A request that broke off is Pushpin's to repeat.
                    let _ = serve(stream);
                }
            });
        }
    });
    Ok(())
}

/// One request, then the connection ends: kept ones would hold the threads.
fn serve(stream: TcpStream) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let channel = first.split_whitespace().nth(1).and_then(|target| target.rsplit('/').next()).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ngrip-hold: stream\r\ngrip-channel: {channel}\r\n\
         content-length: 4\r\nconnection: close\r\n\r\n:ok\n"
    );
    Ok(out.write_all(head.as_bytes())?)
}
