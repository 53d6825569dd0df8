//! Who is on a channel is one answer at rest, and the truth.

use super::facts::Facts;
use super::{Judgement, Verdict};

pub(super) fn judge(facts: &Facts<'_>, judgement: &mut Judgement) {
    for (node, counted, there) in &facts.present {
        if counted != there {
            let words = format!("{node} says that {counted} are there, when {there} are");
            judgement.find(Verdict::PresenceWrong, facts.end, words);
        }
    }
}
