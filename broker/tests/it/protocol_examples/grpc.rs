//! gRPC calls written as JSON, by the descriptors that the broker itself shows: what a generic client does.

use std::net::SocketAddr;

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::transport::Endpoint;
use tonic::{Request, Status};

use bytes::{Buf as _, BufMut as _};

/// The calls of one scene; at most one at a time.
pub(super) struct Calls {
    address: SocketAddr,
    running: Option<(MethodDescriptor, Result<Streaming<Bytes>, Status>)>,
}

impl Calls {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, running: None }
    }

    pub(super) async fn call(&mut self, method: &str, json: &str) -> Result<(), String> {
        let pool = DescriptorPool::decode(tidings_proto::FILE_DESCRIPTOR_SET).map_err(|why| why.to_string())?;
        let service = pool.get_service_by_name("tidings.v1.Broker").ok_or("there is no such service")?;
        let method = service.methods().find(|known| known.name() == method).ok_or("there is no such method")?;
        let mut json = serde_json::Deserializer::from_str(json);
        let message = DynamicMessage::deserialize(method.input(), &mut json).map_err(|why| why.to_string())?;
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).map_err(|why| why.to_string())?;
        let mut client = tonic::client::Grpc::new(endpoint.connect().await.map_err(|why| why.to_string())?);
        client.ready().await.map_err(|why| why.to_string())?;
        let path = format!("/tidings.v1.Broker/{}", method.name()).parse().map_err(|why| format!("{why}"))?;
        let request = Request::new(tokio_stream::once(Bytes::from(message.encode_to_vec())));
        let answer = client.streaming(request, path, AsTheyAre).await;
        self.running = Some((method, answer.map(tonic::Response::into_inner)));
        Ok(())
    }

    /// The next reply, as JSON.
    pub(super) async fn reply(&mut self) -> Result<String, String> {
        let (method, answer) = self.running.as_mut().ok_or("there was no call")?;
        let replies = answer.as_mut().map_err(|status| format!("refused: {status}"))?;
        let bytes = replies.message().await.map_err(|status| status.to_string())?.ok_or("the stream ended")?;
        let reply = DynamicMessage::decode(method.output(), bytes).map_err(|why| why.to_string())?;
        serde_json::to_string(&reply).map_err(|why| why.to_string())
    }

    /// How a refused call ended.
    pub(super) async fn status(&mut self) -> Result<String, String> {
        let (_, answer) = self.running.take().ok_or("there was no call")?;
        let status = match answer {
            Err(status) => status,
            Ok(mut replies) => replies.message().await.err().ok_or("the call succeeded")?,
        };
        let code = status.metadata().get("tidings-code").map_or("", |code| code.to_str().unwrap_or_default());
        Ok(format!("{:?}\ntidings-code: {code}\n{}", status.code(), status.message()))
    }
}

/// Messages as bytes.
struct AsTheyAre;

impl Codec for AsTheyAre {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsTheyAre {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for AsTheyAre {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
