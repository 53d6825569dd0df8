//! Reading a stream of lines as a client does, and one of script calls as the page around a hidden frame does.

use serde_json::Value;

/// Takes bytes as they come, cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    unread: Vec<u8>,
    /// Lines are of a page, and only its calls count.
    is_page: bool,
    /// The newest cursor seen: what the client would come back with.
    pub(crate) cursor: String,
}

impl Lines {
    /// A client that knows a cursor already, or an empty one.
    pub(crate) fn resumed(cursor: &str, is_page: bool) -> Self {
        Self { cursor: cursor.to_owned(), is_page, ..Self::default() }
    }

    /// The object that one more byte completes.
    pub(crate) fn push(&mut self, byte: u8) -> Option<Value> {
        self.unread.push(byte);
        if byte != b'\n' {
            return None;
        }
        let line = String::from_utf8(std::mem::take(&mut self.unread)).unwrap();
        let object =
            if self.is_page { script_call(&line)? } else { serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line}")) };
        if let Some(cursor) = object["cursor"].as_str().or(object["heartbeat"]["cursor"].as_str()) {
            cursor.clone_into(&mut self.cursor);
        }
        Some(object)
    }
}

/// What a script call hands over; `None` for a line of the page that is no call.
pub(crate) fn script_call(line: &str) -> Option<Value> {
    let inside = line.strip_prefix("<script>parent.tidings(JSON.parse('")?.strip_suffix("'))</script>\n").unwrap();
    // Such a string is one of JSON but for its `\xHH`.
    let literal = format!("\"{}\"", inside.replace("\\x", "\\u00"));
    let text: String = serde_json::from_str(&literal).unwrap_or_else(|why| panic!("{why}: {literal}"));
    Some(serde_json::from_str(&text).unwrap())
}
