//! A small network on this machine: one namespace for each node, all on one bridge, and the programs here on it too.
//!
//! Names and addresses hold this process's id, so that several runs fit beside each other. Everything goes when the [`Lan`] is
//! dropped; what a run left that was killed itself, the next one takes away.

mod command;
mod relay;
mod rules;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context;

use self::command::run;
pub(crate) use self::relay::Delay;
use self::relay::Relay;
pub(crate) use self::rules::{End, Rules};

/// All names begin with it, the process's id follows.
const PREFIX: &str = "td";

/// The network of one run.
#[derive(Debug)]
pub(crate) struct Lan {
    pid: u32,
    nodes: usize,
    rules: Rules,
    relays: BTreeMap<usize, Relay>,
}

impl Lan {
    /// Whether this process may make one at all.
    pub(crate) fn is_allowed() -> bool {
        rustix::process::geteuid().is_root()
    }

    /// Makes it, for so many nodes.
    ///
    /// # Errors
    /// When a program is missing, or the kernel does not let it.
    pub(crate) fn build(nodes: usize) -> anyhow::Result<Self> {
        sweep();
        let lan = Self { pid: std::process::id(), nodes, rules: Rules::default(), relays: BTreeMap::new() };
        let bridge = lan.bridge();
        run(&["ip", "link", "add", &bridge, "type", "bridge"])?;
        quiet(&bridge);
        run(&["ip", "address", "add", &format!("{}/24", lan.address_of(254)), "dev", &bridge])?;
        run(&["ip", "link", "set", &bridge, "up"])?;
        // What a relay hands on must be whole packets with their checksums, not what a card would have made of them.
        run(&["ethtool", "-K", &bridge, "tx", "off", "gso", "off", "tso", "off", "gro", "off"])?;
        for node in 0..nodes {
            let (space, port) = (lan.namespace(node), lan.port(node));
            run(&["ip", "netns", "add", &space])?;
            run(&["ip", "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &space])?;
            quiet(&port);
            run(&["ip", "netns", "exec", &space, "ethtool", "-K", "eth0", "tx", "off", "gso", "off", "tso", "off", "gro", "off"])?;
            run(&["ip", "link", "set", &port, "master", &bridge, "up"])?;
            run(&["ip", "-n", &space, "address", "add", &format!("{}/24", lan.address(node)), "dev", "eth0"])?;
            run(&["ip", "-n", &space, "link", "set", "eth0", "up"])?;
            run(&["ip", "-n", &space, "link", "set", "lo", "up"])?;
        }
        Ok(lan)
    }

    /// Where a node lives.
    pub(crate) fn address(&self, node: usize) -> Ipv4Addr {
        self.address_of(node as u8 + 1)
    }

    /// The namespace of a node, for `ip netns exec`.
    pub(crate) fn namespace(&self, node: usize) -> String {
        format!("{PREFIX}{}n{node}", self.pid)
    }

    /// Drops packets as these say, and no others.
    ///
    /// # Errors
    /// When the kernel refuses them.
    pub(crate) fn set_rules(&mut self, change: impl FnOnce(&mut Rules)) -> anyhow::Result<()> {
        change(&mut self.rules);
        let ports = |node| vec![self.port(node), self.outlet(node)];
        command::run_with(&["nft", "-f", "-"], &self.rules.to_nft(&self.table(), ports))
    }

    /// Takes a node's cable out, or puts it back.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn plug(&self, node: usize, is_in: bool) -> anyhow::Result<()> {
        run(&["ip", "link", "set", &self.port(node), if is_in { "up" } else { "down" }])
    }

    /// Lets a node send no more than this; `None`: as much as it can.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn throttle(&self, node: usize, kbit_per_second: Option<u32>) -> anyhow::Result<()> {
        let space = self.namespace(node);
        let tc = ["ip", "netns", "exec", &space, "tc", "qdisc"];
        match kbit_per_second {
            None => run(&[&tc[..], &["del", "dev", "eth0", "root"]].concat()),
            Some(kbit) => {
                let rate = format!("{kbit}kbit");
                run(&[&tc[..], &["replace", "dev", "eth0", "root", "tbf", "rate", &rate, "burst", "16kb", "latency", "400ms"]].concat())
            }
        }
    }

    /// Delays all that a node sends and gets; `None`: not any more.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn delay(&mut self, node: usize, delay: Option<Delay>) -> anyhow::Result<()> {
        let (port, outlet, inlet) = (self.port(node), self.outlet(node), self.inlet(node));
        if let Some(relay) = self.relays.remove(&node) {
            drop(relay);
            run(&["ip", "link", "del", &outlet])?;
            run(&["ip", "link", "set", &port, "master", &self.bridge()])?;
        }
        if let Some(delay) = delay {
            run(&["ip", "link", "add", &outlet, "type", "veth", "peer", "name", &inlet])?;
            for name in [&outlet, &inlet] {
                quiet(name);
                run(&["ethtool", "-K", name, "tx", "off", "gso", "off", "tso", "off", "gro", "off"])?;
            }
            run(&["ip", "link", "set", &port, "nomaster"])?;
            run(&["ip", "link", "set", &inlet, "up"])?;
            run(&["ip", "link", "set", &outlet, "master", &self.bridge(), "up"])?;
            self.relays.insert(node, Relay::start(&port, &inlet, delay)?);
        }
        Ok(())
    }

    fn address_of(&self, last: u8) -> Ipv4Addr {
        // A private net of this process, out of 10.64.0.0/10.
        let [_, _, high, low] = self.pid.to_be_bytes();
        Ipv4Addr::new(10, 64 | (high & 0x3f), low, last)
    }

    fn bridge(&self) -> String {
        format!("{PREFIX}{}b", self.pid)
    }

    fn table(&self) -> String {
        format!("{PREFIX}{}", self.pid)
    }

    /// The outer end of a node's cable.
    fn port(&self, node: usize) -> String {
        format!("{PREFIX}{}p{node}", self.pid)
    }

    /// Where a delayed node's packets come out, on the bridge.
    fn outlet(&self, node: usize) -> String {
        format!("{PREFIX}{}o{node}", self.pid)
    }

    fn inlet(&self, node: usize) -> String {
        format!("{PREFIX}{}i{node}", self.pid)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        self.relays.clear();
        remove(self.pid, self.nodes);
    }
}

/// Takes away what a run made. What is not there is no fault.
fn remove(pid: u32, nodes: usize) {
    let _ = run(&["nft", "delete", "table", "bridge", &format!("{PREFIX}{pid}")]);
    for node in 0..nodes {
        // A port goes with the namespace that its other end is in, but not at once.
        for kind in ["p", "o"] {
            let _ = run(&["ip", "link", "del", &format!("{PREFIX}{pid}{kind}{node}")]);
        }
        let _ = run(&["ip", "netns", "del", &format!("{PREFIX}{pid}n{node}")]);
    }
    let _ = run(&["ip", "link", "del", &format!("{PREFIX}{pid}b")]);
}

/// Takes away what runs left that were killed.
fn sweep() {
    let Ok(links) = std::fs::read_dir("/sys/class/net") else { return };
    for link in links.flatten() {
        let name = link.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix('b')?.parse().ok());
        if let Some(pid) = pid.filter(|pid: &u32| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(pid, 16);
        }
    }
}

/// Keeps the kernel from saying anything of its own on a link.
fn quiet(link: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
    // A kernel without IPv6 has nothing to say.
    let _ = std::fs::write(path, "1");
}

/// Every program that is needed and not there.
pub(crate) fn missing_programs() -> Vec<&'static str> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &str| std::env::split_paths(&paths).any(|folder| folder.join(program).is_file());
    ["ip", "tc", "nft", "ethtool", "setpriv"].into_iter().filter(|program| !is_there(program)).collect()
}

/// What the kernel must let us do, tried once.
///
/// # Errors
/// In words, what it refused.
pub(crate) fn probe() -> anyhow::Result<()> {
    let mut lan = Lan::build(2).context("a network of two namespaces")?;
    lan.set_rules(|rules| {
        rules.cut(End::Node(0), End::Node(1));
        rules.lose(End::Node(1), End::Node(0), 5);
    })?;
    lan.throttle(0, Some(1000)).context("a slow link (tbf)")
}
