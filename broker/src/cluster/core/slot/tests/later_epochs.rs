//! A home that went on while others wrote later epochs of its slot, of which nobody has anything any more.

use super::*;
use crate::log::Line;

/// A home, and its follower, which has heard of an epoch of this writer and has nothing of it.
fn with_a_follower_that_heard_of(writer: Tag) -> (Scene, usize, usize) {
    let (mut scene, home, _) = Scene::with_a_home_alone();
    let (_, follower) = scene.owners();
    let line = Line::begin(Epoch::new(9, writer));
    scene.input(follower, Input::Frame { from: writer, frame: Frame::Opened { line } });
    scene.link(follower, true);
    scene.talk();
    (scene, home, follower)
}

#[test]
fn it_opens_an_epoch_above_them_and_is_followed_and_tells_of_a_gap_when_their_writer_is_not_heard() {
    let (mut scene, home, follower) = with_a_follower_that_heard_of(Tag::new(99).unwrap());
    scene.pass(1000);
    assert_eq!(scene.nodes[home].log.epoch(), Epoch::new(10, tag(home)));
    assert!(scene.nodes[follower].replica.holds());
    assert!(scene.nodes[home].log.uncertain().is_empty(), "it may be heard yet");
    scene.pass(2000);
    assert_eq!(scene.nodes[home].log.uncertain().len(), 1);
    assert_eq!(scene.nodes[follower].log.uncertain().len(), 1);
    scene.pass(10_000);
    assert_eq!(scene.nodes[home].log.epoch(), Epoch::new(11, tag(home)), "once");
}

#[test]
fn it_tells_of_nothing_when_their_writer_is_there() {
    let (_, home, elsewhere) = Scene::with_a_home_alone();
    let (mut scene, again, follower) = with_a_follower_that_heard_of(tag(elsewhere));
    assert_eq!(again, home);
    scene.pass(10_000);
    assert_eq!(scene.nodes[home].log.epoch(), Epoch::new(10, tag(home)));
    assert!(scene.nodes[follower].replica.holds());
    assert!(scene.nodes[home].log.uncertain().is_empty());
}
