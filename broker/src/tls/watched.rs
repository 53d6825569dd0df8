//! Files that belong together and may change.

use std::path::PathBuf;

use super::credentials::{Stamp, stamp};

/// Some files, as they were when they were read last.
#[derive(Debug)]
pub struct Watched {
    files: Vec<PathBuf>,
    read: Vec<Stamp>,
    /// As they were at the last look, if that was different: they are often not written in one moment.
    settling: Option<Vec<Stamp>>,
}

impl Watched {
    /// These files, which are about to be read.
    #[must_use]
    pub fn new(files: Vec<PathBuf>) -> Self {
        let read = stamps(&files);
        Self { files, read, settling: None }
    }

    /// Whether they are others than they were, and have been for two looks. Reads the disk.
    pub fn look(&mut self) -> bool {
        let seen = stamps(&self.files);
        if seen == self.read {
            self.settling = None;
            return false;
        }
        let is_settled = self.settling.as_ref() == Some(&seen);
        if is_settled {
            (self.read, self.settling) = (seen, None);
        } else {
            self.settling = Some(seen);
        }
        is_settled
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| stamp(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_as_changed_once_they_stand_still() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pem");
        std::fs::write(&file, "one").unwrap();
        let mut watched = Watched::new(vec![file.clone()]);
        assert!(!watched.look());
        std::fs::write(&file, "another").unwrap();
        assert!(!watched.look());
        std::fs::write(&file, "yet another one").unwrap();
        assert!(!watched.look(), "it is still being written");
        assert!(watched.look());
        assert!(!watched.look());
    }
}
