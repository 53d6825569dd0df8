//! Words of libraries, said as somebody who writes a configuration would say them.

/// What the readers of YAML and of single values say, and what is meant. Longer ones before those they contain.
const SAID_AND_MEANT: [(&str, &str); 19] = [
    (", set DuplicateKeyPolicy in Options if acceptable", ""),
    ("duplicate mapping key", "the key is given twice"),
    ("tabs disallowed within this context (block indentation)", "a tab: YAML is indented with blanks"),
    ("expected mapping start", "keys with values are expected here"),
    ("expected sequence start", "a list is expected here, such as [one, two]"),
    ("expected struct Config", "expected keys with values"),
    ("expected a sequence", "expected a list, such as [one, two]"),
    ("expected path string", "expected a path"),
    ("invalid boolean", "neither true nor false"),
    ("expected a boolean", "expected true or false"),
    ("invalid u16", "not a whole number from 0 to 65535"),
    ("expected u16", "expected a whole number from 0 to 65535"),
    ("invalid u32", "not a whole number from 0 to 4294967295"),
    ("expected u32", "expected a whole number from 0 to 4294967295"),
    ("invalid u64", "not a whole number"),
    ("expected u64", "expected a whole number"),
    ("invalid usize", "not a whole number"),
    ("expected usize", "expected a whole number"),
    ("missing field", "missing key"),
];

/// A sentence of a library in our words.
pub(super) fn ours(said: &str) -> String {
    SAID_AND_MEANT.iter().fold(said.to_owned(), |said, (theirs, ours)| said.replace(theirs, ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_rust_and_options_of_libraries_are_not_shown() {
        assert_eq!(ours("invalid u16"), "not a whole number from 0 to 65535");
        assert_eq!(ours("duplicate mapping key: dev, set DuplicateKeyPolicy in Options if acceptable"), "the key is given twice: dev");
        assert_eq!(
            ours("invalid type: string \"x\", expected a sequence"),
            "invalid type: string \"x\", expected a list, such as [one, two]"
        );
    }
}
