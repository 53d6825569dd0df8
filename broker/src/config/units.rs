//! How people write durations, sizes and addresses: `30s`, `64KiB`, `127.0.0.1:8000`. Serde `with` modules, so that the
//! fields themselves are plain `Duration`s, integers and socket addresses.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// Duration units, largest first, in milliseconds.
const DURATIONS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// Size units, largest first, in bytes.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number and a unit, no space needed between them. `None` when the unit is missing, unknown, or the value overflows.
fn number_and_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

/// The largest unit that shows the value as a whole number.
fn shown(value: u64, units: &[(&str, u64)]) -> Option<String> {
    let (unit, scale) = units.iter().find(|(_, scale)| value.is_multiple_of(*scale) && value >= *scale)?;
    Some(format!("{}{unit}", value / scale))
}

/// `250ms`, `30s`, `5m`, `1h`, `2d`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    shown(millis, &DURATIONS).unwrap_or_else(|| "0s".to_owned())
}

/// `64KiB`, `1MiB`, `100B`.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    shown(bytes, &SIZES).unwrap_or_else(|| "0B".to_owned())
}

/// A duration with a unit; whole milliseconds.
pub mod duration {
    use super::{DURATIONS, number_and_unit, show_duration};
    use serde::{Deserializer, Serializer, de};
    use std::fmt;
    use std::time::Duration;

    /// As [`show_duration`] writes it.
    ///
    /// # Errors
    /// Whatever the serializer says.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&show_duration(*value))
    }

    /// Reads a number with its unit.
    ///
    /// # Errors
    /// When the unit is missing or unknown: a bare number would leave open whether seconds or milliseconds are meant.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, such as 250ms, 30s, 5m, 1h or 2d")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                let millis = number_and_unit(text, &DURATIONS).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))?;
                Ok(Duration::from_millis(millis))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A size in bytes, with a binary unit or without one.
pub mod bytes {
    use super::{SIZES, number_and_unit, show_size};
    use serde::{Deserializer, Serializer, de};
    use std::fmt;
    use std::marker::PhantomData;

    /// As [`show_size`] writes it.
    ///
    /// # Errors
    /// Whatever the serializer says.
    pub fn serialize<T: TryInto<u64> + Copy, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&show_size((*value).try_into().unwrap_or(u64::MAX)))
    }

    /// Reads `64KiB`, `1MiB`, `2GiB`, `100B` or a plain number of bytes.
    ///
    /// # Errors
    /// When the unit is unknown (`KB` and `MB` mean two things to different people) or the number does not fit.
    pub fn deserialize<'de, T: TryFrom<u64>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<T: TryFrom<u64>> de::Visitor<'_> for Visitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 64KiB, 1MiB, 2GiB, or a plain number of bytes")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
                T::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
                let bytes = u64::try_from(number).ok().and_then(|number| T::try_from(number).ok());
                bytes.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
                let bytes = text.trim().parse().ok().or_else(|| number_and_unit(text, &SIZES));
                let fitting = bytes.and_then(|bytes| T::try_from(bytes).ok());
                fitting.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor(PhantomData))
    }
}

/// Reads an address with its port, and says what one looks like when it is not.
///
/// # Errors
/// When the text is not an IP address with a port (names are not looked up: what a listener binds must not depend on DNS).
pub fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<std::net::SocketAddr, D::Error> {
    parse_address(&Cow::<str>::deserialize(deserializer)?)
}

/// The same, or null for "do not listen".
///
/// # Errors
/// As [`address`].
pub fn address_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<std::net::SocketAddr>, D::Error> {
    Option::<Cow<'_, str>>::deserialize(deserializer)?.map(|text| parse_address(&text)).transpose()
}

fn parse_address<E: serde::de::Error>(text: &str) -> Result<std::net::SocketAddr, E> {
    text.parse().map_err(|_| {
        E::invalid_value(
            serde::de::Unexpected::Str(text),
            &"an IP address with a port, such as 127.0.0.1:8000, 0.0.0.0:8000 or [::1]:8000 (port 0 takes a free one)",
        )
    })
}

/// A section whose lines are all commented out is null in YAML: it means the defaults.
///
/// # Errors
/// What the section's own reader says.
pub fn null_is_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The schema of a duration.
pub struct HumanDuration;

impl JsonSchema for HumanDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+ *(ms|s|m|h|d)$", "examples": ["250ms", "30s", "5m", "1h"] })
    }
}

/// The schema of a size.
pub struct Size;

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+ *(B|KiB|MiB|GiB)?$",
            "minimum": 0,
            "examples": ["64KiB", "1MiB", 1000]
        })
    }
}
