//! A gap is told only where something is missing, or where nobody can know.

use super::facts::{Facts, Publish, Stay, Step};
use super::{Judgement, Verdict, WHOLE_AFTER_US};

pub(super) fn judge(facts: &Facts<'_>, judgement: &mut Judgement) {
    for ((client, channel), stay) in &facts.stays {
        // Since when the client's cursor has been the one that it came back with.
        let mut stood = 0;
        for (at, step) in &stay.steps {
            match step {
                Step::Received(_) => stood = *at,
                Step::Gap { reason } if !is_true(facts, channel, stay, reason, stood, *at) => {
                    judgement.find(
                        Verdict::FalseGap,
                        *at,
                        format!("{client} was told of a gap ({reason}) in {channel}, and missed nothing"),
                    );
                }
                _ => {}
            }
        }
    }
}

/// Whether something that was there before the gap never came, or may have died with all who held it: what one node alone held, or
/// what nobody can say how many held.
fn is_true(facts: &Facts<'_>, channel: &str, stay: &Stay<'_>, reason: &str, stood: u64, told: u64) -> bool {
    let mut before = facts.publishes.iter().filter(|(_, publish)| publish.channel == channel && publish.asked_at < told);
    let is_there = |id: &str, publish: &Publish<'_>| publish.acked.is_some() || facts.is_kept(channel, id);
    if before.any(|(id, publish)| is_there(id, publish) && !stay.first.contains_key(id)) {
        return true;
    }
    let since = stood.saturating_sub(WHOLE_AFTER_US);
    // Who takes over from a home that may live on the other side of a cut cannot know what it answers for there. What it
    // answered for comes later, so in hindsight nothing is missing.
    if reason == "failover" && facts.is_divided(since, told) {
        return true;
    }
    // Nor can a process that began anew, and is cut off from all who remember: as far as it can tell everybody began anew.
    if reason == "restart" && facts.is_divided(since, told) && facts.has_restarted(told) {
        return true;
    }
    // A takeover that cannot ask the old home may have to assume that it answered for something alone.
    if !facts.has_crashed(since, told) {
        return false;
    }
    let mut before = facts.publishes.values().filter(|publish| publish.channel == channel && publish.asked_at < told);
    let was_alone = |publish: &Publish<'_>| publish.acked.is_none_or(|ack| ack.copies < 2 && ack.at >= since);
    facts.holders_died(since, facts.replicas) || facts.is_divided(since, told) || before.any(was_alone)
}
