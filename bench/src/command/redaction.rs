//! The command line as it may stand in a report, which is shown to others: without what looks like a secret.
//!
//! Whoever starts a store gives it its password, in as many ways as there are stores. What is taken out is the password of a URL, the value of an option or
//! a variable whose name says that it is secret, and what follows such an option; rather too much than too little. The names stay, so that one sees what was run.

/// What stands in the place of a secret.
const REDACTED: &str = "***";

/// Parts of names that say that a value is secret, wherever in a name they stand.
const SECRET_PARTS: [&str; 8] =
    ["password", "passwd", "passphrase", "secret", "token", "credential", "requirepass", "masterauth"];
/// Words of names that say so by themselves; as a part of a word they say nothing, as in `author`.
const SECRET_WORDS: [&str; 7] = ["pass", "pwd", "auth", "authpass", "apikey", "authorization", "pw"];
/// A name that ends with `key` is of a secret after one of these, and of a part of the data elsewhere.
const WORDS_BEFORE_KEY: [&str; 9] =
    ["api", "access", "private", "encryption", "signing", "master", "auth", "account", "shared"];
/// A name that ends so is that of a place where the secret is, and no secret.
const PLACE_WORDS: [&str; 6] = ["file", "path", "dir", "directory", "folder", "env"];

/// The words of a command line without secrets. A word that holds several, such as the command of `--start`, is looked at word by word.
pub(super) fn without_secrets(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut redaction = Redaction::default();
    words.into_iter().map(|word| redaction.word(&word)).collect()
}

/// Goes through the words of one command line.
#[derive(Default)]
struct Redaction {
    /// The word before named a secret, and this one is it.
    is_secret_next: bool,
}

impl Redaction {
    fn word(&mut self, word: &str) -> String {
        if std::mem::take(&mut self.is_secret_next) && !word.starts_with("--") {
            // `Authorization: Bearer X`.
            self.is_secret_next = ["bearer", "basic"].contains(&word.to_lowercase().as_str());
            return REDACTED.to_owned();
        }
        if word.split_whitespace().nth(1).is_some() {
            let mut inner = Self::default();
            return word.split_whitespace().map(|word| inner.word(word)).collect::<Vec<_>>().join(" ");
        }
        if let Some((name, value)) = word.split_once('=') {
            if is_secret(name) && !value.is_empty() {
                return format!("{name}={REDACTED}");
            }
            // The first word of a command that has a name, as in `store=TOKEN=x`.
            return format!("{name}={}", self.word(value));
        }
        if let Some(url) = without_user(word) {
            return url;
        }
        // A user of Redis is described with `>PASSWORD` or `#HASH`.
        let is_hash = |rest: &str| rest.len() == 64 && rest.chars().all(|digit| digit.is_ascii_hexdigit());
        if word.starts_with(['>', '<']) && word.len() > 1 || word.strip_prefix('#').is_some_and(is_hash) {
            return format!("{}{REDACTED}", &word[..1]);
        }
        // Settings of Redis may be given as words without dashes.
        let is_option = word.starts_with('-') || ["requirepass", "masterauth"].contains(&word.to_lowercase().as_str());
        self.is_secret_next = is_option && is_secret(word) || word.eq_ignore_ascii_case("authorization:");
        word.to_owned()
    }
}

/// A URL without user and password, if it has any.
fn without_user(word: &str) -> Option<String> {
    let (scheme, rest) = word.split_once("://")?;
    let (_, host) = rest.rsplit_once('@')?;
    Some(format!("{scheme}://{REDACTED}@{host}"))
}

/// Whether what has this name is a secret.
fn is_secret(name: &str) -> bool {
    let name = spread_words(name);
    let words: Vec<&str> =
        name.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let Some((last, before)) = words.split_last() else { return false };
    if PLACE_WORDS.contains(last) {
        return false;
    }
    let is_key = *last == "key" && before.last().is_some_and(|word| WORDS_BEFORE_KEY.contains(word));
    is_key
        || words.iter().any(|word| SECRET_WORDS.contains(word) || SECRET_PARTS.iter().any(|part| word.contains(part)))
}

/// A name in small letters, with the words of `apiKey` set apart.
fn spread_words(name: &str) -> String {
    let mut spread = String::new();
    let mut was_small = false;
    for letter in name.chars() {
        if was_small && letter.is_uppercase() {
            spread.push('-');
        }
        was_small = letter.is_lowercase();
        spread.extend(letter.to_lowercase());
    }
    spread
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(words: &[&str]) -> Vec<String> {
        without_secrets(words.iter().map(ToString::to_string))
    }

    #[test]
    fn secrets_do_not_get_into_reports() {
        for (words, expected) in [
            (&["redis://:hush@host:1"][..], &["redis://***@host:1"][..]),
            (&["--store=a=redis://a:b@hush@host:1"], &["--store=a=redis://***@host:1"]),
            (
                &["--start", "a=redis-server --requirepass hush --port 1"],
                &["--start", "a=redis-server --requirepass *** --port 1"],
            ),
            (&["--start=a=redis-server --requirepass=hush"], &["--start=a=redis-server --requirepass=***"]),
            (
                &["--start", "a=env API_TOKEN=hush DB_PASS=hush store"],
                &["--start", "a=env API_TOKEN=*** DB_PASS=*** store"],
            ),
            (
                &["--start", "a=store --apiKey hush --access-key=hush"],
                &["--start", "a=store --apiKey *** --access-key=***"],
            ),
            (
                &["--start", "a=store postgres://u:hush@host/x --user u"],
                &["--start", "a=store postgres://***@host/x --user u"],
            ),
            (&["--start", "a=redis-server --user u on >hush ~*"], &["--start", "a=redis-server --user u on >*** ~*"]),
            (
                &["--start", "a=store -H Authorization: Bearer hush x"],
                &["--start", "a=store -H Authorization: *** *** x"],
            ),
            (&["--start", "a=redis-server requirepass hush"], &["--start", "a=redis-server requirepass ***"]),
            (&["--password", "hush", "run"], &["--password", "***", "run"]),
        ] {
            let found = redacted(words);
            assert_eq!(found, expected);
            assert!(!found.concat().contains("hush"));
        }
        let hash = format!("#{}", "0f".repeat(32));
        assert_eq!(redacted(&[&hash]), ["#***"]);
    }

    #[test]
    fn what_is_no_secret_stays() {
        let plain = [
            "bench",
            "run",
            "--store",
            "corelode://host:1",
            "--keys",
            "100",
            "--key-bytes",
            "16",
            "--secret-file",
            "FILE",
            "--rate=12000",
            "--mix",
            "read=0.5,update=0.5",
            "--title",
            "the author's keys",
            "--tls-key-file=x.pem",
            "-p",
            "6379",
            "--start",
            "a=corelode serve --secret-file x --data-dir d",
            "PRIMARY_KEY=id",
            "--bypass",
            "1",
        ];
        assert_eq!(redacted(&plain), plain);
    }
}
