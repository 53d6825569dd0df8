//! Another configuration while the daemon runs: asked for by SIGHUP, or by a file that changed.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tidings::admin::Log as _;
use tidings::auth::config::Key;
use tidings::config::{Config, Problems};
use tidings::node::Node;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Settings;
use super::log::Log;

/// How often the file is looked at; a change counts when it was the same twice.
const LOOK: Duration = Duration::from_secs(2);

/// What is to be known to reload.
pub(crate) struct Reloads {
    settings: Settings,
    /// Keys that no file names: the demo's own.
    added: Vec<Key>,
    hang_up: Signal,
    file: Option<PathBuf>,
    tried: Stamp,
    settling: Option<Stamp>,
}

/// Modification time, size and inode; `None` while there is no such file.
type Stamp = Option<(SystemTime, u64, u64)>;

impl Reloads {
    /// For a daemon that was started with these settings, and beside what they say with these keys. From here on SIGHUP no longer
    /// ends the process.
    pub(crate) fn listen(settings: Settings, added: Vec<Key>) -> io::Result<Self> {
        let file = settings.file();
        let tried = file.as_ref().and_then(stamp);
        Ok(Self { settings, added, hang_up: signal(SignalKind::hangup())?, file, tried, settling: None })
    }

    /// Waits until another configuration may be wanted, and says why. Loses nothing when dropped early.
    pub(crate) async fn wanted(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.hang_up.recv() => {
                    (self.tried, self.settling) = (self.file.as_ref().and_then(stamp), None);
                    return "SIGHUP";
                }
                () = tokio::time::sleep(LOOK), if self.file.is_some() => {
                    let seen = self.file.as_ref().and_then(stamp);
                    if seen == self.tried {
                        self.settling = None;
                    } else if self.settling.replace(seen) == Some(seen) {
                        (self.tried, self.settling) = (seen, None);
                        return "the file changed";
                    }
                }
            }
        }
    }

    /// Goes on with what the settings say now, or tells why not.
    pub(crate) fn reload(&self, node: &Node, log: &Log, because: &'static str) {
        let wanted = self.settings.load().map_err(|problems| places(&problems));
        let changed = wanted.and_then(|mut loaded| {
            loaded.config.keys.extend(self.added.iter().cloned());
            node.embedded().reload(&loaded.config).map_err(|why| why.to_string())
        });
        match changed {
            Ok(change) => {
                if let Some(Err(why)) = change.applied.iter().any(|key| key == "log.level").then(|| log.set_level(&change.config.log.level))
                {
                    tracing::error!(event = "failed", why, "the log's level could not be changed");
                }
                let (applied, waiting) = (change.applied.join(" "), change.waiting.join(" "));
                match (applied.is_empty(), waiting.is_empty()) {
                    (true, true) => tracing::info!(event = "config_reloaded", because, "the configuration is what it was"),
                    (_, true) => tracing::info!(event = "config_reloaded", because, applied, "the new configuration is in effect"),
                    _ => tracing::warn!(
                        event = "config_reloaded",
                        because,
                        applied,
                        waiting,
                        "the new configuration is in effect, but for what NEEDS A RESTART"
                    ),
                }
            }
            Err(why) => {
                node.embedded().refuse_reload();
                tracing::error!(
                    event = "config_refused",
                    because,
                    why,
                    "the NEW CONFIGURATION CANNOT BE USED: the old one stays in effect"
                );
            }
        }
    }
}

/// Where and what, without the lines of the file around it: the log is read by more people than the file.
fn places(problems: &Problems) -> String {
    let one = |problem: &tidings::config::Problem| {
        let what = problem.what.lines().next().unwrap_or_default();
        format!("{}: {what}", problem.place)
    };
    problems.0.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn stamp(file: &PathBuf) -> Stamp {
    let known = std::fs::metadata(file).ok()?;
    Some((known.modified().ok()?, known.len(), std::os::unix::fs::MetadataExt::ino(&known)))
}

/// The keys of `with` that `without` does not have.
pub(crate) fn added(with: &Config, without: &Config) -> Vec<Key> {
    with.keys.iter().filter(|key| !without.keys.contains(key)).cloned().collect()
}
