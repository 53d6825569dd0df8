//! The broker under attack: a process of its own, closed but for what honest clients and flooders need.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::time::{interval, timeout};

/// The key of the honest publisher.
pub(crate) const KEY: &str = "the-key-of-the-honest-publisher";
/// All bounds of [`CONFIG`] together: 16 MiB each of history, of unsent parts of streams, of unread answers and of what is half here;
/// as much of rings; 600 connections with a head and a page each; ids and channels; a program at rest. And as much again for what an
/// allocator keeps of what it was given back.
pub(crate) const MEMORY_MAX: u64 = 256 << 20;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(20);
const GONE: Duration = Duration::from_secs(10);

/// With small bounds. The token of `floods::bad_tokens` names this key and is not signed with it.
pub(crate) const CONFIG: &str = r#"
http: {listen: "127.0.0.1:0"}
grpc: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
keys:
  - {name: honest, sha256: @KEY@, can: [publish], channels: ["calm:*"]}
tokens:
  keys:
    - algorithm: ES256
      public_key: |
        -----BEGIN PUBLIC KEY-----
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEwWqkYz8BmRIZz43Pta7SsZkodLLg
        XVO2LSVrnjOeT0FmFFSK09cEkZwudmzKyeQr/IEeVio9353F2kbRIhvcLQ==
        -----END PUBLIC KEY-----
namespaces:
  calm:
    allow: {subscribe: anyone}
  noise:
    allow: {subscribe: anyone, publish: anyone, history: anyone}
    payload_bytes: 512KiB
    history: {size: 400, bytes: 8MiB}
limits:
  connections: 600
  connections_per_address: 100
  connections_pending: 100
  channels: 4000
  channels_silent: 1000
  history_bytes: 16MiB
  unsent_bytes: 16MiB
  incoming_bytes: 16MiB
  dedupe_ids: 50000
"#;

pub(crate) struct Broker {
    child: Child,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Broker {
    /// Starts it and waits until it says where it listens.
    pub(crate) fn start(program: &Path, config: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("tidings-flood-").tempdir()?;
        let file = folder.path().join("config.yaml");
        let hash = tidings::auth::config::KeyHash::of(KEY.as_bytes()).to_string();
        std::fs::File::create(&file)?.write_all(config.replace("@KEY@", &hash).as_bytes())?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut child = Command::new(program)
            .args(["--config".as_ref(), file.as_os_str()])
            .current_dir(folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} does not start; build it with `cargo build --release`", program.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let mut address = |name: &str| -> anyhow::Result<SocketAddr> {
            for line in lines.by_ref() {
                let line = line?;
                if let Some(rest) = line.trim_start().strip_prefix(name) {
                    let text = rest.split("http://").nth(1).unwrap_or(rest).trim();
                    return text.split(['/', ' ']).next().unwrap_or_default().parse().with_context(|| line.clone());
                }
            }
            let said = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            bail!("the broker did not say where its {name}listener is: {said}")
        };
        let (http, grpc) = (address("http ")?, address("grpc ")?);
        Ok(Self { child, http, grpc, _folder: folder })
    }

    /// Its resident memory, in bytes.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the broker is gone")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }

    /// Processor time that it used, in seconds.
    pub(crate) fn busy(&self) -> anyhow::Result<f64> {
        busy(&self.child.id().to_string())
    }

    /// Looks at the memory for as long as something goes on, and keeps the most that was seen.
    pub(crate) async fn watch<T>(&mut self, going_on: impl Future<Output = T>, most: &mut u64) -> anyhow::Result<T> {
        let mut looks = interval(LOOK);
        let mut going_on = std::pin::pin!(going_on);
        loop {
            tokio::select! {
                done = &mut going_on => return Ok(done),
                _ = looks.tick() => *most = (*most).max(self.memory()?),
            }
        }
    }

    pub(crate) fn is_alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the broker ended: {status}");
        }
        Ok(())
    }

    /// Ends it gently: what it still has to say is said.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the broker ended with {status}");
        Ok(())
    }
}

/// Processor time that this program used, flooders and honest clients together, in seconds.
pub(crate) fn own_busy() -> anyhow::Result<f64> {
    busy("self")
}

/// Fields 14 and 15 of a process's `stat`, in ticks of 10 ms.
fn busy(process: &str) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / 100.0)
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that must not take for ever.
pub(crate) async fn soon<T>(what: &str, wanted: impl Future<Output = T>) -> anyhow::Result<T> {
    timeout(GONE, wanted).await.with_context(|| format!("{what} did not come within {GONE:?}"))
}
