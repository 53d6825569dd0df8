//! A node and everything that is open towards it while a scene is played.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tidings::broker::ChannelsQuery;
use tidings::config::{Config, File};
use tidings::node::Node;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::grpc::Calls;
use super::page::{Block, Kind, Scene};
use super::pattern::{Values, compact, fill, matches};
use crate::support::{Framed, WebSocket, masked};

/// Nothing an example waits for takes longer, however busy the machine is.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Headers that say how an answer travels and when, not what it is.
const OF_THE_WAY: [&str; 5] = ["date", "content-length", "transfer-encoding", "connection", "tidings-session"];

pub(super) struct Stage {
    node: Option<Node>,
    http: std::net::SocketAddr,
    values: Values,
    unanswered: Vec<JoinHandle<Response<Incoming>>>,
    streams: Vec<EventStream>,
    sockets: Vec<WebSocket>,
    calls: Calls,
    leaving: Option<JoinHandle<()>>,
}

impl Stage {
    pub(super) async fn play(scene: &Scene<'_>) {
        let told = scene.blocks.iter().find(|block| block.kind == Kind::Config).map_or("", |block| &block.text);
        let mut config = Config::load(Some(File { name: scene.title, text: told }), &[]).unwrap();
        config.dev = !config.knows_anybody();
        config.shards = 1;
        for listen in [&mut config.http.listen, config.grpc.listen.as_mut().unwrap(), &mut config.admin.listen] {
            listen.set_port(0);
        }
        let node = Node::start(config).await.unwrap();
        let calls = Calls::new(node.addresses().grpc.unwrap());
        let http = node.addresses().http;
        let (values, unanswered, streams, sockets) = Default::default();
        let mut stage = Self { node: Some(node), http, values, unanswered, streams, sockets, calls, leaving: None };
        for block in &scene.blocks {
            let played = tokio::time::timeout(PATIENCE, stage.step(block)).await;
            let what = match played {
                Ok(Ok(())) => continue,
                Ok(Err(why)) => why,
                Err(_) => "nothing more came".to_owned(),
            };
            panic!("docs/PROTOCOL.md:{}, \"{}\", {:?}:\n{what}", block.line, scene.title, block.kind);
        }
        assert!(stage.unanswered.is_empty(), "\"{}\": a request has no response", scene.title);
        match (stage.leaving, stage.node) {
            (Some(leaving), _) => leaving.await.unwrap(),
            (None, Some(node)) => node.stop().await,
            (None, None) => {}
        }
    }

    async fn step(&mut self, block: &Block<'_>) -> Result<(), String> {
        match block.kind {
            Kind::Config => Ok(()),
            Kind::Request => {
                let request = request(&fill(&block.text, &self.values), self.http);
                self.unanswered.push(tokio::spawn(send(self.http, request)));
                Ok(())
            }
            Kind::Response => {
                let answer = self.unanswered.pop().ok_or("no request is waiting for a response")?;
                self.response(&block.text, answer.await.map_err(|why| why.to_string())?).await
            }
            Kind::Stream => {
                let stream = self.streams.last_mut().ok_or("no event stream is open")?;
                stream.expect(&block.text, &mut self.values).await
            }
            Kind::Asks => {
                let text = compact(&fill(&block.text, &self.values));
                self.socket()?.send(&masked(0x81, text.as_bytes())).await;
                Ok(())
            }
            Kind::Says => loop {
                match self.socket()?.frame().await {
                    Framed::Text { text, .. } => break matches(&compact(&block.text), &compact(&text), &mut self.values),
                    Framed::Ping(_) => {}
                    other => break Err(format!("an object was due, not {other:?}")),
                }
            },
            Kind::Closes => match self.socket()?.frame().await {
                Framed::Close(Some((code, reason))) => {
                    // The answer to it, so that the node need not wait.
                    self.socket()?.send(&masked(0x88, &code.to_be_bytes())).await;
                    matches(block.text.trim_end(), &format!("{code} {reason}"), &mut self.values)
                }
                other => Err(format!("a close frame was due, not {other:?}")),
            },
            Kind::Signal => {
                let node = self.node.take().ok_or("the node is leaving already")?;
                // A request that is under way is not yet held; what is told to leave is a node that holds it.
                while !self.unanswered.is_empty() && listeners(&node) == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                self.leaving = Some(tokio::spawn(node.drain()));
                Ok(())
            }
            Kind::Call(method) => self.calls.call(method, &fill(&block.text, &self.values)).await,
            Kind::Reply => {
                let reply = self.calls.reply().await?;
                matches(&compact(&block.text), &compact(&reply), &mut self.values)
            }
            Kind::Status => matches(block.text.trim_end(), &self.calls.status().await?, &mut self.values),
        }
    }

    fn socket(&mut self) -> Result<&mut WebSocket, String> {
        self.sockets.last_mut().ok_or_else(|| "no WebSocket is open".to_owned())
    }

    async fn response(&mut self, template: &str, answer: Response<Incoming>) -> Result<(), String> {
        let (head, body) = template.split_once("\n\n").unwrap_or((template.trim_end(), ""));
        let mut head = head.lines();
        let (parts, incoming) = answer.into_parts();
        let status = format!("HTTP/1.1 {}", parts.status);
        matches(head.next().unwrap_or_default(), &status, &mut self.values)?;
        self.headers(head, &parts.headers)?;
        if parts.status == 101 {
            let upgraded = hyper::upgrade::on(Response::from_parts(parts, incoming)).await.map_err(|why| why.to_string())?;
            let socket = upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| "no socket")?;
            self.sockets.push(WebSocket::joined(socket.io.into_inner(), socket.read_buf.to_vec()));
            return Ok(());
        }
        let content_type = parts.headers.get("content-type").map_or("", |value| value.to_str().unwrap());
        if matches!(content_type, "text/event-stream" | "application/x-ndjson") {
            let mut stream = EventStream { body: incoming, came: String::new() };
            stream.expect(body, &mut self.values).await?;
            self.streams.push(stream);
            return Ok(());
        }
        let came = incoming.collect().await.map_err(|why| why.to_string())?.to_bytes();
        let came = std::str::from_utf8(&came).map_err(|why| why.to_string())?;
        matches(&compact(body), &compact(came), &mut self.values)
    }

    /// The headers of an answer are those the page shows, no fewer and no more.
    fn headers<'a>(&mut self, shown: impl Iterator<Item = &'a str>, came: &HeaderMap) -> Result<(), String> {
        let mut left: BTreeMap<&str, &str> = came.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        left.retain(|name, _| !OF_THE_WAY.contains(name));
        for line in shown {
            let (name, value) = line.split_once(": ").ok_or_else(|| format!("`{line}` is no header"))?;
            let name = name.to_ascii_lowercase();
            let came = left.remove(&*name).ok_or_else(|| format!("there is no header `{name}`; others are {left:?}"))?;
            matches(value, came, &mut self.values).map_err(|why| format!("{name}: {why}"))?;
        }
        if left.is_empty() { Ok(()) } else { Err(format!("headers that the page does not show: {left:?}")) }
    }
}

fn listeners(node: &Node) -> u64 {
    let all = ChannelsQuery { limit: usize::MAX, ..ChannelsQuery::default() };
    node.broker().channels(&all).channels.iter().map(|channel| channel.listeners).sum()
}

/// An open answer of events.
struct EventStream {
    body: Incoming,
    /// Read and not yet compared.
    came: String,
}

impl EventStream {
    async fn expect(&mut self, template: &str, values: &mut Values) -> Result<(), String> {
        for line in template.lines() {
            let mut came = self.line().await?;
            // A heartbeat may come at any moment of a slow test; it is looked at only where the page shows one.
            while came == ":" && !line.starts_with(':') {
                self.line().await?;
                came = self.line().await?;
            }
            matches(line, &came, values)?;
        }
        Ok(())
    }

    async fn line(&mut self) -> Result<String, String> {
        while !self.came.contains('\n') {
            let frame = self.body.frame().await.ok_or("the stream ended")?.map_err(|why| why.to_string())?;
            // Pieces are cut between events, so never inside a character.
            self.came.push_str(std::str::from_utf8(frame.data_ref().ok_or("trailers")?).map_err(|why| why.to_string())?);
        }
        let end = self.came.find('\n').unwrap_or_default();
        let line = self.came[..end].to_owned();
        self.came.drain(..=end);
        Ok(line)
    }
}

/// Request line, headers, an empty line and the body, which loses its last line end.
fn request(text: &str, host: std::net::SocketAddr) -> Request<Full<Bytes>> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut head = head.lines();
    let line: Vec<&str> = head.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1"] = line[..] else { panic!("`{}` is no request line", line.join(" ")) };
    let mut request = Request::builder().method(method).uri(target).version(Version::HTTP_11).header("host", host.to_string());
    for line in head {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("`{line}` is no header"));
        request = request.header(name, value);
    }
    request.body(Full::new(Bytes::from(body.trim_end_matches('\n').to_owned()))).unwrap()
}

async fn send(to: std::net::SocketAddr, request: Request<Full<Bytes>>) -> Response<Incoming> {
    let socket = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.unwrap()
}
