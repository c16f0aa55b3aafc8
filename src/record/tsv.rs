//! A record as key, TAB, value.

use super::{
    Record, Refusal,
    escape::{escape, unescape},
};

/// Reads one line.
///
/// # Errors
///
/// Says why the line is no record.
pub(super) fn read(line: &[u8]) -> Result<Record, Refusal> {
    if line.contains(&b'\r') {
        return Err(Refusal::CarriageReturn);
    }
    let tab = line.iter().position(|&byte| byte == b'\t').ok_or(Refusal::TabMissing)?;
    let (key, value) = (&line[..tab], &line[tab + 1..]);
    if value.contains(&b'\t') {
        return Err(Refusal::TabInValue);
    }
    Ok(Record {
        key: unescape(key).map_err(Refusal::Escape)?,
        value: unescape(value).map_err(Refusal::Escape)?,
        ttl_ms: None,
    })
}

/// Appends one line with its newline.
pub(super) fn write(key: &[u8], value: &[u8], line: &mut Vec<u8>) {
    escape(key, line);
    line.push(b'\t');
    escape(value, line);
    line.push(b'\n');
}
