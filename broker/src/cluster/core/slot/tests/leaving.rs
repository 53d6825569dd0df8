//! A node that leaves: who orders its slots next, who copies them next, and what listeners get meanwhile.

use super::*;

/// A home with a message in a channel, the node that is to be the next home, and a third one where somebody listens.
fn with_a_listener() -> (Scene, usize, usize, usize) {
    let mut scene = Scene::new(3, Settings::default());
    let (home, next) = scene.owners();
    let third = (0..3).find(|at| *at != home && *at != next).unwrap();
    scene.publish(home, 1, "a{x}", Terms::default());
    scene.input(third, Input::Listen(name("a{x}")));
    scene.pass(200);
    assert_eq!((scene.copies(1), scene.texts(third)), (Some(2), vec!["m1".to_owned()]));
    (scene, home, next, third)
}

fn leave(scene: &mut Scene, leaver: usize) {
    scene.members[leaver].state = State::Draining;
    (0..3).for_each(|at| scene.input(at, Input::View));
}

fn holds(scene: &Scene) -> Vec<usize> {
    (0..3).filter(|at| scene.nodes[*at].replica.holds()).collect()
}

#[test]
fn a_slot_moves_and_its_listeners_are_served_before_anybody_copies_it_anew() {
    let (mut scene, home, next, third) = with_a_listener();
    leave(&mut scene, home);
    scene.talk();
    assert!(scene.nodes[next].replica.is_home() && !scene.nodes[home].replica.is_home(), "no time has to pass");
    for (rid, at) in [(2, home), (3, next), (4, third)] {
        scene.publish(at, rid, "a{x}", INSISTS);
        assert_eq!(scene.copies(rid), Some(2), "who handed it over holds a copy");
    }
    assert_eq!(scene.texts(third), ["m1", "m2", "m3", "m4"]);
    assert_eq!(holds(&scene), [home.min(next), home.max(next)], "nobody copies it yet");
    scene.pass(1200);
    assert_eq!(holds(&scene), [third.min(next), third.max(next)], "the next follower does, and who leaves may go");
}

#[test]
fn a_follower_that_leaves_is_followed_by_another_one_once_slots_have_moved() {
    let (mut scene, home, follower, third) = with_a_listener();
    leave(&mut scene, follower);
    scene.talk();
    scene.publish(third, 2, "a{x}", INSISTS);
    assert_eq!(scene.copies(2), Some(2));
    assert_eq!(holds(&scene), [home.min(follower), home.max(follower)]);
    scene.pass(1200);
    assert_eq!(holds(&scene), [home.min(third), home.max(third)]);
    assert_eq!(scene.texts(third), ["m1", "m2"]);
}

#[test]
fn a_follower_that_ends_is_followed_by_another_one_at_once() {
    let (mut scene, home, follower, third) = with_a_listener();
    scene.mute.push(follower);
    scene.members.remove(follower);
    [home, third].into_iter().for_each(|at| scene.input(at, Input::View));
    scene.talk();
    assert!(scene.nodes[third].replica.holds());
}

#[test]
fn who_is_to_copy_a_slot_hears_its_channels_until_the_copy_comes() {
    let (mut scene, home, follower, third) = with_a_listener();
    leave(&mut scene, follower);
    scene.talk();
    let is_wish = |(from, to, frame): &(usize, usize, Frame)| (*from, *to) == (third, home) && matches!(frame, Frame::Sub(_));
    while !scene.wires.iter().any(is_wish) {
        scene.now += Duration::from_millis(5);
        scene.input(home, Input::Tick);
        // Its wish waits at the home for its turn.
        while let Some(at) = scene.wires.iter().position(|wire| !is_wish(wire)) {
            let Some((from, to, frame)) = scene.wires.remove(at) else { break };
            scene.input(to, Input::Frame { from: tag(from), frame });
        }
    }
    let wish = scene.wires.pop_back();
    assert!(scene.wires.is_empty());
    scene.publish(home, 2, "a{x}", Terms::default());
    assert_eq!(scene.texts(third), ["m1", "m2"], "meanwhile");
    assert!(!scene.nodes[third].replica.holds());
    scene.wires.extend(wish);
    scene.publish(home, 3, "a{x}", Terms::default());
    assert_eq!(scene.texts(third), ["m1", "m2", "m3"]);
    assert!(scene.nodes[third].replica.holds());
}
