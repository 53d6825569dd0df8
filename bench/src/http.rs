//! Answers of HTTP/1.1, as far as a load generator has to understand them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::ensure;

/// Longest wait for an answer to [`get`].
const PATIENCE: Duration = Duration::from_secs(5);

/// The whole answer to a request on a connection of its own, whatever it is.
pub(crate) fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Length of the answer at the front, once it is all there.
pub(crate) fn complete(input: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = memchr::memmem::find(input, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&input[..end])?.to_ascii_lowercase();
    let is_accepted = head.starts_with("http/1.1 20");
    let body = &input[end + 4..];
    let length = match head.lines().find_map(|line| line.strip_prefix("content-length:")) {
        Some(length) => length.trim().parse::<usize>()?,
        // Chunked: no answer here is so long that a chunk of its own could end in this.
        None if head.contains("transfer-encoding: chunked") => match memchr::memmem::find(body, b"0\r\n\r\n") {
            Some(at) => at + 5,
            None => return Ok(None),
        },
        None => 0,
    };
    if body.len() < length {
        return Ok(None);
    }
    ensure!(is_accepted, "a request was refused: {}", String::from_utf8_lossy(&input[..end + 4 + length]));
    Ok(Some(end + 4 + length))
}

/// The value of a header, whose name is given in small letters and with its colon.
pub(crate) fn header<'a>(answer: &'a [u8], name: &str) -> Option<&'a str> {
    let end = memchr::memmem::find(answer, b"\r\n\r\n")?;
    let mut lines = std::str::from_utf8(&answer[..end]).ok()?.lines();
    lines.find_map(|line| line.get(..name.len()).filter(|known| known.eq_ignore_ascii_case(name)).map(|_| line[name.len()..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nabcHTTP";
        assert_eq!(complete(answer).unwrap(), Some(answer.len() - 4));
        assert_eq!(complete(&answer[..40]).unwrap(), None);
        assert!(complete(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").is_err());
        assert_eq!(complete(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").unwrap(), Some(59));
        assert_eq!(header(answer, "content-length:"), Some("3"));
        assert_eq!(header(answer, "content-type:"), None);
    }
}
