//! The files that are shipped say what the code does: `config.yaml` in the root and `docs/config.schema.json`.

use serde_json::Value;

use super::super::*;

const SHIPPED: &str = include_str!("../../../../config.yaml");
const SCHEMA: &str = include_str!("../../../../docs/config.schema.json");

fn load(text: &str) -> Result<Config, Problems> {
    Config::load(Some(File { name: "config.yaml", text }), &[])
}

#[test]
fn the_shipped_file_is_the_defaults_but_for_dev() {
    assert_eq!(load(SHIPPED), Ok(Config { dev: true, ..Config::default() }));
}

#[test]
fn the_shipped_file_shows_every_key_in_the_order_of_the_code() {
    let shown: Value = file::read_value(SHIPPED);
    assert_eq!(keys(&shown), keys(&serde_json::to_value(Config::default()).unwrap()));
}

#[test]
fn the_shipped_file_says_of_every_key_what_the_code_says() {
    let said = words(&SHIPPED.replace('#', " "));
    let mut missing = Vec::new();
    descriptions(&serde_json::from_str(SCHEMA).unwrap(), "", &mut |path, description| {
        if !said.contains(&words(description)) {
            missing.push(format!("{path}: {description}"));
        }
    });
    assert!(missing.is_empty(), "not in config.yaml:\n{}", missing.join("\n"));
}

#[test]
fn the_shipped_file_parses_with_any_block_commented_out() {
    let lines: Vec<&str> = SHIPPED.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_code = |line: &str| !line.trim_start().is_empty() && !line.trim_start().starts_with('#');
    let mut tried = 0;
    for (first, line) in lines.iter().enumerate().filter(|(_, line)| is_code(line)) {
        // The block with its head, as one who does not want it, and without, as one who wants the defaults of it.
        let inner = lines[first + 1..].iter().take_while(|next| !is_code(next) || indent(next) > indent(line)).count();
        for from in [first, first + 1] {
            let out = |at: usize| at >= from && at <= first + inner;
            let text: Vec<String> =
                lines.iter().enumerate().map(|(at, line)| format!("{}{line}\n", if out(at) { "# " } else { "" })).collect();
            if let Err(why) = load(&text.concat()) {
                panic!("with lines {} to {} commented out: {why}", from + 1, first + inner + 1);
            }
            tried += 1;
            if inner == 0 {
                break;
            }
        }
    }
    assert!(tried > 60, "only {tried} blocks found");
}

#[test]
fn the_commented_out_examples_of_the_shipped_file_parse() {
    let empty = ["keys: []", "unix_peers: []", "certificates: []", "signed_urls: []"];
    let text = empty.iter().fold(SHIPPED.to_owned(), |text, list| text.replace(list, list.trim_end_matches(" []")));
    // What is given twice here is so to show that there are two ways.
    let text = text.lines().filter(|line| !line.contains("_file: null") && !line.contains("public_key: null"));
    let text = text.map(|line| format!("{line}\n")).collect::<String>().replace("\n#  ", "\n  ");
    // The head of the file has lines of the same form; they stand before the first key.
    let body = &text[text.find("\n# For trying").unwrap()..];
    // Certificates need a listener that asks for them.
    let body = body
        .replacen("    clients: null", "    clients: clients.pem", 1)
        .replacen("    certificate: null", "    certificate: a.pem", 1)
        .replacen("    key: null", "    key: a.key", 1);
    let config = load(&body).unwrap();
    let lists = [config.keys.len(), config.unix_peers.len(), config.certificates.len(), config.tokens.keys.len(), config.signed_urls.len()];
    assert_eq!(lists, [1; 5]);
    assert_eq!(config.namespaces.get(Some("chat")).history.size, 500);
}

#[test]
fn the_schema_is_current() {
    assert!(SCHEMA == Config::schema(), "docs/config.schema.json is old: run `cargo run -- config --schema > docs/config.schema.json`");
}

/// All paths of a tree, in its order.
fn keys(tree: &Value) -> Vec<String> {
    let Value::Object(map) = tree else { return Vec::new() };
    let below = |(key, value): (&String, &Value)| {
        let inner = keys(value).into_iter().map(|inner| format!("{key}.{inner}")).collect::<Vec<_>>();
        std::iter::once(key.clone()).chain(inner).collect::<Vec<_>>()
    };
    map.iter().flat_map(below).collect()
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Calls with every property's description in the schema.
fn descriptions(schema: &Value, path: &str, each: &mut impl FnMut(&str, &str)) {
    for (key, value) in schema.as_object().into_iter().flatten() {
        if key == "properties" {
            for (name, property) in value.as_object().into_iter().flatten() {
                let description = property.get("description").and_then(Value::as_str);
                each(&format!("{path}/{name}"), description.unwrap_or("(no description)"));
            }
        }
        descriptions(value, &format!("{path}/{key}"), each);
    }
}
