//! A publish stream is read by hand: what is no message ends it behind the acks of those before, what is one in another spelling is published,
//! and none of both harms anybody.

use prost::Message as _;
use tidings_proto::v1;
use tidings_proto::v1::publish_ack::Outcome;
use tonic::Code;

use super::incoming::{Call, framed, of_stream};
use super::scene::Scene;

const METHOD: &str = "tidings.v1.Broker/PublishStream";

fn publish(channel: &str) -> v1::PublishRequest {
    v1::PublishRequest { channel: channel.into(), data: "x".into(), ..Default::default() }
}

/// A request whose publish is these bytes.
fn holding(publish: &[u8]) -> Vec<u8> {
    [&[0x12, publish.len() as u8][..], publish].concat()
}

fn seqs_published(acks: &[v1::PublishAck]) -> Vec<u64> {
    acks.iter().filter(|ack| matches!(ack.outcome, Some(Outcome::Result(_)))).map(|ack| ack.seq).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_ends_the_stream_and_no_ack_before_it_is_lost() {
    let scene = Scene::start().await;
    let to = scene.node.addresses().grpc.unwrap();
    let endless = [0xff; 11];
    let wrong: Vec<(&str, Vec<u8>)> = vec![
        ("a number without an end", endless.to_vec()),
        ("a number of eleven bytes", [&[0x08][..], &endless].concat()),
        ("longer than it is", vec![0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("as long as can be said", [&[0x12][..], &[0xff; 9], &[0x01]].concat()),
        ("longer inside than outside", holding(&[0x0a, 0x7f, b'a'])),
        ("no kind of value", vec![0x0e, 0x00]),
        ("another one", vec![0x0f]),
        ("no field", vec![0x00, 0x00]),
        ("a field past the last", [&[0xf8][..], &[0xff; 8], &[0x01, 0x00]].concat()),
        ("a group without an end", vec![0x1b]),
        ("an end without a group", vec![0x1c]),
        ("the end of another group", vec![0x1b, 0x24]),
        ("groups in groups", vec![0x1b; 10_000]),
        ("a number where text belongs", holding(&[0x08, 0x01])),
        ("text where a number belongs", vec![0x0a, 0x01, b'1']),
        ("no text in a channel", holding(&[0x0a, 0x02, 0xc3, 0x28])),
        ("half a letter in an event", holding(&[0x0a, 0x01, b'a', 0x2a, 0x01, 0xe2])),
        ("broken off", holding(&publish("a").encode_to_vec())[..5].to_vec()),
    ];
    for (what, message) in wrong {
        let honest = of_stream(7, publish("a"));
        // All at once, and a byte at a time.
        let together = Call::of(METHOD, to, &[honest.clone(), framed(&message), of_stream(8, publish("a"))].concat()).await;
        let apart = Call::of(METHOD, to, &honest).await;
        for byte in framed(&message).iter().take(40) {
            apart.send(&[*byte]).await;
        }
        if message.len() > 35 {
            apart.send(&framed(&message)[40..]).await;
        }
        for call in [together, apart] {
            let (acks, told) = call.ended().await;
            assert_eq!(seqs_published(&acks), [7], "{what}: {acks:?} {told:?}");
            assert!(acks.len() == 1 && told.code() == Code::InvalidArgument, "{what}: {told:?}");
            assert!(told.message().len() < 500, "{what}: {told:?}");
        }
    }
    scene.is_unharmed("what is no message").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_is_none_ends_the_stream_too() {
    let scene = Scene::start().await;
    let to = scene.node.addresses().grpc.unwrap();
    let message = v1::PublishStreamRequest { seq: 8, publish: Some(publish("a")) }.encode_to_vec();
    let flagged = |flag| [&[flag][..], &framed(&message)[1..]].concat();
    for (what, frame) in [
        ("compressed by a flag", flagged(1)),
        ("a flag that is none", flagged(2)),
        ("all flags", flagged(0xff)),
        ("longer than anything", vec![0, 0xff, 0xff, 0xff, 0xff]),
        ("longer than may be", vec![0, 0x7f, 0xff, 0xff, 0xff]),
    ] {
        let (acks, told) = Call::of(METHOD, to, &[of_stream(7, publish("a")), frame].concat()).await.ended().await;
        assert_eq!(seqs_published(&acks), [7], "{what}: {told:?}");
        assert!(acks.len() == 1 && told.code() != Code::Ok, "{what}: {told:?}");
    }
    scene.is_unharmed("frames that are none").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_a_message_in_another_spelling_is_published() {
    let scene = Scene::start().await;
    let to = scene.node.addresses().grpc.unwrap();
    let plain = holding(&[0x0a, 0x01, b'a']);
    let (head, tail) = (|seq| vec![0x08, seq], plain.clone());
    let spelled: Vec<Vec<u8>> = vec![
        [head(1), tail.clone()].concat(),
        // Its number behind, twice, and longer than it need be.
        [tail.clone(), head(9), vec![0x08, 0x82, 0x80, 0x00]].concat(),
        [vec![0x88, 0x80, 0x00, 0x03], tail.clone()].concat(),
        // Fields that nobody knows, of each kind.
        [head(4), tail.clone(), vec![0x50, 0x01, 0x59, 1, 2, 3, 4, 5, 6, 7, 8, 0x62, 0x02, 1, 2, 0x6d, 1, 2, 3, 4]].concat(),
        [head(5), vec![0x1b, 0x08, 0x01, 0x23, 0x24, 0x1c], tail.clone()].concat(),
        // In two halves, which are one.
        [head(6), holding(&[0x0a, 0x01, b'b']), holding(&[0x0a, 0x01, b'a', 0x1a, 0x01, b'x'])].concat(),
    ];
    let body: Vec<u8> = spelled.iter().flat_map(|message| framed(message)).collect();
    let last = framed(&[&[0x08][..], &[0xff; 9], &[0x01], &tail].concat());
    let call = Call::of(METHOD, to, &[body, last, framed(&[0x0e])].concat()).await;
    let (acks, _) = call.ended().await;
    assert_eq!(seqs_published(&acks), [1, 2, 3, 4, 5, 6, u64::MAX], "{acks:?}");
    let channels = acks.iter().map(|ack| match &ack.outcome {
        Some(Outcome::Result(result)) => result.channel.as_str(),
        _ => "",
    });
    assert!(channels.clone().all(|channel| channel == "a"), "{:?}", channels.collect::<Vec<_>>());
    scene.is_unharmed("messages in another spelling").await;
}
