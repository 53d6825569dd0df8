//! Keys and permissions change under a broker that runs.

use serde_json::json;
use tidings::auth::secret::Secret;

use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tonic::transport::Endpoint;

use super::scene::{chat, closed, denied, get, ok, post, start, token_key, verdict};
use crate::support::WebSocket;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_taken_out_counts_no_longer_and_open_connections_notice() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    let mut socket = WebSocket::open(to, "/ws?channel=open:a", "Authorization: Bearer all-key\r\n").await;
    assert!(socket.object().await.unwrap().get("subscribed").is_some());
    let mut shops = WebSocket::open(to, "/ws", "Authorization: Bearer shop-key\r\n").await;
    let mut anns = WebSocket::open(to, "/ws", &format!("Authorization: Bearer {}\r\n", chat())).await;
    let publish = json!({ "id": 1, "publish": { "channel": "chat:a", "text": "x" } });
    for socket in [&mut shops, &mut anns] {
        let published = socket.ask(&publish).await;
        assert!(published.get("published").is_some(), "{published}");
    }
    let grpc = Endpoint::from_shared(format!("http://{}", node.addresses().grpc.unwrap())).unwrap().connect().await.unwrap();
    let (requests, stream) = tokio::sync::mpsc::channel(10);
    let mut stream = tonic::Request::new(tokio_stream::wrappers::ReceiverStream::new(stream));
    stream.metadata_mut().insert("authorization", "Bearer shop-key".parse().unwrap());
    let mut acks = BrokerClient::new(grpc).publish_stream(stream).await.unwrap().into_inner();
    let mut ack_of = async |seq| {
        let publish = v1::PublishRequest { channel: "chat:a".into(), data: "x".into(), ..Default::default() };
        requests.send(v1::PublishStreamRequest { seq, publish: Some(publish) }).await.unwrap();
        acks.message().await.unwrap().unwrap()
    };
    let first = ack_of(1).await;
    assert!(matches!(first.outcome, Some(v1::publish_ack::Outcome::Result(_))), "{first:?}");
    let bearer = format!("Authorization: Bearer {}\r\n", chat());
    assert_eq!(verdict(&get(to, "/poll?channel=chat:a", &bearer).await), ok());

    let mut next = closed();
    next.tokens.keys = vec![token_key("quite another secret, as long as it must be")];
    next.keys.retain(|key| key.name != "shop");
    next.namespaces = tidings::hub::namespace::Namespaces::default();
    node.embedded().gate().exchange(&next.auth()).unwrap();

    assert_eq!(verdict(&get(to, "/poll?channel=chat:a", &bearer).await), denied(401, "unauthenticated"));
    let shop = "Authorization: Bearer shop-key\r\n";
    assert_eq!(verdict(&post(to, "/v1/channels/chat:a/messages", shop, "x").await), denied(401, "unauthenticated"));
    assert_eq!(verdict(&get(to, "/poll?channel=open:a", "").await), denied(403, "permission_denied"));
    for socket in [&mut shops, &mut anns] {
        let refused = socket.ask(&publish).await;
        assert_eq!(refused["error"]["code"], "unauthenticated", "{refused}");
    }
    let second = ack_of(2).await;
    let Some(v1::publish_ack::Outcome::Error(refused)) = &second.outcome else { panic!("{second:?}") };
    assert_eq!(refused.code, "unauthenticated");
    let still = socket.ask(&json!({ "id": 1, "publish": { "channel": "chat:a", "text": "x" } })).await;
    assert!(still.get("published").is_some(), "the key that stayed goes on: {still}");

    let mut broken = closed();
    broken.signed_urls[0].secret = Some(Secret::new("short"));
    assert!(node.embedded().gate().exchange(&broken.auth()).unwrap_err().to_string().contains("signed_urls"));
    assert_eq!(verdict(&get(to, "/poll?channel=open:a", "").await), denied(403, "permission_denied"), "nothing was changed");
    node.stop().await;
}
