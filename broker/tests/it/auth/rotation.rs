//! Keys and permissions change under a broker that runs.

use serde_json::json;
use tidings::auth::secret::Secret;

use super::scene::{chat, closed, denied, get, ok, post, start, token_key, verdict};
use crate::support::WebSocket;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_taken_out_counts_no_longer_and_open_connections_notice() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    let mut socket = WebSocket::open(to, "/ws?channel=open:a", "Authorization: Bearer all-key\r\n").await;
    assert!(socket.object().await.unwrap().get("subscribed").is_some());
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
    let still = socket.ask(&json!({ "id": 1, "publish": { "channel": "chat:a", "text": "x" } })).await;
    assert!(still.get("published").is_some(), "the key that stayed goes on: {still}");

    let mut broken = closed();
    broken.signed_urls[0].secret = Some(Secret::new("short"));
    assert!(node.embedded().gate().exchange(&broken.auth()).unwrap_err().to_string().contains("signed_urls"));
    assert_eq!(verdict(&get(to, "/poll?channel=open:a", "").await), denied(403, "permission_denied"), "nothing was changed");
    node.stop().await;
}
