//! Pages of other origins, with and without the visitor's cookie.

use super::scene::{COOKIE, chat, denied, get, ok, post, start, verdict};
use crate::raw::Raw;
use crate::support::handshake;

const PUBLISH: &str = "/v1/channels/chat:a/messages";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_cookie_nothing_is_changed_for_a_page_that_may_not() {
    let node = start(|config| config.cors.origins = vec!["https://app.example".into(), "https://*.shop.example".into()]).await;
    let to = node.addresses().http;
    let token = chat();
    let (cookie, bearer) = (format!("Cookie: {COOKIE}={token}\r\n"), format!("Authorization: Bearer {token}\r\n"));
    let no = denied(403, "permission_denied");
    let own = format!("http://{to}");
    for (credential, origin, expected) in [
        (&cookie, Some("https://app.example"), ok()),
        (&cookie, Some("https://a.b.shop.example"), ok()),
        (&cookie, Some(&*own), ok()),
        (&cookie, None, no.clone()),
        (&cookie, Some("null"), no.clone()),
        (&cookie, Some("https://evil.example"), no.clone()),
        (&cookie, Some("https://shop.example"), no.clone()),
        (&cookie, Some("https://evil.example/.shop.example"), no.clone()),
        (&cookie, Some("https://app.example.evil.example"), no.clone()),
        (&bearer, None, ok()),
        (&bearer, Some("https://evil.example"), no.clone()),
    ] {
        let origin = origin.map_or_else(String::new, |origin| format!("Origin: {origin}\r\n"));
        assert_eq!(verdict(&post(to, PUBLISH, &format!("{credential}{origin}"), "x").await), expected, "{credential} {origin}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_origin_is_no_origin_for_a_cookie() {
    let node = start(|config| config.cors.origins = vec!["*".into()]).await;
    let to = node.addresses().http;
    let cookie = format!("Cookie: {COOKIE}={}\r\nOrigin: https://evil.example\r\n", chat());
    assert_eq!(verdict(&post(to, PUBLISH, &cookie, "x").await), denied(403, "permission_denied"));
    let read = get(to, "/poll?channel=chat:a", &cookie).await;
    assert_eq!(read.header("access-control-allow-credentials"), None, "so no browser shows it to that page");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_opens_a_websocket_with_a_cookie_that_is_not_its_own() {
    let node = start(|config| config.cors.origins = vec!["https://app.example".into()]).await;
    let to = node.addresses().http;
    let cookie = format!("Cookie: {COOKIE}={}\r\n", chat());
    for (origin, status) in
        [("", 403), ("Origin: https://evil.example\r\n", 403), ("Origin: null\r\n", 403), ("Origin: https://app.example\r\n", 101)]
    {
        let mut raw = Raw::connect(to).await;
        raw.send(handshake("/ws?channel=chat:a", &format!("{cookie}{origin}"))).await;
        assert_eq!(raw.head().await.status, status, "{origin}");
    }
    node.stop().await;
}
