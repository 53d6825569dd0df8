//! Who calls over gRPC and reads nothing: what its connection is given has a bound and counts, and who reads is given all of it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tidings_proto::v1;
use tidings_proto::v1::publish_ack::Outcome;
use tidings_proto::v1::subscribe_reply::Reply;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, yield_now};
use tonic::Status;

use crate::support::{Commit, Scene, soon};

/// A connection whose streams have so small a window that nothing large gets through unless it is read.
struct Slow {
    sender: SendRequest<Full<Bytes>>,
    to: SocketAddr,
    connection: JoinHandle<hyper::Result<()>>,
}

/// The head of an answer, when it comes.
type Head = JoinHandle<hyper::Result<Response<Incoming>>>;

impl Slow {
    async fn connect(to: SocketAddr, window: u32) -> Self {
        let socket = TcpStream::connect(to).await.unwrap();
        let mut builder = Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window);
        let (sender, connection) = builder.handshake(TokioIo::new(socket)).await.unwrap();
        Self { sender, to, connection: tokio::spawn(connection) }
    }

    /// Calls with all of these requests.
    fn call(&self, method: &str, requests: &[impl Message]) -> Head {
        let framed = |request: &_| {
            let encoded = Message::encode_to_vec(request);
            [&[0][..], &(encoded.len() as u32).to_be_bytes(), &encoded].concat()
        };
        let body: Vec<u8> = requests.iter().flat_map(framed).collect();
        let call = Request::post(format!("http://{}/tidings.v1.Broker/{method}", self.to)).header("te", "trailers");
        let call = call.header("content-type", "application/grpc").body(Full::from(body)).unwrap();
        let mut sender = self.sender.clone();
        tokio::spawn(async move { sender.send_request(call).await })
    }

    fn history(&self, channel: &str) -> Head {
        self.call("History", &[v1::HistoryRequest { channel: channel.into(), limit: 1000, ..Default::default() }])
    }
}

/// The next messages of a body, until there are so many or it ends.
async fn read<T: Message + Default>(body: &mut Incoming, count: usize) -> Vec<T> {
    let (mut bytes, mut messages) = (Vec::new(), Vec::new());
    while messages.len() < count
        && let Some(frame) = soon("more of an answer", body.frame()).await
    {
        bytes.extend_from_slice(frame.unwrap().data_ref().unwrap_or(&Bytes::new()));
        while let Some((mut head, rest)) = bytes.split_at_checked(5) {
            head.advance(1);
            let length = head.get_u32() as usize;
            let Some(message) = rest.get(..length) else { break };
            messages.push(T::decode(message).unwrap());
            bytes.drain(..5 + length);
        }
    }
    messages
}

async fn unread(scene: &Scene) -> f64 {
    scene.metric("tidings_bound_used", &["\"unread_bytes\""]).await
}

async fn until_all_is_given_back(scene: &Scene) {
    soon("all of it is given back", async { while unread(scene).await > 0.0 {} }).await;
}

/// A history of so many messages of so many bytes.
async fn history(scene: &Scene, channel: &str, count: usize, bytes: usize) {
    for _ in 0..count {
        scene.publish(channel, &"x".repeat(bytes)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_given_so_many_pages_and_more_when_it_has_read_or_thrown_away_some() {
    let scene = Scene::open(Commit::AtOnce).await;
    history(&scene, "much", 60, 60_000).await;
    let slow = Slow::connect(scene.grpc(), 1 << 10).await;
    let mut pages: Vec<Head> = (0..30).map(|_| slow.history("much")).collect();
    // Of two megabytes each, and of three before it is known. A page counts when its head goes out.
    let answered = |pages: &[Head]| pages.iter().filter(|page| page.is_finished()).count();
    soon("as many as there is room for", async { while unread(&scene).await < 15e6 {} }).await;
    soon("seven of them", async {
        while answered(&pages) < 7 {
            yield_now().await;
        }
    })
    .await;
    // What is small needs no room, and who is on another connection has its own.
    let info = soon("a small answer", slow.call("ClusterInfo", &[v1::ClusterInfoRequest {}])).await.unwrap().unwrap();
    assert!(Status::from_header_map(info.headers()).is_none());
    let other = Slow::connect(scene.grpc(), 1 << 20).await;
    let mut page = soon("a page", other.history("much")).await.unwrap().unwrap().into_body();
    assert!(read::<v1::HistoryResponse>(&mut page, 1).await[0].messages.len() > 30);
    assert_eq!(answered(&pages), 7, "the others wait");
    assert!(unread(&scene).await <= f64::from(16 << 20));
    // One is read, another is not wanted any more: two others come.
    let (mut here, waiting): (Vec<_>, Vec<_>) = pages.drain(..).partition(JoinHandle::is_finished);
    let mut first = here.pop().unwrap().await.unwrap().unwrap().into_body();
    assert!(read::<v1::HistoryResponse>(&mut first, 1).await[0].messages.len() > 30);
    drop(here.pop().unwrap().await.unwrap().unwrap());
    soon("two more", async {
        while answered(&waiting) < 2 {
            yield_now().await;
        }
    })
    .await;
    drop((slow, here, waiting, first));
    until_all_is_given_back(&scene).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_that_nobody_takes_are_bounded_for_the_connection_and_come_all_when_they_are_read() {
    const EACH: u64 = 5_000;
    let scene = Scene::with(Commit::AtOnce, |config| config.limits.unsent_bytes = 4 << 20).await;
    let slow = Slow::connect(scene.grpc(), 1 << 10).await;
    let publish = |channel: &str, seq| {
        let publish = v1::PublishRequest { channel: channel.into(), data: "x".into(), ..Default::default() };
        v1::PublishStreamRequest { seq, publish: Some(publish) }
    };
    let channels = ["a", "b", "c", "d"];
    let streams = channels.map(|channel| {
        let requests: Vec<_> = (0..EACH).map(|seq| publish(channel, seq)).collect();
        slow.call("PublishStream", &requests)
    });
    // All of them together would be seven megabytes of acks. A connection has a sixteenth of what all may hold, and a little for each.
    soon("acks wait", async { while unread(&scene).await < f64::from(256 << 10) {} }).await;
    let other = Slow::connect(scene.grpc(), 1 << 20).await;
    let publishes: Vec<_> = (0..EACH).map(|seq| publish("e", seq)).collect();
    let mut acks = soon("a head", other.call("PublishStream", &publishes)).await.unwrap().unwrap().into_body();
    assert_eq!(read::<v1::PublishAck>(&mut acks, EACH as usize).await.len(), EACH as usize);
    let most = unread(&scene).await;
    assert!(most <= f64::from(2 << 20), "{most}: half a megabyte, and what is handed over");
    let kept = scene.metric("tidings_publishes_answered_total", &["grpc"]).await - EACH as f64;
    assert!((1_000.0..10_000.0).contains(&kept), "{kept} of 20,000 were published: who takes no acks is not heard further");
    // One after the other: none waits for room that others have.
    for stream in streams {
        let mut acks = soon("a head", stream).await.unwrap().unwrap().into_body();
        let acks: Vec<v1::PublishAck> = read(&mut acks, EACH as usize).await;
        let is_published = |(ack, seq): (&v1::PublishAck, u64)| ack.seq == seq && matches!(ack.outcome, Some(Outcome::Result(_)));
        assert!(acks.len() == EACH as usize && acks.iter().zip(0..).all(is_published));
    }
    until_all_is_given_back(&scene).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_that_nobody_reads_are_given_so_much_and_all_of_it_when_they_are_read() {
    let scene = Scene::with(Commit::AtOnce, |config| config.limits.unsent_bytes = 4 << 20).await;
    history(&scene, "much", 60, 30_000).await;
    let slow = Slow::connect(scene.grpc(), 1 << 10).await;
    let since = Some(v1::subscribe_request::Since::Earliest(true));
    let request = v1::SubscribeRequest { channels: vec!["much".into()], since, ..Default::default() };
    let mut bodies = Vec::new();
    for _ in 0..8 {
        bodies.push(soon("a head", slow.call("Subscribe", std::slice::from_ref(&request))).await.unwrap().unwrap().into_body());
    }
    soon("pages wait", async { while unread(&scene).await < f64::from(256 << 10) {} }).await;
    let most = unread(&scene).await;
    assert!(most <= f64::from(4 << 20), "{most} of eight times 1.8 MB");
    let texts = async |body: &mut Incoming| {
        let replies: Vec<v1::SubscribeReply> = read(body, 61).await;
        replies.iter().filter(|reply| matches!(reply.reply, Some(Reply::Message(_)))).count()
    };
    for body in &mut bodies {
        assert_eq!(texts(body).await, 60);
    }
    drop((slow, bodies));
    until_all_is_given_back(&scene).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_read_nothing_push_out_the_oldest_of_them_and_nobody_who_reads() {
    let scene = Scene::with(Commit::AtOnce, |config| config.limits.unsent_bytes = 1 << 20).await;
    history(&scene, "some", 10, 10_000).await;
    history(&scene, "little", 10, 10).await;
    let mut reads = Slow::connect(scene.grpc(), 1 << 20).await;
    let mut held = Vec::new();
    for _ in 0..12 {
        let slow = Slow::connect(scene.grpc(), 1 << 10).await;
        let page = soon("a head", slow.history("some")).await.unwrap().unwrap();
        held.push((slow, page));
    }
    // Each counts as 128 KiB: eight fit.
    for (slow, _) in held.drain(..4) {
        assert!(soon("the oldest are cut", slow.connection).await.unwrap().is_err());
    }
    assert_eq!(scene.metric("tidings_connections_refused_total", &["unread"]).await, 4.0);
    let mut page = soon("a page", reads.history("little")).await.unwrap().unwrap().into_body();
    assert_eq!(read::<v1::HistoryResponse>(&mut page, 1).await[0].messages.len(), 10);
    soon("it is there", reads.sender.ready()).await.unwrap();
    assert!(held.iter().all(|(slow, _)| !slow.connection.is_finished()));
    drop(held);
    until_all_is_given_back(&scene).await;
}

/// Reads a body to its end, which is none that the broker said.
async fn is_reset(body: &mut Incoming) {
    let reason = loop {
        match soon("the end of a call", body.frame()).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break format!("{error:?}"),
            None => panic!("it ended as if all had been taken"),
        }
    };
    assert!(reason.contains("CANCEL"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_which_nothing_is_taken_is_ended_and_those_beside_it_stay() {
    let scene = Scene::with(Commit::AtOnce, |config| config.grpc.write_timeout = Duration::from_secs(1)).await;
    history(&scene, "much", 60, 30_000).await;
    let slow = Slow::connect(scene.grpc(), 4 << 10).await;
    let body = async |head: Head| soon("a head", head).await.unwrap().unwrap().into_body();
    let since = Some(v1::subscribe_request::Since::Earliest(true));
    let subscribe = |channel: &str, since| v1::SubscribeRequest { channels: vec![channel.into()], since, ..Default::default() };
    // One has nothing to take, for longer than the others have time.
    let mut rests = body(slow.call("Subscribe", &[subscribe("quiet", None)])).await;
    assert_eq!(read::<v1::SubscribeReply>(&mut rests, 1).await.len(), 1);
    let publish = |seq| {
        let publish = v1::PublishRequest { channel: "a".into(), data: "x".into(), ..Default::default() };
        v1::PublishStreamRequest { seq, publish: Some(publish) }
    };
    let mut left = [
        body(slow.history("much")).await,
        body(slow.call("Subscribe", &[subscribe("much", since)])).await,
        body(slow.call("PublishStream", &(0..2_000).map(publish).collect::<Vec<_>>())).await,
    ];
    let given_up = async || scene.metric("tidings_connections_refused_total", &["unread"]).await;
    soon("all three are given up", async { while given_up().await < 3.0 {} }).await;
    assert_eq!(scene.metric("tidings_sessions_closed_total", &["grpc", "client_gone"]).await, 1.0);
    until_all_is_given_back(&scene).await;
    for body in &mut left {
        is_reset(body).await;
    }
    scene.publish("quiet", "hello").await;
    let told: Vec<v1::SubscribeReply> = read(&mut rests, 1).await;
    assert!(matches!(&told[0].reply, Some(Reply::Message(message)) if message.data == "hello"), "{told:?}");
    // Who takes a little now and then has as long as it needs.
    let mut page = body(slow.history("much")).await;
    assert!(read::<v1::HistoryResponse>(&mut page, 1).await[0].messages.len() > 30);
    assert_eq!(given_up().await, 3.0);
    let open = slow.call("ClusterInfo", &[v1::ClusterInfoRequest {}]);
    soon("an answer", open).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_wait_for_room_count_and_the_one_that_has_waited_longest_gives_way() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        (config.limits.incoming_bytes, config.limits.unsent_bytes) = (1 << 20, 1 << 20);
    })
    .await;
    history(&scene, "much", 10, 10_000).await;
    let message = |n: usize| v1::PublishRequest { channel: format!("batch{n}"), data: vec![b'x'; 10_000].into(), ..Default::default() };
    let batch = v1::PublishBatchRequest { messages: (0..30).map(message).collect() };
    let waiting = async || scene.metric("tidings_bound_used", &["\"incoming_bytes\""]).await;
    // A page that nobody reads has all the room that a connection has for answers; a batch counts as half a megabyte.
    let mut waits = Vec::new();
    for bytes in [0.5, 1.0, 1.0] {
        let slow = Slow::connect(scene.grpc(), 1 << 10).await;
        let page = soon("a head", slow.history("much")).await.unwrap().unwrap().into_body();
        let whole = slow.call("PublishBatch", std::slice::from_ref(&batch));
        soon("it counts", async { while waiting().await < bytes * f64::from(1 << 20) {} }).await;
        waits.push((slow, page, whole));
    }
    let status = async |head: Head| Status::from_header_map(soon("a refusal", head).await.unwrap().unwrap().headers()).unwrap();
    let (_slow, _page, oldest) = waits.remove(0);
    let told = status(oldest).await;
    assert!(told.code() == tonic::Code::ResourceExhausted && told.message().contains("limits.incoming_bytes"), "{told:?}");
    // One connection has only so much of it, also for what is too little to count before it is whole.
    let (slow, mut page, whole) = waits.remove(0);
    let little = v1::PublishRequest { channel: "little".into(), data: "x".into(), ..Default::default() };
    let told = status(slow.call("PublishBatch", &[v1::PublishBatchRequest { messages: vec![little] }])).await;
    assert!(told.code() == tonic::Code::ResourceExhausted && told.message().contains("of this connection"), "{told:?}");
    assert_eq!(scene.metric("tidings_publishes_answered_total", &["\"grpc\"", "overloaded"]).await, 2.0);
    // Whoever reads is served, and has published then.
    assert_eq!(read::<v1::HistoryResponse>(&mut page, 1).await[0].messages.len(), 10);
    let mut answer = soon("a head", whole).await.unwrap().unwrap().into_body();
    let outcomes = read::<v1::PublishBatchResponse>(&mut answer, 1).await.remove(0).outcomes;
    assert_eq!(outcomes.len(), 30);
    waits.iter().for_each(|(_, _, whole)| whole.abort());
    drop((waits, slow));
    soon("all of it is given back", async { while waiting().await > 0.0 {} }).await;
}

/// Publishes of so many bytes each, one connection's on so many streams.
fn publishes(slow: &Slow, streams: usize, count: u64, bytes: usize) -> Vec<Head> {
    let publish = |seq| {
        let publish = v1::PublishRequest { channel: "a".into(), data: vec![b'x'; bytes].into(), ..Default::default() };
        v1::PublishStreamRequest { seq, publish: Some(publish) }
    };
    let requests: Vec<_> = (0..count).map(publish).collect();
    (0..streams).map(|_| slow.call("PublishStream", &requests)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_behind_acks_that_nobody_takes_counts_and_the_connection_that_stands_longest_is_cut() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        config.limits.incoming_bytes = 4 << 20;
        // Acks are no matter here.
        config.limits.unsent_bytes = 64 << 20;
    })
    .await;
    let counts = async || scene.metric("tidings_bound_used", &["\"incoming_bytes\""]).await;
    let cut = async || scene.metric("tidings_connections_refused_total", &["unread"]).await;
    // Four streams count as two megabytes, of which a connection may have one.
    let mut stand = Vec::new();
    for megabytes in 1..=4 {
        let slow = Slow::connect(scene.grpc(), 1 << 10).await;
        let streams = publishes(&slow, 4, 20_000, 100);
        soon("its streams stand", async { while counts().await < f64::from(megabytes << 20) {} }).await;
        stand.push((slow, streams));
    }
    assert_eq!((counts().await, cut().await), (f64::from(4 << 20), 0.0), "all that may be");
    let newest = Slow::connect(scene.grpc(), 1 << 10).await;
    let streams = publishes(&newest, 1, 20_000, 100);
    let (oldest, _streams) = stand.remove(0);
    assert!(soon("the oldest is cut", oldest.connection).await.unwrap().is_err());
    assert!(cut().await == 1.0 && counts().await <= f64::from(4 << 20));
    // Whoever takes acks gets all of them, and the others stay.
    let reads = Slow::connect(scene.grpc(), 1 << 20).await;
    let mut acks = soon("a head", publishes(&reads, 1, 20_000, 100).remove(0)).await.unwrap().unwrap().into_body();
    assert_eq!(read::<v1::PublishAck>(&mut acks, 20_000).await.len(), 20_000);
    assert!(stand.iter().all(|(slow, _)| !slow.connection.is_finished()) && !newest.connection.is_finished());
    assert_eq!(cut().await, 1.0);
    let (slow, mut streams_of_one) = stand.remove(0);
    let mut acks = soon("a head", streams_of_one.remove(0)).await.unwrap().unwrap().into_body();
    assert_eq!(read::<v1::PublishAck>(&mut acks, 20_000).await.len(), 20_000, "it goes on");
    drop((slow, streams_of_one, stand, newest, streams));
    soon("nothing stands", async { while counts().await > 0.0 {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_answers_that_nobody_takes_are_as_many_as_streams_and_go_with_their_connection() {
    let scene = Scene::with(Commit::AtOnce, |config| config.grpc.idle_timeout = Duration::from_secs(1)).await;
    scene.publish("small", &"x".repeat(300)).await;
    // Small enough to be handed over whole, and no room even for that.
    let slow = Slow::connect(scene.grpc(), 1).await;
    let answers: Vec<Head> = (0..300).map(|_| slow.history("small")).collect();
    soon("they count", async { while unread(&scene).await < f64::from(64 << 10) {} }).await;
    assert!(unread(&scene).await <= f64::from(256 << 10), "256 streams with a kilobyte each");
    // All that could be made is made: there is no call under way.
    let _ = soon("the connection ends", slow.connection).await;
    until_all_is_given_back(&scene).await;
    drop(answers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_more_under_way_than_is_kept_is_read_however_late_commits_are() {
    let scene = Scene::with(Commit::AtOnce, |config| config.commit_delay = Some(Duration::from_millis(1))).await;
    // The most that counted while one published so many, and took each ack.
    let counted = async |count: u64| {
        let reads = Slow::connect(scene.grpc(), 1 << 20).await;
        let head = publishes(&reads, 1, count, 100).remove(0);
        let published =
            tokio::spawn(async move { read::<v1::PublishAck>(&mut head.await.unwrap().unwrap().into_body(), count as usize).await.len() });
        let mut most = 0.0_f64;
        while !published.is_finished() {
            most = most.max(scene.metric("tidings_bound_used", &["\"incoming_bytes\""]).await);
        }
        assert_eq!(published.await.unwrap() as u64, count, "nobody was cut");
        most
    };
    assert_eq!(counted(4096).await, 0.0);
    assert_eq!(counted(8192).await, f64::from(512 << 10), "it is not read while as many wait");
}
