//! What is acknowledged reaches everybody soon, once nothing is broken any more.

use super::facts::{Facts, Step};
use super::{Judgement, Verdict, WHOLE_AFTER_US};

pub(super) fn judge(facts: &Facts<'_>, judgement: &mut Judgement) {
    for ((client, channel), stay) in &facts.stays {
        let connected = connected(&stay.steps, facts.end);
        for (id, publish) in facts.publishes.iter().filter(|(id, publish)| publish.channel == *channel && facts.is_kept(channel, id)) {
            let Some(ack) = publish.acked else { continue };
            let Some(due) = due(facts, &connected, ack.at) else { continue };
            match stay.first.get(id) {
                Some(came) if *came > due => {
                    let words = format!("{client} got {id} of {channel} {:.1} s after it was due", (came - due) as f64 / 1e6);
                    judgement.find(Verdict::NotHealed, *came, words);
                }
                // Missing for good is judged as a miss.
                _ => {}
            }
        }
    }
}

/// When the client must have what was acknowledged then: the first moment at which it has listened, and nothing was broken, long
/// enough. `None` when there was none before the end.
fn due(facts: &Facts<'_>, connected: &[(u64, u64)], acked: u64) -> Option<u64> {
    connected.iter().filter(|(_, end)| *end > acked).find_map(|(begin, end)| {
        let due = facts.next_whole(acked.max(*begin));
        (due.max(begin + WHOLE_AFTER_US) <= *end).then_some(due)
    })
}

/// From when to when the client listened.
fn connected(steps: &[(u64, Step<'_>)], end: u64) -> Vec<(u64, u64)> {
    let mut spans = Vec::new();
    let mut since = None;
    for (at, step) in steps {
        match step {
            Step::Resumed { .. } => since = Some(*at),
            Step::Left => spans.extend(since.take().map(|since| (since, *at))),
            Step::Received(_) | Step::Gap { .. } => {}
        }
    }
    spans.extend(since.map(|since| (since, end)));
    spans
}
