//! Where a node listens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::StartError;
use crate::net;

/// Connections the kernel holds until they are accepted; a storm of reconnects must fit. The system may cap it.
const BACKLOG: i32 = 16_384;

/// Where a node listens, with the ports that were chosen for 0.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The public HTTP listener.
    pub http: SocketAddr,
    /// The gRPC listener, if there is one.
    pub grpc: Option<SocketAddr>,
    /// The gRPC listener on a Unix socket, if there is one.
    pub unix: Option<PathBuf>,
    /// The admin listener.
    pub admin: SocketAddr,
    /// The listener for other nodes, if this one is part of a cluster.
    pub cluster: Option<SocketAddr>,
}

impl Addresses {
    pub(super) fn of(http: SocketAddr, grpc: Option<&TcpListener>, unix: Option<PathBuf>, admin: &TcpListener) -> std::io::Result<Self> {
        Ok(Self { http, grpc: grpc.map(TcpListener::local_addr).transpose()?, unix, admin: admin.local_addr()?, cluster: None })
    }
}

pub(super) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::from_std(listen(address, false, |_| Ok(()))?)
}

/// The public listener, or one of several sockets that listen on its address; the system spreads connections over those.
pub(super) fn bind_public(address: SocketAddr, is_shared: bool, config: &net::config::Config) -> std::io::Result<net::Listener> {
    net::Listener::new(listen(address, is_shared, |socket| net::tune(socket, config))?, config)
}

fn listen(
    address: SocketAddr,
    is_shared: bool,
    tune: impl FnOnce(&Socket) -> std::io::Result<()>,
) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last one's connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    socket.set_nonblocking(true)?;
    // Before the first connection, which would go without.
    tune(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds a Unix socket. A file left by a broker that died is removed; one that answers belongs to somebody.
pub(super) fn bind_unix(path: &Path) -> Result<UnixListener, StartError> {
    let refused = |why| StartError::Listen { address: path.display().to_string(), key: "grpc.unix", why };
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(refused(std::io::ErrorKind::AddrInUse.into()));
    }
    match std::fs::symlink_metadata(path) {
        Ok(known) if std::os::unix::fs::FileTypeExt::is_socket(&known.file_type()) => std::fs::remove_file(path).map_err(refused)?,
        Ok(_) => return Err(refused(std::io::Error::other("there is a file of that name that is no socket"))),
        Err(_) => {}
    }
    UnixListener::bind(path).map_err(refused)
}
