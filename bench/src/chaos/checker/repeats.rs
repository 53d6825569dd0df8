//! Every message comes once, and no cursor goes back.

use std::collections::BTreeMap;

use super::facts::{Facts, Publish, Step, position};
use super::{Judgement, Verdict};

pub(super) fn judge(facts: &Facts<'_>, judgement: &mut Judgement) {
    for ((client, channel), stay) in &facts.stays {
        let mut seen: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut newest = BTreeMap::new();
        let mut place = String::new();
        for (at, step) in &stay.steps {
            match step {
                Step::Resumed { node, way, cursor } => place = format!("{node} over {way} since {cursor:?}"),
                Step::Received(receipt) => {
                    let pos = position(receipt.cursor);
                    let before = seen.entry(receipt.id).or_default();
                    if !before.is_empty() {
                        // The same place in the log, or a second try that the log took for another message? The publisher's; or, as
                        // long as it was not answered, that of the node it was sent to, which sends it to whoever is the home.
                        let is_elsewhere = pos.is_some_and(|pos| before.iter().all(|cursor| position(cursor) != Some(pos)));
                        let publish = facts.publishes.get(receipt.id).filter(|_| is_elsewhere);
                        let split = publish.is_some_and(|publish| facts.is_divided(publish.asked_at, unanswered_until(publish)));
                        let retry = split || publish.is_some_and(is_retried);
                        let words = format!("{client} got {} of {channel} again, on {place}", receipt.id);
                        match (retry, split) {
                            (true, true) => judgement.counts.split_retries += 1,
                            (true, false) => judgement.find(Verdict::RepeatedRetry, *at, words),
                            (false, _) => judgement.find(Verdict::Repeated, *at, words),
                        }
                    }
                    before.push(receipt.cursor);
                    let Some((slot, pos)) = pos else { continue };
                    let newest = newest.entry((slot, pos.epoch)).or_insert(0);
                    if pos.idx < *newest && before.len() == 1 {
                        let words = format!("{client} got {} of {channel} at {pos:?} after index {newest}, on {place}", receipt.id);
                        judgement.find(Verdict::Disordered, *at, words);
                    }
                    *newest = pos.idx.max(*newest);
                }
                Step::Gap { .. } | Step::Left => {}
            }
        }
        cursors_never_go_back(client, channel, &stay.steps, judgement);
    }
}

/// Within one connection a client's own cursor only goes on, and it comes back with the newest it had.
fn cursors_never_go_back(client: &str, channel: &str, steps: &[(u64, Step<'_>)], judgement: &mut Judgement) {
    let mut newest = None;
    for (at, step) in steps {
        let cursor = match step {
            Step::Resumed { cursor, .. } => cursor,
            Step::Received(receipt) => receipt.cursor,
            Step::Gap { .. } | Step::Left => continue,
        };
        let Some((slot, pos)) = position(cursor) else { continue };
        if let Some((known, was)) = newest.replace((slot, pos))
            && known == slot
            && was.epoch == pos.epoch
            && pos.idx < was.idx
        {
            judgement.find(Verdict::CursorWentBack, *at, format!("{client} stood at {was:?} of {channel} and was sent back to {pos:?}"));
        }
    }
}

/// Until when somebody may have tried it.
fn unanswered_until(publish: &Publish<'_>) -> u64 {
    let tried = publish.tries.iter().map(|(tried, _)| *tried).max().unwrap_or(publish.asked_at);
    publish.acked.map_or(tried, |ack| ack.at.max(tried))
}

fn is_retried(publish: &Publish<'_>) -> bool {
    publish.tries.len() > 1
}
