//! The page for operators: files compiled in, nothing from elsewhere. They hold no secret, so they are given to everyone; what
//! they show comes from the API, which asks for a key.

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderName, HeaderValue};
use http_body_util::Full;

/// One file.
#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    content_type: &'static str,
    body: &'static [u8],
}

/// Scripts and styles come from files alone, so no markup that a channel's name or a message might smuggle in could run.
/// `no-cache` lets a new build be seen.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data: 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-cache"),
];

const fn script(body: &'static [u8]) -> File {
    File { content_type: "text/javascript; charset=utf-8", body }
}

const FILES: [(&str, File); 11] = [
    ("/", File { content_type: "text/html; charset=utf-8", body: include_bytes!("assets/page.html") }),
    ("/page/page.css", File { content_type: "text/css; charset=utf-8", body: include_bytes!("assets/page.css") }),
    ("/page/icon.svg", File { content_type: "image/svg+xml", body: include_bytes!("assets/icon.svg") }),
    ("/page/page.js", script(include_bytes!("assets/page.js"))),
    ("/page/api.js", script(include_bytes!("assets/api.js"))),
    ("/page/dom.js", script(include_bytes!("assets/dom.js"))),
    ("/page/plot.js", script(include_bytes!("assets/plot.js"))),
    ("/page/overview.js", script(include_bytes!("assets/overview.js"))),
    ("/page/channels.js", script(include_bytes!("assets/channels.js"))),
    ("/page/sessions.js", script(include_bytes!("assets/sessions.js"))),
    ("/page/cluster.js", script(include_bytes!("assets/cluster.js"))),
];

/// The file at this path, if there is one.
pub(super) fn file(path: &str) -> Option<File> {
    FILES.iter().find(|(at, _)| *at == path).map(|(_, file)| *file)
}

/// The answer with it.
pub(super) fn response(file: File) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(file.body)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(file: &File) -> &'static str {
        std::str::from_utf8(file.body).expect("the page is text")
    }

    #[test]
    fn no_text_can_become_markup_and_nothing_comes_from_elsewhere() {
        for (at, file) in &FILES {
            let text = text(file).replace("http://www.w3.org/2000/svg", "");
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "http://",
                "https://",
                "//cdn",
                " style=",
                "<style",
                "onclick=",
                "onload=",
                "onerror=",
                "javascript:",
                "setAttribute(\"href\"",
                ".href =",
            ] {
                assert!(!text.contains(forbidden), "{at} holds {forbidden}");
            }
        }
    }

    #[test]
    fn every_file_that_another_one_names_is_there() {
        for (at, file) in &FILES {
            let text = text(file);
            let named = ["from \"./", "href=\"/page/", "src=\"/page/"].iter().flat_map(|start| text.split(start).skip(1));
            for name in named.filter_map(|rest| rest.split('"').next()) {
                assert!(super::file(&format!("/page/{name}")).is_some(), "{at} names {name}");
            }
        }
    }
}
