//! Our WebSocket codec beside two others: what one writes the other reads, and what one refuses so does the other.

use std::io::{Cursor, Read, Write};

use futures_util::{SinkExt as _, StreamExt as _};
use proptest::prelude::*;
use tidings::front::websocket::codec::{CloseCode, Decoder, Frame, Inflater, Input, Item, Rules, Violation, unmask, write_close};
use tokio::io::AsyncWriteExt as _;
use tokio_websockets::{ClientBuilder, Config, Limits, ServerBuilder};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

const MESSAGE_BYTES_MAX: usize = 4096;
const RULES: Rules = Rules { message_bytes_max: MESSAGE_BYTES_MAX, has_deflate: false };

#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// What was read, and whether the reader gave the stream up.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    said: Vec<Said>,
    is_refused: bool,
}

/// Our reading, and why it ended.
fn ours(bytes: &[u8]) -> (Heard, Option<Violation>) {
    let (mut bytes, mut decoder, mut inflater) = (bytes.to_vec(), Decoder::new(RULES), Inflater::default());
    let mut input = Input::new(&mut bytes);
    let mut said = Vec::new();
    loop {
        said.push(match decoder.next(&mut input, &mut inflater) {
            Ok(Some(Item::Text(text))) => Said::Text(text.into_owned()),
            Ok(Some(Item::Binary(bytes))) => Said::Binary(bytes.into_owned()),
            Ok(Some(Item::Ping(bytes))) => Said::Ping(bytes.into_owned()),
            Ok(Some(Item::Pong(bytes))) => Said::Pong(bytes.into_owned()),
            Ok(Some(Item::Close(close))) => Said::Close(close.map(|close| (close.code.get(), close.reason))),
            Ok(None) => return (Heard { said, is_refused: false }, None),
            Err(violation) => return (Heard { said, is_refused: true }, Some(violation)),
        });
    }
}

/// A socket that has everything there is to read, and keeps what is written.
struct Pipe {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Pipe {
    fn new(input: &[u8]) -> Self {
        Self { input: Cursor::new(input.to_vec()), output: Vec::new() }
    }
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.input.read(into)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Write::write(&mut self.output, bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn tungstenite(bytes: &[u8], role: Role) -> Heard {
    let bound = Some(MESSAGE_BYTES_MAX);
    let config = WebSocketConfig::default().max_message_size(bound).max_frame_size(bound).read_buffer_size(4096);
    let mut socket = WebSocket::from_raw_socket(Pipe::new(bytes), role, Some(config));
    let mut said = Vec::new();
    loop {
        said.push(match socket.read() {
            Ok(Message::Text(text)) => Said::Text(text.to_string()),
            Ok(Message::Binary(bytes)) => Said::Binary(bytes.to_vec()),
            Ok(Message::Ping(bytes)) => Said::Ping(bytes.to_vec()),
            Ok(Message::Pong(bytes)) => Said::Pong(bytes.to_vec()),
            Ok(Message::Close(close)) => {
                let close = close.map(|close| (close.code.into(), close.reason.to_string()));
                said.push(Said::Close(close));
                return Heard { said, is_refused: false };
            }
            Ok(Message::Frame(_)) => unreachable!("only for writing"),
            Err(error) => {
                use tungstenite::Error::{Io, Protocol};
                use tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
                let is_end = matches!(error, Io(_) | Protocol(ResetWithoutClosingHandshake));
                return Heard { said, is_refused: !is_end };
            }
        });
    }
}

/// Runs what never waits for anything but memory.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn tokio_websockets(bytes: &[u8], role: Role) -> Heard {
    run(async {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        let limits = Limits::default().max_payload_len(Some(MESSAGE_BYTES_MAX));
        let mut socket = match role {
            Role::Server => ServerBuilder::new().limits(limits).serve(near),
            Role::Client => ClientBuilder::new().limits(limits).take_over(near),
        };
        let mut heard = Heard { said: Vec::new(), is_refused: false };
        while let Some(next) = socket.next().await {
            let message = match next {
                Ok(message) => message,
                Err(error) => {
                    heard.is_refused = !matches!(error, tokio_websockets::Error::Io(_));
                    break;
                }
            };
            let payload = message.as_payload().to_vec();
            heard.said.push(if let Some(text) = message.as_text() {
                Said::Text(text.to_owned())
            } else if message.is_binary() {
                Said::Binary(payload)
            } else if message.is_ping() {
                Said::Ping(payload)
            } else if message.is_pong() {
                Said::Pong(payload)
            } else {
                let close = (!payload.is_empty()).then(|| message.as_close().unwrap());
                heard.said.push(Said::Close(close.map(|(code, reason)| (code.into(), reason.to_owned()))));
                break;
            });
        }
        drop(far);
        heard
    })
}

/// A client's frame of which anything may be wrong but the length's form, at which others do not look.
#[derive(Clone, Debug)]
struct Sent {
    first: u8,
    is_masked: bool,
    payload: Vec<u8>,
}

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        let length = self.payload.len();
        let mut out = vec![self.first];
        let masked = if self.is_masked { 0x80 } else { 0 };
        if length <= 125 {
            out.push(masked | length as u8);
        } else {
            out.push(masked | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        let mut payload = self.payload.clone();
        if self.is_masked {
            out.extend_from_slice(b"mask");
            unmask(&mut payload, *b"mask", 0);
        }
        out.extend(payload);
        out
    }
}

/// Frames that are mostly right.
fn sent() -> impl Strategy<Value = Sent> {
    let opcode = prop_oneof![
        8 => prop::sample::select(vec![0u8, 0, 1, 1, 2, 9, 10]),
        2 => Just(8u8),
        1 => 0u8..16,
    ];
    let is_last = prop_oneof![3 => Just(0x80u8), 1 => Just(0u8)];
    let reserved = prop_oneof![30 => Just(0u8), 1 => prop::sample::select(vec![0x10u8, 0x20, 0x40, 0x70])];
    let is_masked = prop_oneof![40 => Just(true), 1 => Just(false)];
    let payload = prop_oneof![
        4 => "(?s).{0,20}".prop_map(String::into_bytes),
        2 => prop::collection::vec(prop::sample::select(&b"a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xed\xa0\x80\xff"[..]), 0..8),
        1 => prop::collection::vec(any::<u8>(), 100..200),
        1 => prop::collection::vec(any::<u8>(), 3000..5000),
        2 => (prop_oneof![995u16..1020, 2990u16..3005, 4995u16..5005], "(?s).{0,10}")
            .prop_map(|(code, reason)| [&code.to_be_bytes()[..], reason.as_bytes()].concat()),
    ];
    (opcode, is_last, reserved, is_masked, payload).prop_map(|(opcode, is_last, reserved, is_masked, payload)| {
        // Control frames are mostly whole and short, else hardly any stream would get past its first.
        let is_control = opcode >= 8;
        let first = opcode | reserved | if is_control && payload.len() % 16 > 0 { 0x80 } else { is_last };
        let payload = if is_control && payload.len() < 3000 { payload[..payload.len().min(125)].to_vec() } else { payload };
        Sent { first, is_masked, payload }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn three_readers_hear_the_same(frames in prop::collection::vec(sent(), 1..8)) {
        let bytes: Vec<u8> = frames.iter().flat_map(Sent::bytes).collect();
        let (heard, violation) = ours(&bytes);
        prop_assert_eq!(&tokio_websockets(&bytes, Role::Server), &heard, "tokio-websockets, {:?}", violation);
        // This one takes a close code that must not be sent for one of its own, and 1014, which is newer, for such a code.
        let is_1014 = matches!(heard.said.last(), Some(Said::Close(Some((1014, _)))));
        if violation != Some(Violation::BadCloseCode) && !is_1014 {
            prop_assert_eq!(&tungstenite(&bytes, Role::Server), &heard, "tungstenite, {:?}", violation);
        }
    }

    #[test]
    fn what_we_write_others_read(parts in prop::collection::vec((0u8..5, "(?s).{0,60}", 0usize..3000), 0..8), reason in "(?s).{0,80}") {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (kind, text, count) in parts {
            let binary = vec![count as u8; count];
            let short = binary[..count.min(125)].to_vec();
            match kind {
                0 => Frame::TEXT.write(&mut bytes, text.as_bytes()),
                1 => Frame::BINARY.write_with(&mut bytes, |out| out.extend_from_slice(&binary)),
                2 => Frame::PING.write(&mut bytes, &short),
                3 => Frame::PONG.write(&mut bytes, &short),
                _ => {
                    let (begin, end) = binary.split_at(count / 2);
                    Frame::BINARY.to_be_continued().write(&mut bytes, begin);
                    Frame::PING.write(&mut bytes, b"between");
                    Frame::CONTINUATION.write(&mut bytes, end);
                    expected.push(Said::Ping(b"between".into()));
                }
            }
            expected.push(match kind {
                0 => Said::Text(text),
                2 => Said::Ping(short),
                3 => Said::Pong(short),
                _ => Said::Binary(binary),
            });
        }
        let code = CloseCode::SERVICE_RESTART;
        write_close(&mut bytes, Some((code, &reason)));
        let end = (0..=reason.len().min(123)).rev().find(|at| reason.is_char_boundary(*at)).unwrap();
        expected.push(Said::Close(Some((code.get(), reason[..end].to_owned()))));
        let expected = Heard { said: expected, is_refused: false };
        prop_assert_eq!(&tungstenite(&bytes, Role::Client), &expected);
        prop_assert_eq!(&tokio_websockets(&bytes, Role::Client), &expected);
    }

    #[test]
    fn what_others_write_we_read(parts in prop::collection::vec((any::<bool>(), "(?s).{0,60}", 0usize..3000), 0..8), frame_size in 1usize..4000) {
        let expected: Vec<Said> = parts
            .iter()
            .map(|(is_text, text, count)| if *is_text { Said::Text(text.clone()) } else { Said::Binary(vec![7; *count]) })
            .collect();

        let mut first = WebSocket::from_raw_socket(Pipe::new(b""), Role::Client, None);
        for said in &expected {
            first.write(match said {
                Said::Text(text) => Message::text(text),
                Said::Binary(bytes) => Message::binary(bytes.clone()),
                _ => unreachable!("only messages"),
            }).unwrap();
        }
        first.flush().unwrap();
        prop_assert_eq!(&ours(&first.get_ref().output).0.said, &expected);

        let written = run(async {
            let (near, mut far) = tokio::io::duplex(1 << 20);
            // Its messages go out in fragments of this size.
            let mut second = ClientBuilder::new().config(Config::default().frame_size(frame_size)).take_over(near);
            for said in &expected {
                second.send(match said {
                    Said::Text(text) => tokio_websockets::Message::text(text.clone()),
                    Said::Binary(bytes) => tokio_websockets::Message::binary(bytes.clone()),
                    _ => unreachable!("only messages"),
                }).await.unwrap();
            }
            drop(second);
            let mut written = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut far, &mut written).await.unwrap();
            written
        });
        prop_assert_eq!(ours(&written).0.said, expected);
    }
}
