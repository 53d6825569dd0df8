//! Query strings and percent-encoding, strictly: what is not understood is refused by name, never guessed.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::wire::percent_decode;

/// How much of a name that is not known is said again.
const NAME_CHARS: usize = 64;

/// Most of the parser's complaint that goes back; it may quote what was sent.
const COMPLAINT_CHARS_MAX: usize = 300;

/// What is wrong with a query that is described in JSON.
pub(super) fn complaint(what: &str, why: &serde_json::Error) -> Error {
    let why: String = why.to_string().chars().take(COMPLAINT_CHARS_MAX).collect();
    Error::invalid(format!("{what} is an object of JSON: {why}"))
}

/// The parameters of one request: each known, each at most once.
#[derive(Debug)]
pub(super) struct Query<'a>(Vec<(Cow<'a, str>, String)>);

impl<'a> Query<'a> {
    /// Parses `name=value&…` (the form of HTML forms: `+` is a space).
    ///
    /// # Errors
    /// `invalid_request` that names a parameter which is not among `known` or is given twice, or says what is wrong
    /// with the encoding.
    pub(super) fn parse(text: &'a str, known: &[&str]) -> Result<Self> {
        let mut pairs: Vec<(Cow<'a, str>, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode(name)?;
            if !known.contains(&&*name) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                // Cut: it may be as long as a head, and each byte six in JSON.
                let name: String = name.chars().take(NAME_CHARS).collect();
                return Err(Error::invalid(format!("unknown query parameter `{name}`; this path takes {known}")));
            }
            if pairs.iter().any(|(before, _)| *before == name) {
                return Err(Error::invalid(format!("the query parameter `{name}` is given twice")));
            }
            pairs.push((name, percent_decode(&value.replace('+', " "))?.into_owned()));
        }
        Ok(Self(pairs))
    }

    /// The value of one parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is a whole number from 1 to `max`.
    ///
    /// # Errors
    /// `invalid_request` that names the parameter and its bounds.
    pub(super) fn count(&self, name: &str, default: usize, max: usize) -> Result<usize> {
        let Some(text) = self.get(name) else { return Ok(default) };
        match text.parse() {
            Ok(count) if (1..=max).contains(&count) => Ok(count),
            _ => Err(Error::invalid(format!("`{name}` is a number from 1 to {max}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("a=1&b=x+y%2B&&c", &["a", "b", "c", "d"]).unwrap();
        assert_eq!([query.get("a"), query.get("b"), query.get("c"), query.get("d")], [Some("1"), Some("x y+"), Some(""), None]);
        assert_eq!(Query::parse("%61=1", &["a"]).unwrap().get("a"), Some("1"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [("x=1", "`x`"), ("a=1&a=2", "`a`"), ("a=%", "hexadecimal"), ("a=%ff", "UTF-8"), ("%zz=1", "hexadecimal")] {
            let error = Query::parse(text, &["a"]).unwrap_err();
            assert!(error.message.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn of_a_long_name_only_the_beginning_is_said_again() {
        let error = Query::parse(&"%01".repeat(5000), &["a"]).unwrap_err();
        assert!(error.message.len() < 120 && error.message.contains(&"\u{1}".repeat(64)), "{error}");
    }

    #[test]
    fn counts_have_bounds() {
        let query = |text| Query::parse(text, &["limit"]).unwrap().count("limit", 100, 1_000);
        assert_eq!(query("").unwrap(), 100);
        assert_eq!(query("limit=1000").unwrap(), 1_000);
        for text in ["limit=0", "limit=1001", "limit=", "limit=-1", "limit=1.5", "limit=99999999999999999999999"] {
            assert!(query(text).is_err(), "{text}");
        }
    }
}
