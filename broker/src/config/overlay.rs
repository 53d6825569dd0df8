//! Single keys over the file: environment variables and flags.

use std::fmt;

use serde_json::{Map, Value};

use super::{Config, Problem, file, hint, words};
use crate::hub::namespace;

/// What an environment variable that mirrors a key starts with.
const PREFIX: &str = "TIDINGS_";

/// One key set from outside the file.
#[derive(Clone, Debug)]
pub struct Override {
    /// What to name in an error: the variable or the flag.
    origin: String,
    /// The key, its levels joined by dots.
    pub(super) path: String,
    /// As written; YAML, or plain text where the key holds text.
    value: String,
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

impl Override {
    /// From the argument of `--set`: `http.listen=127.0.0.1:9000`.
    ///
    /// # Errors
    /// When there is no `=` or nothing before it.
    pub fn flag(argument: &str) -> Result<Self, String> {
        match argument.split_once('=') {
            Some((path, value)) if !path.trim().is_empty() => {
                let path = path.trim();
                Ok(Self { origin: format!("--set {path}"), path: path.to_owned(), value: value.to_owned() })
            }
            _ => Err("needs key=value, such as http.listen=127.0.0.1:9000".to_owned()),
        }
    }

    /// From the flag `--dev`.
    #[must_use]
    pub fn dev() -> Self {
        Self { origin: "--dev".to_owned(), path: "dev".to_owned(), value: "true".to_owned() }
    }

    /// From an environment variable: two underscores separate levels, so `TIDINGS_HTTP__LISTEN` is `http.listen`.
    /// `None` for a variable that is none of ours.
    #[must_use]
    pub fn variable(name: &str, value: &str) -> Option<Self> {
        let key = name.strip_prefix(PREFIX)?;
        // Kubernetes sets these by itself in every pod beside a service called "tidings".
        let service_link = key == "PORT" || key.starts_with("PORT_") || key == "SERVICE_HOST" || key.starts_with("SERVICE_PORT");
        // And these are what `tidings publish` and `tidings subscribe` read, often in the same shell.
        let of_clients = key == "URL" || key == "KEY";
        let path = key.to_lowercase().replace("__", ".");
        (!service_link && !of_clients).then(|| Self { origin: name.to_owned(), path, value: value.to_owned() })
    }

    /// The configuration with this key set.
    pub(super) fn apply(&self, config: &Config) -> Result<Config, Problem> {
        let problem = |what: String, hint: Option<String>| Problem { place: self.origin.clone(), what, hint };
        let mut tree = serde_json::to_value(config).map_err(|why| problem(why.to_string(), None))?;
        let place = self.find(&mut tree).map_err(|(what, hint)| problem(what, hint))?;
        let given = file::read_value(&self.value);
        match given {
            // A key that holds text takes the text as it is: `1e3` or `007` stay what was written.
            Value::Number(_) | Value::Bool(_) if place.is_string() => *place = self.value.trim().into(),
            given => merge(place, given),
        }
        serde_path_to_error::deserialize(tree).map_err(|why| {
            let (path, why) = (why.path().to_string(), why.into_inner());
            problem(format!("{path}: {}", words::ours(&why.to_string())), None)
        })
    }

    /// The place in the tree that the path names; errors are a sentence and a hint.
    fn find<'t>(&self, tree: &'t mut Value) -> Result<&'t mut Value, (String, Option<String>)> {
        let mut place = tree;
        let mut above = String::new();
        for key in self.path.split('.') {
            place = match place {
                Value::Object(map) => {
                    if above == "namespaces" && !map.contains_key(key) {
                        map.insert(key.to_owned(), serde_json::to_value(namespace::Config::default()).unwrap_or_default());
                    }
                    if !map.contains_key(key) {
                        return Err(unknown(key, &above, map));
                    }
                    &mut map[key]
                }
                Value::Array(_) => {
                    return Err((format!("`{above}` is a list and is set as a whole"), Some(format!("--set '{above}=[…]'"))));
                }
                _ => return Err((format!("`{above}` is a single value, there is no `{key}` in it"), None)),
            };
            above = if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") };
        }
        Ok(place)
    }
}

fn unknown(key: &str, above: &str, map: &Map<String, Value>) -> (String, Option<String>) {
    let keys: Vec<&str> = map.keys().map(String::as_str).collect();
    let place = if above.is_empty() { "the top level".to_owned() } else { format!("`{above}`") };
    // `TIDINGS_HTTP_LISTEN` with one underscore where two are needed.
    let levels = key.split_once('_').filter(|(section, _)| map.get(*section).is_some_and(Value::is_object));
    let levels = levels
        .map(|(section, rest)| format!("two underscores separate levels: {PREFIX}{}__{}", section.to_uppercase(), rest.to_uppercase()));
    let hint = levels.or_else(|| hint::unknown_key(key, &keys));
    (format!("unknown key `{key}` at {place}, expected one of {}", keys.join(", ")), hint)
}

/// A mapping adds to the mapping that is there; anything else replaces what is there.
fn merge(place: &mut Value, given: Value) {
    match (place, given) {
        (Value::Object(there), Value::Object(given)) => {
            for (key, value) in given {
                merge(there.entry(key).or_insert(Value::Null), value);
            }
        }
        (place, given) => *place = given,
    }
}
