//! What one listener proves itself with, now: read at the start, read again when the files change, swapped whole.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;

use super::config::Config;
use super::pair::{Pair, Unusable};
use crate::metrics::{Listener, Metrics};

/// One listener's certificate and key. Whoever shakes hands takes those of the moment; connections that stand keep theirs.
pub struct Credentials {
    listener: Listener,
    alpn: &'static [&'static [u8]],
    now: RwLock<Now>,
    files: Mutex<Files>,
    metrics: Arc<Metrics>,
}

#[derive(Clone)]
struct Now {
    server: Arc<ServerConfig>,
    handshake_timeout: Duration,
}

/// What is known of the files on disk.
struct Files {
    config: Config,
    /// As they were when they were tried last.
    tried: Stamps,
    /// As they were at the last look, if that was different. A pair is two files, and often not written in one moment.
    settling: Option<Stamps>,
}

/// Files that were read and fit together, not yet in use.
pub struct New {
    pair: Pair,
    config: Config,
    seen: Stamps,
}

impl std::fmt::Debug for New {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("New").field("config", &self.config).finish_non_exhaustive()
    }
}

/// One file's modification time, size and inode; `None` while it is not there.
pub(super) type Stamp = Option<(SystemTime, u64, u64)>;
type Stamps = [Stamp; 3];

impl Credentials {
    /// Reads the files; `None` when the listener speaks no TLS.
    ///
    /// # Errors
    /// What is wrong with them. An expired certificate is none: it is said, and better than no listener at all.
    pub fn load(
        listener: Listener,
        config: &Config,
        alpn: &'static [&'static [u8]],
        metrics: &Arc<Metrics>,
    ) -> Result<Option<Arc<Self>>, Unusable> {
        if !config.is_on() {
            return Ok(None);
        }
        let tried = stamps(config);
        let pair = Pair::read(config, alpn)?;
        let expires = httpdate::fmt_http_date(pair.expires);
        if pair.is_expired(SystemTime::now()) {
            tracing::error!(event = "certificate_expired", listener = listener.as_str(), %expires, "the certificate has EXPIRED: clients will refuse it");
        } else {
            tracing::info!(event = "certificate", listener = listener.as_str(), %expires, "TLS");
        }
        metrics.certificate_loaded(listener, pair.expires);
        let now = Now { server: pair.server, handshake_timeout: config.handshake_timeout };
        let files = Files { config: config.clone(), tried, settling: None };
        let (now, files, metrics) = (RwLock::new(now), Mutex::new(files), metrics.clone());
        Ok(Some(Arc::new(Self { listener, alpn, now, files, metrics })))
    }

    /// What a handshake that begins now uses, and how long it may take.
    pub(super) fn now(&self) -> (Arc<ServerConfig>, Duration) {
        let now = self.now.read();
        (now.server.clone(), now.handshake_timeout)
    }

    /// Whose they are.
    #[must_use]
    pub fn listener(&self) -> Listener {
        self.listener
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Looks at the files, and takes them when they are others than before and have been for two looks. What cannot be used
    /// changes nothing, and is told once for each change. Reads files: not for a shard's thread.
    pub fn look(&self) {
        let mut files = self.files.lock();
        let seen = stamps(&files.config);
        if seen == files.tried {
            files.settling = None;
        } else if files.settling.replace(seen) == Some(seen) {
            (files.tried, files.settling) = (seen, None);
            let config = files.config.clone();
            drop(files);
            // Told already.
            let _ = self.read(&config).map(|new| self.exchange(new));
        }
    }

    /// Reads what another configuration names, for [`Credentials::exchange`].
    ///
    /// # Errors
    /// What is wrong with it; it is told and counted.
    pub fn read(&self, config: &Config) -> Result<New, Unusable> {
        let seen = stamps(config);
        let read = Pair::read(config, self.alpn).and_then(|pair| {
            let file = || config.certificate.clone().unwrap_or_default();
            if pair.is_expired(SystemTime::now()) { Err(Unusable::Expired { file: file(), at: pair.expires }) } else { Ok(pair) }
        });
        match read {
            Ok(pair) => Ok(New { pair, config: config.clone(), seen }),
            Err(why) => {
                self.metrics.certificate_refused(self.listener);
                let listener = self.listener.as_str();
                tracing::error!(event = "certificate_refused", listener, %why, "the NEW CERTIFICATE CANNOT BE USED: the old one stays until it expires");
                Err(why)
            }
        }
    }

    /// New connections get what was read.
    pub fn exchange(&self, New { pair, config, seen }: New) {
        let expires = httpdate::fmt_http_date(pair.expires);
        self.metrics.certificate_loaded(self.listener, pair.expires);
        *self.now.write() = Now { server: pair.server, handshake_timeout: config.handshake_timeout };
        *self.files.lock() = Files { config, tried: seen, settling: None };
        tracing::info!(event = "certificate", listener = self.listener.as_str(), %expires, "new certificate: new connections get it");
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("listener", &self.listener).finish_non_exhaustive()
    }
}

fn stamps(config: &Config) -> Stamps {
    [&config.certificate, &config.key, &config.clients].map(|file| file.as_deref().and_then(stamp))
}

/// Follows links: a secret that an orchestrator mounts is one, and is replaced by pointing it elsewhere.
pub(super) fn stamp(file: &Path) -> Stamp {
    let known = std::fs::metadata(file).ok()?;
    Some((known.modified().ok()?, known.len(), std::os::unix::fs::MetadataExt::ino(&known)))
}
