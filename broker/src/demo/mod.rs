//! What the daemon shows to those who try it out: a start page, a monitor of this machine, a chat.
//!
//! The pages are files compiled into the daemon and use its public addresses only, as anybody's pages would. The
//! monitor's figures come from a small backend program of its own process, which publishes over gRPC with the SDK:
//! [`monitor`] is that program, [`child`] keeps it running. Nothing here knows the inside of the broker.

mod alarm;
mod answer;
pub mod child;
mod machine;
pub mod monitor;
mod scrape;
mod ticker;

/// A file of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// What to say in `Content-Type`.
    pub content_type: &'static str,
    /// The file's bytes.
    pub body: &'static [u8],
}

/// To be sent with every page. The policy allows nothing but this listener's own files and addresses, and no markup that
/// a message might smuggle in could run: scripts and styles come from files alone. `no-cache` lets a new build be seen.
pub const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data: 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-cache"),
];

/// The file at this path, if the demo has one.
#[must_use]
pub fn page(path: &str) -> Option<Page> {
    FILES.iter().find(|(at, _)| *at == path).map(|(_, page)| *page)
}

const fn html(body: &'static [u8]) -> Page {
    Page { content_type: "text/html; charset=utf-8", body }
}

const fn css(body: &'static [u8]) -> Page {
    Page { content_type: "text/css; charset=utf-8", body }
}

const fn js(body: &'static [u8]) -> Page {
    Page { content_type: "text/javascript; charset=utf-8", body }
}

const fn svg(body: &'static [u8]) -> Page {
    Page { content_type: "image/svg+xml", body }
}

const FILES: [(&str, Page); 24] = [
    ("/", html(include_bytes!("assets/start.html"))),
    ("/demo/start.css", css(include_bytes!("assets/start.css"))),
    ("/demo/start.js", js(include_bytes!("assets/start.js"))),
    ("/demo/monitor", html(include_bytes!("assets/monitor.html"))),
    ("/demo/monitor.css", css(include_bytes!("assets/monitor.css"))),
    ("/demo/monitor.js", js(include_bytes!("assets/monitor.js"))),
    ("/demo/chat", html(include_bytes!("assets/chat.html"))),
    ("/demo/chat.css", css(include_bytes!("assets/chat.css"))),
    ("/demo/chat.js", js(include_bytes!("assets/chat.js"))),
    ("/demo/conversation.js", js(include_bytes!("assets/conversation.js"))),
    ("/demo/memory.js", js(include_bytes!("assets/memory.js"))),
    ("/demo/fronts", html(include_bytes!("assets/fronts.html"))),
    ("/demo/fronts.js", js(include_bytes!("assets/fronts.js"))),
    ("/demo/ticker", html(include_bytes!("assets/ticker.html"))),
    ("/demo/ticker.js", js(include_bytes!("assets/ticker.js"))),
    ("/demo/answer", html(include_bytes!("assets/answer.html"))),
    ("/demo/answer.js", js(include_bytes!("assets/answer.js"))),
    ("/demo/pages.css", css(include_bytes!("assets/pages.css"))),
    ("/demo/client.js", js(include_bytes!("assets/client.js"))),
    ("/demo/tidings.js", js(include_bytes!("assets/tidings.js"))),
    ("/demo/base.css", css(include_bytes!("assets/base.css"))),
    ("/demo/live.js", js(include_bytes!("assets/live.js"))),
    ("/demo/spark.js", js(include_bytes!("assets/spark.js"))),
    ("/demo/icon.svg", svg(include_bytes!("assets/icon.svg"))),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(page: &Page) -> &'static str {
        std::str::from_utf8(page.body).expect("the demo is text")
    }

    /// What stands between `open` and the next `"`, everywhere in the text.
    fn quoted<'a>(text: &'a str, open: &'a str) -> impl Iterator<Item = &'a str> {
        text.split(open).skip(1).filter_map(|rest| rest.split('"').next())
    }

    #[test]
    fn every_reference_in_a_page_leads_to_a_file_or_an_address_of_the_broker() {
        for (at, page) in &FILES {
            let text = text(page);
            let attributes = quoted(text, "href=\"").chain(quoted(text, "src=\"")).filter(|_| page.content_type.starts_with("text/html"));
            let imports = quoted(text, "from \"./").map(|file| ("/demo/", file)).collect::<Vec<_>>();
            for reference in attributes.filter(|reference| !reference.starts_with('#')) {
                assert!(super::page(reference).is_some() || reference == "/v1/channels", "{at} refers to {reference}");
            }
            for (folder, file) in imports {
                assert!(super::page(&format!("{folder}{file}")).is_some(), "{at} imports {file}");
            }
        }
    }

    #[test]
    fn pages_hold_no_inline_code_that_their_own_policy_would_refuse() {
        for (at, page) in FILES.iter().filter(|(_, page)| page.content_type.starts_with("text/html")) {
            let text = text(page);
            for forbidden in [" style=", "<style", " onclick=", " onload=", " onerror=", "javascript:"] {
                assert!(!text.contains(forbidden), "{at} holds {forbidden}");
            }
            assert_eq!(text.matches("<script").count(), text.matches("<script type=\"module\" src=\"/demo/").count(), "{at}");
        }
    }

    #[test]
    fn scripts_never_turn_text_into_markup_and_nothing_comes_from_elsewhere() {
        for (at, page) in &FILES {
            let text = text(page);
            for forbidden in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "https://", "//cdn"]
            {
                assert!(!text.contains(forbidden), "{at} holds {forbidden}");
            }
        }
    }

    #[test]
    fn unknown_paths_have_no_page() {
        for path in ["", "/demo", "/demo/", "/demo/../", "/demo/monitor/", "/index.html", "/demo/nothing.js"] {
            assert_eq!(page(path), None, "{path}");
        }
    }
}
