//! Everyone connects at once: to a fresh server, or back to one that was killed.

use super::{Figures, Outcome, Round, channels, resume};
use crate::crowd::{Crowd, Plan};
use crate::scenario::Storm;

pub(super) fn run(round: &mut Round<'_>, storm: &Storm) -> anyhow::Result<Outcome> {
    let channels = channels(1);
    let mut query = String::new();
    if storm.restart {
        let cursor = round.cursor(&channels[0])?;
        query = resume(&round.server.front, &cursor)?;
        let crowd = Crowd::open(round.plan(&channels, storm.connections, "")?)?;
        crowd.close()?;
        round.running.crash_and_restart()?;
    }
    let meter = round.meter()?;
    let plan = round.plan(&channels, storm.connections, &query)?;
    let crowd = Crowd::open(Plan { opening_max: storm.opening, ..plan })?;
    let used = round.used(&meter)?;
    let mut figures = Figures::new();
    figures.insert("connects_per_s".to_owned(), storm.connections as f64 / crowd.opened_in.as_secs_f64());
    used.each(&mut figures, storm.connections as f64, "connect");
    crowd.close()?;
    Ok(Outcome { way: None, figures, foreign: used.foreign })
}
