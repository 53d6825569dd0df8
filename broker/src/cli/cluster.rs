//! `tidings cluster`: what one node sees of all nodes, asked at its admin listener.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::print;

/// Longest wait for the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The exit code when no broker was reached, as for the clients.
const UNREACHED: u8 = 4;

/// Show the nodes of a cluster as one of them sees them
#[derive(Clone, Debug, Args)]
pub(crate) struct Cluster {
    /// The admin listener of one node, HOST:PORT
    #[arg(long, env = "TIDINGS_ADMIN", value_name = "ADDRESS", default_value = "127.0.0.1:8002")]
    admin: String,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

impl Cluster {
    /// Asks and prints.
    pub(crate) fn run(&self) -> ExitCode {
        let answer = match self.ask() {
            Ok(answer) => answer,
            Err(why) => {
                eprintln!("cannot ask {}: {why}", self.admin);
                return ExitCode::from(UNREACHED);
            }
        };
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            eprintln!("{} does not answer as an admin listener does", self.admin);
            return ExitCode::FAILURE;
        };
        match serde_json::from_str::<Value>(body) {
            Ok(_) if self.json => print(body),
            Ok(seen) if head.starts_with("HTTP/1.1 200") => print(&table(&seen)),
            _ => {
                eprintln!("{}", body.trim());
                ExitCode::FAILURE
            }
        }
    }

    fn ask(&self) -> std::io::Result<String> {
        let address = self.admin.to_socket_addrs()?.next().ok_or_else(|| std::io::Error::other("it has no address"))?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /cluster HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// One row for each node; `*` is the one that was asked.
fn table(seen: &Value) -> String {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    const TITLES: [&str; 11] = ["", "node", "state", "home", "follower", "rtt ms", "lag", "lag ms", "queued", "version", "address"];
    const KEYS: [&str; 10] = ["name", "state", "home", "follower", "rtt_ms", "lag_records", "lag_ms", "queued_bytes", "version", "address"];
    let mut rows = vec![TITLES.map(str::to_owned)];
    for node in seen["nodes"].as_array().into_iter().flatten() {
        let mark = if node["me"] == Value::Bool(true) { "*" } else { "" };
        let mut row = vec![mark.to_owned()];
        row.extend(KEYS.map(|key| text(&node[key])));
        if let Ok(row) = row.try_into() {
            rows.push(row);
        }
    }
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: [usize; TITLES.len()] = std::array::from_fn(width);
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_node_and_marks_the_one_that_was_asked() {
        let node = |name, me, [rtt, lag, lag_ms]: [Value; 3]| {
            serde_json::json!({"name": name, "me": me, "state": "active", "home": 8192, "follower": 8192, "rtt_ms": rtt,
                "lag_records": lag, "lag_ms": lag_ms, "queued_bytes": 0, "version": "0.1.0", "address": "10.0.0.1:8003"})
        };
        let (me, other) = ([Value::Null, Value::Null, Value::Null], [0.25.into(), 17.into(), 40.5.into()]);
        let table = table(&serde_json::json!({"nodes": [node("a", true, me), node("node-b", false, other)]}));
        let expected = "   node    state   home  follower  rtt ms  lag  lag ms  queued  version  address\n\
                        *  a       active  8192  8192      -       -    -       0       0.1.0    10.0.0.1:8003\n   \
                           node-b  active  8192  8192      0.25    17   40.5    0       0.1.0    10.0.0.1:8003\n";
        assert_eq!(table, expected);
    }
}
