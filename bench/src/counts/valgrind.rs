//! This program under valgrind.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use tempfile::TempDir;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Instructions.
    Callgrind,
    /// Blocks asked from the allocator.
    Dhat,
}

/// Whose instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    All,
    /// Not the first's, which does a node's upkeep by the clock.
    ButTheFirst,
}

/// Some of the instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    /// Those of functions whose names hold this, and of what they call.
    Within(&'a str),
    /// Those of lines in files whose paths hold this, into whatever function the compiler put them; not of what they call.
    Lines(&'a str),
}

/// A run that is under way.
pub(crate) struct Run {
    pub(crate) child: Child,
    tool: Tool,
    /// Where callgrind writes a file for each thread.
    folder: TempDir,
}

impl Tool {
    pub(crate) const ALL: [Self; 2] = [Self::Callgrind, Self::Dhat];

    /// The name of its counts.
    pub(crate) fn counts(self) -> &'static str {
        match self {
            Self::Callgrind => "instructions",
            Self::Dhat => "allocations",
        }
    }

    /// Starts this program with these arguments, with pipes on all sides.
    pub(crate) fn spawn(self, arguments: &[&str]) -> anyhow::Result<Run> {
        let folder = tempfile::tempdir()?;
        let out = folder.path().join("out").display().to_string();
        let mut command = Command::new("valgrind");
        match self {
            Self::Callgrind => command.args(["--tool=callgrind", "--separate-threads=yes", &format!("--callgrind-out-file={out}")]),
            Self::Dhat => command.args(["--tool=dhat", &format!("--dhat-out-file={out}")]),
        };
        command.arg(std::env::current_exe()?).arg("counts").args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Run { child: command.spawn().context("valgrind (apt-get install valgrind)")?, tool: self, folder })
    }
}

impl Run {
    /// Waits until it ends, and reads what was counted.
    pub(crate) fn total(self, threads: Threads) -> anyhow::Result<f64> {
        Ok(self.total_and_parts(threads, [])?.0)
    }

    /// The same, and how many of the instructions belong to each of these parts. Allocations are not told apart.
    pub(crate) fn total_and_parts<const N: usize>(self, threads: Threads, parts: [Part<'_>; N]) -> anyhow::Result<(f64, [f64; N])> {
        let output = self.child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "under valgrind: {}: {said}", output.status);
        match self.tool {
            Tool::Callgrind => instructions(self.folder.path(), threads, parts),
            // ==1== Total:     8,192 bytes in 3 blocks
            Tool::Dhat => {
                let line = said.lines().find(|line| line.contains("Total:")).unwrap_or_default();
                let blocks = line.split_whitespace().skip_while(|word| *word != "in").nth(1);
                let blocks = blocks.with_context(|| format!("valgrind told no count: {said}"))?;
                Ok((blocks.replace(',', "").parse()?, [0.0; N]))
            }
        }
    }
}

/// The sums over the files of the threads: `out-01` and so on, each with its total on a line.
fn instructions<const N: usize>(folder: &Path, threads: Threads, parts: [Part<'_>; N]) -> anyhow::Result<(f64, [f64; N])> {
    let mut sum = None;
    let mut inside = [0.0; N];
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if threads == Threads::ButTheFirst && name == "out-01" {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
        if let Some(total) = total {
            *sum.get_or_insert(0.0) += total.trim().parse::<f64>()?;
        }
        for (inside, part) in inside.iter_mut().zip(parts) {
            *inside += match part {
                Part::Within(function) => within(&text, function),
                Part::Lines(path) => lines(&text, path),
            };
        }
    }
    Ok((sum.context("callgrind wrote no total")?, inside))
}

/// Instructions of the functions whose names hold `function`, and of what they call, in one file of callgrind's: `fn=` begins a
/// function, with its name when it is first mentioned and else with its number; lines of a place and a cost follow, and the
/// one behind `calls=` is the cost of all that was called there.
fn within(text: &str, function: &str) -> f64 {
    let mut numbers = BTreeSet::new();
    let mut is_inside = false;
    let mut sum = 0.0;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=").or_else(|| line.strip_prefix("cfn=")) {
            let (number, name) = name.split_once(')').unwrap_or((name, ""));
            if name.contains(function) {
                numbers.insert(number);
            }
            if line.starts_with("fn=") {
                is_inside = numbers.contains(number);
            }
        } else if is_inside && line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            sum += line.split(' ').nth(1).and_then(|cost| cost.parse::<f64>().ok()).unwrap_or(0.0);
        }
    }
    sum
}

/// Instructions of lines in files whose paths hold `path`, in one file of callgrind's: `fl=` begins a function with its file, `fi=` and
/// `fe=` say that what follows comes from another file and was made part of it. The line behind `calls=` is what was called, and counts there.
fn lines(text: &str, path: &str) -> f64 {
    let mut numbers = BTreeSet::new();
    let (mut is_there, mut is_call) = (false, false);
    let mut sum = 0.0;
    for line in text.lines() {
        let named = |prefixes: &[&str]| prefixes.iter().find_map(|prefix| line.strip_prefix(prefix));
        if let Some(file) = named(&["fl=", "fi=", "fe=", "cfi=", "cfl="]) {
            let (number, name) = file.split_once(')').unwrap_or((file, ""));
            if name.contains(path) {
                numbers.insert(number);
            }
            if line.starts_with('f') {
                is_there = numbers.contains(number);
            }
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            if is_there && !is_call {
                sum += line.split(' ').nth(1).and_then(|cost| cost.parse::<f64>().ok()).unwrap_or(0.0);
            }
            is_call = false;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_function_spends_is_its_own_and_what_it_calls() {
        let text = "fn=(1) main\n10 5\ncfn=(2) a::State>::turn\ncalls=1 20\n11 107\n\nfn=(2)\n20 3\n+1 4\ncfi=(9) x.rs\ncfn=(3) b\ncalls=2 0\n* 100\n\nfn=(3)\n1 100\n";
        assert_eq!(within(text, "State>::turn"), 107.0);
        assert_eq!(within(text, "main"), 112.0);
        assert_eq!(within(text, "nobody"), 0.0);
    }

    #[test]
    fn what_the_lines_of_a_file_cost_is_counted_wherever_they_were_put_and_not_what_they_call() {
        let text = "fl=(1) /x/main.rs\nfn=(1) main\n10 5\nfi=(2) /x/journal/mod.rs\n7 3\ncfi=(3) /x/log.rs\ncfn=(2) log\ncalls=1 20\n8 107\n+1 4\nfe=(1)\n11 9\n\nfl=(2)\nfn=(3) keep\n20 2\n\nfl=(3)\nfn=(2)\n20 107\n";
        assert_eq!(lines(text, "/journal/"), 9.0);
        assert_eq!(lines(text, "/x/log.rs"), 107.0);
        assert_eq!(lines(text, "main.rs"), 14.0);
        assert_eq!(lines(text, "/nowhere/"), 0.0);
    }
}
