//! What came of a run: one JSON file, and tables and plots made of it.

mod goals;
mod markdown;
mod plots;
pub(crate) mod record;
mod summary;
mod svg;

use std::path::{Path, PathBuf};

use anyhow::Context;

use record::Report;

/// Puts the records of several runs into the first folder, and writes that one's tables again.
pub(crate) fn join(folders: &[PathBuf]) -> anyhow::Result<()> {
    let (first, others) = folders.split_first().context("no folder")?;
    let mut report = Report::read(first)?;
    for folder in others {
        report.take(Report::read(folder)?).with_context(|| folder.display().to_string())?;
    }
    if !others.is_empty() {
        report.save(first)?;
    }
    write(first)
}

/// Writes `report.md` and the plots beside the `report.json` of this folder.
pub(crate) fn write(folder: &Path) -> anyhow::Result<()> {
    let report = Report::read(folder)?;
    let mut written = Vec::new();
    for (name, svg) in plots::all(&report) {
        let path = folder.join(format!("{name}.svg"));
        std::fs::write(&path, svg).with_context(|| path.display().to_string())?;
        written.push(name);
    }
    let path = folder.join("report.md");
    std::fs::write(&path, markdown::text(&report, &written)?).with_context(|| path.display().to_string())?;
    println!("{}", path.display());
    Ok(())
}
