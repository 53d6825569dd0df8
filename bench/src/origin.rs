//! The backend that Pushpin asks what to do with a request: hold it as a stream on the channel its path names.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::ensure;
use clap::Args;

/// Connections served at one time; more wait.
const THREADS: usize = 8;

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
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Ok((stream, _)) = listener.accept() {
                    // Pushpin opens another connection when it needs one.
                    let _ = serve(stream);
                }
            });
        }
    });
    Ok(())
}

fn serve(stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(first) = lines.next().transpose()? {
        for line in lines.by_ref() {
            if line?.is_empty() {
                break;
            }
        }
        let channel = first.split_whitespace().nth(1).and_then(|target| target.rsplit('/').next()).unwrap_or_default().to_owned();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ngrip-hold: stream\r\ngrip-channel: {channel}\r\ncontent-length: 4\r\n\r\n:ok\n"
        );
        out.write_all(head.as_bytes())?;
    }
    Ok(())
}
