//! How long things take, in the simulator's time: what the rules themselves cost, without a machine beside them.

use crate::plant::Planted;
use crate::world::World;
use tidings::cluster::core::Bug;

/// Between two publishes, at most.
const PACE: u64 = 10;
/// Between two publishes when there are to be none.
const SELDOM: u64 = 1 << 40;
/// When a cluster has long been whole.
const WHOLE: u64 = 8000;

/// The worst of many runs, one for each seed and node that it happens to.
fn worst(count: usize, mut trial: impl FnMut(&mut World, usize) -> Result<u64, String>) -> u64 {
    let times = (0..8).flat_map(|seed| (0..count).map(move |at| (seed, at))).map(|(seed, at)| {
        let mut world = World::calm(seed, count, None);
        world.pace = PACE;
        world.go_to(WHOLE).and_then(|()| trial(&mut world, at)).unwrap_or_else(|why| panic!("seed {seed}, node {at}: {why}"))
    });
    times.max().unwrap_or(0)
}

#[test]
fn when_a_process_dies_publishing_stops_for_less_than_half_a_second() {
    let worst = worst(3, |world, at| {
        world.crash(at, false)?;
        world.keep_away(at);
        world.go_to(WHOLE + 4000)?;
        Ok(world.silence(at, WHOLE, WHOLE + 4000))
    });
    println!("a process dies: {worst} ms");
    assert!(worst <= 500, "no answer for {worst} ms");
}

#[test]
fn when_a_host_is_lost_publishing_stops_for_less_than_three_seconds() {
    let worst = worst(3, |world, at| {
        world.unplug(at);
        world.go_to(WHOLE + 6000)?;
        Ok(world.silence(at, WHOLE, WHOLE + 6000))
    });
    println!("a host is lost: {worst} ms");
    assert!(worst <= 3000, "no answer for {worst} ms");
}

#[test]
fn what_was_sent_to_a_lost_host_is_not_kept_waiting_for_its_connection_to_break() {
    let worst = worst(3, |world, at| {
        // Nobody else publishes: nothing newer takes it along.
        world.pace = SELDOM;
        world.go_to(WHOLE + 1000)?;
        world.unplug(at);
        let others: Vec<usize> = (0..3).filter(|other| *other != at).collect();
        world.publish_through(&others)?;
        world.go_to(WHOLE + 7000)?;
        Ok(world.slowest(WHOLE + 1000, WHOLE + 7000))
    });
    println!("one message to a lost host: {worst} ms");
    assert!(worst <= 2800, "an answer took {worst} ms");
}

#[test]
fn who_insists_on_two_copies_is_answered_though_nobody_has_used_the_slot_before() {
    for (seed, at) in (0..8).flat_map(|seed| (0..3).map(move |at| (seed, at))) {
        let mut world = World::cold(seed, 3);
        let slowest = world.go_to(WHOLE).and_then(|()| {
            world.publish_through(&[at])?;
            world.go_to(WHOLE + 1000)?;
            Ok(world.slowest(WHOLE, WHOLE + 1000))
        });
        let slowest = slowest.unwrap_or_else(|why| panic!("seed {seed}, node {at}: {why}"));
        assert_eq!(world.figures.acked, 3, "seed {seed}, node {at}");
        assert!((1..=200).contains(&slowest), "seed {seed}, node {at}: an answer took {slowest} ms, or more than one try");
    }
}

#[test]
fn when_a_node_leaves_or_comes_publishing_goes_on() {
    let worst = worst(3, |world, at| {
        world.drain(at)?;
        world.go_to(WHOLE + 20_000)?;
        // Whoever asks a node that is gone asks again.
        assert!(world.silence(at, WHOLE, WHOLE + 20_000) < 500, "publishing stood still");
        Ok(world.slowest(WHOLE, WHOLE + 20_000))
    });
    println!("a node leaves and comes back: {worst} ms");
    assert!(worst <= 100, "an answer took {worst} ms");
}

#[test]
fn two_halves_are_one_again_three_seconds_after_they_can_be() {
    for seed in 0..20 {
        let mut world = World::calm(seed, 3, None);
        let healed = world.go_to(WHOLE).and_then(|()| {
            world.unplug(seed as usize % 3);
            world.go_to(WHOLE + 5000)?;
            world.come_to_rest(1000)
        });
        healed.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

/// One node is killed and started again, then another one.
fn killed_in_turn(seed: u64, victims: [usize; 2], bug: Option<Planted>) -> Result<u64, String> {
    let mut world = World::calm(seed, 3, bug);
    world.go_to(WHOLE)?;
    for at in victims {
        world.crash(at, false)?;
        world.keep_away(at);
        world.go_to(world.now + 2500)?;
        world.start(at);
        world.go_to(world.now + 5500)?;
    }
    Ok(world.figures.uncertain)
}

#[test]
fn when_one_node_after_the_other_is_killed_nobody_is_told_of_a_loss() {
    let pairs = || (0..3).flat_map(|first| (0..3).filter(move |second| *second != first).map(move |second| [first, second]));
    for (seed, victims) in (0..3).flat_map(|seed| pairs().map(move |victims| (seed, victims))) {
        assert_eq!(killed_in_turn(seed, victims, None), Ok(0), "seed {seed}, nodes {victims:?}");
    }
    let is_told = pairs().any(|victims| killed_in_turn(0, victims, Some(Planted::Core(Bug::StaleWitness))) != Ok(0));
    assert!(is_told, "a follower that never hears that others left would not be noticed");
}

#[test]
fn a_node_that_stood_still_for_ten_seconds_has_everything_five_seconds_later() {
    for (seed, at) in (0..8).flat_map(|seed| (0..3).map(move |at| (seed, at))) {
        let mut world = World::calm(seed, 3, None);
        let whole = world.go_to(WHOLE).and_then(|()| {
            world.pause(at, 10_000);
            world.go_to(WHOLE + 10_000)?;
            world.come_to_rest(5000)
        });
        whole.unwrap_or_else(|why| panic!("seed {seed}, node {at}: {why}"));
    }
}

/// One of two nodes is cut off from the other for three seconds and then told to leave; three seconds later it still is.
fn told_to_leave_behind_a_cut(seed: u64, bug: Option<Planted>) -> Result<World, String> {
    let mut world = World::calm(seed, 2, bug);
    world.pace = PACE;
    world.go_to(WHOLE)?;
    world.unplug(1);
    world.go_to(WHOLE + 3000)?;
    world.drain(1)?;
    world.go_to(WHOLE + 6000)?;
    Ok(world)
}

#[test]
fn of_two_nodes_that_are_cut_off_the_one_that_is_to_leave_takes_nothing_more_and_hands_over_what_it_alone_has() {
    for seed in 0..8 {
        let whole = told_to_leave_behind_a_cut(seed, None).and_then(|mut world| {
            assert!(world.acked_by(1, WHOLE + 2000, WHOLE + 3000) > 0, "seed {seed}: it served on behind the cut");
            assert_eq!(world.acked_by(1, WHOLE + 3001, WHOLE + 6000), 0, "seed {seed}: it is to leave");
            assert!(world.acked_by(0, WHOLE + 3000, WHOLE + 6000) > 0, "seed {seed}: the other one serves on");
            let lost = world.figures.lost;
            world.come_to_rest(5000)?;
            assert_eq!(world.figures.lost, lost, "seed {seed}: all that it had is there");
            assert!(world.figures.adopted > 0, "seed {seed}: it had something");
            Ok(())
        });
        whole.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
    let broken = told_to_leave_behind_a_cut(0, Some(Planted::Core(Bug::TakesToTheEnd)));
    assert!(broken.err().is_some_and(|why| why.contains("invariant 22")), "a node that takes messages to the end would not be noticed");
}

/// Nodes are cut off from the others for a while, and soon after they are not any more some are killed.
struct Parting {
    count: usize,
    cut_off: usize,
    /// How long nobody hears the other side.
    cut: u64,
    /// How long one way between two nodes takes then, and how long they hear each other.
    delay: u64,
    met: u64,
    killed: &'static [usize],
}

impl Parting {
    /// The world at rest after that; everybody was told of what is lost.
    fn play(&self, seed: u64, bug: Option<Planted>) -> Result<World, String> {
        let mut world = World::calm(seed, self.count, bug);
        world.pace = PACE;
        world.go_to(WHOLE)?;
        world.unplug(self.cut_off);
        world.go_to(WHOLE + self.cut)?;
        world.heal();
        world.delay = self.delay;
        world.go_to(world.now + self.met)?;
        for at in self.killed {
            world.crash(*at, false)?;
            world.keep_away(*at);
        }
        world.go_to(world.now + 1000)?;
        world.come_to_rest(5000)?;
        Ok(world)
    }
}

/// Whoever was cut off is killed, or all the others are.
const PARTINGS: [(usize, usize, &[usize]); 8] =
    [(2, 1, &[0]), (2, 1, &[1]), (3, 0, &[0]), (3, 1, &[1]), (3, 2, &[2]), (3, 0, &[1, 2]), (3, 1, &[0, 2]), (3, 2, &[0, 1])];

fn partings() -> impl Iterator<Item = Parting> {
    let all = PARTINGS.iter().flat_map(|of| [20, 60].map(|delay| (of, delay)));
    all.enumerate().flat_map(|(nth, (&(count, cut_off, killed), delay))| {
        // Behind the longer one connections are made anew.
        let cut = if nth % 4 < 2 { 2400 } else { 5000 };
        // The first word takes one way; a lost connection is made anew before.
        let heard = delay * 2 + 100;
        [0, delay * 2, delay * 6].map(|more| Parting { count, cut_off, cut, delay, met: heard + more, killed })
    })
}

#[test]
fn what_a_node_took_behind_a_cut_is_known_to_be_lost_once_it_was_met_again() {
    let (mut lost, mut count) = (0, 0);
    for (nth, parting) in partings().enumerate() {
        let world = parting.play(nth as u64, None);
        let Parting { count: nodes, cut_off, cut, delay, met, killed } = parting;
        let what = format!("{nodes} nodes, {cut_off} cut off for {cut}, {delay} away, {killed:?} killed after {met}");
        lost += world.unwrap_or_else(|why| panic!("{what}: {why}")).figures.lost;
        count += 1;
    }
    println!("{count} partings, {lost} messages lost, and all were told");
    assert!(lost > 0, "nothing was lost that somebody had to be told of");
    let bug = Some(Planted::Core(Bug::ForgetApart));
    let is_found =
        partings().enumerate().any(|(nth, parting)| parting.play(nth as u64, bug).is_err_and(|why| why.contains("invariant 10")));
    assert!(is_found, "that nobody is told would not be noticed");
}

#[test]
fn when_both_sides_of_a_cut_are_one_again_nobody_is_told_of_a_loss_then_or_when_one_is_killed_later() {
    for (seed, (count, at)) in (0..4).flat_map(|seed| [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)].map(move |of| (seed, of))) {
        let told = || {
            let mut world = World::calm(seed, count, None);
            world.pace = PACE;
            world.go_to(WHOLE)?;
            world.unplug(at);
            world.go_to(WHOLE + 3000)?;
            world.heal();
            let before = world.figures.uncertain;
            world.go_to(WHOLE + 8000)?;
            world.crash(at, false)?;
            world.keep_away(at);
            world.go_to(WHOLE + 10_000)?;
            Ok::<_, String>(world.figures.uncertain - before)
        };
        assert_eq!(told(), Ok(0), "seed {seed}, {count} nodes, {at} cut off");
    }
}

#[test]
fn who_was_merged_long_ago_is_missed_by_nobody_when_it_goes() {
    // Whoever copies the slot but was no home of the merge has to forget it, too, or tells of a loss when it is the home at last.
    for (seed, (at, home)) in (0..4).flat_map(|seed| [(0, 1), (1, 2), (2, 3), (3, 0)].map(move |of| (seed, of))) {
        let told = || {
            let mut world = World::calm(seed, 4, None);
            world.pace = PACE;
            world.go_to(WHOLE)?;
            world.unplug(at);
            world.go_to(WHOLE + 3000)?;
            world.heal();
            world.go_to(WHOLE + 8000)?;
            let before = world.figures.uncertain;
            for (nth, gone) in [home, at].into_iter().enumerate() {
                world.crash(gone, false)?;
                world.keep_away(gone);
                world.go_to(WHOLE + 8000 + (nth as u64 + 1) * 4000)?;
            }
            Ok::<_, String>(world.figures.uncertain - before)
        };
        assert_eq!(told(), Ok(0), "seed {seed}, {at} cut off, {home} killed before it");
    }
}
