//! SPDX licence expressions, as far as crates use them: identifiers, `AND`, `OR`, `WITH`, parentheses, and the old `/`
//! that means `OR`.

/// Whether the expression can be satisfied with the licences that `is_allowed` accepts. The word given to it is an
/// identifier, or `IDENTIFIER WITH EXCEPTION`.
///
/// # Errors
///
/// Says what is wrong with an expression that does not parse.
pub(crate) fn is_satisfied(expression: &str, is_allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, position: 0, is_allowed };
    let satisfied = parser.alternatives()?;
    match parser.peek() {
        None => Ok(satisfied),
        Some(word) => Err(format!("unexpected `{word}`")),
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    position: usize,
    is_allowed: &'a dyn Fn(&str) -> bool,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.position).copied()
    }

    fn take(&mut self) -> Option<&'a str> {
        let word = self.peek();
        self.position += usize::from(word.is_some());
        word
    }

    fn take_if(&mut self, wanted: &str) -> bool {
        let is_next = self.peek() == Some(wanted);
        self.position += usize::from(is_next);
        is_next
    }

    /// `a OR b OR c`: one of them is enough. `OR` binds weaker than `AND`.
    fn alternatives(&mut self) -> Result<bool, String> {
        let mut satisfied = self.requirements()?;
        while self.take_if("OR") {
            satisfied |= self.requirements()?;
        }
        Ok(satisfied)
    }

    /// `a AND b AND c`: all of them.
    fn requirements(&mut self) -> Result<bool, String> {
        let mut satisfied = self.term()?;
        while self.take_if("AND") {
            satisfied &= self.term()?;
        }
        Ok(satisfied)
    }

    fn term(&mut self) -> Result<bool, String> {
        match self.take() {
            None => Err("it ends where a licence was expected".into()),
            Some("(") => {
                let satisfied = self.alternatives()?;
                if self.take_if(")") { Ok(satisfied) } else { Err("a parenthesis is not closed".into()) }
            }
            Some(word @ (")" | "AND" | "OR" | "WITH")) => Err(format!("`{word}` where a licence was expected")),
            Some(licence) if self.take_if("WITH") => match self.take() {
                Some(exception) => Ok((self.is_allowed)(&format!("{licence} WITH {exception}"))),
                None => Err("`WITH` without an exception".into()),
            },
            Some(licence) => Ok((self.is_allowed)(licence)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_judged_by_their_parts() {
        let is_allowed = |word: &str| matches!(word, "MIT" | "Apache-2.0" | "Apache-2.0 WITH LLVM-exception");
        for (expression, expected) in [
            ("MIT", Ok(true)),
            ("GPL-3.0-only", Ok(false)),
            ("GPL-3.0-only OR MIT", Ok(true)),
            ("GPL-3.0-only AND MIT", Ok(false)),
            ("MIT/Apache-2.0", Ok(true)),
            ("Unlicense/MIT", Ok(true)),
            ("(MIT OR GPL-3.0-only) AND Apache-2.0", Ok(true)),
            ("(MIT OR Apache-2.0) AND GPL-3.0-only", Ok(false)),
            ("GPL-3.0-only OR MIT AND Apache-2.0", Ok(true)),
            ("Apache-2.0 WITH LLVM-exception", Ok(true)),
            ("GPL-2.0-only WITH Classpath-exception-2.0", Ok(false)),
            ("", Err("it ends where a licence was expected".to_owned())),
            ("MIT OR", Err("it ends where a licence was expected".to_owned())),
            ("(MIT", Err("a parenthesis is not closed".to_owned())),
            ("MIT Apache-2.0", Err("unexpected `Apache-2.0`".to_owned())),
            ("MIT WITH", Err("`WITH` without an exception".to_owned())),
        ] {
            assert_eq!(is_satisfied(expression, &is_allowed), expected, "{expression:?}");
        }
    }
}
