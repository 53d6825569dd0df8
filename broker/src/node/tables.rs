//! File tables of the shards' own. The system bounds open files for each table, and threads share one unless they ask for
//! their own: with them, the bound holds for each shard instead of for the process.
//!
//! A table begins as a copy, and from then on a descriptor means something in its own table only. So the order decides:
//! first every shard has its runtime (whose wake-up descriptors all tables then know under the same number), then each
//! takes its own table, and only then anything is opened that one table alone should hold: listeners, connections. A
//! socket never leaves its table, therefore each shard accepts for itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{StartError, addresses};
use crate::limits::connections_max_of_own_table;
use crate::net::{self, Acceptor};
use crate::shard::Handle;

/// Gives every shard a table of its own. All of them must have been started.
pub(super) async fn unshare(shards: &[Arc<Handle>]) -> Result<(), StartError> {
    for shard in shards {
        shard.perform(|_| take_own()).await.unwrap_or_else(|| Err(stopped()))?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn take_own() -> io::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
fn take_own() -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "own_file_tables: only Linux has them"))
}

/// Lets every shard listen on the same address and accept what the system gives it.
pub(super) async fn listen(
    asked: SocketAddr,
    acceptor: &Acceptor,
    open_files: u64,
    draining: &CancellationToken,
) -> Result<SocketAddr, StartError> {
    let refused = |why| StartError::Listen { address: asked.to_string(), key: "http.listen", why };
    // Sockets that share an address let a second broker in, too: whether it is free, only one that does not share can tell.
    drop(addresses::bind(asked).map_err(refused)?);
    let mut address = asked;
    let shard_connections_max = connections_max_of_own_table(open_files, acceptor.everyone.len()) as usize;
    for shard in acceptor.everyone.iter() {
        let acceptor = Acceptor { shards: vec![shard.clone()], shard_connections_max, ..acceptor.clone() };
        let draining = draining.clone();
        let bound = shard.perform(move |_| {
            let listener = addresses::bind_public(address, true, &acceptor.config)?;
            let bound = listener.local_addr()?;
            tokio::task::spawn_local(net::accept(listener, acceptor, draining));
            Ok(bound)
        });
        address = bound.await.unwrap_or_else(|| Err(stopped())).map_err(refused)?;
    }
    Ok(address)
}

pub(super) fn stopped() -> io::Error {
    io::Error::other("a shard stopped while the node started")
}
