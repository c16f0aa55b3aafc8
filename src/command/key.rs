//! Keys and values as words of the command line: bytes, or a text with the escapes of TSV.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use crate::record::escape::{EscapeError, unescape};

/// The bytes that a word stands for: its own, or with `--escaped` what its escapes say.
///
/// # Errors
///
/// Refuses an escape that means nothing.
pub(crate) fn bytes_of(word: &OsStr, is_escaped: bool) -> Result<Vec<u8>, EscapeError> {
    if is_escaped { unescape(word.as_bytes()) } else { Ok(word.as_bytes().to_vec()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_taken_as_it_is_unless_it_is_escaped() {
        let word = OsStr::from_bytes(b"a\\x00\xff");
        assert_eq!(bytes_of(word, false), Ok(b"a\\x00\xff".to_vec()));
        assert_eq!(bytes_of(word, true), Ok(b"a\x00\xff".to_vec()));
        assert_eq!(bytes_of(OsStr::new("a\\"), true), Err(EscapeError::Incomplete));
    }
}
