//! The certificates of `cluster.tls`, read at the start and again when the files change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;

use super::config::Tls;
use super::link::{Certificate, Greeter};
use crate::metrics::{Listener, Metrics};
use crate::tls::{Chain, Unusable, Watched, read_roots};

/// How often the files are looked at; they count when they were the same twice.
const LOOK: Duration = Duration::from_secs(2);

/// Reads the files; `None` where none are named.
///
/// # Errors
/// What is wrong with them. An expired certificate is said, and refused by the other nodes.
pub(super) fn read(tls: &Tls, metrics: &Metrics) -> Result<Option<Certificate>, Unusable> {
    let Some([certificate, key, ca]) = tls.files() else { return Ok(None) };
    let Chain { certificates: chain, key, expires } = Chain::read(certificate, key)?;
    let roots = read_roots(ca)?;
    let until = httpdate::fmt_http_date(expires);
    let listener = Listener::Cluster.as_str();
    if expires <= SystemTime::now() {
        tracing::error!(
            event = "certificate_expired",
            listener,
            expires = until,
            "the certificate has EXPIRED: other nodes will refuse it"
        );
    } else {
        tracing::info!(event = "certificate", listener, expires = until, "certificate between nodes");
    }
    metrics.certificate_loaded(Listener::Cluster, expires);
    Ok(Some(Certificate { chain, key, roots }))
}

/// Looks after the files for ever. New connections get what is in them; what cannot be used changes nothing.
pub(super) async fn watch(tls: Tls, greeter: Greeter, metrics: Arc<Metrics>) {
    let files: Vec<PathBuf> = tls.files().into_iter().flatten().map(PathBuf::from).collect();
    if files.is_empty() {
        return;
    }
    let watched = Arc::new(parking_lot::Mutex::new(Watched::new(files)));
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let (watched, tls, greeter, metrics) = (watched.clone(), tls.clone(), greeter.clone(), metrics.clone());
        // Files may lie on a network. A panic in there would only end the look.
        let looking = tokio::task::spawn_blocking(move || {
            if watched.lock().look() {
                renew(&tls, &greeter, &metrics);
            }
        });
        let _ = looking.await;
    }
}

fn renew(tls: &Tls, greeter: &Greeter, metrics: &Metrics) {
    let renewed = match read(tls, metrics) {
        Ok(Some(certificate)) => greeter.exchange(certificate).map_err(|why| why.to_string()),
        Ok(None) => return,
        Err(why) => Err(why.to_string()),
    };
    if let Err(why) = renewed {
        metrics.certificate_refused(Listener::Cluster);
        let listener = Listener::Cluster.as_str();
        tracing::error!(event = "certificate_refused", listener, %why, "the NEW CERTIFICATE CANNOT BE USED: the old one stays until it expires");
    }
}
