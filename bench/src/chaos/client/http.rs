//! Requests over a connection of their own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::chaos::history::Kept;

/// Longest wait for a connection.
pub(crate) const CONNECT_MAX: Duration = Duration::from_millis(1_500);

/// A connection, or the certainty that nothing was sent.
pub(crate) async fn connect(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = timeout(CONNECT_MAX, TcpStream::connect(to)).await.context("no connection")??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends one request and gives the answer as soon as its head is there.
pub(crate) async fn ask(stream: TcpStream, method: &str, path: &str, body: Bytes) -> anyhow::Result<Response<Incoming>> {
    let (mut send, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer's body, which the caller holds.
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "chaos").header("content-type", "application/json");
    Ok(send.send_request(request.body(Full::new(body))?).await?)
}

/// Status and body of an answer.
pub(crate) async fn get(to: SocketAddr, path: &str) -> anyhow::Result<(u16, Bytes)> {
    let response = ask(connect(to).await?, "GET", path, Bytes::new()).await?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

/// All that a node has of a channel, page by page.
pub(crate) async fn history(to: SocketAddr, channel: &str) -> anyhow::Result<Vec<Kept>> {
    let (mut kept, mut since) = (Vec::new(), "earliest".to_owned());
    loop {
        let path = format!("/v1/channels/{channel}/messages?limit=1000&since={since}");
        let (status, body) = get(to, &path).await?;
        anyhow::ensure!(status == 200, "{path}: {status} {}", String::from_utf8_lossy(&body));
        let page: Value = serde_json::from_slice(&body)?;
        let messages = page["messages"].as_array().context("a page without messages")?;
        if messages.is_empty() {
            return Ok(kept);
        }
        for message in messages {
            let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
            kept.push(Kept { id: text("id"), cursor: text("cursor"), late: message["late"].as_bool().unwrap_or_default() });
        }
        page["cursor"].as_str().context("a page without a cursor")?.clone_into(&mut since);
    }
}
