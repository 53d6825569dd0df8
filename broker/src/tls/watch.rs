//! Notices when certificates are renewed. It looks instead of being told: a look costs a few system calls, works on every
//! file system and through every way of replacing a file, and a certificate is never in a hurry.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Credentials;

/// How often the files are looked at; they count when they were the same twice.
const LOOK: Duration = Duration::from_secs(2);

/// Looks after the files for ever.
pub async fn watch(all: Vec<Arc<Credentials>>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let all = Arc::new(all);
    loop {
        looks.tick().await;
        let all = all.clone();
        // Files may lie on a network. A panic in there would only end the look.
        let _ = tokio::task::spawn_blocking(move || all.iter().for_each(|one| one.look())).await;
    }
}
