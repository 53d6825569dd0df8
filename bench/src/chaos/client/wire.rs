//! A subscription over one of the ways there are.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, WebSocketStream};
use tonic::codec::Streaming;
use tonic::transport::Endpoint;

use super::event_stream::EventStream;
use super::http;
use super::news::News;
use crate::chaos::node::Seat;

/// A way to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Sse,
    Stream,
    WebSocket,
    Poll,
    Grpc,
}

impl Way {
    pub(crate) const ALL: [Self; 5] = [Self::Sse, Self::Stream, Self::WebSocket, Self::Poll, Self::Grpc];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::Stream => "stream",
            Self::WebSocket => "websocket",
            Self::Poll => "poll",
            Self::Grpc => "grpc",
        }
    }
}

/// An open subscription to one channel.
pub(crate) struct Wire {
    kind: Kind,
    ready: VecDeque<News>,
}

enum Kind {
    Sse { body: Incoming, stream: EventStream },
    Stream { body: Incoming, pending: Vec<u8> },
    WebSocket(Box<WebSocketStream<TcpStream>>),
    Poll { seat: Seat, channel: String, cursor: String },
    Grpc(Box<Streaming<v1::SubscribeReply>>),
}

impl Wire {
    /// Listens from this cursor on; an empty one is the beginning.
    pub(crate) async fn open(way: Way, seat: &Seat, channel: &str, cursor: &str) -> anyhow::Result<Self> {
        let since = if cursor.is_empty() { "earliest" } else { cursor };
        let query = format!("channel={channel}&since={since}");
        let kind = match way {
            Way::Sse => Kind::Sse { body: body(seat, &format!("/sse?{query}&envelope=1")).await?, stream: EventStream::default() },
            Way::Stream => Kind::Stream { body: body(seat, &format!("/stream?{query}")).await?, pending: Vec::new() },
            Way::WebSocket => {
                let stream = http::connect(seat.http()).await?;
                let builder = ClientBuilder::new().uri(&format!("ws://{}/ws?{query}", seat.http()))?;
                Kind::WebSocket(Box::new(builder.connect_on(stream).await?.0))
            }
            Way::Poll => Kind::Poll { seat: seat.clone(), channel: channel.to_owned(), cursor: since.to_owned() },
            Way::Grpc => {
                let endpoint = Endpoint::from_shared(format!("http://{}", seat.grpc()))?.connect_timeout(http::CONNECT_MAX);
                let since = match cursor {
                    "" => v1::subscribe_request::Since::Earliest(true),
                    cursor => v1::subscribe_request::Since::Cursor(cursor.to_owned()),
                };
                let request = v1::SubscribeRequest { channels: vec![channel.to_owned()], since: Some(since), ..Default::default() };
                let replies = BrokerClient::new(endpoint.connect().await?).subscribe(request).await?;
                Kind::Grpc(Box::new(replies.into_inner()))
            }
        };
        Ok(Self { kind, ready: VecDeque::new() })
    }

    /// The next news. An error is the end of it.
    pub(crate) async fn next(&mut self) -> anyhow::Result<News> {
        loop {
            if let Some(news) = self.ready.pop_front() {
                return Ok(news);
            }
            match &mut self.kind {
                Kind::Sse { body, stream } => {
                    for block in stream.push(&chunk(body).await?) {
                        let data = || serde_json::from_str::<Value>(&block.data).with_context(|| block.data.clone());
                        match (block.event.as_str(), block.data.is_empty()) {
                            ("tidings:gap", _) => self.ready.push_back(News::gap(&data()?)),
                            ("tidings:close", _) => self.ready.push_back(News::closed(&data()?)),
                            (_, true) => self.ready.extend(block.id.clone().map(News::Place)),
                            (_, false) => {
                                let News::Message { id, late, .. } = News::message(&data()?) else { continue };
                                let cursor = block.id.clone().context("a message without an id")?;
                                self.ready.push_back(News::Message { id, cursor, late });
                            }
                        }
                    }
                }
                Kind::Stream { body, pending } => {
                    pending.extend_from_slice(&chunk(body).await?);
                    while let Some(end) = memchr::memchr(b'\n', pending) {
                        let line: Vec<u8> = pending.drain(..=end).collect();
                        if !line.trim_ascii().is_empty() {
                            self.ready.extend(News::object(&serde_json::from_slice(&line)?));
                        }
                    }
                }
                Kind::WebSocket(socket) => {
                    let message = socket.next().await.context("the stream ended")??;
                    if let Some(text) = message.as_text() {
                        self.ready.extend(News::object(&serde_json::from_str(text)?));
                    } else if message.is_close() {
                        bail!("the socket was closed");
                    }
                }
                Kind::Poll { seat, channel, cursor } => {
                    let news = poll(seat, channel, cursor).await?;
                    self.ready.extend(news);
                }
                Kind::Grpc(replies) => {
                    let reply = replies.message().await?.context("the stream ended")?;
                    self.ready.extend(News::reply(reply));
                }
            }
        }
    }
}

async fn body(seat: &Seat, path: &str) -> anyhow::Result<Incoming> {
    let response = http::ask(http::connect(seat.http()).await?, "GET", path, Bytes::new()).await?;
    ensure!(response.status() == 200, "{path}: {}", response.status());
    Ok(response.into_body())
}

async fn chunk(body: &mut Incoming) -> anyhow::Result<Bytes> {
    let frame = body.frame().await.context("the stream ended")??;
    Ok(frame.into_data().unwrap_or_default())
}

/// One poll, which is held for a while when there is nothing.
async fn poll(seat: &Seat, channel: &str, cursor: &mut String) -> anyhow::Result<Vec<News>> {
    let path = format!("/poll?channel={channel}&since={cursor}&wait=2");
    let asked = http::ask(http::connect(seat.http()).await?, "GET", &path, Bytes::new());
    let response = tokio::time::timeout(Duration::from_secs(6), asked).await.context("the poll is not answered")??;
    let status = response.status().as_u16();
    let place = response.headers().get("tidings-cursor").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let is_leaving = response.headers().contains_key("retry-after");
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status == 200 || status == 204, "{path}: {status} {}", String::from_utf8_lossy(&body));
    place.context("an answer without a cursor")?.clone_into(cursor);
    let mut news = Vec::new();
    if status == 200 {
        let answer: Value = serde_json::from_slice(&body)?;
        news.extend(answer.get("gap").map(News::gap));
        news.extend(answer["messages"].as_array().into_iter().flatten().map(News::message));
    }
    news.push(News::Place(cursor.clone()));
    if is_leaving {
        news.push(News::Closed("draining".to_owned()));
    }
    Ok(news)
}
