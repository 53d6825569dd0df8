//! Nobody misses a message in silence.

use super::facts::{Facts, Step};
use super::{Judgement, Verdict};

pub(super) fn judge(facts: &Facts<'_>, judgement: &mut Judgement) {
    for ((client, channel), stay) in &facts.stays {
        // All clients begin with the channel, so that everything in it is theirs.
        let Some(began) = stay.steps.iter().find_map(|(at, step)| matches!(step, Step::Resumed { .. }).then_some(*at)) else { continue };
        let Some(log) = facts.logs.get(channel).and_then(|logs| logs.values().max_by_key(|log| log.len())) else { continue };
        for (number, kept) in log.iter().enumerate().filter(|(_, kept)| !stay.first.contains_key(kept.id.as_str())) {
            let seen = |kept: &crate::chaos::history::Kept| stay.first.get(kept.id.as_str()).copied();
            let before = log[..number].iter().rev().find_map(seen).unwrap_or(0);
            let after = log[number..].iter().find_map(seen).unwrap_or(facts.end);
            // A merge may bring what stands earlier in the log later.
            let hole = before.min(after)..=before.max(after);
            if !stay.gaps.iter().any(|gap| hole.contains(gap)) {
                let words = format!("{client} never got {} of {channel}, number {number} in the log", kept.id);
                judgement.find(Verdict::Missed, facts.publishes.get(kept.id.as_str()).map_or(0, |publish| publish.asked_at), words);
            }
        }
        // What died with its holders is in no log, and who was there must be told, also who has it: what comes next does not continue it.
        for (id, publish) in facts.publishes.iter().filter(|(_, publish)| publish.channel == *channel) {
            let Some(ack) = publish.acked.filter(|ack| ack.at > began && !facts.is_kept(channel, id)) else { continue };
            let was_told = stay.gaps.iter().any(|gap| *gap > ack.at);
            if !was_told && facts.holders_died(ack.at, ack.copies) {
                let words = format!("{client} was not told that {id} of {channel} died with its holders");
                judgement.find(Verdict::Missed, ack.at, words);
            }
        }
    }
}
