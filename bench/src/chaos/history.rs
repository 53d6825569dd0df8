//! What happened in a run, one line of JSON an event, in the order of one clock.
//!
//! All publishers, all listeners and whoever breaks things write into one history, so that "was acknowledged before" means the
//! same for all of them.

use std::io::{BufRead, Write};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Microseconds since the run began.
    pub(crate) at: u64,
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// What may happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// The first line: what the run is about.
    Setup { seed: u64, nodes: usize, replicas: u32 },
    /// A publisher wants this message published; its id is unique in the run.
    Publish { id: String, channel: String },
    /// It asks a node. A message may be asked for several times, of several nodes, with the same id.
    Try { id: String, node: String },
    /// A node answered that it has it, in so many copies.
    Acked { id: String, node: String, cursor: String, copies: u32 },
    /// The publisher gave up; the message may be there or not.
    Unknown { id: String, why: String },
    /// The publisher gave up, and every node it asked said that it did not take the message.
    Failed { id: String, why: String },
    /// A client listens now, from this cursor on.
    Resumed { client: String, channel: String, node: String, way: String, cursor: String },
    /// A client received a message, and would come back with this cursor.
    Received { client: String, channel: String, id: String, cursor: String, late: bool },
    /// A client was told that messages are missing.
    Gap { client: String, channel: String, reason: String },
    /// A client does not listen any more, until it resumes.
    Left { client: String, channel: String, why: String },
    /// Something is broken from here on. What `divides` can make nodes take each other for dead, so that two write one slot. What is
    /// mended sooner than `excuses_after_ms` excuses nothing, and what has none never does.
    Broken { fault: String, divides: bool, excuses_after_ms: Option<u64> },
    /// And is whole again from here on.
    Mended { fault: String },
    /// A process was killed: what only it held is gone.
    Crashed { node: String },
    /// A process was started again: it remembers nothing of what was before.
    Started { node: String },
    /// A guest is on the channel of guests from here on: a user's session, or one of nobody.
    Came { session: String, user: Option<String> },
    /// And is not any more, until it comes again.
    Went { session: String },
    /// At rest, what a node said of who is there, as its pages list it.
    Present { node: String, users: u64, anonymous: u64, members: Vec<Member> },
    /// What a node has of a channel when everything is over, oldest first.
    Final { node: String, channel: String, messages: Vec<Kept> },
}

/// A message in a node's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) id: String,
    pub(crate) cursor: String,
    #[serde(default)]
    pub(crate) late: bool,
}

/// A user whom a node lists, with its connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) user: String,
    pub(crate) connections: u64,
}

/// Writes a history down.
pub(crate) fn write(records: &[Record], mut to: impl Write) -> anyhow::Result<()> {
    for record in records {
        serde_json::to_writer(&mut to, record)?;
        to.write_all(b"\n")?;
    }
    Ok(to.flush()?)
}

/// Reads what [`write()`] wrote.
pub(crate) fn read(from: impl BufRead) -> anyhow::Result<Vec<Record>> {
    let parse = |(number, line): (usize, std::io::Result<String>)| {
        serde_json::from_str(&line?).with_context(|| format!("line {} is no event", number + 1))
    };
    from.lines().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_survives_being_written() {
        let kept = Kept { id: "a".into(), cursor: "c".into(), late: true };
        let records = vec![
            Record { at: 0, event: Event::Setup { seed: 7, nodes: 3, replicas: 2 } },
            Record { at: 9, event: Event::Publish { id: "a".into(), channel: "x".into() } },
            Record { at: 12, event: Event::Final { node: "n1".into(), channel: "x".into(), messages: vec![kept] } },
        ];
        let mut bytes = Vec::new();
        write(&records, &mut bytes).unwrap();
        assert_eq!(read(&bytes[..]).unwrap(), records);
        assert!(read(&b"{}"[..]).is_err());
    }
}
