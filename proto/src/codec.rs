//! How messages are read from and written to a gRPC stream.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

/// Protobuf, as [`ProstCodec`] speaks it, with messages decoded from one piece of memory: a number is read byte by byte, and each byte
/// through the layers of the stream's buffer costs more than all else.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = OnePiece<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        OnePiece(PhantomData)
    }
}

/// The decoder of [`Codec`].
#[derive(Debug)]
pub struct OnePiece<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for OnePiece<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        use bytes::Buf as _;
        // Split off and shared, not copied; what it holds of bytes are parts of it.
        let message = buffer.copy_to_bytes(buffer.remaining());
        // What `ProstCodec` says too, by which callers tell it.
        U::decode(message).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
