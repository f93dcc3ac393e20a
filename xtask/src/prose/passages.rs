//! Finds the English in a source file: comments, string literals, names, and Markdown.
//!
//! The scanner parses enough of each language to distinguish a comment from a string. It does not
//! check that a file is well-formed.

use std::borrow::Cow;
use std::path::Path;

/// What a passage was in its file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// One comment or several in a row, with nothing before them on their lines
    CommentLines,
    /// A comment after code
    TrailingComment,
    /// A Markdown file
    Markdown,
    /// A string literal
    Literal,
    /// A name, with a space between its words
    Name,
}

/// Text without the syntax around it. It has the line breaks of the file.
#[derive(Debug)]
pub(super) struct Passage<'a> {
    pub(super) kind: Kind,
    /// The number of the first line, counted from 1
    pub(super) line: usize,
    pub(super) text: Cow<'a, str>,
}

/// How a language writes comments and strings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Language {
    Rust,
    /// C, and what is written like it: linker scripts, and assembler that is preprocessed
    C,
    Wasm,
    Toml,
    Markdown,
}

impl Language {
    /// The language of a file, by the extension of its name. None if it is not checked.
    pub(super) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "rs" => Some(Self::Rust),
            "c" | "h" | "S" | "ld" => Some(Self::C),
            "wat" | "wast" => Some(Self::Wasm),
            "toml" => Some(Self::Toml),
            "md" => Some(Self::Markdown),
            _ => None,
        }
    }

    /// The passages of a file, in their order.
    pub(super) fn passages(self, text: &str) -> Vec<Passage<'_>> {
        if self == Self::Markdown {
            return vec![Passage { kind: Kind::Markdown, line: 1, text: Cow::Borrowed(text) }];
        }
        let mut scanner =
            Scanner { language: self, rest: text, line: 1, after_code: false, passages: Vec::new() };
        while let Some(first) = scanner.rest.chars().next() {
            scanner.step(first);
        }
        scanner.passages
    }

    const fn line_comment(self) -> &'static str {
        match self {
            Self::Rust | Self::C => "//",
            Self::Wasm => ";;",
            Self::Toml | Self::Markdown => "#",
        }
    }

    const fn block_comment(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Rust | Self::C => Some(("/*", "*/")),
            Self::Wasm => Some(("(;", ";)")),
            Self::Toml | Self::Markdown => None,
        }
    }

    const fn has_nested_comments(self) -> bool {
        matches!(self, Self::Rust | Self::Wasm)
    }
}

#[derive(Debug)]
struct Scanner<'a> {
    language: Language,
    rest: &'a str,
    /// The number of the line on which `rest` begins
    line: usize,
    /// Whether the line contains something before `rest` that is not a comment
    after_code: bool,
    passages: Vec<Passage<'a>>,
}

impl<'a> Scanner<'a> {
    fn step(&mut self, first: char) {
        let language = self.language;
        if first.is_whitespace() {
            self.advance(first.len_utf8());
        } else if self.rest.starts_with(language.line_comment()) {
            self.line_comments();
        } else if let Some((open, close)) = language.block_comment()
            && self.rest.starts_with(open)
        {
            self.block_comment(open, close);
        } else {
            self.after_code = true;
            match first {
                '"' => self.string(),
                '\'' => self.single_quote(),
                _ if is_name(first) => self.name(),
                _ => self.advance(first.len_utf8()),
            }
        }
    }

    /// Moves past `length` bytes and returns them.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.line += taken.matches('\n').count();
        if taken.contains('\n') {
            self.after_code = false;
        }
        taken
    }

    fn advance(&mut self, length: usize) {
        self.take(length);
    }

    fn push(&mut self, kind: Kind, line: usize, text: impl Into<Cow<'a, str>>) {
        self.passages.push(Passage { kind, line, text: text.into() });
    }

    fn comment_kind(&self) -> Kind {
        if self.after_code { Kind::TrailingComment } else { Kind::CommentLines }
    }

    /// A comment to the end of the line. Comments on the following lines belong to the same
    /// passage unless the first is after code.
    fn line_comments(&mut self) {
        let kind = self.comment_kind();
        let line = self.line;
        let marker = self.language.line_comment();
        let mut lines = Vec::new();
        loop {
            let comment = self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
            lines
                .push(comment.trim_start_matches(|character| marker.contains(character) || character == '!'));
            let indented = self.rest.strip_prefix('\n').unwrap_or_default();
            let next = indented.trim_start_matches([' ', '\t']);
            if kind == Kind::TrailingComment || !next.starts_with(marker) {
                break;
            }
            self.advance(self.rest.len() - next.len());
        }
        self.push(kind, line, lines.join("\n"));
    }

    fn block_comment(&mut self, open: &str, close: &str) {
        let kind = self.comment_kind();
        let line = self.line;
        let mut depth = 1;
        let mut length = open.len();
        while depth > 0 && length < self.rest.len() {
            let rest = &self.rest[length..];
            if rest.starts_with(close) {
                depth -= 1;
                length += close.len();
            } else if self.language.has_nested_comments() && rest.starts_with(open) {
                depth += 1;
                length += open.len();
            } else {
                length += rest.chars().next().map_or(0, char::len_utf8);
            }
        }
        let comment = self.take(length);
        let comment = &comment[open.len()..].strip_suffix(close).unwrap_or(&comment[open.len()..]);
        // Each line may begin with a star.
        let lines: Vec<_> = comment.lines().map(|line| line.trim_start().trim_start_matches('*')).collect();
        self.push(kind, line, lines.join("\n"));
    }

    /// A string in double quotes. An escape sequence becomes a space, an escaped line break
    /// remains one.
    fn string(&mut self) {
        let line = self.line;
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        let mut length = self.rest.len();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    length = at + 1;
                    break;
                }
                '\\' => match characters.next() {
                    Some((_, '\n')) => text.push('\n'),
                    Some(_) => text.push(' '),
                    None => {}
                },
                _ => text.push(character),
            }
        }
        self.advance(length);
        self.after_code = true;
        self.push(Kind::Literal, line, text);
    }

    /// A literal string in TOML, a character in C. In Rust a character or the start of a lifetime.
    fn single_quote(&mut self) {
        let inside = &self.rest[1..];
        let character = inside.chars().next().map_or(0, char::len_utf8);
        let length = match self.language {
            Language::Rust | Language::C if inside.starts_with('\\') => {
                // The escaped character may be a quote.
                inside[1..].chars().next().map_or(0, char::len_utf8) + 1
            }
            Language::Rust if !inside[character..].starts_with('\'') => return self.advance(1),
            Language::Rust | Language::C => character,
            Language::Toml => 0,
            Language::Wasm | Language::Markdown => return self.advance(1),
        };
        let length = inside[length..].find('\'').map_or(inside.len(), |end| length + end);
        let line = self.line;
        self.advance(1);
        let text = self.take(length);
        self.advance(self.rest.len().min(1));
        self.push(Kind::Literal, line, text);
    }

    /// A name or a number, or the prefix of a raw string.
    fn name(&mut self) {
        let line = self.line;
        let length = self.rest.find(|character| !is_name(character)).unwrap_or(self.rest.len());
        let name = self.take(length);
        if self.language == Language::Rust && matches!(name, "r" | "br" | "cr") {
            let hashes = self.rest.len() - self.rest.trim_start_matches('#').len();
            if self.rest[hashes..].starts_with('"') {
                return self.raw_string(hashes);
            }
        }
        if matches!(self.language, Language::Rust | Language::C) {
            self.push(Kind::Name, line, spaced(name));
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        let line = self.line;
        self.advance(hashes + 1);
        let close = format!("\"{}", "#".repeat(hashes));
        let length = self.rest.find(&close).unwrap_or(self.rest.len());
        let text = self.take(length);
        self.advance(close.len().min(self.rest.len()));
        self.after_code = true;
        self.push(Kind::Literal, line, text);
    }
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Separates the words of a name, in snake case and in camel case.
fn spaced(name: &str) -> String {
    let mut words = String::new();
    let mut previous = ' ';
    for character in name.chars() {
        if character.is_uppercase() && previous.is_lowercase() {
            words.push(' ');
        }
        words.push(if character == '_' { ' ' } else { character });
        previous = character;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use Kind::{CommentLines, Literal, Markdown, Name, TrailingComment};

    /// The passages of a text without its one-letter names.
    fn passages(language: Language, text: &str) -> Vec<(Kind, usize, String)> {
        let passages = language.passages(text).into_iter();
        let passages = passages.map(|Passage { kind, line, text }| (kind, line, text.into_owned()));
        passages.filter(|(kind, _, text)| *kind != Name || text.len() > 1).collect()
    }

    fn passage(kind: Kind, line: usize, text: &str) -> (Kind, usize, String) {
        (kind, line, text.to_owned())
    }

    #[test]
    fn comments_on_adjacent_lines_are_one_passage() {
        assert_eq!(
            passages(Language::Rust, "//! one\n//! two\n\n    /// three\n    a // four\n    // five\n"),
            [
                passage(CommentLines, 1, " one\n two"),
                passage(CommentLines, 4, " three"),
                passage(TrailingComment, 5, " four"),
                passage(CommentLines, 6, " five"),
            ]
        );
    }

    #[test]
    fn block_comments_nest_in_rust_and_not_in_c() {
        let text = "/* one /* two */ three */";
        assert_eq!(passages(Language::Rust, text), [passage(CommentLines, 1, "one /* two */ three ")]);
        assert_eq!(
            passages(Language::C, text),
            [passage(CommentLines, 1, "one /* two "), passage(Name, 1, "three")]
        );
    }

    #[test]
    fn the_star_before_a_line_of_a_block_comment_is_not_text() {
        assert_eq!(
            passages(Language::C, "a;\n/* one\n * two\n */\n"),
            [passage(CommentLines, 2, "one\n two\n")]
        );
    }

    #[test]
    fn comments_in_strings_are_text_of_the_string() {
        assert_eq!(
            passages(Language::Rust, r#"a("// one \" \n two", b"three") // four"#),
            [
                passage(Literal, 1, "// one     two"),
                passage(Literal, 1, "three"),
                passage(TrailingComment, 1, " four"),
            ]
        );
    }

    #[test]
    fn raw_strings_end_at_their_own_quote() {
        assert_eq!(
            passages(Language::Rust, "r#\"one \"two\" \\\n\"# + r\"three\" + r#type"),
            [passage(Literal, 1, "one \"two\" \\\n"), passage(Literal, 2, "three"), passage(Name, 2, "type")]
        );
    }

    #[test]
    fn an_escaped_line_break_counts_as_a_line() {
        assert_eq!(
            passages(Language::Rust, "\"one \\\n  two\" // three\n// four"),
            [
                passage(Literal, 1, "one \n  two"),
                passage(TrailingComment, 2, " three"),
                passage(CommentLines, 3, " four"),
            ]
        );
    }

    #[test]
    fn lifetimes_are_not_characters() {
        assert_eq!(
            passages(Language::Rust, r#"a<'b>('"', '\'', '\u{7f}', 'c', "one")"#),
            ["\"", "\\'", "\\u{7f}", "c", "one"].map(|text| passage(Literal, 1, text))
        );
    }

    #[test]
    fn names_are_split_into_words() {
        assert_eq!(
            passages(Language::Rust, "one_two ThreeFour FIVE_SIX"),
            ["one two", "Three Four", "FIVE SIX"].map(|text| passage(Name, 1, text))
        );
    }

    #[test]
    fn other_languages_have_their_own_comments() {
        assert_eq!(
            passages(Language::Wasm, "(a) ;; one\n(; two (; three ;) ;) (b \";; four\")"),
            [
                passage(TrailingComment, 1, " one"),
                passage(CommentLines, 2, "two (; three ;) "),
                passage(Literal, 2, ";; four")
            ]
        );
        assert_eq!(
            passages(Language::Toml, "# one\na = '# two' # three\n"),
            [
                passage(CommentLines, 1, " one"),
                passage(Literal, 2, "# two"),
                passage(TrailingComment, 2, " three")
            ]
        );
        assert_eq!(passages(Language::Markdown, "# one\n"), [passage(Markdown, 1, "# one\n")]);
    }

    #[test]
    fn what_is_never_closed_ends_with_the_file() {
        for text in ["/* one", "\"one", "\"one\\", "r#\"one\"", "'\\", "'"] {
            for language in [Language::Rust, Language::C, Language::Wasm, Language::Toml] {
                assert!(passages(language, text).len() <= 2, "{text}");
            }
        }
    }
}
