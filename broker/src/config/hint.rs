//! What someone may have meant.

use serde_json::Value;

use super::Config;

/// For a key that a section does not have: a similar one, else the section where a key of that name lives.
pub(super) fn unknown_key(key: &str, expected: &[&str]) -> Option<String> {
    closest(key, expected).or_else(|| {
        let mut homes = Vec::new();
        find(&tree(), key, "", &mut homes);
        (!homes.is_empty()).then(|| format!("`{key}` belongs under {}", homes.join(" or ")))
    })
}

/// "did you mean …" for the most similar name, if one is similar enough to be a slip.
pub(super) fn closest(given: &str, expected: &[&str]) -> Option<String> {
    let distance = |name: &str| strsim::damerau_levenshtein(&given.to_lowercase(), name);
    let (best, distance) = expected.iter().map(|name| (name, distance(name))).min_by_key(|(_, distance)| *distance)?;
    // A third of the letters wrong is a slip; more is another word.
    (distance <= given.chars().count().max(best.len()) / 3).then(|| format!("did you mean `{best}`?"))
}

/// Every key with its default.
fn tree() -> Value {
    serde_json::to_value(Config::default()).unwrap_or_default()
}

fn find(node: &Value, key: &str, path: &str, homes: &mut Vec<String>) {
    let Value::Object(map) = node else { return };
    for (name, value) in map {
        if name == key {
            homes.push(if path.is_empty() { "the top level".to_owned() } else { format!("`{path}`") });
        }
        find(value, key, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, homes);
    }
}
