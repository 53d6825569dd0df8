//! A node as a real process in its own namespace.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::chaos::client::http;

/// What every node of every run is: named, in its namespace, and with these settings.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) program: PathBuf,
    /// What it runs when it is started again.
    pub(crate) next: PathBuf,
    pub(crate) settings: Vec<String>,
    /// Where it writes its log.
    pub(crate) log: PathBuf,
}

impl Seat {
    pub(crate) fn http(&self) -> SocketAddr {
        (self.address, 8000).into()
    }

    pub(crate) fn grpc(&self) -> SocketAddr {
        (self.address, 8001).into()
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        (self.address, 8002).into()
    }

    /// Starts a process of this program here. It ends with this one, however this one ends.
    pub(crate) fn start(&self, program: &Path) -> anyhow::Result<Node> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, "setpriv", "--pdeathsig", "KILL", "--"]).arg(program);
        for (key, at) in [("http", self.http()), ("grpc", self.grpc()), ("admin", self.admin())] {
            command.args(["--set", &format!("{key}.listen={at}")]);
        }
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        let home = self.log.parent().unwrap_or(Path::new("/"));
        command.current_dir(home).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        Ok(Node { child })
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let asked = tokio::time::timeout(Duration::from_secs(1), http::get(self.admin(), "/readyz")).await;
            if matches!(asked, Ok(Ok((200, _)))) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let end: Vec<_> = log.lines().rev().take(5).collect();
                bail!("{} is not ready after {patience:?}; its log ends, newest first: {end:#?}", self.name);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A running process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
}

impl Node {
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).context("the process has ended")?;
        Ok(kill_process(pid, signal)?)
    }

    /// `kill -9`, and gone when this returns.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// SIGTERM, and how it ended.
    pub(crate) async fn leave(mut self, patience: Duration) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let status = tokio::time::timeout(patience, self.child.wait()).await.context("it does not end")??;
        anyhow::ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}
