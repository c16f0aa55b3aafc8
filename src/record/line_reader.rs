//! Lines of a stream, in bounded memory: a line past the bound is passed over and reported, and reading goes on.

use std::io::{self, BufRead};

/// Reads lines, each into the same buffer.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    input: R,
    line: Vec<u8>,
    line_size_bytes_max: usize,
    line_number: u64,
}

/// A line, or the fact that it was too long to hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// The line without its newline.
    Whole(&'a [u8]),
    /// The line was longer than the bound; it has been passed over.
    TooLong,
}

impl<R: BufRead> LineReader<R> {
    /// Reads `input`; lines longer than `line_size_bytes_max`, newline not counted, are passed over.
    pub(super) fn new(input: R, line_size_bytes_max: usize) -> Self {
        Self { input, line: Vec::new(), line_size_bytes_max, line_number: 0 }
    }

    /// The number of the line read last, counted from 1; 0 before the first.
    pub(super) fn line_number(&self) -> u64 {
        self.line_number
    }

    /// Some editors begin a file of UTF-8 with a mark, which is none of its text.
    fn without_byte_order_mark(&self) -> &[u8] {
        const MARK: &[u8] = "\u{feff}".as_bytes();
        let mark = self.line.strip_prefix(MARK).filter(|_| self.line_number == 1);
        mark.unwrap_or(&self.line)
    }

    /// The next line, or none at the end. A last line needs no newline.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut is_too_long = false;
        let mut is_begun = false;
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                break;
            }
            if !is_begun {
                is_begun = true;
                self.line_number += 1;
            }
            let newline = available.iter().position(|&byte| byte == b'\n');
            let part = &available[..newline.unwrap_or(available.len())];
            is_too_long |= part.len() > self.line_size_bytes_max - self.line.len();
            if !is_too_long {
                self.line.extend_from_slice(part);
            }
            let taken = newline.map_or(available.len(), |position| position + 1);
            self.input.consume(taken);
            if newline.is_some() {
                break;
            }
        }
        Ok(match (is_begun, is_too_long) {
            (false, _) => None,
            (true, true) => Some(Line::TooLong),
            (true, false) => Some(Line::Whole(self.without_byte_order_mark())),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_text() {
        let mut reader = LineReader::new("\u{feff}one\n\u{feff}two".as_bytes(), 100);
        assert_eq!(reader.next_line().unwrap(), Some(Line::Whole(b"one")));
        assert_eq!(reader.next_line().unwrap(), Some(Line::Whole("\u{feff}two".as_bytes())));
    }

    #[test]
    fn lines_come_whole_whatever_the_buffer_and_long_ones_are_passed_over() {
        let input = b"one\n\nfour5\nsixsix\nlonger than the rest\nend";
        for buffer_size in [1, 2, 3, 7, 64] {
            let mut reader = LineReader::new(BufReader::with_capacity(buffer_size, &input[..]), 6);
            let mut found = Vec::new();
            while let Some(line) = reader.next_line().unwrap() {
                found.push(match line {
                    Line::Whole(line) => String::from_utf8(line.to_vec()).unwrap(),
                    Line::TooLong => "TOO LONG".to_owned(),
                });
            }
            assert_eq!(found, ["one", "", "four5", "sixsix", "TOO LONG", "end"], "buffer of {buffer_size}");
            assert_eq!(reader.line_number(), 6);
            assert!(reader.line.capacity() <= 16, "a long line was held in memory");
        }
    }

    #[test]
    fn an_empty_stream_has_no_line() {
        assert_eq!(LineReader::new(&b""[..], 6).next_line().unwrap(), None);
    }
}
