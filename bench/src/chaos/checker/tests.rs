//! Forged histories: for each promise one that breaks it, which must be found, and one beside it that keeps it.

use tidings::log::{Cursor, Epoch, Pos, Slot, Tag};

use super::{Judgement, Verdict, judge};
use crate::chaos::history::{Event, Kept, Member, Record};

/// A place in the log: epoch, index.
type At = (u32, u64);

fn cursor((epoch, idx): At) -> String {
    let epoch = Epoch::new(epoch, Tag::new(0xabc).unwrap());
    Cursor::single(Slot::new(5).unwrap(), Pos { epoch, idx }).encode()
}

/// Tells a story event by event, a millisecond apart.
struct Story {
    now: u64,
    records: Vec<Record>,
}

impl Story {
    fn of(nodes: usize) -> Self {
        Self { now: 0, records: Vec::new() }.then(Event::Setup { seed: 1, nodes, replicas: 2 })
    }

    fn then(mut self, event: Event) -> Self {
        self.now += 1_000;
        self.records.push(Record { at: self.now, event });
        self
    }

    fn seconds(mut self, seconds: u64) -> Self {
        self.now += seconds * 1_000_000;
        self
    }

    fn asked(self, id: &str) -> Self {
        self.then(Event::Publish { id: id.into(), channel: "x".into() }).tried(id, "n1")
    }

    fn tried(self, id: &str, node: &str) -> Self {
        self.then(Event::Try { id: id.into(), node: node.into() })
    }

    fn acked(self, id: &str, at: At, copies: u32) -> Self {
        self.then(Event::Acked { id: id.into(), node: "n1".into(), cursor: cursor(at), copies })
    }

    fn published(self, id: &str, at: At) -> Self {
        self.asked(id).acked(id, at, 2)
    }

    fn resumed(self, client: &str, at: Option<At>) -> Self {
        let cursor = at.map(cursor).unwrap_or_default();
        self.then(Event::Resumed { client: client.into(), channel: "x".into(), node: "n1".into(), way: "sse".into(), cursor })
    }

    fn got(self, client: &str, id: &str, at: At) -> Self {
        self.received(client, id, at, false)
    }

    fn received(self, client: &str, id: &str, at: At, late: bool) -> Self {
        self.then(Event::Received { client: client.into(), channel: "x".into(), id: id.into(), cursor: cursor(at), late })
    }

    fn gap(self, client: &str) -> Self {
        self.gap_because("failover", client)
    }

    fn gap_because(self, reason: &str, client: &str) -> Self {
        self.then(Event::Gap { client: client.into(), channel: "x".into(), reason: reason.into() })
    }

    fn left(self, client: &str) -> Self {
        self.then(Event::Left { client: client.into(), channel: "x".into(), why: "hop".into() })
    }

    fn crashed(self, node: &str) -> Self {
        self.then(Event::Crashed { node: node.into() })
    }

    fn cut(self) -> Self {
        self.broken(Some(0))
    }

    fn broken(self, excuses_after_ms: Option<u64>) -> Self {
        self.then(Event::Broken { fault: "cut".into(), divides: true, excuses_after_ms })
    }

    fn came(self, session: &str, user: &str) -> Self {
        let user = Some(user.to_owned()).filter(|user| !user.is_empty());
        self.then(Event::Came { session: session.into(), user })
    }

    fn went(self, session: &str) -> Self {
        self.then(Event::Went { session: session.into() })
    }

    /// A node lists these with so many connections, counts them, and so many without a name.
    fn said(self, members: &[(&str, u64)], anonymous: u64) -> Self {
        let listed = members.iter().map(|(user, connections)| Member { user: (*user).into(), connections: *connections }).collect();
        self.then(Event::Present { node: "n1".into(), users: members.len() as u64, anonymous, members: listed })
    }

    fn mended(self) -> Self {
        self.then(Event::Mended { fault: "cut".into() })
    }

    fn log(self, node: &str, log: &[(&str, At)]) -> Self {
        let messages = log.iter().map(|(id, at)| Kept { id: (*id).into(), cursor: cursor(*at), late: false }).collect();
        self.then(Event::Final { node: node.into(), channel: "x".into(), messages })
    }

    fn judged(self) -> Judgement {
        judge(&self.records).unwrap()
    }

    #[track_caller]
    fn holds(self) -> Judgement {
        let judgement = self.judged();
        assert!(judgement.findings.is_empty(), "{:#?}", judgement.findings);
        judgement
    }

    #[track_caller]
    fn breaks(self, verdict: Verdict) {
        let found = self.judged().by_verdict();
        let broken: Vec<_> = found.into_iter().filter(|(_, count)| *count > 0).map(|(verdict, _)| verdict).collect();
        assert_eq!(broken, [verdict]);
    }
}

#[test]
fn a_run_in_which_all_went_well_is_good() {
    let story = Story::of(3).resumed("c", None).published("a", (1, 1)).got("c", "a", (1, 1)).published("b", (1, 2)).got("c", "b", (1, 2));
    let judgement = story.log("n1", &[("a", (1, 1)), ("b", (1, 2))]).log("n2", &[("a", (1, 1)), ("b", (1, 2))]).holds();
    assert_eq!((judgement.counts.acked, judgement.counts.received), (2, 2));
}

#[test]
fn what_was_acknowledged_is_in_a_log_while_a_holder_lives() {
    Story::of(3).published("a", (1, 1)).log("n1", &[]).breaks(Verdict::Lost);
    Story::of(3).published("a", (1, 1)).crashed("n1").log("n2", &[]).breaks(Verdict::Lost);
    // Its copies had been made again before the second death.
    Story::of(3).published("a", (1, 1)).crashed("n1").seconds(6).crashed("n2").log("n3", &[]).breaks(Verdict::Lost);
    // Both holders died before that, or the only one did.
    let died = Story::of(3).published("a", (1, 1)).crashed("n1").seconds(1).crashed("n2").log("n3", &[]).holds();
    assert_eq!(died.counts.died_with_holders, 1);
    Story::of(3).asked("a").acked("a", (1, 1), 1).crashed("n1").log("n2", &[]).holds();
    // A cut may have kept it alone for longer.
    Story::of(3).cut().asked("a").acked("a", (1, 1), 1).seconds(9).crashed("n1").mended().log("n2", &[]).holds();
}

#[test]
fn what_died_with_its_holders_is_told() {
    let before = || Story::of(3).resumed("c", None).published("a", (1, 1)).crashed("n1").crashed("n2");
    before().log("n3", &[]).breaks(Verdict::Missed);
    before().gap("c").log("n3", &[]).holds();
    // Also who has it: whatever comes next is no continuation of it.
    let had = || Story::of(3).resumed("c", None).published("a", (1, 1)).got("c", "a", (1, 1)).crashed("n1").crashed("n2");
    had().log("n3", &[]).breaks(Verdict::Missed);
    had().gap("c").log("n3", &[]).holds();
}

#[test]
fn nobody_misses_a_message_in_silence() {
    let before =
        || Story::of(3).resumed("c", None).published("a", (1, 1)).published("b", (1, 2)).published("d", (1, 3)).got("c", "a", (1, 1));
    let log = [("a", (1, 1)), ("b", (1, 2)), ("d", (1, 3))];
    before().got("c", "d", (1, 3)).log("n1", &log).breaks(Verdict::Missed);
    before().gap("c").got("c", "d", (1, 3)).log("n1", &log).holds();
    // A gap elsewhere does not excuse it.
    before().got("c", "d", (1, 3)).gap("c").log("n1", &log).breaks(Verdict::Missed);
    before().log("n1", &log).breaks_all(&[Verdict::Missed, Verdict::Missed]);
}

impl Story {
    #[track_caller]
    fn breaks_all(self, verdicts: &[Verdict]) {
        let found: Vec<_> = self.judged().findings.iter().map(|finding| finding.verdict).collect();
        assert_eq!(found, verdicts);
    }
}

#[test]
fn a_message_that_is_in_the_log_once_comes_once() {
    let before = || Story::of(3).resumed("c", None).published("a", (1, 1)).got("c", "a", (1, 1)).left("c");
    before().resumed("c", Some((1, 1))).got("c", "a", (1, 1)).log("n1", &[("a", (1, 1))]).breaks(Verdict::Repeated);
    // Adopted by another epoch it is still the same message.
    let adopted = before().resumed("c", Some((1, 1))).received("c", "a", (2, 3), true).log("n1", &[("a", (2, 3))]);
    adopted.breaks(Verdict::Repeated);
    before().resumed("c", Some((1, 1))).log("n1", &[("a", (1, 1))]).holds();
}

#[test]
fn a_retry_may_come_twice_after_a_split_only() {
    let log = [("a", (1, 1)), ("a", (2, 3))];
    let tried =
        Story::of(3).resumed("c", None).asked("a").tried("a", "n2").acked("a", (1, 1), 1).got("c", "a", (1, 1)).got("c", "a", (2, 3));
    tried.log("n1", &log).breaks(Verdict::RepeatedRetry);
    let split = Story::of(3).resumed("c", None).cut().asked("a").tried("a", "n2").acked("a", (1, 1), 1).mended();
    let judgement = split.got("c", "a", (1, 1)).got("c", "a", (2, 3)).log("n1", &log).holds();
    assert_eq!(judgement.counts.split_retries, 1);
}

#[test]
fn a_node_may_send_a_publish_to_both_sides_of_a_split_only() {
    let twice = |story: Story| story.got("c", "a", (1, 1)).got("c", "a", (2, 3)).log("n1", &[("a", (1, 1)), ("a", (2, 3))]);
    twice(Story::of(3).resumed("c", None).asked("a").acked("a", (1, 1), 1)).breaks(Verdict::Repeated);
    let split = || Story::of(3).resumed("c", None).cut().asked("a").acked("a", (1, 1), 1).mended();
    assert_eq!(twice(split()).holds().counts.split_retries, 1);
    // One place in the log is no second try.
    split().got("c", "a", (1, 1)).got("c", "a", (1, 1)).log("n1", &[("a", (1, 1))]).breaks(Verdict::Repeated);
}

#[test]
fn an_epochs_messages_come_in_its_order() {
    let before = || Story::of(3).resumed("c", None).asked("a").asked("b").acked("a", (1, 1), 2).acked("b", (1, 2), 2);
    let log = [("a", (1, 1)), ("b", (1, 2))];
    let found = before().got("c", "b", (1, 2)).got("c", "a", (1, 1)).log("n1", &log).judged().by_verdict();
    assert_eq!(found[&Verdict::Disordered], 1);
    before().got("c", "a", (1, 1)).got("c", "b", (1, 2)).log("n1", &log).holds();
}

#[test]
fn a_position_holds_one_message() {
    let before = || Story::of(3).resumed("c", None).asked("a").asked("b").acked("a", (1, 1), 2);
    before().got("c", "b", (1, 1)).got("c", "a", (2, 2)).log("n1", &[("b", (1, 1)), ("a", (2, 2))]).breaks(Verdict::Disagreed);
    before().got("c", "a", (1, 1)).got("c", "b", (2, 2)).log("n1", &[("a", (1, 1)), ("b", (2, 2))]).holds();
}

#[test]
fn clients_see_one_order_unless_a_split_made_two() {
    let log = [("a", (1, 1)), ("b", (2, 2))];
    let before = || Story::of(3).resumed("c", None).asked("a").asked("b").acked("a", (1, 1), 2).acked("b", (2, 2), 2);
    before().got("c", "b", (2, 2)).got("c", "a", (1, 1)).log("n1", &log).breaks(Verdict::Disagreed);
    let split = Story::of(3).resumed("c", None).cut().asked("a").asked("b").acked("a", (1, 1), 2).acked("b", (2, 2), 2).mended();
    split.got("c", "b", (2, 2)).got("c", "a", (1, 1)).log("n1", &log).holds();
    before().got("c", "a", (1, 1)).got("c", "b", (2, 2)).log("n1", &log).holds();
}

#[test]
fn the_log_agrees_with_time_unless_a_split_kept_them_apart() {
    let log = [("b", (1, 1)), ("a", (1, 2))];
    Story::of(3).published("a", (1, 2)).published("b", (1, 1)).log("n1", &log).breaks(Verdict::OutOfTime);
    // Asked for side by side, either may come first.
    Story::of(3).asked("a").asked("b").acked("a", (1, 2), 2).acked("b", (1, 1), 2).log("n1", &log).holds();
    Story::of(3).cut().published("a", (1, 2)).published("b", (1, 1)).mended().log("n1", &log).holds();
}

#[test]
fn nobody_sees_what_is_in_no_log() {
    Story::of(3).resumed("c", None).asked("a").got("c", "a", (1, 1)).log("n1", &[]).breaks(Verdict::Phantom);
    Story::of(3).resumed("c", None).asked("a").got("c", "a", (1, 1)).log("n1", &[("a", (1, 1))]).holds();
    Story::of(3).log("n1", &[("stranger", (1, 1))]).breaks(Verdict::Phantom);
    // What every node refused must not be there; what nobody answered for may be, or not.
    let failed = |story: Story| story.then(Event::Failed { id: "a".into(), why: "refused".into() });
    failed(Story::of(3).asked("a")).log("n1", &[("a", (1, 1))]).breaks(Verdict::Phantom);
    failed(Story::of(3).asked("a")).log("n1", &[]).holds();
    let unknown = |log: &[(&str, At)]| Story::of(3).asked("a").then(Event::Unknown { id: "a".into(), why: "cut".into() }).log("n1", log);
    unknown(&[("a", (1, 1))]).holds();
    unknown(&[]).holds();
}

#[test]
fn a_gap_is_told_only_when_it_may_be_true() {
    let before = || Story::of(3).resumed("c", None).published("a", (1, 1)).got("c", "a", (1, 1)).left("c");
    let log = [("a", (1, 1))];
    before().resumed("c", Some((1, 1))).gap("c").log("n1", &log).breaks(Verdict::FalseGap);
    // One death, and two nodes held all there was.
    before().crashed("n1").resumed("c", Some((1, 1))).gap("c").log("n2", &log).breaks(Verdict::FalseGap);
    before().crashed("n1").crashed("n2").resumed("c", Some((1, 1))).gap("c").log("n3", &log).holds();
    // Whose home was cut off cannot know what it answers for on the other side; but it knows that nobody restarted.
    let cut = || before().cut().resumed("c", Some((1, 1)));
    cut().gap("c").mended().log("n1", &log).holds();
    cut().gap_because("restart", "c").mended().log("n1", &log).breaks(Verdict::FalseGap);
    // Unless a process did: it remembers nothing, and reaches nobody who does. Without a cut it has only to ask.
    let restarted = || before().then(Event::Started { node: "n2".into() });
    restarted().cut().resumed("c", Some((1, 1))).gap_because("restart", "c").mended().log("n1", &log).holds();
    restarted().seconds(9).resumed("c", Some((1, 1))).gap_because("restart", "c").log("n1", &log).breaks(Verdict::FalseGap);
    // What one node held alone may have died with it, and so may something that nobody answered for.
    let alone = Story::of(3).resumed("c", None).asked("a").acked("a", (1, 1), 1).got("c", "a", (1, 1)).left("c").crashed("n1");
    alone.resumed("c", Some((1, 1))).gap("c").log("n2", &log).holds();
    let asked = before().asked("b").crashed("n1").then(Event::Unknown { id: "b".into(), why: "cut".into() });
    asked.resumed("c", Some((1, 1))).gap("c").log("n2", &log).holds();
}

#[test]
fn a_node_alone_that_restarts_is_a_gap_and_no_loss() {
    let story = Story::of(1).resumed("c", None).asked("a").acked("a", (1, 1), 1).got("c", "a", (1, 1)).crashed("n1").left("c");
    story.resumed("c", Some((1, 1))).gap("c").published("b", (2, 1)).got("c", "b", (2, 1)).log("n1", &[("b", (2, 1))]).holds();
}

#[test]
fn a_cursor_never_goes_back() {
    let before =
        || Story::of(3).resumed("c", None).published("a", (1, 1)).published("b", (1, 2)).got("c", "a", (1, 1)).got("c", "b", (1, 2));
    let log = [("a", (1, 1)), ("b", (1, 2))];
    before().left("c").resumed("c", Some((1, 1))).log("n1", &log).breaks(Verdict::CursorWentBack);
    before().left("c").resumed("c", Some((1, 2))).log("n1", &log).holds();
}

#[test]
fn everybody_has_everything_soon_after_all_is_mended() {
    let before = |seconds| Story::of(3).resumed("c", None).cut().published("a", (1, 1)).mended().seconds(seconds).got("c", "a", (1, 1));
    before(7).log("n1", &[("a", (1, 1))]).breaks(Verdict::NotHealed);
    before(4).log("n1", &[("a", (1, 1))]).holds();
    // Who came back only now, or while the next thing was broken, has time again.
    let away = Story::of(3).resumed("c", None).published("a", (1, 1)).left("c").seconds(9).resumed("c", None).got("c", "a", (1, 1));
    away.log("n1", &[("a", (1, 1))]).holds();
    let again = Story::of(3).resumed("c", None).published("a", (1, 1)).seconds(4).cut().seconds(9).got("c", "a", (1, 1)).mended();
    again.log("n1", &[("a", (1, 1))]).holds();
}

#[test]
fn nodes_agree_in_the_end() {
    let before = || Story::of(3).published("a", (1, 1)).published("b", (1, 2)).log("n1", &[("a", (1, 1)), ("b", (1, 2))]);
    before().log("n2", &[("a", (1, 1))]).breaks(Verdict::NotHealed);
    before().log("n2", &[("a", (1, 1)), ("b", (1, 2))]).holds();
}

#[test]
fn who_is_there_is_the_truth_at_rest() {
    // Ann twice, bob once, one without a name; eve was there and has gone elsewhere.
    let there = || {
        let came = Story::of(3).log("n1", &[]).came("1", "ann").came("2", "bob").came("3", "ann").came("4", "").came("5", "eve");
        came.went("5").came("5", "bob").went("2").came("2", "bob")
    };
    let all = [("ann", 2), ("bob", 2)];
    there().said(&all, 1).holds();
    assert_eq!(there().said(&all, 1).said(&all, 1).holds().counts.presence, 2);
    /// What is wrong, who is said to be there with how many connections, and how many without a name.
    type Wrong<'a> = (&'a str, &'a [(&'a str, u64)], u64);
    let wrong: [Wrong<'_>; 6] = [
        ("missing", &[("ann", 2)], 1),
        ("a ghost", &[("ann", 2), ("bob", 2), ("eve", 1)], 1),
        ("a ghost without connections", &[("ann", 2), ("bob", 2), ("eve", 0)], 1),
        ("doubled", &[("ann", 2), ("ann", 2), ("bob", 2)], 1),
        ("a connection too many", &[("ann", 3), ("bob", 2)], 1),
        ("a connection that is missing", &[("ann", 2), ("bob", 1)], 1),
    ];
    for (what, members, anonymous) in wrong {
        let found = there().said(members, anonymous).judged();
        assert!(!found.findings.is_empty() && found.findings.iter().all(|finding| finding.verdict == Verdict::PresenceWrong), "{what}");
        // One node that is right does not make up for one that is not.
        let both = there().said(&all, 1).said(members, anonymous).judged();
        assert_eq!(both.findings.len(), found.findings.len(), "{what}");
    }
    there().said(&all, 0).breaks(Verdict::PresenceWrong);
    there().said(&all, 2).breaks(Verdict::PresenceWrong);
    // Doubled and missing at once, so that the number is right.
    let found = there().said(&[("ann", 2), ("ann", 2)], 1).judged();
    let words: Vec<&str> = found.findings.iter().map(|finding| finding.words.as_str()).collect();
    assert!(
        words.iter().any(|words| words.contains("does not list bob")) && words.iter().any(|words| words.contains("ann 2 times")),
        "{words:?}"
    );
}

#[test]
fn a_guest_that_nobody_lets_in_is_found_too() {
    let gone = || Story::of(3).log("n1", &[]).came("1", "ann").came("2", "bob").went("2");
    gone().said(&[("ann", 1)], 0).breaks(Verdict::PresenceWrong);
    gone().came("2", "bob").said(&[("ann", 1), ("bob", 1)], 0).holds();
    assert!(judge(&gone().records).is_err(), "nobody was asked");
}

#[test]
fn what_is_asked_for_is_taken_soon_unless_something_is_broken() {
    let log = [("a", (1, 1))];
    let asked = |story: Story| story.seconds(9).asked("a");
    asked(Story::of(3)).seconds(6).acked("a", (1, 1), 2).log("n1", &log).breaks(Verdict::Unavailable);
    asked(Story::of(3)).seconds(4).acked("a", (1, 1), 2).log("n1", &log).holds();
    let never = |story: Story| asked(story).seconds(20).then(Event::Unknown { id: "a".into(), why: "silence".into() });
    never(Story::of(3)).log("n1", &log).breaks(Verdict::Unavailable);
    // Broken before, meanwhile, or a death.
    asked(Story::of(3).seconds(7).cut().seconds(1).mended()).seconds(6).acked("a", (1, 1), 2).log("n1", &log).breaks(Verdict::Unavailable);
    let just_mended = Story::of(3).seconds(7).cut().seconds(1).mended().asked("a").seconds(6);
    just_mended.acked("a", (1, 1), 2).log("n1", &log).holds();
    asked(Story::of(3)).cut().seconds(6).acked("a", (1, 1), 2).mended().log("n1", &log).holds();
    asked(Story::of(3)).crashed("n2").seconds(6).acked("a", (1, 1), 2).log("n1", &log).holds();
}

#[test]
fn what_every_network_does_excuses_nothing() {
    let slow = |excuses_after_ms| Story::of(3).seconds(9).broken(excuses_after_ms).asked("a").seconds(6).acked("a", (1, 1), 2).mended();
    slow(Some(0)).log("n1", &[("a", (1, 1))]).holds();
    slow(None).log("n1", &[("a", (1, 1))]).breaks(Verdict::Unavailable);
    let late = |excuses_after_ms| {
        let story = Story::of(3).resumed("c", None).broken(excuses_after_ms).published("a", (1, 1)).seconds(7).got("c", "a", (1, 1));
        story.mended().log("n1", &[("a", (1, 1))])
    };
    late(Some(0)).holds();
    late(None).breaks(Verdict::NotHealed);
    // A pause excuses once it was long enough, and from its beginning on.
    let paused = |seconds: u64| {
        let story = Story::of(3).seconds(9).broken(Some(1_000)).asked("a").seconds(seconds).mended();
        story.seconds(6 - seconds).acked("a", (1, 1), 2).log("n1", &[("a", (1, 1))])
    };
    paused(0).breaks(Verdict::Unavailable);
    paused(1).holds();
    // Nor does it explain two orders.
    let split = |excuses_after_ms| {
        let story = Story::of(3).resumed("c", None).broken(excuses_after_ms).asked("a").asked("b");
        let story = story.acked("a", (1, 1), 2).acked("b", (2, 2), 2).mended();
        story.got("c", "b", (2, 2)).got("c", "a", (1, 1)).log("n1", &[("a", (1, 1)), ("b", (2, 2))])
    };
    split(Some(0)).holds();
    split(None).breaks(Verdict::Disagreed);
}

#[test]
fn half_a_history_is_refused() {
    assert!(judge(&[]).is_err(), "no setup");
    assert!(judge(&Story::of(3).records).is_err(), "no logs");
    assert!(judge(&Story::of(3).acked("a", (1, 1), 2).log("n1", &[]).records).is_err(), "an answer without a question");
}
