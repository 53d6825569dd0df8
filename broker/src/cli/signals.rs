//! SIGTERM and SIGINT.

use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals this close together are one.
const ONE_BREATH: Duration = Duration::from_millis(50);

/// Both signals that ask the process to leave.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes them over from the system's default, which would end the process at once.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// As [`Signals::next`], for a second one that was meant: a supervisor that signals a process and then its group, in one
    /// breath, asks once.
    pub(crate) async fn again(&mut self) -> &'static str {
        tokio::time::sleep(ONE_BREATH).await;
        // What is there already belongs to the first.
        while self.next().now_or_never().is_some() {}
        self.next().await
    }

    /// Waits for the next one and says which it was. Loses none when dropped early.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
