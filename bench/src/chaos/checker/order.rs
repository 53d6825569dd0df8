//! One order for all: a position holds one message, clients agree with the log, and the log agrees with time.

use std::collections::BTreeMap;

use super::facts::{Facts, Step, position};
use super::{Judgement, Verdict};
use crate::chaos::history::Kept;

pub(super) fn judge(facts: &Facts<'_>, judgement: &mut Judgement) {
    one_message_at_a_position(facts, judgement);
    for (channel, logs) in &facts.logs {
        let Some(log) = logs.values().max_by_key(|log| log.len()) else { continue };
        log_agrees_with_time(channel, log, facts, judgement);
        clients_agree_with_the_log(channel, log, facts, judgement);
    }
}

fn one_message_at_a_position(facts: &Facts<'_>, judgement: &mut Judgement) {
    let mut holds = BTreeMap::new();
    let acks = facts.publishes.iter().filter_map(|(id, publish)| publish.acked.map(|ack| (ack.at, *id, ack.cursor, "its ack")));
    let kept = facts
        .logs
        .values()
        .flatten()
        .flat_map(|(node, log)| log.iter().map(|kept| (facts.end, kept.id.as_str(), kept.cursor.as_str(), *node)));
    let seen = facts.stays.iter().flat_map(|((client, _), stay)| {
        stay.steps.iter().filter_map(|(at, step)| match step {
            Step::Received(receipt) => Some((*at, receipt.id, receipt.cursor, *client)),
            _ => None,
        })
    });
    for (at, id, cursor, who) in acks.chain(kept).chain(seen) {
        let Some((slot, pos)) = position(cursor) else { continue };
        let (known, first) = *holds.entry((slot, pos.epoch, pos.idx)).or_insert((id, who));
        if known != id {
            judgement.find(Verdict::Disagreed, at, format!("{pos:?} of slot {slot} is {known} for {first} and {id} for {who}"));
        }
    }
}

/// What was acknowledged before another was asked for stands before it, unless a split kept them apart.
fn log_agrees_with_time(channel: &str, log: &[Kept], facts: &Facts<'_>, judgement: &mut Judgement) {
    // From the end on: the message behind that was acknowledged first.
    let mut earliest: Option<(u64, &str)> = None;
    for kept in log.iter().rev().filter(|kept| !kept.late) {
        let Some(publish) = facts.publishes.get(kept.id.as_str()) else { continue };
        if let Some((acked, other)) = earliest
            && acked < publish.asked_at
            && !facts.is_divided(acked.saturating_sub(super::WHOLE_AFTER_US), publish.acked.map_or(publish.asked_at, |ack| ack.at))
        {
            let words = format!("{} of {channel} stands before {other}, which was acknowledged before it was asked for", kept.id);
            judgement.find(Verdict::OutOfTime, publish.asked_at, words);
        }
        if let Some(ack) = publish.acked
            && earliest.is_none_or(|(acked, _)| ack.at < acked)
        {
            earliest = Some((ack.at, &kept.id));
        }
    }
}

/// Messages come in the order of the log, unless a split made two of it.
fn clients_agree_with_the_log(channel: &str, log: &[Kept], facts: &Facts<'_>, judgement: &mut Judgement) {
    let place: BTreeMap<&str, usize> = log.iter().enumerate().map(|(number, kept)| (kept.id.as_str(), number)).collect();
    for ((client, _), stay) in facts.stays.iter().filter(|((_, of), _)| *of == channel) {
        let mut last: Option<(usize, u64, &str)> = None;
        for (at, step) in &stay.steps {
            let Step::Received(receipt) = step else { continue };
            if receipt.late || stay.first.get(receipt.id) != Some(at) {
                continue;
            }
            let Some(&number) = place.get(receipt.id) else { continue };
            let asked = facts.publishes.get(receipt.id).map_or(*at, |publish| publish.asked_at);
            if let Some((before, asked_before, id)) = last
                && number < before
                && !log[before].late
                && !facts.is_divided(asked.min(asked_before), *at)
            {
                let words = format!("{client} got {} of {channel} after {id}, which stands behind it in the log", receipt.id);
                judgement.find(Verdict::Disagreed, *at, words);
            }
            last = Some((number, asked, receipt.id));
        }
    }
}
