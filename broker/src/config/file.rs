//! YAML. The only file that knows which library reads it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DefaultMessageFormatter, Error, MessageFormatter, Spanned};

use super::{Config, Problem, hint, words};

/// Where in a file each key's value stands.
#[derive(Debug, Default)]
pub(super) struct Places(Option<Spanned<Node>>);

#[derive(Debug)]
enum Node {
    Map(BTreeMap<String, Spanned<Self>>),
    Leaf,
}

/// Reads a whole file strictly.
///
/// The error names file, line and column, shows the lines around it, and hints at what may have been meant.
pub(super) fn read(text: &str, name: &str) -> Result<(Config, Places), Problem> {
    // A file of nothing but comments is a null document, which a struct would refuse: it means all defaults.
    let config = serde_saphyr::from_str::<Option<Config>>(text).map_err(|why| explain(&why, name))?;
    // Cannot fail where the strict reading passed; without it, problems just name no line.
    let places = serde_saphyr::from_str::<Option<Spanned<Node>>>(text).unwrap_or_default();
    Ok((config.unwrap_or_default(), Places(places)))
}

/// Reads one value as it is written after `=` in an override. What is no YAML (`[::1]:8000`, `*`) is plain text.
pub(super) fn read_value(text: &str) -> serde_json::Value {
    serde_saphyr::from_str(text).unwrap_or_else(|_| text.into())
}

/// Writes the tree as YAML.
pub(super) fn write(config: &Config) -> Result<String, String> {
    serde_saphyr::to_string(config).map_err(|why| why.to_string())
}

impl Places {
    /// Line and column of the value at the path, or of the nearest section around it that the file has.
    pub(super) fn find(&self, path: &str) -> Option<(u64, u64)> {
        let mut node = self.0.as_ref()?;
        let mut found = None;
        for key in path.split('.') {
            let Node::Map(map) = &node.value else { break };
            let Some(next) = map.get(key) else { break };
            node = next;
            found = Some((node.referenced.line(), node.referenced.column()));
        }
        found
    }
}

fn explain(why: &Error, name: &str) -> Problem {
    let hint = match why.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => hint::unknown_key(field, expected),
        Error::SerdeUnknownVariant { variant, expected, .. } => hint::closest(variant, expected),
        _ => None,
    };
    let Some(location) = why.location() else {
        return Problem { place: name.to_owned(), what: why.to_string(), hint };
    };
    let mut options = serde_saphyr::RenderOptions::new(&OurWords);
    options.source_name = Some(name);
    // The library's own first words say the place in another form; ours is the one that editors can jump to.
    let rendered = why.render_with_options(options);
    let said = format!("error: line {} column {}: ", location.line(), location.column());
    let what = rendered.strip_prefix(&said).unwrap_or(&rendered).trim_end().to_owned();
    Problem { place: format!("{name}:{}:{}", location.line(), location.column()), what, hint }
}

/// What the library says, without its own terms.
struct OurWords;

impl MessageFormatter for OurWords {
    fn format_message<'a>(&self, why: &'a Error) -> Cow<'a, str> {
        words::ours(&DefaultMessageFormatter.format_message(why)).into()
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;
        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((key, value)) = access.next_entry()? {
                    map.insert(key, value);
                }
                Ok(Node::Map(map))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
                while access.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Node::Leaf)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Leaf)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Leaf)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Leaf)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Leaf)
            }

            fn visit_str<E>(self, _: &str) -> Result<Node, E> {
                Ok(Node::Leaf)
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
        }
        deserializer.deserialize_any(NodeVisitor)
    }
}
