//! What a node says of itself to all others. Only the node itself writes it; it travels as key-values of the gossip.

use std::net::SocketAddr;

use super::super::core::State;
use super::super::name::NodeName;
use super::super::release::Release;
use crate::log::Tag;

/// Longest address a node may give, in bytes: a DNS name and a port.
const ADDRESS_MAX: usize = 261;

/// One node, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub name: NodeName,
    /// Its process; new with every start.
    pub tag: Tag,
    /// When the process started, in ms since 1970: of two processes of one name the later one is meant, unless the other is heard.
    pub started: u64,
    /// Where its gossip is heard.
    pub gossip: SocketAddr,
    /// Where other nodes reach its links: `host:port`.
    pub links: String,
    /// Where it is in its life.
    pub state: State,
    /// The oldest and the newest protocol between nodes that it speaks.
    pub protocol: (u32, u32),
    /// What it can do beyond that, one bit each.
    pub features: u64,
    /// The release it runs, for people.
    pub version: String,
}

/// Why a record is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its {0} is missing or not valid")]
pub struct BadRecord(pub &'static str);

impl Record {
    /// What it speaks with other nodes.
    #[must_use]
    pub fn release(&self) -> Release {
        Release { protocol: self.protocol, features: self.features }
    }

    /// The key-values, without what the gossip itself carries (name, start, gossip address).
    pub(in crate::cluster) fn pairs(&self) -> Vec<(&'static str, String)> {
        vec![
            ("tag", format!("{:x}", self.tag.get())),
            ("links", self.links.clone()),
            ("state", self.state.as_str().to_owned()),
            ("protocol", format!("{}-{}", self.protocol.0, self.protocol.1)),
            ("features", format!("{:x}", self.features)),
            ("version", self.version.clone()),
        ]
    }

    /// Reads what another node wrote. It holds the key and may still be wrong.
    pub(in crate::cluster) fn read<'a>(
        name: &str,
        started: u64,
        gossip: SocketAddr,
        get: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Self, BadRecord> {
        let text = |key: &'static str| get(key).ok_or(BadRecord(key));
        let hex = |key| u64::from_str_radix(text(key)?, 16).map_err(|_| BadRecord(key));
        let links = text("links")?;
        let is_address = links.len() <= ADDRESS_MAX
            && links.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
            && links.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_address {
            return Err(BadRecord("links"));
        }
        let (oldest, newest) = text("protocol")?.split_once('-').ok_or(BadRecord("protocol"))?;
        let protocol = match (oldest.parse(), newest.parse()) {
            (Ok(oldest), Ok(newest)) if oldest <= newest => (oldest, newest),
            _ => return Err(BadRecord("protocol")),
        };
        Ok(Self {
            name: NodeName::new(name).ok_or(BadRecord("name"))?,
            tag: Tag::new(hex("tag")?).ok_or(BadRecord("tag"))?,
            started,
            gossip,
            links: links.to_owned(),
            state: State::parse(text("state")?).ok_or(BadRecord("state"))?,
            protocol,
            features: hex("features")?,
            // For people only: whatever it is, it is cut to a line.
            version: text("version")?.chars().filter(|c| !c.is_control()).take(32).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            name: NodeName::new("a-1").unwrap(),
            tag: Tag::new(0xabc).unwrap(),
            started: 17,
            gossip: "127.0.0.1:8003".parse().unwrap(),
            links: "node-a.internal:8003".into(),
            state: State::Draining,
            protocol: (1, 2),
            features: 5,
            version: "0.1.0".into(),
        }
    }

    fn read_with(key: &str, value: Option<&str>) -> Result<Record, BadRecord> {
        let mut pairs: std::collections::HashMap<_, _> = record().pairs().into_iter().collect();
        match value {
            Some(value) => pairs.insert(record().pairs().iter().find(|pair| pair.0 == key).unwrap().0, value.to_owned()),
            None => pairs.remove(key),
        };
        Record::read("a-1", 17, record().gossip, |key| pairs.get(key).map(String::as_str))
    }

    #[test]
    fn a_record_is_read_as_it_was_written_in_every_state() {
        for state in State::ALL {
            let written = Record { state, ..record() };
            let pairs: std::collections::HashMap<_, _> = written.pairs().into_iter().collect();
            assert_eq!(Record::read("a-1", 17, written.gossip, |key| pairs.get(key).map(String::as_str)), Ok(written));
        }
    }

    #[test]
    fn a_record_that_lacks_something_or_says_nonsense_is_refused_by_the_name_of_what_is_wrong() {
        for (key, _) in record().pairs() {
            assert_eq!(read_with(key, None), Err(BadRecord(key)));
        }
        for (key, value) in [
            ("tag", "0"),
            ("tag", "10000000000"),
            ("tag", "-1"),
            ("links", "nowhere"),
            ("links", ":80"),
            ("links", "host:0"),
            ("links", "ho st:80"),
            ("state", "Active"),
            ("protocol", "3-1"),
            ("protocol", "1"),
            ("features", "x"),
        ] {
            assert_eq!(read_with(key, Some(value)), Err(BadRecord(key)), "{key} {value}");
        }
        assert_eq!(read_with("version", Some("1\n2")).unwrap().version, "12");
    }

    #[test]
    fn what_a_later_release_says_besides_is_passed_over() {
        let mut pairs: std::collections::HashMap<_, _> = record().pairs().into_iter().collect();
        pairs.insert("weight", "3".to_owned());
        pairs.insert("features", format!("{:x}", u64::MAX));
        let read = Record::read("a-1", 17, record().gossip, |key| pairs.get(key).map(String::as_str)).unwrap();
        assert_eq!(read, Record { features: u64::MAX, ..record() });
    }
}
