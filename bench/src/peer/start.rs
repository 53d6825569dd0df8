//! Starting and stopping servers: own folder, free ports, and every process known by its id.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{Peer, Values};
use crate::http;

/// Longest wait until a server takes connections, and then until it is ready.
const READY: Duration = Duration::from_secs(30);
/// Longest wait until it is gone after SIGTERM; then it is killed.
const GONE: Duration = Duration::from_secs(5);

/// Programs given on the command line instead of those in `PATH`.
pub(crate) type Programs = BTreeMap<String, PathBuf>;

/// A server that runs. Stopped when dropped.
pub(crate) struct Running {
    /// Its ports and all other values of this start.
    pub(crate) values: Values,
    children: Vec<Child>,
    peer: Peer,
    /// Programs as they were started, for a restart.
    commands: Vec<Vec<String>>,
    work: tempfile::TempDir,
}

/// Why a peer cannot run here; `None` when it can.
pub(crate) fn missing(peer: &Peer, programs: &Programs) -> Option<String> {
    let values = fixed_values(peer, programs).ok()?;
    for program in peer.programs.iter().filter_map(|command| command.first()) {
        let path = values.fill(program);
        if find(&path).is_none() {
            return Some(format!(
                "`{}` is not in PATH (`tidings-bench setup {}` tells how to get it)",
                path.trim_matches(['{', '}']),
                peer.name
            ));
        }
    }
    let lacks = peer.requires.iter().map(|file| values.fill(file)).find(|file| !Path::new(file).exists())?;
    Some(format!("there is no {lacks} (`tidings-bench setup {}` tells how to get it)", peer.name))
}

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.exists());
    }
    // Debian keeps servers where a user's PATH does not look.
    let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
    path.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

/// What does not change from start to start.
pub(crate) fn fixed_values(peer: &Peer, programs: &Programs) -> anyhow::Result<Values> {
    let mut values = Values::default();
    let bench = std::env::current_exe()?;
    // Beside this program lies the broker that was built with it.
    values.set("tidings", bench.with_file_name("tidings").display());
    values.set("bench", bench.display());
    values.set("peer", peer.folder.display());
    for (name, path) in programs {
        values.set(name, path.display());
    }
    Ok(values)
}

impl Running {
    /// Starts a peer and waits until all its ports take connections.
    pub(crate) fn start(peer: &Peer, programs: &Programs, arguments: &[String]) -> anyhow::Result<Self> {
        let work = tempfile::Builder::new().prefix("tidings-bench-").tempdir()?;
        let mut values = fixed_values(peer, programs)?;
        values.set("work", work.path().display());
        // All are held until all are found, so that no two are the same.
        let holders = peer.ports.iter().map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
        for (name, holder) in peer.ports.iter().zip(&holders) {
            values.set(name, holder.local_addr()?.port());
        }
        drop(holders);
        for file in &peer.files {
            let source = peer.folder.join(file);
            let text = std::fs::read_to_string(&source).with_context(|| source.display().to_string())?;
            // Some are another peer's.
            let name = source.file_name().with_context(|| file.clone())?;
            std::fs::write(work.path().join(name), values.fill(&text))?;
        }
        let mut commands: Vec<Vec<String>> =
            peer.programs.iter().map(|command| command.iter().map(|text| values.fill(text)).collect()).collect();
        if let Some(last) = commands.last_mut() {
            last.extend(arguments.iter().map(|text| values.fill(text)));
        }
        let mut running = Self { values, children: Vec::new(), peer: peer.clone(), commands, work };
        running.begin()?;
        Ok(running)
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        for (number, command) in self.commands.clone().iter().enumerate() {
            let log = File::create(self.work.path().join(format!("{number}.log")))?;
            let (program, arguments) = command.split_first().context("a program without a name")?;
            let path = find(program).with_context(|| format!("there is no {program}"))?;
            let child = Command::new(path)
                .args(arguments)
                .current_dir(self.work.path())
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .with_context(|| program.clone())?;
            self.children.push(child);
        }
        let ports: Vec<String> = self.peer.ports.clone();
        for port in ports {
            self.wait_for(&port)?;
        }
        self.wait_until_ready()?;
        std::thread::sleep(Duration::from_secs_f64(self.peer.settle_seconds));
        self.all_run()
    }

    /// Waits until it says on all its nodes that it is ready, where it can say so.
    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let Some(ready) = self.peer.ready.clone() else { return Ok(()) };
        let began = Instant::now();
        for port in &ready.ports {
            let address = self.address(port)?;
            while !http::get(address, &ready.path).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                self.all_run()?;
                if began.elapsed() > READY {
                    bail!("{} is not ready after {READY:?}, its port `{port}` says", self.peer.name);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// Fails when one of the programs has ended, with what it said.
    fn all_run(&mut self) -> anyhow::Result<()> {
        for (number, child) in self.children.iter_mut().enumerate() {
            if let Some(status) = child.try_wait()? {
                let said = std::fs::read_to_string(self.work.path().join(format!("{number}.log"))).unwrap_or_default();
                bail!("{} ended with {status}: {}", self.commands[number].join(" "), said.trim());
            }
        }
        Ok(())
    }

    fn wait_for(&mut self, port: &str) -> anyhow::Result<()> {
        let address = self.address(port)?;
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            self.all_run()?;
            if began.elapsed() > READY {
                bail!("{} does not listen on its port `{port}` after {READY:?}", self.peer.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Where one of its ports is.
    pub(crate) fn address(&self, port: &str) -> anyhow::Result<SocketAddr> {
        let number = self.values.get(port).with_context(|| format!("{} has no port `{port}`", self.peer.name))?;
        Ok((Ipv4Addr::LOCALHOST, number.parse::<u16>()?).into())
    }

    /// The processes that were started; their children are found by asking the system.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// Kills everything at once and starts it again on the same ports.
    pub(crate) fn crash_and_restart(&mut self) -> anyhow::Result<()> {
        for child in &mut self.children {
            child.kill()?;
            child.wait()?;
        }
        self.children.clear();
        self.begin()
    }

    fn stop(&mut self) {
        // The last started depends on the first.
        for mut child in self.children.drain(..).rev() {
            if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let began = Instant::now();
            while matches!(child.try_wait(), Ok(None)) && began.elapsed() < GONE {
                std::thread::sleep(Duration::from_millis(10));
            }
            // Does nothing to one that is gone.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}
