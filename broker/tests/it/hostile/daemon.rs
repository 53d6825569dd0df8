//! The daemon as a process of its own, where its open files and its processor time can be seen.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::scene::value;
use crate::raw::{PATIENCE, Raw, ask, post, request};

struct Daemon {
    child: Child,
    http: SocketAddr,
    grpc: SocketAddr,
    admin: SocketAddr,
    /// Where it writes its log.
    log: PathBuf,
    _home: tempfile::TempDir,
}

impl Daemon {
    /// Runs with this many open files at most.
    fn start(open_files: u32) -> Self {
        Self::start_with(open_files, "shards=2")
    }

    /// The same with more keys, `--set` between them.
    fn start_with(open_files: u32, more: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("log");
        let keys = [
            "http.listen=127.0.0.1:0",
            "grpc.listen=127.0.0.1:0",
            "admin.listen=127.0.0.1:0",
            "http.header_timeout=1h",
            "namespaces.default.allow.subscribe=anyone",
            "namespaces.default.allow.publish=anyone",
            more,
        ];
        let sets = keys.map(|key| format!("--set {key}")).join(" ");
        let script = format!("ulimit -n {open_files} && exec \"$0\" {sets}");
        let mut child = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_tidings")])
            .current_dir(home.path())
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut printed = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut address = |name: &str| {
            let line = printed.find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("no {name} address"));
            line.split("http://").nth(1).unwrap().split([' ', '/']).next().unwrap().parse().unwrap()
        };
        let (http, grpc, admin) = (address("http "), address("grpc "), address("admin "));
        Self { child, http, grpc, admin, log, _home: home }
    }

    async fn metric(&self, series: &str) -> u64 {
        let metrics = ask(self.admin, request("GET", "/metrics", self.admin, "Connection: close\r\n")).await;
        value(metrics.text(), series)
    }

    /// Processor time used so far, of all threads: fields 14 and 15 of /proc/PID/stat, in ticks of 10 ms.
    fn used(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        Duration::from_millis(10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()))
    }

    /// Looks at a second in which nothing is asked of it: who spins uses much of it, who waits uses next to nothing.
    async fn rests(&self, during: &str) {
        // Whatever it still had to do is done when a call has gone through all of it.
        self.metric("tidings_connections").await;
        let (before, began) = (self.used(), Instant::now());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let share = (self.used() - before).as_secs_f64() / began.elapsed().as_secs_f64();
        assert!(share < 0.15, "{share:.2} of a core while nothing happens, {during}");
    }

    /// Lets it have so many open files from now on; gives back what it had.
    fn bound_open_files(&self, bound: Rlimit) -> Rlimit {
        prlimit(Some(Pid::from_raw(self.child.id() as i32).unwrap()), Resource::Nofile, bound).unwrap()
    }

    /// How often it has said that this listener accepts nothing.
    fn said_of(&self, listener: &str) -> usize {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let listener = format!("\"listener\":\"{listener}\"");
        let of_it = log.lines().filter(|line| line.contains("\"accept_failed\"") && line.contains(&listener));
        of_it.inspect(|line| assert!(line.to_lowercase().contains("\"warn\""), "{line}")).count()
    }

    /// Where other nodes connect.
    fn nodes(&self) -> SocketAddr {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let (_, rest) = log.lines().find(|line| line.contains("\"cluster_joining\"")).unwrap().split_once("\"listen\":\"").unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    }

    async fn answers(&self) {
        let to = self.http;
        assert_eq!(ask(to, post("/v1/channels/fine/messages", to, b"x")).await.status, 200);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn whoever_holds_a_connection_at_any_stage_costs_no_processor_time() {
    let daemon = Daemon::start(1024);
    let to = daemon.http;
    let get = |target: &str| request("GET", target, to, "");
    let stages = [
        String::new(),
        "P".to_owned(),
        "PRI * HTTP/2.0\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: x".to_owned(),
        "\u{16}\u{3}\u{1}".to_owned(),
        get("/sse?channel=a"),
        get("/sse?channel=a") + "garbage behind it",
        get("/poll?channel=a&since=earliest&wait=60"),
        // With a request waiting behind it, a peer that hangs up is found out when the poll is answered, not before.
        get("/poll?channel=a&since=earliest&wait=3") + &get("/v1/channels"),
        get("/v1/channels"),
        format!("POST /v1/publish HTTP/1.1\r\nHost: {to}\r\nContent-Length: 100\r\n\r\nhalf"),
    ];
    let mut held = Vec::new();
    for stage in &stages {
        for half_closed in [false, true] {
            for _ in 0..3 {
                let mut raw = Raw::connect(to).await;
                raw.send(stage).await;
                if half_closed {
                    tokio::io::AsyncWriteExt::shutdown(&mut raw.stream).await.unwrap();
                }
                held.push(raw);
            }
        }
    }
    // Readers that have stopped reading, each with more for them than their sockets take.
    let large = [b'x'; 60_000];
    for _ in 0..3 {
        let mut raw = Raw::connect(to).await;
        raw.send(get("/sse?channel=large")).await;
        raw.head().await;
        held.push(raw);
    }
    let mut publisher = Raw::connect(to).await;
    for _ in 0..200 {
        publisher.send(post("/v1/channels/large/messages", to, &large)).await;
        assert_eq!(publisher.answer().await.status, 200);
    }
    daemon.rests("with connections at every stage").await;
    daemon.answers().await;
    drop((held, publisher));
    let gone = async { while daemon.metric("tidings_connections").await > 0 {} };
    timeout(PATIENCE, gone).await.unwrap();
    daemon.rests("after they have gone").await;
}

#[tokio::test]
async fn without_open_files_newcomers_are_refused_and_the_rest_goes_on() {
    let daemon = Daemon::start(256);
    let to = daemon.http;
    let limit = daemon.metric("tidings_connections_limit").await;
    assert_eq!((daemon.metric("tidings_open_files_limit").await, limit), (256, 96));
    let mut held = Vec::new();
    for _ in 0..limit {
        let mut raw = Raw::connect(to).await;
        raw.send(request("GET", "/sse?channel=full", to, "")).await;
        assert_eq!(raw.head().await.status, 200);
        held.push(raw);
    }
    // Twice as many as could ever be open.
    let mut refused = Vec::new();
    for _ in 0..500 {
        refused.push(Raw::connect(to).await);
    }
    let told = async { while daemon.metric("tidings_connections_refused_total{reason=\"limit\"}").await < 500 {} };
    timeout(PATIENCE, told).await.unwrap();
    for raw in &mut refused {
        let heard = raw.rest().await;
        assert!(heard.is_empty() || heard.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&heard));
    }
    daemon.rests("at the limit").await;
    // Those who were there hear what is published, over a place that became free.
    held.pop();
    let room = async { while daemon.metric("tidings_connections").await >= limit {} };
    timeout(PATIENCE, room).await.unwrap();
    ask(to, post("/v1/channels/full/messages", to, b"hello")).await;
    for raw in &mut held {
        raw.chunks_until(|text| text.contains("data: hello\n\n")).await;
    }
    drop((held, refused));
    let gone = async { while daemon.metric("tidings_connections").await > 0 {} };
    timeout(PATIENCE, gone).await.unwrap();
    daemon.answers().await;
}

#[tokio::test]
async fn every_listener_that_can_accept_nothing_says_so_once_and_goes_on_when_it_can() {
    let cluster = "cluster.keys=[a-secret-of-the-tests] --set cluster.listen=127.0.0.1:0 --set cluster.node=alone";
    let daemon = Daemon::start_with(256, cluster);
    let nodes = daemon.nodes();
    let before = daemon.bound_open_files(Rlimit { current: Some(8), maximum: Some(256) });
    let mut held = Vec::new();
    for (listener, to) in [("grpc", daemon.grpc), ("admin", daemon.admin), ("http", daemon.http), ("cluster", nodes)] {
        held.push(TcpStream::connect(to).await.unwrap());
        let said = async {
            while daemon.said_of(listener) == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("{listener} says nothing"));
    }
    daemon.bound_open_files(before);
    daemon.answers().await;
    let refused = daemon.metric("tidings_connections_refused_total{reason=\"open_files\"}").await;
    assert!(refused >= 4, "{refused}");
    let said = ["grpc", "admin", "http", "cluster"].map(|listener| daemon.said_of(listener));
    assert_eq!(said, [1; 4], "it failed again and again, and was said once");
}

#[tokio::test]
async fn shards_with_file_tables_of_their_own_hold_more_than_one_table_does() {
    let daemon = Daemon::start_with(256, "shards=4 --set own_file_tables=true --set drain.grace=3s");
    let to = daemon.http;
    assert_eq!(daemon.metric("tidings_open_files_limit").await, 256);
    let limit = daemon.metric("tidings_connections_limit").await;
    assert_eq!(limit, 4 * (256 - 128 - 16));
    // Nearly as many as all tables hold; the system does not spread them quite evenly, so who is refused asks again.
    let wanted = limit as usize * 4 / 5;
    let (mut held, mut refused) = (Vec::new(), 0);
    while held.len() < wanted {
        let mut raw = Raw::connect(to).await;
        raw.send(request("GET", "/sse?channel=wide", to, "")).await;
        match raw.head().await.status {
            200 => held.push(raw),
            503 => refused += 1,
            other => panic!("{other}"),
        }
        assert!(refused < 20 * wanted, "{} held", held.len());
    }
    assert!(wanted > 256, "more than one table holds");
    // A publish over each shard, as far as chance has it: every shard wakes every other one.
    for number in 0..20 {
        let text = format!("hello{number}.");
        // A shard whose table is full refuses this one, too.
        while ask(to, post("/v1/channels/wide/messages", to, text.as_bytes())).await.status != 200 {}
    }
    for raw in &mut held {
        raw.chunks_until(|text| text.contains("data: hello19.\n\n")).await;
    }
    daemon.rests("with streams in every table").await;
    // Whoever goes gives up the place in its table.
    drop(held.split_off(wanted / 2));
    let gone = async { while daemon.metric("tidings_connections").await > wanted as u64 / 2 {} };
    timeout(PATIENCE, gone).await.unwrap();
    daemon.answers().await;
    // Leaving closes every shard's listener: nobody is left hanging in a queue that no one serves.
    kill_process(Pid::from_raw(daemon.child.id() as i32).unwrap(), Signal::TERM).unwrap();
    let closed = async { while TcpStream::connect(to).await.is_ok() {} };
    timeout(PATIENCE, closed).await.unwrap();
    for raw in &mut held {
        raw.rest().await;
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_not_shared_with_a_second_broker() {
    let first = Daemon::start_with(256, "shards=2 --set own_file_tables=true");
    for own_tables in ["true", "false"] {
        let second = Command::new(env!("CARGO_BIN_EXE_tidings"))
            .env_clear()
            .args(["--dev", "--set", &format!("own_file_tables={own_tables}"), "--set", &format!("http.listen={}", first.http)])
            .args(["--set", "grpc.listen=null", "--set", "admin.listen=127.0.0.1:0"])
            .output()
            .unwrap();
        assert!(!second.status.success());
        assert!(String::from_utf8_lossy(&second.stderr).contains("cannot listen on"), "{second:?}");
    }
}
