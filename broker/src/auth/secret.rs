//! A secret of the configuration: given in place or in a file, never shown.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What marks a secret of any bytes.
const BASE64: &str = "base64:";
/// What a configuration shows instead of a secret. Too short to be one.
const HIDDEN: &str = "(hidden)";
/// Most bytes of a key file.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A secret as text: itself, or any bytes as `base64:…`. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// From text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What stands for it where it must not be shown.
    #[must_use]
    pub fn hidden() -> Self {
        Self(HIDDEN.to_owned())
    }

    /// The text as it was given.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The secret's bytes.
    ///
    /// # Errors
    /// A sentence, without the secret, when what follows `base64:` is none.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        match self.0.strip_prefix(BASE64) {
            Some(text) => STANDARD.decode(text.trim()).map_err(|_| format!("what follows `{BASE64}` is no base64 (with padding)")),
            None => Ok(self.0.clone().into_bytes()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Reads a key given in place or in a file: exactly one of the two. A file's last line end does not belong to it.
///
/// # Errors
/// A sentence that names what is missing or cannot be read, without what was read.
pub(super) fn read(given: Option<&Secret>, file: Option<&Path>, what: &str) -> Result<Secret, String> {
    match (given, file) {
        (Some(secret), None) => Ok(secret.clone()),
        (None, Some(path)) => {
            let cannot = |why: &dyn fmt::Display| format!("{}: cannot be read: {why}", path.display());
            let length = std::fs::metadata(path).map_err(|why| cannot(&why))?.len();
            if length > FILE_BYTES_MAX {
                return Err(format!("{}: has {length} bytes, a key has at most {FILE_BYTES_MAX}", path.display()));
            }
            let mut text = std::fs::read_to_string(path).map_err(|why| cannot(&why))?;
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
            Ok(Secret(text))
        }
        _ => Err(format!("give either `{what}` or `{what}_file`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_text_or_the_bytes_it_spells_and_is_never_shown() {
        assert_eq!(Secret::new("abc").bytes().unwrap(), b"abc");
        assert_eq!(Secret::new("base64:AAEC").bytes().unwrap(), [0, 1, 2]);
        let wrong = Secret::new("base64:topsecret!").bytes().unwrap_err();
        assert!(!wrong.contains("topsecret"), "{wrong}");
        assert_eq!(format!("{:?}", Secret::new("topsecret")), "Secret");
    }

    #[test]
    fn a_file_loses_its_last_line_end_and_nothing_else() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " a\nb \r\n").unwrap();
        assert_eq!(read(None, Some(file.path()), "secret").unwrap().expose(), " a\nb ");
        for (given, file) in [(None, None), (Some(&Secret::new("a")), Some(file.path()))] {
            assert!(read(given, file, "secret").unwrap_err().contains("`secret_file`"));
        }
        assert!(read(None, Some(Path::new("/nowhere/key")), "secret").unwrap_err().contains("/nowhere/key"));
    }
}
