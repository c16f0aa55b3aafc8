//! The escapes of TSV: `\t` tab, `\n` newline, `\r` carriage return, `\\` backslash, `\xNN` the byte with that
//! hexadecimal number.
//!
//! [`escape`] leaves valid UTF-8 as it is but for control characters, so that what it writes is one line of text that a
//! terminal shows harmlessly. [`unescape`] takes every byte that is not a backslash for itself.

use std::fmt;

/// Why a text with escapes cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EscapeError {
    /// A backslash before a letter that means nothing.
    Unknown {
        /// The byte after the backslash.
        letter: u8,
    },
    /// A backslash, or `\x` with fewer than two hexadecimal digits, at the end or before something else.
    Incomplete,
}

impl fmt::Display for EscapeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { letter } => {
                write!(formatter, "the escape \\{} means nothing: write \\\\ for a backslash", letter.escape_ascii())
            }
            Self::Incomplete => write!(formatter, "an escape is incomplete: write \\xNN with two hexadecimal digits"),
        }
    }
}

impl std::error::Error for EscapeError {}

/// Appends `bytes` to `line`, escaped.
pub(crate) fn escape(bytes: &[u8], line: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\t' => line.extend_from_slice(b"\\t"),
                '\n' => line.extend_from_slice(b"\\n"),
                '\r' => line.extend_from_slice(b"\\r"),
                '\\' => line.extend_from_slice(b"\\\\"),
                _ => {
                    let mut buffer = [0; 4];
                    let encoded = letter.encode_utf8(&mut buffer).as_bytes();
                    if letter.is_control() {
                        encoded.iter().for_each(|&byte| escape_byte(byte, line));
                    } else {
                        line.extend_from_slice(encoded);
                    }
                }
            }
        }
        chunk.invalid().iter().for_each(|&byte| escape_byte(byte, line));
    }
}

/// The bytes that an escaped text stands for.
///
/// # Errors
///
/// Refuses a backslash that begins none of the five escapes.
pub(crate) fn unescape(text: &[u8]) -> Result<Vec<u8>, EscapeError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.iter().position(|&byte| byte == b'\\') {
        bytes.extend_from_slice(&rest[..position]);
        let (byte, length) = match rest[position + 1..] {
            [b't', ..] => (b'\t', 2),
            [b'n', ..] => (b'\n', 2),
            [b'r', ..] => (b'\r', 2),
            [b'\\', ..] => (b'\\', 2),
            [b'x', high, low, ..] => match (hexadecimal(high), hexadecimal(low)) {
                (Some(high), Some(low)) => (high << 4 | low, 4),
                _ => return Err(EscapeError::Incomplete),
            },
            [] | [b'x', ..] => return Err(EscapeError::Incomplete),
            [letter, ..] => return Err(EscapeError::Unknown { letter }),
        };
        bytes.push(byte);
        rest = &rest[position + length..];
    }
    bytes.extend_from_slice(rest);
    Ok(bytes)
}

fn escape_byte(byte: u8, line: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    line.extend_from_slice(&[b'\\', b'x', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_must_not_see_is_escaped_and_the_rest_is_not() {
        for (bytes, expected) in [
            (&b"plain"[..], "plain"),
            (b"a\tb\nc\rd\\e", r"a\tb\nc\rd\\e"),
            ("grüße 🦀".as_bytes(), "grüße 🦀"),
            (b"\x00\x1b[31m\x7f", r"\x00\x1b[31m\x7f"),
            ("\u{85}".as_bytes(), r"\xc2\x85"),
            (b"\xff\xfea\xc3", r"\xff\xfea\xc3"),
            (b"", ""),
        ] {
            let mut line = Vec::new();
            escape(bytes, &mut line);
            assert_eq!(String::from_utf8(line).unwrap(), expected);
        }
    }

    #[test]
    fn escapes_are_read_and_what_is_none_is_refused() {
        for (text, expected) in [
            (r"a\tb\nc\rd\\e\x00\xfF", Ok(b"a\tb\nc\rd\\e\x00\xff".to_vec())),
            (r"\\x41", Ok(b"\\x41".to_vec())),
            (r"\q", Err(EscapeError::Unknown { letter: b'q' })),
            ("end\\", Err(EscapeError::Incomplete)),
            (r"\x", Err(EscapeError::Incomplete)),
            (r"\x4", Err(EscapeError::Incomplete)),
            (r"\x4g", Err(EscapeError::Incomplete)),
            (r"\x+1", Err(EscapeError::Incomplete)),
        ] {
            assert_eq!(unescape(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(unescape(b"raw \xff byte"), Ok(b"raw \xff byte".to_vec()));
    }
}
