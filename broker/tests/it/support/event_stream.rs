//! Reading an event stream as a browser does (WHATWG HTML, section 9.2.6, "Interpreting an event stream").

/// An event as a page would see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamEvent {
    /// `message` when the stream named none.
    pub(crate) kind: String,
    pub(crate) data: String,
}

/// The state of one event source. Takes bytes as they come, cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct EventStream {
    line: Vec<u8>,
    has_begun: bool,
    after_cr: bool,
    kind: String,
    data: String,
    id_buffer: String,
    /// What a reconnect would send as `Last-Event-ID`.
    pub(crate) last_event_id: String,
    /// Milliseconds of the last `retry:`.
    pub(crate) retry: Option<u64>,
    /// Comment lines seen.
    pub(crate) comments: usize,
}

impl EventStream {
    /// An event source that reconnects: it knows an id already.
    pub(crate) fn resumed(last_event_id: &str) -> Self {
        Self { id_buffer: last_event_id.to_owned(), last_event_id: last_event_id.to_owned(), ..Self::default() }
    }

    /// Interprets more bytes; returns the events they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<StreamEvent> {
        let mut events = Vec::new();
        for byte in bytes {
            // CRLF is one line end, also when it is cut in the middle.
            let is_second_half = std::mem::replace(&mut self.after_cr, *byte == b'\r') && *byte == b'\n';
            match byte {
                b'\n' if is_second_half => {}
                b'\r' | b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.line(&line));
                }
                other => self.line.push(*other),
            }
        }
        events
    }

    fn line(&mut self, line: &[u8]) -> Option<StreamEvent> {
        let line = if std::mem::replace(&mut self.has_begun, true) { line } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) };
        let line = String::from_utf8_lossy(line).into_owned();
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.comments += 1,
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id_buffer),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => self.retry = value.parse().ok(),
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<StreamEvent> {
        self.last_event_id.clone_from(&self.id_buffer);
        let kind = std::mem::take(&mut self.kind);
        let mut data = std::mem::take(&mut self.data);
        // Nothing but an id, say: it counts, and fires nothing.
        data.pop()?;
        Some(StreamEvent { kind: if kind.is_empty() { "message".to_owned() } else { kind }, data })
    }
}

#[test]
fn the_reader_reads_the_examples_of_the_specification() {
    let read = |text: &str| EventStream::default().push(text.as_bytes()).into_iter().map(|event| event.data).collect::<Vec<_>>();
    assert_eq!(read("data: YHOO\ndata: +2\ndata: 10\n\n"), ["YHOO\n+2\n10"]);
    assert_eq!(read("data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
    assert_eq!(read("data:test\n\ndata: test\n\n"), ["test", "test"]);
    let mut stream = EventStream::default();
    let events = stream.push(b": test stream\r\n\r\ndata: first event\rid: 1\r\rdata:second event\nid\n\ndata:  third event\n\n");
    assert_eq!(events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), ["first event", "second event", " third event"]);
    assert_eq!((stream.last_event_id.as_str(), stream.comments), ("", 1));
    stream.push(b"id: 7\n");
    assert_eq!(stream.last_event_id, "", "an id counts only once its block is complete");
}
