//! Text with placeholders such as `{cursor}`: compared with what came, and filled in for what is sent.

use std::collections::BTreeMap;

/// What each placeholder stood for so far in a scene.
pub(super) type Values = BTreeMap<String, String>;

type Class = fn(char) -> bool;

/// Which characters a placeholder of this name stands for; `None` when it is none. A name may go on: `{cursor_before}`.
fn class(name: &str) -> Option<Class> {
    let digits: Class = |c| c.is_ascii_digit();
    Some(match name.split('_').next()? {
        "cursor" => |c| c.is_ascii_alphanumeric() || c == '-' || c == '_',
        "id" => |c| c.is_ascii_hexdigit(),
        "time" | "retry" | "bytes" => digits,
        "blanks" => |c| c == ' ',
        _ => return None,
    })
}

enum Piece<'a> {
    Literal(&'a str),
    Placeholder(&'a str, Class),
}

fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut from = 0;
    while let Some(open) = rest[from..].find('{').map(|at| at + from) {
        let name = rest[open + 1..].split('}').next().unwrap_or_default();
        match class(name) {
            Some(class) if rest[open + 1..].len() > name.len() => {
                pieces.push(Piece::Literal(&rest[..open]));
                pieces.push(Piece::Placeholder(name, class));
                rest = &rest[open + name.len() + 2..];
                from = 0;
            }
            _ => from = open + 1,
        }
    }
    pieces.push(Piece::Literal(rest));
    pieces
}

/// Fills in what is known.
pub(super) fn fill(template: &str, values: &Values) -> String {
    let filled = pieces(template).into_iter().map(|piece| match piece {
        Piece::Literal(text) => text,
        Piece::Placeholder(name, _) => values.get(name).unwrap_or_else(|| panic!("nothing before says what {{{name}}} is")),
    });
    filled.collect()
}

/// Compares, and learns what placeholders stand for. A placeholder that is known must stand for the same again.
pub(super) fn matches(template: &str, actual: &str, values: &mut Values) -> Result<(), String> {
    let differ = || format!("expected: {template}\n     got: {actual}");
    let mut rest = actual;
    for piece in pieces(template) {
        match piece {
            Piece::Literal(text) => rest = rest.strip_prefix(text).ok_or_else(differ)?,
            Piece::Placeholder(name, class) => {
                let value = rest.split(|c| !class(c)).next().unwrap_or_default();
                if value.is_empty() {
                    return Err(differ());
                }
                let known = values.entry(name.to_owned()).or_insert_with(|| value.to_owned());
                rest = rest.strip_prefix(known.as_str()).ok_or_else(|| format!("{}\n{{{name}}} was {known}", differ()))?;
            }
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(differ()) }
}

/// JSON without the blanks between its parts, so that the page may break and indent it. Works on templates too.
pub(super) fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let mut keep = |c: char| {
        let is_part = in_string || !c.is_whitespace();
        if c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && c == '\\' && !escaped;
        is_part
    };
    json.chars().filter(|c| keep(*c)).collect()
}

#[test]
fn placeholders_are_learned_and_then_hold() {
    let mut values = Values::new();
    matches("id: {cursor}\ndata: {\"a\":{b}}", "id: EA-_9\ndata: {\"a\":{b}}", &mut values).unwrap();
    assert_eq!(values["cursor"], "EA-_9");
    assert_eq!(fill("/poll?since={cursor}", &values), "/poll?since=EA-_9");
    assert!(matches("{cursor}", "other", &mut values).is_err());
    assert!(matches("{cursor_next}", "", &mut values).is_err());
    assert!(matches("retry: {retry}", "retry: soon", &mut values).is_err());
    assert!(matches("a", "ab", &mut values).is_err());
    assert_eq!(compact("{ \"a b\\\" c\": [1,\n 2] }"), "{\"a b\\\" c\":[1,2]}");
}
