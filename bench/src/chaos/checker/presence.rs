//! Who is on a channel is one answer at rest, and the truth: nobody is missing, nobody is there who is not, and nobody is there twice.

use std::collections::BTreeMap;

use super::facts::{Answer, Facts};
use super::{Judgement, Verdict};

pub(super) fn judge(facts: &Facts<'_>, judgement: &mut Judgement) {
    for answer in &facts.present {
        for words in wrong(answer) {
            judgement.find(Verdict::PresenceWrong, answer.at, words);
        }
    }
}

/// What is wrong with a node's answer, held against who was there in that moment.
fn wrong(answer: &Answer<'_>) -> Vec<String> {
    let node = answer.node;
    let mut found: Vec<String> =
        answer.away.iter().map(|session| format!("{session} is connected to no node, long after all was mended")).collect();
    let mut listed: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for member in answer.members {
        listed.entry(&member.user).or_default().push(member.connections);
    }
    let mut live: BTreeMap<&str, u64> = BTreeMap::new();
    let mut anonymous = 0;
    for user in answer.live.values() {
        match user {
            Some(user) => *live.entry(user).or_default() += 1,
            None => anonymous += 1,
        }
    }
    for (user, sessions) in &live {
        match listed.get(user).map(Vec::as_slice) {
            None => found.push(format!("{node} does not list {user}, who is there")),
            Some([connections]) if connections == sessions => {}
            Some([connections]) => found.push(format!("{node} says that {user} has {connections} connections, when it has {sessions}")),
            Some(lines) => found.push(format!("{node} lists {user} {} times", lines.len())),
        }
    }
    for user in listed.keys().filter(|user| !live.contains_key(*user)) {
        found.push(format!("{node} lists {user}, who is not there"));
    }
    if answer.users != live.len() as u64 {
        found.push(format!("{node} counts {} users, when there are {}", answer.users, live.len()));
    }
    if answer.anonymous != anonymous {
        found.push(format!("{node} counts {} without a name, when there are {anonymous}", answer.anonymous));
    }
    found
}
