//! While nothing is broken, what is asked for is taken soon.

use super::facts::Facts;
use super::{Judgement, Verdict, WHOLE_AFTER_US};

pub(super) fn judge(facts: &Facts<'_>, judgement: &mut Judgement) {
    for (id, publish) in &facts.publishes {
        let due = publish.asked_at + WHOLE_AFTER_US;
        // It was whole when it was asked for, and stayed so.
        let is_whole = facts.is_whole(publish.asked_at) && facts.is_whole(due) && due <= facts.end;
        if !is_whole || publish.acked.is_some_and(|ack| ack.at <= due) {
            continue;
        }
        let came = publish
            .acked
            .map_or("was never taken".to_owned(), |ack| format!("was taken after {:.1} s", (ack.at - publish.asked_at) as f64 / 1e6));
        let words = format!("{id} of {} {came}, and nothing was broken", publish.channel);
        judgement.find(Verdict::Unavailable, publish.asked_at, words);
    }
}
