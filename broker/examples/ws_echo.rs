//! A WebSocket echo server on the broker's own codec, to point conformance suites and other people's clients at:
//!
//! ```sh
//! cargo run --release --example ws_echo -- --port 9001
//! ```
//!
//! Text and bytes come back as they went, compressed where that was agreed upon; a text that begins with `fragments:` comes
//! back in pieces of 16 bytes. Nothing of the broker runs behind it.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tidings::front::websocket::Upgrade;
use tidings::front::websocket::codec::{Decoder, Deflater, Frame, Inflater, Input, Item, Rules, WINDOW_BITS_MIN, write_close};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Suites send messages of 16 MiB.
const MESSAGE_BYTES_MAX: usize = 32 << 20;
const READ_BYTES: usize = 64 << 10;
const PIECE_BYTES: usize = 16;
/// How long a peer may take to close after our last word.
const LAST_WORD: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port = match &arguments[..] {
        [] => 9001,
        [flag, port] if flag == "--port" => port.parse().map_err(|_| std::io::Error::other("`--port` takes a number"))?,
        _ => return Err(std::io::Error::other("usage: ws_echo [--port PORT]")),
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("ws_echo listens on ws://{}", listener.local_addr()?);
    serve(listener).await
}

/// Accepts until the listener fails.
pub(crate) async fn serve(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).with_upgrades();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("{error}");
            }
        });
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let upgraded = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    let upgrade = match Upgrade::read(&parts, Some(WINDOW_BITS_MIN)) {
        Ok(upgrade) => upgrade,
        Err(refusal) => {
            return Ok(refusal.response(parts.version).map(Full::new));
        }
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = upgrade.headers();
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            // A peer that goes away in the middle is its own affair.
            let _ = echo(TokioIo::new(upgraded), upgrade.deflate.map(|agreed| agreed.window_bits)).await;
        }
    });
    Ok(response)
}

async fn echo(mut io: impl AsyncRead + AsyncWrite + Unpin, window_bits: Option<u8>) -> std::io::Result<()> {
    let mut decoder = Decoder::new(Rules { message_bytes_max: MESSAGE_BYTES_MAX, has_deflate: window_bits.is_some() });
    let mut inflater = Inflater::default();
    let mut deflater = window_bits.map(|bits| Deflater::new(6, bits));
    let mut bytes = vec![0; READ_BYTES];
    let mut out = Vec::new();
    let mut is_over = false;
    while !is_over {
        let count = io.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        let mut input = Input::new(&mut bytes[..count]);
        loop {
            match decoder.next(&mut input, &mut inflater) {
                Ok(Some(Item::Text(text))) if text.starts_with("fragments:") => write_in_pieces(&mut out, text.as_bytes()),
                Ok(Some(Item::Text(text))) => write(&mut out, Frame::TEXT, text.as_bytes(), deflater.as_mut()),
                Ok(Some(Item::Binary(bytes))) => write(&mut out, Frame::BINARY, &bytes, deflater.as_mut()),
                Ok(Some(Item::Ping(payload))) => Frame::PONG.write(&mut out, &payload),
                Ok(Some(Item::Pong(_))) => {}
                Ok(Some(Item::Close(close))) => {
                    write_close(&mut out, close.as_ref().map(|close| (close.code, &*close.reason)));
                    is_over = true;
                }
                Ok(None) => break,
                Err(violation) => {
                    write_close(&mut out, Some((violation.code(), violation.sentence())));
                    is_over = true;
                }
            }
        }
        io.write_all(&out).await?;
        out.clear();
    }
    io.shutdown().await?;
    // Read to the end: bytes left unread would reset the connection and take our last word with them.
    let rest = async {
        while io.read(&mut bytes).await? > 0 {}
        Ok(())
    };
    tokio::time::timeout(LAST_WORD, rest).await.unwrap_or(Ok(()))
}

fn write(out: &mut Vec<u8>, frame: Frame, payload: &[u8], deflater: Option<&mut Deflater>) {
    match deflater {
        Some(deflater) => frame.compressed().write(out, &deflater.deflate(payload)),
        None => frame.write(out, payload),
    }
}

fn write_in_pieces(out: &mut Vec<u8>, text: &[u8]) {
    let mut pieces = text.chunks(PIECE_BYTES).peekable();
    let mut frame = Frame::TEXT;
    while let Some(piece) = pieces.next() {
        let piece_frame = if pieces.peek().is_some() { frame.to_be_continued() } else { frame };
        piece_frame.write(out, piece);
        frame = Frame::CONTINUATION;
    }
}
