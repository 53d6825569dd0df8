//! Rules of the house that no compiler knows.

use crate::source::sources;

const CONFIG: &str = include_str!("../../../config.yaml");
/// Past this, a file has two duties.
const LINES_MAX: usize = 600;

#[test]
fn no_file_is_longer_than_one_sitting() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines, {LINES_MAX} are allowed", source.path);
    }
}

#[test]
fn every_key_of_the_shipped_configuration_has_a_line_above_it_that_says_what_it_is_for() {
    let lines: Vec<&str> = CONFIG.lines().map(str::trim_start).collect();
    let mut keys = 0;
    for pair in lines.windows(2).filter(|pair| !pair[1].is_empty() && !pair[1].starts_with('#')) {
        keys += 1;
        assert!(pair[0].starts_with("# "), "no comment above `{}`", pair[1]);
    }
    assert!(keys > 50, "only {keys} keys were found");
}

#[test]
fn metrics_have_verbs_and_raw_macros_stay_in_their_room() {
    let is_elsewhere = |path: &str| !path.starts_with("metrics/");
    for source in sources().iter().filter(|source| is_elsewhere(&source.path)) {
        for name in ["counter", "gauge", "histogram"] {
            assert!(!source.text.contains(&format!("{name}!(")), "{} uses `{name}!`: add a verb to metrics/", source.path);
        }
    }
}

#[test]
fn nothing_is_left_to_do_and_every_room_says_what_it_is() {
    for source in sources() {
        for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")] {
            assert!(!source.text.contains(word), "{} says {word}", source.path);
        }
        assert!(source.text.starts_with("//! "), "{} does not begin with what it is", source.path);
    }
}

#[test]
fn every_line_of_the_log_has_a_name_and_the_page_for_operators_lists_it() {
    const PAGE: &str = include_str!("../../../docs/OPERATING.md");
    let mut names = 0;
    for source in sources() {
        for level in ["error", "warn", "info", "debug"] {
            for call in source.text.split(&format!("tracing::{level}!(")).skip(1) {
                let named = call.trim_start().strip_prefix("event = \"").and_then(|rest| rest.split_once('"'));
                let (name, _) = named.unwrap_or_else(|| panic!("{}: a line without `event`: {:.80}", source.path, call));
                assert!(PAGE.contains(&format!("`{name}`")), "{}: `{name}` is not in docs/OPERATING.md", source.path);
                names += 1;
            }
        }
    }
    assert!(names > 60, "only {names} lines were found");
}
