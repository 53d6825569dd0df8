//! The broker's own source text, for tests that hold the code to its rules.

use std::path::Path;

/// One file of `broker/src`, without comments and without its tests.
pub(crate) struct Source {
    /// Relative to `broker/src`.
    pub(crate) path: String,
    /// As it is on disk.
    pub(crate) text: String,
    code: String,
}

/// Every file that is no test.
pub(crate) fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    assert!(found.len() > 80, "only {} files were found", found.len());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            collect(root, &path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = code_of(&text);
            found.push(Source { path: path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), text, code });
        }
    }
}

/// Without lines that are comments, and without the tests at the end.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

impl Source {
    /// The folder or file right under `src` that it belongs to.
    pub(crate) fn room(&self) -> String {
        let first = self.path.split('/').next().unwrap_or_default();
        match self.path.as_str() {
            "config/units.rs" => "units".to_owned(),
            // Pure, and named by the hub: a room of its own within the cluster's folder.
            path if path.starts_with("cluster/core/") => "core".to_owned(),
            _ => first.trim_end_matches(".rs").to_owned(),
        }
    }

    /// The folder it lies in, such as `api/grpc`.
    pub(crate) fn folder(&self) -> String {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned()
    }

    /// What follows each `name::` that begins a path.
    pub(crate) fn paths_of(&self, name: &str) -> Vec<&str> {
        let start = format!("{name}::");
        let is_path = |at: usize| !self.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$');
        self.code.match_indices(&start).filter(|(at, _)| is_path(*at)).map(|(at, _)| &self.code[at + start.len()..]).collect()
    }

    /// Whether the code holds this word.
    pub(crate) fn has_word(&self, word: &str) -> bool {
        self.code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|known| known == word)
    }
}
