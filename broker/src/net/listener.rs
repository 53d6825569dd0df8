//! The public listener's socket. What each connection needs is set on it once, before it listens: on Linux whatever it accepts
//! has the same options. Accepting is one system call then, and the socket belongs to no event queue before its shard's.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::SocketFlags;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::unix::AsyncFd;

use super::config::Config;

/// Whether an accepted socket has the options of its listener.
const IS_INHERITED: bool = cfg!(target_os = "linux");

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: AsyncFd<TcpListener>,
    config: Config,
}

impl Listener {
    /// A socket that was tuned, listens and does not block, in the event queue of the current runtime.
    ///
    /// # Errors
    /// When the system has no room in the event queue.
    #[expect(deprecated, reason = "what takes its place is unsafe, for types that lie about their descriptor; a TcpListener tells its own")]
    pub fn new(socket: TcpListener, config: &Config) -> io::Result<Self> {
        Ok(Self { socket: AsyncFd::new(socket)?, config: config.clone() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// The next connection, non-blocking. Lets others on the same thread have a turn.
    ///
    /// # Errors
    /// What the system says, some of it about the connection and some about the listener.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        // A backlog of thousands is always ready; without this nobody else on the thread would be.
        tokio::task::coop::consume_budget().await;
        loop {
            if let Ok(accepted) = self.socket.readable().await?.try_io(|_| self.accept_now()) {
                return accepted;
            }
        }
    }

    /// A connection that is there already.
    ///
    /// # Errors
    /// As [`Listener::accept`], and `WouldBlock` when there is none.
    pub(super) fn accept_now(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, address) = rustix::net::acceptfrom_with(self.socket.get_ref(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        let address = address.and_then(|address| SocketAddr::try_from(address).ok()).ok_or(io::ErrorKind::ConnectionAborted)?;
        if !IS_INHERITED {
            // Fails for who is gone already, as the first read will.
            let _ = tune(&socket, &self.config);
        }
        Ok((socket.into(), address))
    }
}

/// What sockets of the public listener are told: the listener, and those that came some other way.
///
/// # Errors
/// What the system says against the socket.
pub fn tune(socket: &impl AsFd, config: &Config) -> io::Result<()> {
    let socket = SockRef::from(socket);
    // A message is one write; waiting for more would only delay it.
    socket.set_tcp_nodelay(true)?;
    // Proxies keep dead peers open; both notice them.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10)))?;
    socket.set_tcp_user_timeout(Some(config.write_timeout))?;
    if config.notsent_lowat > 0 {
        socket.set_tcp_notsent_lowat(config.notsent_lowat)?;
    }
    if config.send_buffer_bytes > 0 {
        socket.set_send_buffer_size(config.send_buffer_bytes as usize)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream as Client;

    use super::*;

    fn listening(config: &Config) -> TcpListener {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        tune(&socket, config).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(16).unwrap();
        socket.into()
    }

    #[tokio::test]
    async fn what_is_accepted_has_every_option_of_the_listener() {
        let config =
            Config { write_timeout: Duration::from_millis(123_456), notsent_lowat: 77_000, send_buffer_bytes: 50_000, ..Config::default() };
        let listener = Listener::new(listening(&config), &config).unwrap();
        let client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, address) = listener.accept().await.unwrap();
        assert_eq!(address, client.local_addr().unwrap());
        let socket = SockRef::from(&accepted);
        assert!(socket.nonblocking().unwrap() && rustix::io::fcntl_getfd(&accepted).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(config.write_timeout));
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), config.notsent_lowat);
        // The system counts its own bookkeeping besides (socket(7)).
        assert_eq!(socket.send_buffer_size().unwrap(), 2 * config.send_buffer_bytes as usize);
    }

    #[tokio::test]
    async fn nothing_is_said_about_what_is_left_to_the_system() {
        let untouched = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let config = Config { notsent_lowat: 0, ..Config::default() };
        let listener = Listener::new(listening(&config), &config).unwrap();
        let _client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert_eq!(SockRef::from(&accepted).tcp_notsent_lowat().unwrap(), untouched.tcp_notsent_lowat().unwrap());
    }
}
