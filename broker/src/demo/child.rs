//! Keeps the monitor program running as a child process of the daemon.

use std::convert::Infallible;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::monitor::KEY_VARIABLE;

/// The hidden subcommand of the daemon that runs the monitor.
pub const SUBCOMMAND: &str = "demo-monitor";

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A program that ran this long was well; its next end is not counted with those before.
const WELL: Duration = Duration::from_secs(60);

/// How to start the monitor.
#[derive(Clone, Debug)]
pub struct Start {
    /// The daemon's own program (`std::env::current_exe()`).
    pub program: PathBuf,
    /// The gRPC address, `http://HOST:PORT` or `unix:/PATH`.
    pub grpc: String,
    /// The address of the metrics, `http://HOST:PORT/metrics`.
    pub metrics_url: String,
    /// The API key to publish with, where the broker asks for one.
    pub key: Option<String>,
}

/// The running monitor; dropping it ends the program.
#[derive(Debug)]
#[must_use = "the monitor ends when this is dropped"]
pub struct Child {
    task: JoinHandle<Infallible>,
}

impl Child {
    /// Starts the program, and again whenever it ends. Must be called inside a tokio runtime.
    pub fn start(start: Start) -> Self {
        Self { task: tokio::spawn(keep_running(start)) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The task owns the process, which is killed with it.
        self.task.abort();
    }
}

async fn keep_running(start: Start) -> Infallible {
    let mut pause = PAUSE_MIN;
    loop {
        let began = Instant::now();
        match run_once(&start).await {
            Ok(status) => warn!(event = "demo", "the demo's monitor ended ({status}); it is started again in {pause:?}"),
            Err(error) => warn!(event = "demo", "the demo's monitor cannot be started: {error}; next try in {pause:?}"),
        }
        if began.elapsed() >= WELL {
            pause = PAUSE_MIN;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn run_once(start: &Start) -> std::io::Result<std::process::ExitStatus> {
    let mut command = Command::new(&start.program);
    let own = std::process::id().to_string();
    command.arg(SUBCOMMAND).args(["--grpc", &start.grpc, "--metrics", &start.metrics_url, "--parent", &own]);
    // What it has to say goes where the daemon's own log goes.
    // A Ctrl-C in the daemon's terminal is for the daemon, which ends this program when its own time has come.
    command.process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    match &start.key {
        Some(key) => command.env(KEY_VARIABLE, key),
        None => command.env_remove(KEY_VARIABLE),
    };
    command.spawn()?.wait().await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A stand-in for the daemon that notes each start with its arguments, and then does what `then` says.
    fn script(folder: &std::path::Path, then: &str) -> Start {
        let program = folder.join("program");
        std::fs::write(&program, format!("#!/bin/sh\necho \"$@\" >> {}\n{then}\n", folder.join("starts").display())).expect("a script");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("an executable script");
        Start { program, grpc: "http://g".into(), metrics_url: "http://m".into(), key: Some("secret".into()) }
    }

    async fn lines(path: &std::path::Path, least: usize) -> Vec<String> {
        loop {
            let lines = std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
            if lines.len() >= least {
                return lines;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_program_that_ends_is_started_again_with_the_same_arguments() {
        let folder = tempfile::tempdir().expect("a folder");
        let _child = Child::start(script(folder.path(), "exit 3"));
        let starts = lines(&folder.path().join("starts"), 2).await;
        assert_eq!(starts[0], format!("demo-monitor --grpc http://g --metrics http://m --parent {}", std::process::id()));
        assert_eq!(starts[1], starts[0]);
    }

    #[tokio::test]
    async fn dropping_the_child_ends_the_program_and_its_key_is_not_on_the_command_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let noted = folder.path().join("noted");
        let child = Child::start(script(folder.path(), &format!("echo $$ ${KEY_VARIABLE} > {}; exec sleep 1000", noted.display())));
        let line = lines(&noted, 1).await.remove(0);
        let (pid, key) = line.split_once(' ').expect("two words");
        assert_eq!(key, "secret");
        drop(child);
        let stat = format!("/proc/{pid}/stat");
        // A zombie that nobody has waited for yet has ended, too.
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            sleep(Duration::from_millis(10)).await;
        }
    }
}
