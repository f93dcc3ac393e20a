//! `cargo xtask prose --count`: how often the words of the table occur.

use super::Source;
use super::dialect::{Dialect, words};
use super::passages::Kind;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The counts of one folder at the root.
#[derive(Debug, Default)]
struct Count {
    /// Words of comments and of Markdown text
    words: usize,
    /// Occurrences of the table's phrases in them
    dialect: usize,
    /// Occurrences in string literals and names
    elsewhere: usize,
}

/// A table with a line for each folder at the root, and for each file there.
pub(super) fn table(sources: &[Source], dialect: &Dialect) -> String {
    let mut counts = BTreeMap::<_, Count>::new();
    for source in sources {
        let folder = source.path.components().next().map(|first| first.as_os_str().display().to_string());
        let count = counts.entry(folder.unwrap_or_default()).or_default();
        for passage in source.language.passages(&source.text) {
            let found = dialect.find(&passage).len();
            match passage.kind {
                Kind::CommentLines | Kind::TrailingComment | Kind::Markdown => {
                    count.words += words(&passage.text);
                    count.dialect += found;
                }
                Kind::Literal | Kind::Name => count.elsewhere += found,
            }
        }
    }
    let mut table = format!(
        "{:16} {:>8} {:>8} {:>10} {:>18}\n",
        "", "words", "dialect", "per 1,000", "strings and names"
    );
    for (folder, count) in counts {
        let Count { words, dialect, elsewhere } = count;
        let hundredths = dialect * 100_000 / words.max(1);
        let whole = hundredths / 100;
        let fraction = hundredths % 100;
        let _always_succeeds =
            writeln!(table, "{folder:16} {words:8} {dialect:8} {whole:7}.{fraction:02} {elsewhere:18}");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::passages::Language;
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn comments_are_counted_apart_from_strings_and_names() {
        let source = |path: &str, text: &str| Source {
            path: PathBuf::from(path),
            language: Language::Rust,
            text: text.to_owned(),
        };
        let sources = [
            source("a/b.rs", "// one grue\nlet grue = \"grue\";"),
            source("a/c.rs", "// two `quoted` words"),
        ];
        let table = table(&sources, &Dialect::parse("grue = monster"));
        let line = table.lines().nth(1).expect("there is one folder");
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["a", "4", "1", "250.00", "2"]);
    }
}
