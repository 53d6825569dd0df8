//! Pages of other origins: what they may ask and read.

use tidings::node::Node;

use crate::raw::{Answer, Raw, config, post, request, start};

const APP: &str = "https://app.example";

async fn listing_app() -> Node {
    let mut config = config();
    config.cors.origins = vec![APP.to_owned()];
    Node::start(config).await.unwrap()
}

async fn head(node: &Node, method: &str, target: &str, headers: &str) -> Answer {
    let to = node.addresses().http;
    let mut raw = Raw::connect(to).await;
    raw.send(request(method, target, to, headers)).await;
    raw.head().await
}

/// A list in a header, as a set of lower-case names.
fn names(answer: &Answer, header: &str) -> Vec<String> {
    answer.header(header).unwrap_or_default().split(',').map(|name| name.trim().to_ascii_lowercase()).collect()
}

#[tokio::test]
async fn a_preflight_of_a_listed_origin_learns_what_it_may() {
    let node = listing_app().await;
    for target in ["/sse?channel=a", "/poll?channel=a", "/v1/publish", "/v1/channels/a/messages"] {
        let asked = format!(
            "Origin: {APP}\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization,last-event-id\r\n"
        );
        let answer = head(&node, "OPTIONS", target, &asked).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some(APP)), "{target}");
        let allowed = names(&answer, "access-control-allow-headers");
        for name in ["authorization", "last-event-id", "content-type", "cache-control", "if-none-match"] {
            assert!(allowed.contains(&name.to_owned()), "{name} on {target}");
        }
        assert!(names(&answer, "access-control-allow-methods").contains(&"delete".to_owned()));
        assert_eq!(answer.header("access-control-max-age"), Some("600"));
        assert!(names(&answer, "vary").contains(&"origin".to_owned()));
    }
    node.stop().await;
}

#[tokio::test]
async fn other_origins_learn_nothing_and_caches_know_why() {
    let node = listing_app().await;
    for origin in ["https://evil.example", "null", "https://app.example.evil.example", "HTTPS://APP.EXAMPLE:8443"] {
        for target in ["/sse?channel=a", "/poll?channel=a", "/v1/channels", "/nothing"] {
            for (method, more) in [("GET", ""), ("OPTIONS", "Access-Control-Request-Method: GET\r\n")] {
                let answer = head(&node, method, target, &format!("Origin: {origin}\r\n{more}")).await;
                assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("access-control-")), "{method} {target}: {answer:?}");
                assert!(names(&answer, "vary").contains(&"origin".to_owned()), "{method} {target}");
            }
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn a_listed_origin_may_read_answers_errors_and_our_headers() {
    let node = listing_app().await;
    for target in ["/sse?channel=a", "/sse", "/poll?channel=a", "/poll", "/v1/channels", "/v1/nothing", "/nothing"] {
        for method in ["GET", "PUT"] {
            let answer = head(&node, method, target, &format!("Origin: {APP}\r\n")).await;
            assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "{method} {target} {}", answer.status);
            assert!(names(&answer, "access-control-expose-headers").contains(&"tidings-cursor".to_owned()), "{method} {target}");
            assert!(names(&answer, "vary").contains(&"origin".to_owned()), "{method} {target}");
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn without_a_list_no_origin_is_named() {
    let node = start().await;
    let to = node.addresses().http;
    for target in ["/sse?channel=a", "/poll?channel=a", "/v1/channels"] {
        let answer = head(&node, "GET", target, &format!("Origin: {APP}\r\n")).await;
        assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("access-control-") || name == "vary"), "{target}: {answer:?}");
    }
    // Which does not keep a program from publishing, and does keep a foreign page.
    let publish = String::from_utf8(post("/v1/channels/a/messages", to, b"x")).unwrap();
    for (origin, status) in [("", 200), ("Origin: https://evil.example\r\n", 403)] {
        let mut raw = Raw::connect(to).await;
        raw.send(publish.replacen("Content-Type", &format!("{origin}Content-Type"), 1)).await;
        assert_eq!(raw.answer().await.status, status);
    }
    node.stop().await;
}
