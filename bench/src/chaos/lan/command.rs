//! Programs of the system that are run and must succeed.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

pub(super) fn run(words: &[&str]) -> anyhow::Result<()> {
    run_with(words, "")
}

/// With this on its standard input.
pub(super) fn run_with(words: &[&str], input: &str) -> anyhow::Result<()> {
    let said = || words.join(" ");
    let [program, arguments @ ..] = words else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(said)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "`{}`: {}", said(), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
