//! The real daemon in a process of its own: what only a process has (signals, memory) is tried on it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// A running daemon. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    home: tempfile::TempDir,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: Option<Lines<BufReader<ChildStderr>>>,
}

impl Daemon {
    /// Starts it on free ports, open to everyone on loopback, with these keys set.
    pub(crate) async fn start(keys: &[&str]) -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), keys, Stdio::null(), None).await
    }

    /// With this as its `config.yaml`, under `keys`; its log can be read.
    pub(crate) async fn start_from(file: &str, keys: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("config.yaml"), file).unwrap();
        Self::start_with(home, keys, Stdio::piped(), None).await
    }

    /// Replaces its `config.yaml`.
    pub(crate) fn rewrite(&self, file: &str) {
        std::fs::write(self.home.path().join("config.yaml"), file).unwrap();
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        kill_process(self.pid(), Signal::HUP).unwrap();
    }

    /// The same; its log can be read with [`Daemon::logged`].
    pub(crate) async fn start_heard(keys: &[&str]) -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), keys, Stdio::piped(), None).await
    }

    /// The same, on a machine that believes the certificate authorities in this file and no others.
    pub(crate) async fn start_trusting(authorities: &Path, keys: &[&str]) -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), keys, Stdio::piped(), Some(authorities)).await
    }

    async fn start_with(home: tempfile::TempDir, keys: &[&str], log: Stdio, authorities: Option<&Path>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        command.current_dir(home.path()).env_clear().arg("--dev").kill_on_drop(true).stdout(Stdio::piped()).stderr(log);
        command.envs(authorities.map(|file| ("SSL_CERT_FILE", file)));
        for key in ["http.listen=127.0.0.1:0", "grpc.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0"].iter().chain(keys) {
            command.args(["--set", key]);
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = async |name: &str| loop {
            let line = lines.next_line().await.unwrap().expect("the daemon says where it listens");
            let Some(rest) = line.trim().strip_prefix(name) else { continue };
            let (address, _) = rest.trim().strip_prefix("http://").unwrap().split_once([' ', '/']).unwrap();
            return address.parse().unwrap();
        };
        let (http, grpc, admin) = (address("http").await, address("grpc").await, address("admin").await);
        let log = child.stderr.take().map(|log| BufReader::new(log).lines());
        Self { child, home, http, grpc, admin, log }
    }

    /// The next line of the log that is of this event; those before it are passed over.
    pub(crate) async fn logged(&mut self, event: &str) -> serde_json::Value {
        loop {
            let line = self.log_line().await.unwrap_or_else(|| panic!("the log ended without `{event}`"));
            if line["event"] == event {
                return line;
            }
        }
    }

    /// The next line of the log; `None` once it has ended.
    pub(crate) async fn log_line(&mut self) -> Option<serde_json::Value> {
        let line = super::soon("a line of the log", self.log.as_mut().expect("its log is heard").next_line()).await.unwrap()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line}")))
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// It does nothing any more, and still has its sockets. A signal is sent to a process and stops its threads one after the other, so
    /// this waits until the last of them stands.
    pub(crate) async fn pause(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
        super::soon("a thread still runs", async {
            while !self.stands() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    /// Does every thread stand, as after SIGSTOP? See proc_pid_stat(5).
    fn stands(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid().as_raw_nonzero())).unwrap();
        threads.into_iter().all(|thread| {
            let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
            // After the name, which is in parentheses and may have some of its own.
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        })
    }

    /// It goes on.
    pub(crate) fn go_on(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().expect("it still runs") as i32).unwrap()
    }
}
