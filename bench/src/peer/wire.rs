//! How a subscriber speaks to a server: what it says until it listens. From then on it only reads, and what it reads is
//! searched for payloads, whatever stands around them.

use serde::Deserialize;

/// One of a server's fronts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, tag = "wire", rename_all = "snake_case")]
pub(crate) enum Front {
    /// An HTTP response that does not end: event streams, lines.
    Http {
        port: String,
        path: String,
        #[serde(default)]
        headers: Vec<String>,
        /// What a request adds to its path to resume after `{cursor}`, where the server can.
        resume: Option<String>,
    },
    /// Requests that are answered when there is something, one after the other.
    LongPoll {
        port: String,
        path: String,
        /// What a request adds to its path to go on after `{cursor}`.
        since: String,
    },
    /// `tidings.v1`, `Subscribe`: calls, many to a connection.
    GrpcSubscribe { port: String },
    /// A WebSocket; `say` are text frames to subscribe with, each with what the answer to it ends in.
    WebSocket {
        port: String,
        path: String,
        #[serde(default)]
        headers: Vec<String>,
        /// The end of what the server says by itself before it listens, where the path says what to listen to.
        hears: Option<String>,
        #[serde(default)]
        say: Vec<Said>,
    },
    /// MQTT 3.1.1 in a WebSocket.
    MqttWebSocket { port: String, path: String },
    /// A Redis connection.
    Redis { port: String },
}

/// A text frame of a subscriber.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    text: String,
    until: String,
}

/// A request that follows each answer.
#[derive(Clone, Debug)]
pub(crate) struct Again {
    target: String,
}

impl Again {
    pub(crate) fn request(&self, channel: &str, cursor: &str) -> String {
        get(&self.target.replace("{channel}", channel).replace("{cursor}", cursor))
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

/// One step of a greeting: say this, then wait until the other side said that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) say: Vec<u8>,
    /// What the answer begins with, when anything else is a refusal.
    pub(crate) expect: &'static str,
    /// The end of the answer.
    pub(crate) until: Vec<u8>,
}

impl Front {
    /// The name of the port it is on.
    pub(crate) fn port(&self) -> &str {
        match self {
            Self::Http { port, .. }
            | Self::LongPoll { port, .. }
            | Self::GrpcSubscribe { port }
            | Self::WebSocket { port, .. }
            | Self::MqttWebSocket { port, .. }
            | Self::Redis { port } => port,
        }
    }

    /// What it says after each answer, where it must.
    pub(crate) fn again(&self) -> Option<Again> {
        let Self::LongPoll { path, since, .. } = self else { return None };
        Some(Again { target: format!("{path}{since}") })
    }

    /// What a request adds to its path to resume after this cursor; only where that is possible.
    pub(crate) fn resume(&self, cursor: &str) -> Option<String> {
        let (Self::Http { resume: Some(resume), .. } | Self::LongPoll { since: resume, .. }) = self else { return None };
        Some(resume.replace("{cursor}", cursor))
    }

    /// What a subscriber of this channel says. `query` is added to the path of an HTTP request.
    pub(crate) fn greeting(&self, channel: &str, query: &str) -> Vec<Step> {
        let fill = |text: &str| text.replace("{channel}", channel);
        match self {
            Self::Http { path, headers, .. } => {
                let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
                let say = format!("GET {}{query} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n", fill(path));
                vec![Step { say: say.into(), expect: "HTTP/1.1 200", until: b"\r\n\r\n".to_vec() }]
            }
            // What its answers are is no matter of a greeting.
            Self::LongPoll { path, .. } => {
                vec![Step { say: get(&format!("{}{query}", fill(path))).into(), expect: "", until: Vec::new() }]
            }
            Self::GrpcSubscribe { .. } => Vec::new(),
            Self::WebSocket { path, headers, hears, say, .. } => {
                let mut steps = vec![upgrade(&format!("{}{query}", fill(path)), headers)];
                steps.extend(hears.iter().map(|end| Step { say: Vec::new(), expect: "", until: end.clone().into() }));
                let text = |said: &Said| Step { say: frame(1, fill(&said.text).as_bytes()), expect: "", until: said.until.clone().into() };
                steps.extend(say.iter().map(text));
                steps
            }
            Self::MqttWebSocket { path, .. } => vec![
                upgrade(path, &["sec-websocket-protocol: mqtt".to_owned()]),
                Step { say: frame(2, &mqtt_connect()), expect: "", until: vec![0x20, 2, 0, 0] },
                Step { say: frame(2, &mqtt_subscribe(channel)), expect: "", until: vec![0x90, 3, 0, 1, 0] },
            ],
            Self::Redis { .. } => vec![Step {
                say: format!("*2\r\n$9\r\nSUBSCRIBE\r\n${}\r\n{channel}\r\n", channel.len()).into(),
                expect: "*3\r\n$9\r\nsubscribe",
                until: b":1\r\n".to_vec(),
            }],
        }
    }
}

fn upgrade(path: &str, headers: &[String]) -> Step {
    let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let say = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    );
    Step { say: say.into(), expect: "HTTP/1.1 101", until: b"\r\n\r\n".to_vec() }
}

/// A frame of a client (RFC 6455, section 5.2). The mask is zero, which leaves the bytes as they are: nothing here
/// passes a proxy that could be fooled.
fn frame(opcode: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match u16::try_from(bytes.len()) {
        Ok(length) if length < 126 => out.push(0x80 | length as u8),
        length => {
            out.push(0x80 | 126);
            // Nothing a subscriber says here is longer.
            out.extend_from_slice(&length.unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(bytes);
    out
}

/// MQTT 3.1.1, section 3.1: a clean session without keep-alive and without a name.
pub(crate) fn mqtt_connect() -> Vec<u8> {
    let body = [&[0, 4][..], b"MQTT", &[4, 2, 0, 0], &[0, 0]].concat();
    mqtt_packet(0x10, &body)
}

fn mqtt_subscribe(channel: &str) -> Vec<u8> {
    let body = [&1u16.to_be_bytes()[..], &(channel.len() as u16).to_be_bytes(), channel.as_bytes(), &[0]].concat();
    mqtt_packet(0x82, &body)
}

/// One packet with its length (section 2.2.3).
pub(crate) fn mqtt_packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    let mut left = body.len();
    loop {
        let more = left >= 128;
        out.push((left % 128) as u8 | if more { 0x80 } else { 0 });
        left /= 128;
        if !more {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_its_length_as_the_rfc_wants() {
        assert_eq!(frame(1, b"hi"), [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(frame(1, &[b'x'; 200])[..4], [0x81, 0xfe, 0, 200]);
    }

    #[test]
    fn an_mqtt_length_goes_on_while_its_high_bit_is_set() {
        assert_eq!(mqtt_packet(0x30, &[0; 127])[..2], [0x30, 127]);
        assert_eq!(mqtt_packet(0x30, &[0; 321])[..3], [0x30, 0xc1, 2]);
    }
}
