//! Text of a report inside HTML: no byte of it is ever markup.

use std::fmt;

/// Text that is written with the five characters replaced that mean something in HTML, in elements and in quoted attributes.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(position) = rest.find(['&', '<', '>', '"', '\'']) {
            formatter.write_str(&rest[..position])?;
            formatter.write_str(match rest.as_bytes()[position] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[position + 1..];
        }
        formatter.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_html_is_replaced() {
        let text = Escaped("<script>alert(\"é & 'e'\")</script>").to_string();
        assert_eq!(text, "&lt;script&gt;alert(&quot;é &amp; &#39;e&#39;&quot;)&lt;/script&gt;");
        assert_eq!(Escaped("").to_string(), "");
    }
}
