//! How far a load is, for whoever watches.

use std::io::{IsTerminal, Write};

use crate::load::CollectedInterval;
use crate::report::words::{NO_FIGURE, nanoseconds_text, rate_text_or_none};

/// A line on standard error that is written again and again, if that is a terminal.
pub(crate) struct Progress {
    what: String,
    is_watched: bool,
}

impl Progress {
    pub(crate) fn begin(what: String) -> Self {
        let progress = Self { what, is_watched: std::io::stderr().is_terminal() };
        progress.line("");
        progress
    }

    pub(crate) fn show(&mut self, interval: &CollectedInterval<'_>) {
        let summary = interval.summary;
        let time = |time| if summary.count > 0 { nanoseconds_text(time) } else { NO_FIGURE.to_owned() };
        self.line(&format!(
            ": {:.0} s, {}/s, p50 {}, p99 {}, max {}, {} errors",
            summary.start + summary.seconds,
            rate_text_or_none(summary.operation_rate()),
            time(summary.p50),
            time(summary.p99),
            time(summary.max),
            summary.errors
        ));
    }

    fn line(&self, text: &str) {
        if self.is_watched {
            // Nobody is hurt if the terminal is gone.
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K{}{text}", self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_watched {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}
