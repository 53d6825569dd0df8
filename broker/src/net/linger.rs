//! Closing so that the last answer arrives (RFC 9112, section 9.6): a socket that is closed while bytes of the peer are
//! unread resets the connection, and a reset can take the answer away from a peer that has not read it yet.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// Longest a closed connection is kept for its peer to read the last answer and close too.
const LINGER: Duration = Duration::from_secs(1);
/// Most bytes thrown away meanwhile; a peer that sends more is not reading.
const DISCARDED_BYTES_MAX: usize = 1 << 20;

/// Closes our side, then waits a moment for the peer to close its own.
pub(super) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let discard = async {
        stream.shutdown().await.ok()?;
        let mut left = DISCARDED_BYTES_MAX;
        let mut thrown_away = [0; 2048];
        while left > 0 {
            match stream.read(&mut thrown_away).await {
                Ok(0) | Err(_) => break,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
        Some(())
    };
    let _ = timeout(LINGER, discard).await;
}
