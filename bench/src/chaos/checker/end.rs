//! What is in the logs when everything is over: nothing acknowledged is lost, nothing refused is there, all nodes agree.

use super::facts::Facts;
use super::{Judgement, Verdict};

pub(super) fn judge(facts: &Facts<'_>, judgement: &mut Judgement) {
    for (id, publish) in &facts.publishes {
        let is_kept = facts.is_kept(publish.channel, id);
        if let Some(ack) = publish.acked.filter(|_| !is_kept) {
            if facts.holders_died(ack.at, ack.copies) {
                judgement.counts.died_with_holders += 1;
            } else {
                let words = format!("{id} of {}, acknowledged with {} copies, is in no log", publish.channel, ack.copies);
                judgement.find(Verdict::Lost, ack.at, words);
            }
        }
        if publish.is_refused && is_kept {
            let words = format!("{id} of {} was refused by every node, and is in a log", publish.channel);
            judgement.find(Verdict::Phantom, publish.asked_at, words);
        }
    }
    for (channel, logs) in &facts.logs {
        for (node, log) in logs {
            for kept in log.iter().filter(|kept| !facts.publishes.contains_key(kept.id.as_str())) {
                judgement.find(Verdict::Phantom, facts.end, format!("{} of {channel} on {node} was never published", kept.id));
            }
        }
        let mut logs = logs.iter();
        let Some((first, longest)) = logs.next() else { continue };
        for (node, log) in logs {
            let at = longest.iter().zip(log.iter()).position(|(a, b)| a.id != b.id);
            if at.is_some() || longest.len() != log.len() {
                let at = at.unwrap_or(longest.len().min(log.len()));
                let words =
                    format!("{channel} has {} messages on {first} and {} on {node}, apart from number {at} on", longest.len(), log.len());
                judgement.find(Verdict::NotHealed, facts.end, words);
            }
        }
    }
    for ((client, channel), stay) in &facts.stays {
        for (id, at) in stay.first.iter().filter(|(id, _)| !facts.is_kept(channel, id)) {
            let publish = facts.publishes.get(id);
            // What a client saw was committed, in at least as many copies as were acknowledged.
            let copies = publish.and_then(|publish| publish.acked).map_or(1, |ack| ack.copies);
            let since = publish.map_or(*at, |publish| publish.asked_at);
            if publish.is_none() || !facts.holders_died(since, copies) {
                judgement.find(Verdict::Phantom, *at, format!("{client} saw {id} of {channel}, which is in no log"));
            }
        }
    }
}
