//! The error table as gRPC statuses.

use tidings_proto::v1;
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::error::{Error, ErrorCode};

/// The metadata key with the same code that the HTTP API gives: gRPC's own codes are too few to tell all apart.
const CODE_KEY: &str = "tidings-code";

/// How a failed call is answered.
pub(super) fn status(error: &Error) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(CODE_KEY, MetadataValue::from_static(error.code.as_str()));
    Status::with_metadata(grpc_code(error.code), error.message.as_ref(), metadata)
}

/// The gRPC status code (grpc.io, "Status codes and their use in gRPC").
#[must_use]
pub fn grpc_code(code: ErrorCode) -> tonic::Code {
    use tonic::Code as C;
    match code {
        ErrorCode::InvalidRequest | ErrorCode::InvalidCursor => C::InvalidArgument,
        ErrorCode::Unauthenticated => C::Unauthenticated,
        ErrorCode::PermissionDenied => C::PermissionDenied,
        ErrorCode::NotFound => C::NotFound,
        ErrorCode::MethodNotAllowed => C::Unimplemented,
        ErrorCode::TooLarge | ErrorCode::Overloaded => C::ResourceExhausted,
        ErrorCode::Draining => C::Unavailable,
        ErrorCode::Internal => C::Internal,
    }
}

/// How a call is answered that this node will not finish.
pub(super) fn draining() -> Status {
    status(&Error::new(ErrorCode::Draining, "this node is leaving; call again"))
}

/// How one refused message of several is answered.
pub(super) fn publish_error(error: Error) -> v1::PublishError {
    v1::PublishError { code: error.code.as_str().to_owned(), message: error.message.into_owned(), retry: error.code.may_retry() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_the_code_that_http_gives() {
        let status = status(&Error::new(ErrorCode::TooLarge, "too much"));
        assert_eq!((status.code(), status.message()), (tonic::Code::ResourceExhausted, "too much"));
        assert_eq!(status.metadata().get(CODE_KEY).unwrap(), "too_large");
    }
}
