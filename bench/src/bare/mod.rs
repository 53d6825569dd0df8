//! The practical limit: one thread that takes messages over TCP, as every server here does, and writes the bytes of
//! Tidings' event stream inline to every socket. No history, no cursor that means anything, no limits, no second thread.
//!
//! Plain, it makes one `send` for each delivery. With `--join` it takes all messages that wait and writes what they make
//! together: one `send` for each subscriber, however many messages came.

mod client;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, ensure};
use clap::Args;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use client::{Client, Inbound};

/// The bare loop.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Where subscribers connect
    #[arg(long)]
    http: SocketAddr,
    /// Where the publisher connects
    #[arg(long)]
    publish: SocketAddr,
    /// Write what waits together
    #[arg(long)]
    join: bool,
}

const SUBSCRIBERS: u64 = u64::MAX;
const PUBLISHERS: u64 = u64::MAX - 1;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

struct Bare {
    poll: OwnedFd,
    join: bool,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    /// Who listens, by channel.
    channels: HashMap<Vec<u8>, Vec<usize>>,
    number: u64,
}

/// Serves until it is ended by a signal.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.http.ip().is_loopback() && options.publish.ip().is_loopback(), "the bare loop stays on loopback");
    let subscribers = listen(options.http)?;
    let publishers = listen(options.publish)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &subscribers, epoll::EventData::new_u64(SUBSCRIBERS), epoll::EventFlags::IN)?;
    epoll::add(&poll, &publishers, epoll::EventData::new_u64(PUBLISHERS), epoll::EventFlags::IN)?;
    let mut bare = Bare { poll, join: options.join, clients: Vec::new(), free: Vec::new(), channels: HashMap::new(), number: 0 };
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; 64 << 10];
    loop {
        events.clear();
        match epoll::wait(&bare.poll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        for event in &events {
            match event.data.u64() {
                SUBSCRIBERS => bare.accept(&subscribers, false)?,
                PUBLISHERS => bare.accept(&publishers, true)?,
                number => bare.serve(number as usize, event.flags, &mut buffer)?,
            }
        }
    }
}

fn listen(address: SocketAddr) -> anyhow::Result<OwnedFd> {
    let listener = TcpListener::bind(address).with_context(|| address.to_string())?;
    listener.set_nonblocking(true)?;
    // Listening again only makes the queue longer.
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener.into())
}

impl Bare {
    fn accept(&mut self, listener: &OwnedFd, publishes: bool) -> anyhow::Result<()> {
        loop {
            let socket = match rustix::net::accept_with(listener, rustix::net::SocketFlags::NONBLOCK) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(why) => return Err(why).context("accepting"),
            };
            rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
            let number = self.free.pop().unwrap_or_else(|| {
                self.clients.push(None);
                self.clients.len() - 1
            });
            epoll::add(&self.poll, &socket, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
            self.clients[number] = Some(Client::new(socket, publishes));
        }
    }

    fn serve(&mut self, number: usize, flags: epoll::EventFlags, buffer: &mut [u8]) -> anyhow::Result<()> {
        let Some(client) = self.clients[number].as_mut() else { return Ok(()) };
        if flags.contains(epoll::EventFlags::OUT) && client.write_rest() && client.rest.is_empty() {
            epoll::modify(&self.poll, &client.socket, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
        }
        if !flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            return Ok(());
        }
        let count = match rustix::net::recv(&client.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((count, _)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => 0,
        };
        if count == 0 {
            self.close(number);
            return Ok(());
        }
        client.input.extend_from_slice(&buffer[..count]);
        match client.inbound()? {
            Inbound::Nothing => Ok(()),
            Inbound::Subscribe(channel) => {
                client.channel.clone_from(&channel);
                self.channels.entry(channel).or_default().push(number);
                client.greet();
                Ok(())
            }
            Inbound::Messages(messages) => self.publish(&messages),
        }
    }

    fn close(&mut self, number: usize) {
        if let Some(client) = self.clients[number].take() {
            if let Some(listeners) = self.channels.get_mut(&client.channel) {
                listeners.retain(|known| *known != number);
            }
            self.free.push(number);
        }
    }

    fn publish(&mut self, messages: &[(Vec<u8>, Vec<u8>)]) -> anyhow::Result<()> {
        let mut joined: Vec<(&[u8], Vec<u8>)> = Vec::new();
        for (channel, payload) in messages {
            self.number += 1;
            let block = client::block(self.number, payload);
            match joined.iter_mut().find(|(known, _)| self.join && known == channel) {
                Some((_, bytes)) => bytes.extend_from_slice(&block),
                None => joined.push((channel, block)),
            }
        }
        for (channel, bytes) in joined {
            let Some(listeners) = self.channels.get(channel) else { continue };
            for number in listeners {
                let Some(client) = self.clients[*number].as_mut() else { continue };
                if client.write(&bytes) {
                    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT;
                    epoll::modify(&self.poll, &client.socket, epoll::EventData::new_u64(*number as u64), flags)?;
                }
            }
        }
        Ok(())
    }
}
