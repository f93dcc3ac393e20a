//! Searches text for the words and phrases of a table.

use super::passages::Passage;

/// A phrase of the table.
#[derive(Debug)]
pub(super) struct Entry {
    phrase: String,
    /// The tokens of the phrase
    tokens: Vec<String>,
    /// What to write instead; none if the phrase is exempt
    replacement: Option<String>,
}

impl Entry {
    /// The phrase as it stands in the table.
    pub(super) fn phrase(&self) -> &str {
        &self.phrase
    }

    /// What to write instead.
    pub(super) fn replacement(&self) -> &str {
        self.replacement.as_deref().unwrap_or_default()
    }
}

/// The table of phrases, longest first.
#[derive(Debug)]
pub(super) struct Dialect(Vec<Entry>);

impl Dialect {
    /// The table in `dialect.txt`.
    pub(super) fn of_this_repository() -> Self {
        Self::parse(include_str!("dialect.txt"))
    }

    /// Reads a table. Its format is described in `dialect.txt`.
    pub(super) fn parse(table: &str) -> Self {
        let lines = table.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut entries: Vec<_> = lines
            .map(|line| {
                let (phrase, replacement) = match line.strip_prefix('!') {
                    Some(exempt) => (exempt, None),
                    None => {
                        let (phrase, replacement) = line.split_once('=').unwrap_or((line, ""));
                        (phrase.trim(), Some(replacement.trim().to_owned()))
                    }
                };
                let tokens = tokens(phrase).into_iter().map(|token| token.text).collect();
                Entry { phrase: phrase.to_owned(), tokens, replacement }
            })
            .collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.tokens.len()));
        Self(entries)
    }

    /// Returns the line and the entry of every phrase that occurs in a passage.
    pub(super) fn find(&self, passage: &Passage<'_>) -> Vec<(usize, &Entry)> {
        let tokens = tokens(&passage.text);
        let mut found = Vec::new();
        let mut next = 0;
        while next < tokens.len() {
            let rest = &tokens[next..];
            let matches = |entry: &&Entry| {
                rest.len() >= entry.tokens.len() && entry.tokens.iter().zip(rest).all(|(a, b)| *a == b.text)
            };
            match self.0.iter().find(matches) {
                Some(entry) => {
                    if entry.replacement.is_some() {
                        found.push((passage.line + tokens[next].line, entry));
                    }
                    next += entry.tokens.len();
                }
                None => next += 1,
            }
        }
        found
    }
}

/// The number of words in a text, without quoted code.
pub(super) fn words(text: &str) -> usize {
    tokens(text).iter().filter(|token| token.text.chars().any(char::is_alphabetic)).count()
}

/// A word in lower case, or one other character.
#[derive(Debug)]
struct Token {
    text: String,
    /// The number of line breaks before it
    line: usize,
}

/// Splits a text into tokens. Quoted code becomes a single backtick, so that no phrase continues
/// from one side of it to the other.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut line = 0;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if first == '`' {
            quoted_length(rest)
        } else if is_word(first) {
            rest.find(|character| !is_word(character)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        if first == '`' {
            tokens.push(Token { text: "`".to_owned(), line });
        } else if !first.is_whitespace() {
            tokens.push(Token { text: token.to_lowercase(), line });
        }
        line += token.matches('\n').count();
        rest = after;
    }
    tokens
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '\'' | '_')
}

/// The length of the quoted code at the start of a text: as in Markdown, it ends at a run of as
/// many backticks as it begins with. A backtick that is never closed quotes nothing.
fn quoted_length(text: &str) -> usize {
    let marker = text.len() - text.trim_start_matches('`').len();
    // Only a fenced block continues past an empty line.
    let end = if marker < 3 { text.find("\n\n").unwrap_or(text.len()) } else { text.len() };
    let mut at = marker;
    while let Some(start) = text[at..end].find('`') {
        at += start;
        let run = text[at..end].len() - text[at..end].trim_start_matches('`').len();
        at += run;
        if run == marker {
            return at;
        }
    }
    marker
}

#[cfg(test)]
mod tests {
    use super::super::passages::Kind;
    use super::*;
    use std::borrow::Cow;

    const TABLE: &str =
        "# A comment\ngrue = monster\nso no = therefore no\n!so no longer\nused by: = leave it out\n";

    fn found(text: &str) -> Vec<(usize, String)> {
        let passage = Passage { kind: Kind::CommentLines, line: 10, text: Cow::Borrowed(text) };
        let dialect = Dialect::parse(TABLE);
        dialect.find(&passage).iter().map(|(line, entry)| (*line, entry.phrase().to_owned())).collect()
    }

    #[test]
    fn words_match_in_any_case_and_only_as_a_whole() {
        assert_eq!(found("Grue. the GRUE"), [(10, "grue".to_owned()), (10, "grue".to_owned())]);
        assert!(found("gruesome congrue grue_some").is_empty());
    }

    #[test]
    fn a_phrase_continues_over_a_line_break() {
        assert_eq!(found("first\nthis so\n no page"), [(11, "so no".to_owned())]);
    }

    #[test]
    fn an_exempt_phrase_is_not_found() {
        assert!(found("So no longer here.").is_empty());
        assert_eq!(found("So no longer here and so no page.").len(), 1);
    }

    #[test]
    fn punctuation_is_part_of_a_phrase_or_ends_it() {
        assert_eq!(found("Used by: the tests"), [(10, "used by:".to_owned())]);
        assert!(found("used by the tests; so, no").is_empty());
    }

    #[test]
    fn quoted_code_is_exempt() {
        assert!(found("a `grue` and ``a ` grue`` and\n```\ngrue\n\ngrue\n```\n").is_empty());
        assert!(found("this so `x` no page").is_empty());
        assert_eq!(found("`x` grue `y`").len(), 1);
    }

    #[test]
    fn an_open_backtick_quotes_nothing() {
        assert_eq!(found("a ` grue\n\nand `another`").len(), 1);
    }

    #[test]
    fn quoted_code_and_numbers_are_not_words() {
        assert_eq!(words("Two words, `no code`, 4096 and don't."), 4);
    }

    #[test]
    fn every_phrase_of_this_repository_is_found_and_has_a_replacement() {
        let dialect = Dialect::of_this_repository();
        for entry in dialect.0.iter().filter(|entry| entry.replacement.is_some()) {
            let text = Cow::Owned(format!("before {} after", entry.phrase()));
            let found = dialect.find(&Passage { kind: Kind::CommentLines, line: 1, text });
            assert!(matches!(found.as_slice(), [(1, only)] if only.phrase() == entry.phrase()), "{entry:?}");
            assert!(!entry.replacement().is_empty(), "{entry:?}");
        }
    }
}
