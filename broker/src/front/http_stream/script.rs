//! JSON as a call into the page around a hidden frame. Whatever a publisher put into a payload or a name, the text must
//! stay inside its string, and the string inside its script.

const BEGIN: &[u8] = b"<script>parent.tidings(JSON.parse('";
const END: &[u8] = b"'))</script>\n";

/// Writes the call with what `json` writes as its argument.
pub(super) fn write_call(out: &mut Vec<u8>, json: impl FnOnce(&mut Vec<u8>)) {
    begin_call(out);
    write_argument(out, json);
    end_call(out);
}

/// Writes what stands before an argument. JSON is handed over as text and parsed, not written as an object of the
/// script: to a script, `__proto__` is no ordinary name.
pub(super) fn begin_call(out: &mut Vec<u8>) {
    out.extend_from_slice(BEGIN);
}

/// Writes a part of an argument.
pub(super) fn write_argument(out: &mut Vec<u8>, json: impl FnOnce(&mut Vec<u8>)) {
    let mut text = Vec::with_capacity(256);
    json(&mut text);
    escape(out, &text);
}

/// Writes what stands behind an argument.
pub(super) fn end_call(out: &mut Vec<u8>) {
    out.extend_from_slice(END);
}

/// Writes UTF-8 as the inside of a script's string with single quotes (ECMA-262, "String Literals"). What could end the
/// string or the line is escaped there; `<`, `>` and `&` because HTML looks for the script's end, and for comments,
/// without understanding it (WHATWG HTML, "Restrictions for contents of script elements").
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + text.len() / 8);
    let mut rest = text;
    loop {
        let plain = rest.iter().position(|byte| matches!(byte, b'\\' | b'\'' | b'"' | b'<' | b'>' | b'&' | 0..=0x1f | 0xe2));
        let plain = plain.unwrap_or(rest.len());
        out.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        rest = match rest {
            [] => return,
            // Line ends to scripts older than ECMAScript 2019.
            [0xe2, 0x80, 0xa8, after @ ..] => {
                out.extend_from_slice(b"\\u2028");
                after
            }
            [0xe2, 0x80, 0xa9, after @ ..] => {
                out.extend_from_slice(b"\\u2029");
                after
            }
            [0xe2, after @ ..] => {
                out.push(0xe2);
                after
            }
            [byte @ (b'\\' | b'"'), after @ ..] => {
                out.extend_from_slice(&[b'\\', *byte]);
                after
            }
            [byte, after @ ..] => {
                out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
                after
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = Vec::new();
        escape(&mut out, text.as_bytes());
        String::from_utf8(out).unwrap()
    }

    /// What a script makes of the inside of a string.
    fn unescaped(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text.chars();
        while let Some(next) = rest.next() {
            let digits = match (next, if next == '\\' { rest.next() } else { None }) {
                (_, Some('x')) => 2,
                (_, Some('u')) => 4,
                (_, Some(other)) => {
                    out.push(other);
                    continue;
                }
                (plain, None) => {
                    out.push(plain);
                    continue;
                }
            };
            let code: String = rest.by_ref().take(digits).collect();
            out.push(char::from_u32(u32::from_str_radix(&code, 16).unwrap()).unwrap());
        }
        out
    }

    #[test]
    fn nothing_ends_the_string_the_script_or_the_line() {
        assert_eq!(escaped("</script>"), r"\x3c/script\x3e");
        assert_eq!(escaped("<!-- &amp; it's \"so\" \\"), r#"\x3c!-- \x26amp; it\x27s \"so\" \\"#);
        assert_eq!(escaped("a\u{2028}b\u{2029}c\u{2027}d€\n"), "a\\u2028b\\u2029c\u{2027}d€\\x0a");
    }

    #[test]
    fn a_call_hands_over_json() {
        let mut out = Vec::new();
        write_call(&mut out, |json| json.extend_from_slice(br#"{"a":"b\n"}"#));
        assert_eq!(
            out,
            br#"<script>parent.tidings(JSON.parse('{\"a\":\"b\\n\"}'))</script>
"#
        );
    }

    proptest! {
        #[test]
        fn a_script_sees_the_same_text_and_html_sees_none_of_it(text in "(?s:[<>&'\"\\\\!/\u{2028}\u{2029}\u{e2}€a-c\\n]|.){0,60}") {
            let shown = escaped(&text);
            prop_assert!(!shown.contains(['<', '>', '&', '\'', '\n', '\r', '\u{2028}', '\u{2029}']), "{shown:?}");
            prop_assert_eq!(unescaped(&shown), text);
        }
    }
}
