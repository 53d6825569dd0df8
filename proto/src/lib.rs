//! The wire contracts of Tidings: messages and gRPC services, generated from `proto/tidings` and checked in.
//!
//! Building this crate needs neither `protoc` nor a build script. After a change of a `.proto` file run
//! `cargo run -p tidings-codegen`; a test there fails when that was forgotten. The contract only grows: what that
//! means is written at the top of `broker.proto`.
//!
//! The server half is always here; the feature `client` adds the client half.

mod codec;

pub use codec::{Codec, OnePiece};

/// Backends and broker, version 1.
#[allow(clippy::all, clippy::use_self, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "generated")]
pub mod v1 {
    include!("tidings.v1.rs");
}

/// Between the nodes of a cluster, version 1.
pub mod cluster {
    /// The greeting on a new connection, and what is said after it.
    #[allow(clippy::all, clippy::use_self, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "generated")]
    pub mod v1 {
        include!("tidings.cluster.v1.rs");
    }
}

/// The descriptors of all messages and services, encoded as a `google.protobuf.FileDescriptorSet`: what a reflection
/// service needs.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("tidings.v1.bin");
