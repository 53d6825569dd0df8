//! Which room names which: the code held against the two drawings in docs/ARCHITECTURE.md.
//!
//! Tests inside the rooms may look anywhere; everything else counts, `use` lines and paths in expressions alike.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, sources};

const PAGE: &str = include_str!("../../../docs/ARCHITECTURE.md");

/// Name → names it may use, and in the second drawing crate → rooms that may use it.
type Drawing = BTreeMap<String, BTreeSet<String>>;

/// The lines `name → names` of the fenced block with this title; what follows two blanks is for people.
fn drawing(title: &str) -> Drawing {
    let block = PAGE.split(&format!("```text {title}\n")).nth(1).and_then(|rest| rest.split("```").next());
    let block = block.unwrap_or_else(|| panic!("docs/ARCHITECTURE.md has no block `text {title}`"));
    let row = |line: &str| {
        let (name, rest) = line.split_once('→').unwrap_or_else(|| panic!("no arrow in `{line}`"));
        let names = rest.strip_prefix(' ').unwrap_or(rest).split("  ").next().unwrap_or_default();
        (name.trim().to_owned(), names.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect())
    };
    block.lines().map(row).collect()
}

/// Rooms named by `crate::…` (or, in the daemon's own files, `tidings::…`).
fn rooms_named(source: &Source) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    // The daemon's own folder is a module of main.rs, not of the library.
    if source.room() == "main" && !source.paths_of("cli").is_empty() {
        named.insert("cli".to_owned());
    }
    for root in ["crate", "tidings"] {
        for rest in source.paths_of(root) {
            match rest.strip_prefix('{') {
                Some(list) => named.extend(top_level(list).into_iter().map(room_of)),
                None => drop(named.insert(room_of(rest))),
            }
        }
    }
    named
}

/// The items of `a, b::{c, d}, e}…`, up to the brace that closes the list.
fn top_level(list: &str) -> Vec<&str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                items.push(list[start..at].trim());
                start = at + 1;
            }
            '}' if depth == 0 => {
                items.push(list[start..at].trim());
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

/// The first name of a path; the units of the configuration are a room of their own, since every room's keys need them, and so
/// is the cluster's core.
fn room_of(path: &str) -> String {
    if path.starts_with("config::units") {
        return "units".to_owned();
    }
    if path.starts_with("cluster::core") {
        return "core".to_owned();
    }
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn rooms_name_only_whom_the_page_draws_and_every_arrow_is_used() {
    let mut drawn = drawing("rooms");
    let anyone = drawn.remove("anyone").expect("the page says whom anyone may use");
    let mut used = Drawing::new();
    let mut wrong = Vec::new();
    for source in sources().into_iter().filter(|source| source.room() != "lib") {
        let room = source.room();
        let allowed = drawn.get(&room);
        if allowed.is_none() && !anyone.contains(&room) {
            wrong.push(format!("{}: the room `{room}` is not drawn", source.path));
        }
        for named in rooms_named(&source) {
            if named == room || anyone.contains(&named) {
                used.entry(room.clone()).or_default();
            } else if allowed.is_some_and(|allowed| allowed.contains(&named)) {
                used.entry(room.clone()).or_default().insert(named);
            } else {
                wrong.push(format!("{}: `{room}` names `{named}`", source.path));
            }
        }
    }
    assert!(used.len() > 12, "only {} rooms were found", used.len());
    // A room may be drawn a little before it is built.
    let exists: BTreeSet<String> = sources().iter().map(Source::room).collect();
    for (room, names) in drawn.iter().filter(|(room, _)| exists.contains(*room)) {
        for name in names.iter().filter(|name| exists.contains(*name)) {
            if !used.get(room).is_some_and(|used| used.contains(name)) {
                wrong.push(format!("the arrow `{room} → {name}` is drawn and not used"));
            }
        }
    }
    assert!(wrong.is_empty(), "not as drawn in docs/ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn crates_are_named_only_where_the_page_says() {
    let drawn = drawing("crates");
    let exists: BTreeSet<String> = sources().iter().flat_map(|source| [source.room(), source.folder()]).collect();
    let mut wrong = Vec::new();
    for (name, rooms) in &drawn {
        let mut used = BTreeSet::new();
        for source in sources().iter().filter(|source| !source.paths_of(name).is_empty()) {
            match rooms.iter().find(|room| **room == source.room() || **room == source.folder()) {
                Some(room) => drop(used.insert(room.clone())),
                None => wrong.push(format!("{} names `{name}`", source.path)),
            }
        }
        let unused = rooms.difference(&used).filter(|room| exists.contains(*room));
        wrong.extend(unused.map(|room| format!("`{name} → {room}` is drawn and not used")));
    }
    assert!(drawn.len() > 5 && wrong.is_empty(), "not as drawn in docs/ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn siblings_do_not_name_one_another() {
    let siblings = [
        ("front/sse/", "long_poll"),
        ("front/sse/", "websocket"),
        ("front/websocket/", "sse"),
        ("front/long_poll", "sse"),
        ("api/http/", "grpc"),
        ("api/grpc/", "http"),
    ];
    for (place, sibling) in siblings {
        let mut found = 0;
        for source in sources().iter().filter(|source| source.path.starts_with(place)) {
            found += 1;
            for path in ["super", "crate::front", "crate::api"] {
                let names = source.paths_of(path).iter().any(|rest| room_of(rest) == sibling);
                assert!(!names, "{} names its sibling `{sibling}`", source.path);
            }
        }
        assert!(found > 0, "there is nothing at {place}");
    }
}

#[test]
fn the_log_is_handed_the_time_and_owns_no_shell() {
    let foreign = ["Clock", "Instant", "SystemTime", "Mutex", "async", "await", "spawn", "thread"];
    for source in sources().iter().filter(|source| source.room() == "log") {
        for word in foreign {
            assert!(!source.has_word(word), "{} says `{word}`", source.path);
        }
    }
}
