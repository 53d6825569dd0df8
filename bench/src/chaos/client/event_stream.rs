//! Reads `text/event-stream` (WHATWG HTML, 9.2.6), as far as the broker uses it.

/// One block.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) id: Option<String>,
    pub(super) event: String,
    pub(super) data: String,
}

/// Lines that are not whole blocks yet.
#[derive(Debug, Default)]
pub(super) struct EventStream {
    pending: Vec<u8>,
}

impl EventStream {
    /// Takes bytes and gives the blocks that are whole now.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Block> {
        self.pending.extend_from_slice(bytes);
        let mut blocks = Vec::new();
        while let Some(end) = memchr::memmem::find(&self.pending, b"\n\n") {
            let text: Vec<u8> = self.pending.drain(..end + 2).collect();
            blocks.push(block(&String::from_utf8_lossy(&text)));
        }
        blocks
    }
}

fn block(text: &str) -> Block {
    let mut block = Block::default();
    for line in text.lines() {
        let Some((field, value)) = line.split_once(':') else { continue };
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => block.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut block.event),
            "data" if block.data.is_empty() => value.clone_into(&mut block.data),
            "data" => block.data = format!("{}\n{value}", block.data),
            _ => {}
        }
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_out_whole() {
        let mut stream = EventStream::default();
        assert!(stream.push(b"retry: 5\n\nid: a\nda").iter().all(|block| block.id.is_none()));
        let blocks = stream.push(b"ta: {\"x\":1}\n\n: quiet\n\n");
        assert_eq!(blocks[0], Block { id: Some("a".into()), event: String::new(), data: "{\"x\":1}".into() });
        assert_eq!(blocks.len(), 2);
    }
}
