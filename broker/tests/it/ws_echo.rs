//! The echo example, which outside suites are pointed at: another implementation talks to it, and it says what it should.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_websockets::{ClientBuilder, Message};

use crate::support::{Framed, WebSocket, masked, soon};

#[allow(dead_code, reason = "the example's own main is not run here")]
#[path = "../../examples/ws_echo.rs"]
mod example;

async fn started() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(example::serve(listener));
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_comes_back_to_another_implementation() {
    let address = started().await;
    let uri = format!("ws://{address}/").parse().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut socket, _) = ClientBuilder::from_uri(uri).connect_on(stream).await.unwrap();
    let texts = ["", "text", "grüße 🌊", "fragments: more than sixteen bytes of it"].map(Message::text);
    for message in texts.into_iter().chain([Message::binary(vec![0, 255]), Message::binary(vec![7; 1 << 20])]) {
        socket.send(message.clone()).await.unwrap();
        let echo = soon("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!((echo.is_text(), echo.as_payload().to_vec()), (message.is_text(), message.as_payload().to_vec()));
    }
    socket.send(Message::ping("there?")).await.unwrap();
    let pong = soon("the pong", socket.next()).await.unwrap().unwrap();
    assert!(pong.is_pong() && pong.as_payload()[..] == *b"there?");
    socket.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_agreed_to_be_compressed_is_and_what_is_wrong_is_closed() {
    let address = started().await;
    let mut socket = WebSocket::open(address, "/", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n").await;
    assert!(socket.head.contains("server_max_window_bits=10"), "{}", socket.head);
    let text = Value::from("again and ".repeat(5000)).to_string();
    socket.send(&masked(0x81, text.as_bytes())).await;
    assert_eq!(soon("the echo", socket.frame()).await, Framed::Text { text, is_compressed: true });
    socket.send(&masked(0x83, b"")).await;
    let Framed::Close(Some((1002, _))) = soon("the close", socket.frame()).await else { panic!("a reserved opcode passed") };
    assert_eq!(soon("the end", socket.frame()).await, Framed::End);
}
