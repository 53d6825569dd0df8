//! Connections between nodes: TLS, the greeting that says who is at the other end and proves it, then frames. What the frames
//! say is not known here.

pub(super) mod greeting;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use parking_lot::RwLock;
use prost::Message;
use rustls::server::Acceptor;
use tidings_proto::cluster::v1 as wire;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::membership::{BadKeys, NodeName};
use crate::tls::Turns;
use greeting::End;
pub(super) use greeting::other_protocol;
pub use greeting::{Identity, Keys, Peer, Purpose, Refusal};
pub use tls::Certificate;
pub use wire::Reason;

/// The largest frame. A payload is smaller ([`super::config::PAYLOAD_BYTES_MAX`]); what is larger than this is no frame of ours.
pub const FRAME_MAX: usize = 4 << 20;
/// A greeting is a few hundred bytes; before it is found to be good nobody may make us keep more.
const GREETING_MAX: usize = 4 << 10;
/// TLS and greeting together, on either side.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes with those that come, which may be strangers, between two rounds of the runtime that greets them.
const HANDSHAKES_IN_ONE_ROUND: usize = 2;
const EXPORTER: &[u8] = b"EXPORTER-tidings-link";

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub enum GreetingError {
    /// We do not want it.
    #[error("refused here: {0}")]
    RefusedHere(Refusal),
    /// It does not want us.
    #[error("refused by the other node: {0}")]
    RefusedThere(Refusal),
    /// It said something that is no greeting.
    #[error("the other end does not greet as a node does: {0}")]
    Nonsense(String),
    /// Too slow.
    #[error("the other end did not greet within {GREETING_TIMEOUT:?}")]
    Late,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
}

/// Why links cannot be had at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A key cannot be used.
    #[error("cluster.keys: {0}")]
    Keys(#[from] BadKeys),
    /// No certificate could be made, or that of the operator cannot be used.
    #[error("cluster.tls: {0}")]
    Tls(String),
}

/// A connection to a node that proved to be one.
#[derive(Debug)]
pub struct Link<S> {
    /// Who it is and what both agreed on.
    pub peer: Peer,
    /// The frames, in both directions, each at most [`FRAME_MAX`] bytes.
    pub frames: Framed<TlsStream<S>, LengthDelimitedCodec>,
}

/// Greets on both ends of new connections. Cheap to clone.
#[derive(Clone)]
pub struct Greeter {
    me: Identity,
    keys: Keys,
    /// What the next connection uses; those that stand keep theirs.
    tls: Arc<RwLock<tls::Tls>>,
    turns: Turns,
}

impl std::fmt::Debug for Greeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Greeter").field("me", &self.me).field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Greeter {
    /// For a process that greets as `me` and holds these secrets, and proves its name by this certificate, if there is one.
    ///
    /// # Errors
    /// When a secret cannot be a key, or the certificate cannot be used, or none can be made.
    pub fn new(me: Identity, secrets: &[String], certificate: Option<Certificate>) -> Result<Self, SetupError> {
        let tls = tls::Tls::new(certificate).map_err(SetupError::Tls)?;
        Ok(Self { me, keys: Keys::new(secrets)?, tls: Arc::new(RwLock::new(tls)), turns: Turns::new(HANDSHAKES_IN_ONE_ROUND) })
    }

    /// Proves its name by another certificate from now on.
    ///
    /// # Errors
    /// When it cannot be used; then the one before it stays.
    pub fn exchange(&self, certificate: Certificate) -> Result<(), SetupError> {
        let tls = tls::Tls::new(Some(certificate)).map_err(SetupError::Tls)?;
        *self.tls.write() = tls;
        Ok(())
    }

    fn tls(&self) -> tls::Tls {
        self.tls.read().clone()
    }

    /// Greets first, on a connection that this node made to the node of this name.
    ///
    /// # Errors
    /// When either side refuses, or the other end is no node, too slow or gone.
    pub async fn dial<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
        purpose: Purpose,
        whom: &NodeName,
    ) -> Result<Link<S>, GreetingError> {
        timeout(GREETING_TIMEOUT, self.dial_without_end(socket, purpose, whom)).await.unwrap_or(Err(GreetingError::Late))
    }

    async fn dial_without_end<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
        purpose: Purpose,
        whom: &NodeName,
    ) -> Result<Link<S>, GreetingError> {
        let tls = self.tls();
        let stream = TlsConnector::from(tls.dial.clone()).connect(tls::Tls::name(), socket).await?;
        let exporter = exporter(stream.get_ref().1)?;
        let checked = tls.check(stream.get_ref().1.peer_certificates(), whom);
        let mut frames = framed(TlsStream::Client(stream));
        if let Err(refusal) = checked {
            // It learns nothing of this node but why it is refused.
            send(&mut frames, &wire::Hello { refused: Some(refusal.wire()), ..wire::Hello::default() }).await?;
            let _ = SinkExt::<Bytes>::close(&mut frames).await;
            return Err(GreetingError::RefusedHere(refusal));
        }
        send(&mut frames, &greeting::hello(&self.me, &self.keys, &exporter, End::Dialled, purpose)).await?;
        let answer: wire::Answer = receive(&mut frames).await?;
        match answer.answer {
            Some(wire::answer::Answer::Refused(refusal)) => {
                Err(GreetingError::RefusedThere(Refusal::read(&refusal, &self.keys, &exporter)))
            }
            None => Err(GreetingError::Nonsense("its answer is empty".into())),
            Some(wire::answer::Answer::Welcome(hello)) => {
                let peer = greeting::judge(&self.me, &self.keys, &exporter, End::Answered, &hello).map_err(GreetingError::RefusedHere)?;
                if peer.purpose != purpose {
                    return Err(GreetingError::Nonsense("it answers for another purpose".into()));
                }
                Ok(begin(peer, frames))
            }
        }
    }

    /// Answers the greeting on a connection that another node made. `admit` may still refuse a node that proved itself: a
    /// second one of the same name, say.
    ///
    /// # Errors
    /// When either side refuses, or the other end is no node, too slow or gone.
    pub async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
        admit: impl FnOnce(&Peer) -> Result<(), Refusal>,
    ) -> Result<Link<S>, GreetingError> {
        timeout(GREETING_TIMEOUT, self.answer_without_end(socket, admit)).await.unwrap_or(Err(GreetingError::Late))
    }

    async fn answer_without_end<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
        admit: impl FnOnce(&Peer) -> Result<(), Refusal>,
    ) -> Result<Link<S>, GreetingError> {
        let tls = self.tls();
        let hello = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
        let stream = self.turns.take(|| hello.into_stream(tls.answer.clone())).await.await?;
        let exporter = exporter(stream.get_ref().1)?;
        let mut frames = framed(TlsStream::Server(stream));
        let hello: wire::Hello = receive(&mut frames).await?;
        if let Some(refusal) = &hello.refused {
            // From one that does not trust this end, and so proves nothing to it: anybody may say that.
            return Err(match refusal.reason() {
                Reason::Certificate => GreetingError::RefusedThere(Refusal::unproven(Reason::Certificate)),
                _ => GreetingError::Nonsense("it dialled and refuses for a reason that only the one that answers has".into()),
            });
        }
        let judged = greeting::judge(&self.me, &self.keys, &exporter, End::Dialled, &hello).and_then(|peer| {
            tls.check(frames.get_ref().get_ref().1.peer_certificates(), &peer.name)?;
            admit(&peer)?;
            Ok(peer)
        });
        let answer = match &judged {
            Ok(peer) => wire::answer::Answer::Welcome(greeting::hello(&self.me, &self.keys, &exporter, End::Answered, peer.purpose)),
            Err(refusal) => wire::answer::Answer::Refused(refusal.proven(&self.keys, &exporter)),
        };
        send(&mut frames, &wire::Answer { answer: Some(answer) }).await?;
        match judged {
            Ok(peer) => Ok(begin(peer, frames)),
            Err(refusal) => {
                // Best effort: the refusal is on its way already.
                let _ = SinkExt::<Bytes>::close(&mut frames).await;
                Err(GreetingError::RefusedHere(refusal))
            }
        }
    }
}

/// Something only the two ends of this TLS session know (RFC 8446, section 7.5).
fn exporter<D>(session: &rustls::ConnectionCommon<D>) -> Result<[u8; 32], GreetingError> {
    session.export_keying_material([0; 32], EXPORTER, None).map_err(|why| GreetingError::Nonsense(why.to_string()))
}

fn framed<S: AsyncRead + AsyncWrite>(stream: TlsStream<S>) -> Framed<TlsStream<S>, LengthDelimitedCodec> {
    Framed::new(stream, LengthDelimitedCodec::builder().max_frame_length(GREETING_MAX).new_codec())
}

/// From here on frames may be as large as messages are.
fn begin<S>(peer: Peer, mut frames: Framed<TlsStream<S>, LengthDelimitedCodec>) -> Link<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    frames.codec_mut().set_max_frame_length(FRAME_MAX);
    Link { peer, frames }
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    frames: &mut Framed<TlsStream<S>, LengthDelimitedCodec>,
    message: &impl Message,
) -> Result<(), GreetingError> {
    Ok(frames.send(Bytes::from(message.encode_to_vec())).await?)
}

async fn receive<S, M>(frames: &mut Framed<TlsStream<S>, LengthDelimitedCodec>) -> Result<M, GreetingError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    M: Message + Default,
{
    match frames.next().await {
        Some(Ok(frame)) => M::decode(frame.freeze()).map_err(|why| GreetingError::Nonsense(why.to_string())),
        Some(Err(why)) if why.kind() == std::io::ErrorKind::InvalidData => Err(GreetingError::Nonsense(why.to_string())),
        Some(Err(why)) => Err(why.into()),
        None => Err(GreetingError::Broken(std::io::ErrorKind::UnexpectedEof.into())),
    }
}
