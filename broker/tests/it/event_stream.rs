//! An event stream read as WHATWG HTML, sections 9.2.5 and 9.2.6, tells a client to, written from that text alone.

/// One dispatched event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// `message` when the block has none.
    pub(crate) event: String,
    pub(crate) data: String,
    /// What the client would resume with.
    pub(crate) last_event_id: String,
}

/// What a client knows after a stream.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) events: Vec<Event>,
    pub(crate) last_event_id: String,
    pub(crate) reconnection_time: Option<u64>,
}

/// Reads a whole stream. What is after the last empty line is an incomplete block and is thrown away.
pub(crate) fn read(stream: &str) -> Read {
    let mut known = Read::default();
    let (mut data, mut event, mut id) = (String::new(), String::new(), String::new());
    for line in lines(stream.strip_prefix('\u{feff}').unwrap_or(stream)) {
        if line.is_empty() {
            known.last_event_id.clone_from(&id);
            if !data.is_empty() {
                let text = data.strip_suffix('\n').unwrap_or(&data).to_owned();
                let name = if event.is_empty() { "message".to_owned() } else { event.clone() };
                known.events.push(Event { event: name, data: text, last_event_id: id.clone() });
            }
            data.clear();
            event.clear();
            continue;
        }
        let (field, value) = match line.split_once(':') {
            Some(("", _)) => continue,
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            None => (line, ""),
        };
        match field {
            "event" => value.clone_into(&mut event),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut id),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => known.reconnection_time = value.parse().ok(),
            _ => {}
        }
    }
    known
}

/// Complete lines: each ended by CR LF, LF or CR.
fn lines(stream: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = stream;
    while let Some(end) = rest.find(['\r', '\n']) {
        lines.push(&rest[..end]);
        let after = &rest[end..];
        rest = after.strip_prefix("\r\n").unwrap_or(&after[1..]);
    }
    lines
}

#[test]
fn the_examples_of_the_standard_are_read_as_it_says() {
    let stock = read("data: YHOO\ndata: +2\ndata: 10\n\n");
    assert_eq!(stock.events[0].data, "YHOO\n+2\n10");
    let four = read(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n");
    let seen: Vec<_> = four.events.iter().map(|event| (event.data.as_str(), event.last_event_id.as_str())).collect();
    assert_eq!(seen, [("first event", "1"), ("second event", ""), (" third event", "")]);
    let newlines = read("data\n\ndata\ndata\n\ndata:");
    assert_eq!(newlines.events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), ["", "\n"]);
    let spaces = read("data:test\r\rdata: test\r\n\r\n");
    assert!(spaces.events.len() == 2 && spaces.events[0] == spaces.events[1]);
}
