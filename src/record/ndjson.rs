//! A record as one JSON object.

use std::{io, num::NonZeroU64};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Record, Refusal};

/// The object as it is read. A field that is not listed is refused, or a misspelt `ttl_ms` would make a record that
/// lives for ever.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a record")]
struct ReadObject {
    #[serde(default, deserialize_with = "present")]
    key: Option<String>,
    #[serde(default, deserialize_with = "present")]
    key_base64: Option<String>,
    #[serde(default, deserialize_with = "present")]
    value: Option<String>,
    #[serde(default, deserialize_with = "present")]
    value_base64: Option<String>,
    #[serde(default, deserialize_with = "present")]
    ttl_ms: Option<NonZeroU64>,
}

/// The object as it is written.
#[derive(Serialize)]
struct WrittenObject<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<NonZeroU64>,
}

/// Reads one line.
///
/// # Errors
///
/// Says why the line is no record.
pub(super) fn read(line: &[u8]) -> Result<Record, Refusal> {
    // serde would take an array with the fields in order for a record too.
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refusal::NotAnObject);
    }
    let object: ReadObject = serde_json::from_slice(line).map_err(Refusal::Json)?;
    Ok(Record {
        key: one_of("key", object.key, object.key_base64)?,
        value: one_of("value", object.value, object.value_base64)?,
        ttl_ms: object.ttl_ms,
    })
}

/// Appends one line with its newline.
pub(super) fn write(key: &[u8], value: &[u8], ttl_ms: Option<NonZeroU64>, line: &mut Vec<u8>) -> io::Result<()> {
    let (key, key_base64) = text_or_base64(key);
    let (value, value_base64) = text_or_base64(value);
    serde_json::to_writer(&mut *line, &WrittenObject { key, key_base64, value, value_base64, ttl_ms })?;
    line.push(b'\n');
    Ok(())
}

fn one_of(field: &'static str, text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, Refusal> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(encoded)) => STANDARD.decode(encoded).map_err(|source| Refusal::Base64 { field, source }),
        (None, None) => Err(Refusal::FieldMissing { field }),
        (Some(_), Some(_)) => Err(Refusal::FieldTwice { field }),
    }
}

fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// A field that stands there has a value: `null` is not the same as leaving it out.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
