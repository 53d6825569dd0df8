//! Every way to listen, behind one face: what a client gets, and the cursor it would come back with.

use std::collections::VecDeque;
use std::net::SocketAddr;

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tidings::broker::{Delivery, Since as DoorSince, Subscribe, Subscription};
use tidings::log::Cursor;
use tidings::message::ChannelName;
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tidings_proto::v1::subscribe_reply::Reply;
use tonic::codec::Streaming;
use tonic::transport::Endpoint;

use super::{EventStream, Http1, Http2, Lines, Scene, Server, WebSocket, masked, percent};

/// A way to listen. A new front is a new row here and in the list of `every_front.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// An event stream on a socket that the shard took over, in chunks.
    SseHttp1,
    /// The same without chunks.
    SseHttp10,
    /// An event stream as a body.
    SseHttp2,
    /// Lines, on a socket that the shard took over, in chunks.
    StreamHttp1,
    /// The same without chunks.
    StreamHttp10,
    /// Lines as a body.
    StreamHttp2,
    /// Script calls of a hidden frame.
    StreamPage,
    PollHttp1,
    PollHttp2,
    /// Channels in the handshake's query.
    WebSocket,
    /// Channels subscribed to by requests, messages compressed.
    WebSocketRequests,
    /// An event stream of another program's server, with the broker as a service in it.
    SseGuest,
    SseGuestHttp2,
    StreamGuest,
    PollGuest,
    /// A WebSocket whose bare socket went from another program's server to a shard.
    WebSocketGuest,
    /// The same, with something between the two that is no bare socket.
    WebSocketCarried,
    Grpc,
    /// In process, as an embedder does.
    Door,
}

impl Way {
    pub(crate) const ALL: [Self; 19] = [
        Self::SseHttp1,
        Self::SseHttp10,
        Self::SseHttp2,
        Self::StreamHttp1,
        Self::StreamHttp10,
        Self::StreamHttp2,
        Self::StreamPage,
        Self::PollHttp1,
        Self::PollHttp2,
        Self::WebSocket,
        Self::WebSocketRequests,
        Self::SseGuest,
        Self::SseGuestHttp2,
        Self::StreamGuest,
        Self::PollGuest,
        Self::WebSocketGuest,
        Self::WebSocketCarried,
        Self::Grpc,
        Self::Door,
    ];

    /// Whether each request gets one answer, so that there is no stream to be closed.
    pub(crate) fn is_poll(self) -> bool {
        matches!(self, Self::PollHttp1 | Self::PollHttp2 | Self::PollGuest)
    }

    pub(crate) fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::WebSocketRequests | Self::WebSocketGuest | Self::WebSocketCarried)
    }
}

/// From where.
#[derive(Clone, Debug)]
pub(crate) enum Since {
    Live,
    Earliest,
    Last(u32),
    Cursor(String),
    /// One for each channel, as the client would say it.
    Each(Vec<String>),
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Message(Message),
    Gap {
        channel: String,
        reason: String,
    },
    /// The broker said why it ends the stream, and whether to come back.
    Closed {
        code: String,
        retry: bool,
    },
    /// The stream is over.
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) channel: String,
    pub(crate) offset: u64,
    pub(crate) cursor: String,
    pub(crate) text: String,
}

/// A client that listens.
pub(crate) struct Listener {
    wire: Wire,
    ready: VecDeque<News>,
    /// The cursors after each of `ready`, where the wire gives one with each.
    cursors: VecDeque<String>,
    cursor: String,
}

enum Wire {
    Sse { source: Source, stream: EventStream },
    Lines { source: Source, lines: Lines },
    Poll { to: SocketAddr, is_http2: bool, query: String, since: Since, is_first: bool },
    WebSocket { socket: Box<WebSocket>, places: Places, joining: usize },
    Grpc(Box<Streaming<v1::SubscribeReply>>),
    Door { subscription: Box<Subscription>, cursor: Cursor },
}

/// How far a client has come that is given a cursor per channel: all of them in one.
#[derive(Default)]
struct Places(Option<Cursor>);

impl Places {
    /// The client stands behind this.
    fn stand(&mut self, text: &str) {
        let cursor = Cursor::parse(text).unwrap();
        match &mut self.0 {
            Some(known) => cursor.iter().for_each(|slot| known.insert(slot.clone()).unwrap()),
            none => *none = Some(cursor),
        }
    }

    /// A channel begins here; others of its slot may have begun before.
    fn begin(&mut self, text: &str) {
        let cursor = Cursor::parse(text).unwrap();
        let slot = cursor.iter().next().unwrap();
        if self.0.as_ref().and_then(|known| known.get(slot.slot)).is_none_or(|known| known.main.idx > slot.main.idx) {
            self.stand(text);
        }
    }

    fn text(&self) -> String {
        self.0.as_ref().map_or_else(String::new, Cursor::encode)
    }
}

enum Source {
    Http1(Box<Http1>),
    Http2(Box<Http2>),
}

impl Source {
    async fn read(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Http1(response) => response.read().await,
            Self::Http2(response) => response.read().await,
        }
    }
}

impl Listener {
    /// Subscribes. When this returns, nothing that is published from then on is missed.
    pub(crate) async fn open(way: Way, scene: &Scene, channels: &[&str], since: Since) -> Self {
        Self::try_open(way, scene, channels, since).await.unwrap_or_else(|code| panic!("{way:?} was refused: {code}"))
    }

    /// Subscribes, or gives the code of the refusal.
    pub(crate) async fn try_open(way: Way, scene: &Scene, channels: &[&str], since: Since) -> Result<Self, String> {
        let known = if let Since::Cursor(cursor) = &since { cursor.clone() } else { String::new() };
        let is_live = matches!(since, Since::Live);
        let wire = match way {
            Way::SseHttp1 | Way::SseHttp10 | Way::SseHttp2 | Way::SseGuest | Way::SseGuestHttp2 => {
                sse(way, scene, channels, &since).await?
            }
            Way::StreamHttp1 | Way::StreamHttp10 | Way::StreamHttp2 | Way::StreamPage | Way::StreamGuest => {
                lines(way, scene, channels, &since).await?
            }
            Way::PollHttp1 | Way::PollHttp2 | Way::PollGuest => {
                let query = query(channels);
                Wire::Poll { to: address(way, scene).await, is_http2: way == Way::PollHttp2, query, since, is_first: true }
            }
            Way::WebSocket | Way::WebSocketRequests | Way::WebSocketGuest | Way::WebSocketCarried => {
                websocket(way, scene, channels, &since).await?
            }
            Way::Grpc => grpc(scene, channels, since).await?,
            Way::Door => door(scene, channels, since).await.map_err(|error| error.code.as_str().to_owned())?,
        };
        let mut listener = Self { wire, ready: VecDeque::new(), cursors: VecDeque::new(), cursor: known };
        match &listener.wire {
            Wire::Door { cursor, .. } => listener.cursor = cursor.encode(),
            Wire::Poll { .. } | Wire::Grpc(_) => listener.fill().await?,
            Wire::WebSocket { .. } => {
                while matches!(listener.wire, Wire::WebSocket { joining: 1.., .. }) {
                    listener.fill().await?;
                }
            }
            // Who joins live is told where it stands.
            Wire::Sse { .. } | Wire::Lines { .. } => {
                while is_live && listener.cursor.is_empty() && listener.ready.is_empty() {
                    listener.fill().await?;
                }
            }
        }
        Ok(listener)
    }

    /// What comes next.
    pub(crate) async fn next(&mut self) -> News {
        loop {
            if let Some(news) = self.ready.pop_front() {
                if let Some(cursor) = self.cursors.pop_front() {
                    self.cursor = cursor;
                }
                self.catch_up();
                return news;
            }
            self.fill().await.unwrap_or_else(|code| panic!("refused in the middle: {code}"));
        }
    }

    /// The next message; anything else is a failure.
    pub(crate) async fn message(&mut self) -> Message {
        match super::soon("the next message", self.next()).await {
            News::Message(message) => message,
            other => panic!("a message was due, not {other:?}"),
        }
    }

    /// The texts of so many messages.
    pub(crate) async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            texts.push(self.message().await.text);
        }
        texts
    }

    /// What the client would come back with after what it was given so far.
    pub(crate) fn cursor(&self) -> Since {
        assert!(!self.cursor.is_empty(), "the client knows where it stands");
        Since::Cursor(self.cursor.clone())
    }

    /// Whether [`Listener::cursor`] stands right behind the last news that was read: a poll's cursor is that of its whole
    /// answer.
    pub(crate) fn may_leave(&self) -> bool {
        self.ready.is_empty() || !self.cursors.is_empty()
    }

    /// Reads at least so many messages and leaves: their texts, and the cursor to come back with.
    pub(crate) async fn leave_after(mut self, count: usize) -> (Vec<String>, Since) {
        let mut texts = self.texts(count).await;
        while !self.may_leave() {
            texts.push(self.message().await.text);
        }
        (texts, self.cursor())
    }

    /// Reads until the client knows a cursor other than `known`, and fails on any news.
    pub(crate) async fn fresh_cursor(&mut self, known: &Since) -> Since {
        let Since::Cursor(known) = known else { panic!("not a cursor") };
        if let Wire::Door { subscription, .. } = &mut self.wire {
            // In process the cursor is asked for, not sent.
            assert!(subscription.next().now_or_never().is_none(), "nothing was due but a fresh cursor");
            self.cursor = subscription.cursor().encode();
            assert_ne!(self.cursor, *known, "a cursor behind everything that was told");
        }
        while self.cursor == *known {
            super::soon("a fresh cursor", self.fill()).await.unwrap();
            assert_eq!(self.ready, [], "nothing was due but a fresh cursor");
            if let Some(cursor) = self.cursors.pop_back() {
                self.cursor = cursor;
            }
            self.cursors.clear();
        }
        self.cursor()
    }

    /// Once all news is read, what came behind it counts too: a block with nothing but an id may come in the same piece.
    fn catch_up(&mut self) {
        let known = match &self.wire {
            Wire::Sse { stream, .. } => &stream.last_event_id,
            Wire::Lines { lines, .. } => &lines.cursor,
            Wire::Poll { .. } | Wire::WebSocket { .. } | Wire::Grpc(_) | Wire::Door { .. } => return,
        };
        if self.ready.is_empty() {
            self.cursor.clone_from(known);
        }
    }

    /// Waits for one answer of the broker that holds no news.
    pub(crate) async fn answered_empty(&mut self) {
        self.fill().await.unwrap();
        assert_eq!(self.ready, [], "an empty answer was due");
    }

    /// Waits for one thing from the wire, which may be no news.
    async fn fill(&mut self) -> Result<(), String> {
        match &mut self.wire {
            Wire::Sse { source, stream } => {
                let Some(bytes) = source.read().await else {
                    self.ready.push_back(News::Over);
                    return Ok(());
                };
                // Byte by byte, so that each event stands beside the id it left behind.
                for byte in bytes {
                    for event in stream.push(&[byte]) {
                        self.ready.push_back(sse_news(&event));
                        self.cursors.push_back(stream.last_event_id.clone());
                    }
                }
                self.catch_up();
            }
            Wire::Lines { source, lines } => {
                let Some(bytes) = source.read().await else {
                    self.ready.push_back(News::Over);
                    return Ok(());
                };
                for byte in bytes {
                    if let Some(news) = lines.push(byte).and_then(|object| line_news(&object)) {
                        self.ready.push_back(news);
                        self.cursors.push_back(lines.cursor.clone());
                    }
                }
                self.catch_up();
            }
            Wire::Poll { to, is_http2, query, since, is_first } => {
                // The first poll only finds out where it stands.
                let wait = if std::mem::take(is_first) { "&wait=0" } else { "" };
                let path = format!("/poll?{query}{}{wait}", since_query(since));
                let (status, cursor, body) = if *is_http2 {
                    let mut answer = Http2::get(*to, &path, &[]).await;
                    let cursor = answer.headers.get("tidings-cursor").map(|cursor| cursor.to_str().unwrap().to_owned());
                    (answer.status.as_u16(), cursor, answer.rest().await)
                } else {
                    let mut answer = Http1::get(*to, "1.1", &path, "Connection: close\r\n", None).await;
                    let status = answer.status().await;
                    (status, answer.decoder.header("tidings-cursor").map(str::to_owned), answer.rest().await)
                };
                if status == 204 {
                    self.cursor = cursor.expect("an empty answer has its cursor in the header");
                    *since = Since::Cursor(self.cursor.clone());
                    return Ok(());
                }
                let body: Value = serde_json::from_slice(&body).unwrap_or_else(|why| panic!("{why}: {status} {body:?}"));
                if status != 200 {
                    return Err(body["error"]["code"].as_str().unwrap().to_owned());
                }
                let first = body["gap"].as_object().map(|_| &body["gap"]).into_iter();
                let all = body["gaps"].as_array().map(Vec::as_slice).unwrap_or_default();
                let gaps: Vec<&Value> = if all.is_empty() { first.collect() } else { all.iter().collect() };
                self.ready.extend(gaps.into_iter().map(gap));
                self.ready.extend(body["messages"].as_array().unwrap().iter().map(message));
                self.cursor = body["cursor"].as_str().unwrap().to_owned();
                *since = Since::Cursor(self.cursor.clone());
            }
            Wire::WebSocket { socket, places, joining } => {
                let Some(object) = socket.object().await else {
                    self.ready.push_back(News::Over);
                    return Ok(());
                };
                if let Some(heartbeat) = object.get("heartbeat") {
                    places.stand(heartbeat["cursor"].as_str().unwrap());
                    // It counts once what came before it is read.
                    if self.ready.is_empty() {
                        self.cursor = places.text();
                    }
                    return Ok(());
                }
                if let Some(subscribed) = object.get("subscribed") {
                    places.begin(subscribed["cursor"].as_str().unwrap());
                    *joining -= 1;
                    self.cursor = places.text();
                    return Ok(());
                }
                if *joining > 0
                    && let Some(refused) = object.get("error").or(object.get("close"))
                {
                    return Err(refused["code"].as_str().unwrap().to_owned());
                }
                let news = object.get("message").map(message).or_else(|| line_news(&object)).unwrap();
                if let News::Message(message) = &news {
                    places.stand(&message.cursor);
                }
                self.ready.push_back(news);
                self.cursors.push_back(places.text());
            }
            Wire::Grpc(replies) => {
                let Some(reply) = replies.message().await.map_err(|status| code_of(&status))? else {
                    self.ready.push_back(News::Over);
                    return Ok(());
                };
                let news = match reply.reply.unwrap() {
                    Reply::Message(message) => News::Message(Message {
                        channel: message.channel,
                        offset: message.offset,
                        cursor: message.cursor,
                        text: String::from_utf8(message.data.to_vec()).unwrap(),
                    }),
                    Reply::Gap(gap) => News::Gap { channel: gap.channel, reason: gap.reason },
                    Reply::Closed(closed) => News::Closed { code: closed.code, retry: closed.retry },
                    Reply::Subscribed(_) | Reply::Heartbeat(_) | Reply::Cluster(_) | Reply::Presence(_) | Reply::Unsubscribed(_) => {
                        self.cursor = reply.cursor;
                        return Ok(());
                    }
                };
                self.ready.push_back(news);
                self.cursors.push_back(reply.cursor);
            }
            Wire::Door { subscription, cursor } => match subscription.next().await {
                Some(Delivery::Messages(entries)) => {
                    for entry in entries {
                        let own = subscription.own().cloned().unwrap_or_else(|| entry.slot_cursor());
                        let text = Cursor::from(own.clone()).encode();
                        cursor.insert(own).unwrap();
                        self.cursors.push_back(cursor.encode());
                        self.ready.push_back(News::Message(Message {
                            channel: entry.channel.to_string(),
                            offset: entry.offset,
                            cursor: text,
                            text: String::from_utf8(entry.payload.bytes().to_vec()).unwrap(),
                        }));
                    }
                }
                Some(Delivery::Gap { channel, gap }) => {
                    self.cursors.push_back(cursor.encode());
                    self.ready.push_back(News::Gap { channel: channel.to_string(), reason: gap.reason.as_str().to_owned() });
                }
                Some(Delivery::Presence { .. }) => panic!("nobody asked who is there"),
                Some(Delivery::Closed(reason)) => {
                    self.cursors.push_back(cursor.encode());
                    self.ready.push_back(News::Closed { code: reason.as_str().to_owned(), retry: reason.may_retry() });
                }
                None => self.ready.push_back(News::Over),
            },
        }
        Ok(())
    }
}

pub(crate) fn query(channels: &[&str]) -> String {
    channels.iter().map(|channel| format!("channel={}", percent(channel))).collect::<Vec<_>>().join("&")
}

pub(crate) fn since_query(since: &Since) -> String {
    match since {
        Since::Live => String::new(),
        Since::Earliest => "&since=earliest".to_owned(),
        Since::Last(count) => format!("&last={count}"),
        Since::Cursor(cursor) => format!("&since={cursor}"),
        Since::Each(each) => each.iter().map(|since| format!("&since={since}")).collect(),
    }
}

/// Where this way leads in: the broker's own listener, or another program's.
async fn address(way: Way, scene: &Scene) -> SocketAddr {
    let server = match way {
        Way::SseGuest | Way::StreamGuest | Way::PollGuest | Way::WebSocketGuest => Server::Http1,
        Way::SseGuestHttp2 => Server::Http2,
        Way::WebSocketCarried => Server::Wrapped,
        Way::SseHttp2 | Way::StreamHttp2 | Way::PollHttp2 => return scene.http2(),
        _ => return scene.http(),
    };
    super::host(scene.node.embedded(), server).await
}

async fn sse(way: Way, scene: &Scene, channels: &[&str], since: &Since) -> Result<Wire, String> {
    let query = query(channels);
    // A cursor goes the way a browser sends it.
    let (path, resume, stream) = match since {
        Since::Cursor(cursor) => (format!("/sse?{query}&envelope=1"), Some(cursor), EventStream::resumed(cursor)),
        other => (format!("/sse?{query}&envelope=1{}", since_query(other)), None, EventStream::default()),
    };
    let to = address(way, scene).await;
    if matches!(way, Way::SseHttp2 | Way::SseGuestHttp2) {
        let headers: Vec<_> = resume.iter().map(|cursor| ("last-event-id", cursor.as_str())).collect();
        let mut response = Http2::get(to, &path, &headers).await;
        if response.status != 200 {
            return Err(refusal(&response.rest().await));
        }
        return Ok(Wire::Sse { source: Source::Http2(Box::new(response)), stream });
    }
    let version = if way == Way::SseHttp10 { "1.0" } else { "1.1" };
    let headers = resume.map(|cursor| format!("Last-Event-ID: {cursor}\r\n")).unwrap_or_default();
    let mut response = Http1::get(to, version, &path, &headers, None).await;
    if response.status().await != 200 {
        return Err(refusal(&response.rest().await));
    }
    Ok(Wire::Sse { source: Source::Http1(Box::new(response)), stream })
}

async fn lines(way: Way, scene: &Scene, channels: &[&str], since: &Since) -> Result<Wire, String> {
    let is_page = way == Way::StreamPage;
    let path = format!("/stream?{}{}{}", query(channels), since_query(since), if is_page { "&format=html" } else { "" });
    let known = if let Since::Cursor(cursor) = since { cursor } else { "" };
    let mut lines = Lines::resumed(known, is_page);
    let to = address(way, scene).await;
    let (status, mut source) = if way == Way::StreamHttp2 {
        let response = Http2::get(to, &path, &[]).await;
        (response.status.as_u16(), Source::Http2(Box::new(response)))
    } else {
        let version = if way == Way::StreamHttp10 { "1.0" } else { "1.1" };
        let mut response = Http1::get(to, version, &path, "", None).await;
        (response.status().await, Source::Http1(Box::new(response)))
    };
    if status == 200 {
        return Ok(Wire::Lines { source, lines });
    }
    let mut body = Vec::new();
    while let Some(more) = source.read().await {
        body.extend(more);
    }
    if !is_page {
        return Err(refusal(&body));
    }
    let close = body.into_iter().find_map(|byte| lines.push(byte)).unwrap();
    Err(close["close"]["code"].as_str().unwrap().to_owned())
}

async fn websocket(way: Way, scene: &Scene, channels: &[&str], since: &Since) -> Result<Wire, String> {
    let in_query = way != Way::WebSocketRequests;
    let path = if in_query { format!("/ws?{}{}", query(channels), since_query(since)) } else { "/ws".to_owned() };
    let headers = if in_query { "" } else { "Sec-WebSocket-Extensions: permessage-deflate\r\n" };
    let mut socket = WebSocket::open(address(way, scene).await, &path, headers).await;
    // All in one write: those of one slot come in its order when they begin together.
    let mut requests = Vec::new();
    for (id, channel) in channels.iter().enumerate() {
        if !in_query {
            let mut subscribe = json!({ "channel": channel });
            match since {
                Since::Live => {}
                Since::Earliest => subscribe["since"] = "earliest".into(),
                Since::Last(count) => subscribe["last"] = (*count).into(),
                Since::Cursor(cursor) => subscribe["since"] = cursor.as_str().into(),
                Since::Each(each) => subscribe["since"] = each[id].as_str().into(),
            }
            requests.extend(masked(0x81, json!({ "id": id, "subscribe": subscribe }).to_string().as_bytes()));
        }
    }
    socket.send(&requests).await;
    Ok(Wire::WebSocket { socket: Box::new(socket), places: Places::default(), joining: channels.len() })
}

async fn grpc(scene: &Scene, channels: &[&str], since: Since) -> Result<Wire, String> {
    use v1::subscribe_request::Since as S;
    let since = match since {
        Since::Live => None,
        Since::Earliest => Some(S::Earliest(true)),
        Since::Last(count) => Some(S::Last(count)),
        Since::Cursor(cursor) => Some(S::Cursor(cursor)),
        Since::Each(_) => panic!("gRPC takes one position for all channels"),
    };
    let channel = Endpoint::from_shared(format!("http://{}", scene.grpc())).unwrap().connect().await.unwrap();
    let request = v1::SubscribeRequest { channels: channels.iter().map(ToString::to_string).collect(), since, ..Default::default() };
    let replies = BrokerClient::new(channel).subscribe(request).await.map_err(|status| code_of(&status))?;
    Ok(Wire::Grpc(Box::new(replies.into_inner())))
}

async fn door(scene: &Scene, channels: &[&str], since: Since) -> tidings::error::Result<Wire> {
    let since = match since {
        Since::Live => DoorSince::Live,
        Since::Earliest => DoorSince::Earliest,
        Since::Last(count) => DoorSince::Last(count),
        Since::Cursor(cursor) => DoorSince::Cursor(Cursor::parse(&cursor)?),
        Since::Each(_) => panic!("the door takes one position for all channels"),
    };
    let channels = channels.iter().map(|channel| ChannelName::parse(channel)).collect::<tidings::error::Result<_>>()?;
    let subscription = scene.node.broker().subscribe(Subscribe::to(channels, since)).await?;
    Ok(Wire::Door { cursor: subscription.cursor(), subscription: Box::new(subscription) })
}

fn code_of(status: &tonic::Status) -> String {
    status.metadata().get("tidings-code").map_or_else(|| status.to_string(), |code| code.to_str().unwrap().to_owned())
}

fn refusal(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_else(|why| panic!("{why}: {body:?}"));
    body["error"]["code"].as_str().unwrap().to_owned()
}

fn sse_news(event: &super::StreamEvent) -> News {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_else(|why| panic!("{why}: {}", event.data));
    match event.kind.as_str() {
        "tidings:gap" => gap(&data),
        "tidings:close" => News::Closed { code: data["code"].as_str().unwrap().to_owned(), retry: data["retry"].as_bool().unwrap() },
        _ => message(&data),
    }
}

fn line_news(object: &Value) -> Option<News> {
    if object.get("heartbeat").is_some() {
        return None;
    }
    if let Some(data) = object.get("gap") {
        return Some(gap(data));
    }
    if let Some(data) = object.get("close") {
        return Some(News::Closed { code: data["code"].as_str().unwrap().to_owned(), retry: data["retry"].as_bool().unwrap() });
    }
    Some(message(object))
}

fn gap(data: &Value) -> News {
    News::Gap { channel: data["channel"].as_str().unwrap().to_owned(), reason: data["reason"].as_str().unwrap().to_owned() }
}

fn message(data: &Value) -> News {
    News::Message(Message {
        channel: data["channel"].as_str().unwrap().to_owned(),
        offset: data["offset"].as_u64().unwrap(),
        cursor: data["cursor"].as_str().unwrap().to_owned(),
        text: data["data"].as_str().unwrap().to_owned(),
    })
}
