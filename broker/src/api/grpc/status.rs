//! The error table as gRPC statuses.

use tidings_proto::v1;
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::error::{Error, ErrorCode};

/// The metadata key with the same code that the HTTP API gives: gRPC's own codes are too few to tell all apart.
pub(super) const CODE_KEY: &str = "tidings-code";

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
        ErrorCode::Unauthenticated | ErrorCode::TokenExpired | ErrorCode::Revoked => C::Unauthenticated,
        ErrorCode::PermissionDenied | ErrorCode::Disconnected => C::PermissionDenied,
        ErrorCode::NotFound => C::NotFound,
        ErrorCode::MethodNotAllowed => C::Unimplemented,
        ErrorCode::TooLarge | ErrorCode::Overloaded => C::ResourceExhausted,
        ErrorCode::Unconfirmed => C::DeadlineExceeded,
        ErrorCode::Draining => C::Unavailable,
        ErrorCode::Internal => C::Internal,
    }
}

/// How a call is answered that this node will not finish.
pub(super) fn draining() -> Status {
    status(&Error::new(ErrorCode::Draining, "this node is leaving; call again"))
}

/// A refusal of the layers below the generated services, which do not know the table: told by its row where it has one.
pub(super) fn of_layer(below: Status, message_bytes_max: usize) -> Status {
    use tonic::Code as C;
    if below.metadata().contains_key(CODE_KEY) {
        return below;
    }
    let error = match below.code() {
        C::OutOfRange => Error::new(
            ErrorCode::TooLarge,
            format!("a request has at most {message_bytes_max} bytes on the wire (grpc.message_bytes): send less at once"),
        ),
        C::Internal => Error::invalid(format!("the request is no message of this method: {}", below.message())),
        // Without words it is the generated code that met a path it does not know.
        C::Unimplemented if below.message().is_empty() => Error::new(
            ErrorCode::MethodNotAllowed,
            "the service `tidings.v1.Broker` has no such method; the server reflection lists those it has",
        ),
        _ => return below,
    };
    status(&error)
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

    #[test]
    fn refusals_from_below_get_their_row_of_the_table_and_our_own_stay_as_they_are() {
        let told = |below| {
            let told = of_layer(below, 100);
            let code = told.metadata().get(CODE_KEY).map(|code| code.to_str().unwrap().to_owned());
            (told.code(), code.unwrap_or_default(), told.message().to_owned())
        };
        let (code, name, words) = told(Status::out_of_range("found 200 bytes"));
        assert_eq!((code, name.as_str()), (tonic::Code::ResourceExhausted, "too_large"));
        assert!(words.contains("100 bytes") && words.contains("grpc.message_bytes"), "{words}");
        assert_eq!(told(Status::internal("invalid tag")).1, "invalid_request");
        assert_eq!(told(Status::unimplemented("")).1, "method_not_allowed");
        assert_eq!(told(Status::unimplemented("gzip is not supported")).1, "", "what only gRPC knows stays gRPC's");
        assert_eq!(told(status(&Error::new(ErrorCode::Internal, "a fault"))).1, "internal");
    }
}
