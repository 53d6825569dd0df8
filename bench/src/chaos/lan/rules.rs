//! Which packets are dropped between whom, as rules of nftables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One end of a way through the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Node(usize),
    /// The programs of this machine: publishers and clients.
    Clients,
}

/// What is dropped: of so many packets in a hundred, from one end to the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    percent: BTreeMap<(End, End), u32>,
}

impl Rules {
    /// Drops everything that goes this way, in silence; the other way stays open.
    pub(crate) fn cut(&mut self, from: End, to: End) {
        self.lose(from, to, 100);
    }

    /// Drops so many of a hundred packets that go this way.
    pub(crate) fn lose(&mut self, from: End, to: End, percent: u32) {
        self.percent.insert((from, to), percent);
    }

    /// Opens this way again.
    pub(crate) fn mend(&mut self, from: End, to: End) {
        self.percent.remove(&(from, to));
    }

    /// The whole table, which takes the place of the one before in one step. `ports` are the bridge's names for a node.
    pub(super) fn to_nft(&self, table: &str, ports: impl Fn(usize) -> Vec<String>) -> String {
        let mut chains = BTreeMap::from([("forward", String::new()), ("input", String::new()), ("output", String::new())]);
        for ((from, to), percent) in &self.percent {
            let hook = match (from, to) {
                (End::Node(_), End::Node(_)) => "forward",
                (_, End::Clients) => "input",
                (End::Clients, _) => "output",
            };
            let name = |end: &End, direction: &str| match end {
                End::Node(node) => format!("{direction} {{ {} }} ", ports(*node).join(", ")),
                End::Clients => String::new(),
            };
            let chance = if *percent < 100 { format!("numgen random mod 100 < {percent} ") } else { String::new() };
            let rules = chains.entry(hook).or_default();
            let _ = writeln!(rules, "    {}{}{chance}drop", name(from, "iifname"), name(to, "oifname"));
        }
        let mut text = format!("table bridge {table}\ndelete table bridge {table}\ntable bridge {table} {{\n");
        for (hook, rules) in chains {
            let _ = write!(text, "  chain {hook} {{\n    type filter hook {hook} priority 0; policy accept;\n{rules}  }}\n");
        }
        text.push_str("}\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_one_way_cut_a_loss_and_a_cut_of_clients_become_rules_of_their_hooks() {
        let mut rules = Rules::default();
        rules.cut(End::Node(0), End::Node(1));
        rules.lose(End::Node(1), End::Node(0), 5);
        rules.cut(End::Clients, End::Node(1));
        rules.cut(End::Node(1), End::Node(2));
        rules.mend(End::Node(1), End::Node(2));
        let text = rules.to_nft("t", |node| vec![format!("p{node}"), format!("o{node}")]);
        assert_eq!(
            text,
            "table bridge t\ndelete table bridge t\ntable bridge t {\n  chain forward {\n    \
             type filter hook forward priority 0; policy accept;\n    \
             iifname { p0, o0 } oifname { p1, o1 } drop\n    \
             iifname { p1, o1 } oifname { p0, o0 } numgen random mod 100 < 5 drop\n  }\n  chain input {\n    \
             type filter hook input priority 0; policy accept;\n  }\n  chain output {\n    \
             type filter hook output priority 0; policy accept;\n    oifname { p1, o1 } drop\n  }\n}\n"
        );
    }
}
