//! The cluster in one thread: many nodes, seeded faults, clients that hop, and the invariants of the design.
//!
//! `SIM_SEEDS=2000 cargo test --test sim` runs as many seeds as you like, with `SIM_FIRST=500` from that one on, and `SIM_SEED=17` one of
//! them with its trace.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its scene shall stop there")]

mod chance;
mod check;
mod client;
mod faults;
mod plant;
mod process;
mod times;
mod wire;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use check::Figures;
use plant::Planted;
use tidings::cluster::core::Bug;
use tidings::presence;
use world::World;

/// Seeds that every run of the tests goes through.
const SEEDS: u64 = 500;
/// Seeds behind those that failed once.
const REMEMBERED: [u64; 7] = [1019, 1272, 2063, 3325, 4453, 7903, 11541];
/// Seeds within which a planted bug must show.
const BUG_SEEDS: u64 = 500;
/// Lines of the trace that a failure shows.
const SHOWN: usize = 150;

/// Runs one seed. What went wrong, with the end of its trace.
fn run(seed: u64, bug: Option<Planted>) -> Result<Figures, String> {
    attempt(seed, bug, false).map_err(|_| match attempt(seed, bug, true) {
        Err(why) => why,
        Ok(_) => format!("seed {seed} fails, but not when it is run again: something in it is left to chance"),
    })
}

fn attempt(seed: u64, bug: Option<Planted>, is_traced: bool) -> Result<Figures, String> {
    let mut world = World::new(seed, bug, is_traced);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let why = match outcome {
        Ok(Ok(figures)) => return Ok(figures),
        Ok(Err(why)) => why,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            format!("panic: {}", text.unwrap_or_default())
        }
    };
    let count = number("SIM_SHOWN").map_or(SHOWN, |count| count as usize);
    let shown = world.trace[world.trace.len().saturating_sub(count)..].join("\n");
    Err(format!("{shown}\n\nseed {seed} (run it again with SIM_SEED={seed}): {why}"))
}

/// Runs seeds on all cores; the figures of all, or the first that failed.
fn run_all(seeds: Range<u64>, bug: Option<Planted>) -> Result<Figures, String> {
    let next = AtomicU64::new(seeds.start);
    let outcome = Mutex::new(Ok(Figures::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || outcome.lock().unwrap().is_err() {
                return;
            }
            let ran = if bug.is_some() { attempt(seed, bug, false) } else { run(seed, bug) };
            let mut outcome = outcome.lock().unwrap();
            match (ran, &mut *outcome) {
                (Ok(figures), Ok(all)) => all.add(&figures),
                (Err(why), place @ Ok(_)) => *place = Err(why),
                (_, Err(_)) => {}
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    outcome.into_inner().unwrap()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn the_invariants_hold_under_all_faults() {
    if let Some(seed) = number("SIM_SEED") {
        match run(seed, None) {
            Ok(figures) => println!("{figures:?}"),
            Err(why) => panic!("{why}"),
        }
        return;
    }
    let first = number("SIM_FIRST").unwrap_or(0);
    let seeds = first..first + number("SIM_SEEDS").unwrap_or(SEEDS);
    let all = run_all(seeds, None).unwrap_or_else(|why| panic!("{why}"));
    println!("{all:?}");
    assert!(all.acked > 0 && all.delivered > 0 && all.takeovers > 0 && all.adopted > 0, "too little happened: {all:?}");
}

#[test]
fn seeds_that_failed_once_do_not_fail_again() {
    for seed in REMEMBERED {
        run(seed, None).unwrap_or_else(|why| panic!("{why}"));
    }
}

#[test]
fn every_planted_bug_is_found() {
    // Not among them: StaleWitness, which shows when nodes are killed in a certain order. `times` does that, and would miss it. Nor
    // Impatience, which few seeds come by; tests of the slot do. Nor ForgetApart, for which a cut must heal just before a death: `times` again.
    let bugs = [
        Bug::AckBeforeCopy,
        Bug::NoNote,
        Bug::AppendAfterSeal,
        Bug::DropOrphans,
        Bug::NoAdoption,
        Bug::ReadyEarly,
        Bug::NoDedupe,
        Bug::NoFailoverGap,
        Bug::NoSeal,
        Bug::NoCut,
        Bug::AckAhead,
        Bug::NoTurn,
        Bug::CommitEarly,
        Bug::NoResync,
        Bug::NoTrail,
        Bug::FewerCopies,
        Bug::NoRefill,
        Bug::SilentDrop,
        Bug::NoDoubt,
        Bug::NoLost,
        Bug::FollowLower,
        Bug::Unbounded,
        Bug::Overtaking,
        Bug::RefuseRetry,
        Bug::RefuseTaken,
        Bug::TakesToTheEnd,
    ];
    let presence = [presence::Bug::Ghosts, presence::Bug::NoRetelling, presence::Bug::NoFarewell];
    let all = bugs.map(Planted::Core).into_iter().chain(presence.map(Planted::Presence));
    let missed: Vec<Planted> = all.filter(|bug| run_all(0..BUG_SEEDS, Some(*bug)).is_ok()).collect();
    assert!(missed.is_empty(), "the simulator does not find {missed:?}");
}
