//! `cargo xtask prose`: checks the English of comments, documents, messages and names.
//!
//! [`dialect`] searches for the words of `dialect.txt`, which is the only list of them.
//! [`passages`] extracts the text to search from a source file.
//! Code in backticks is exempt. A line that contains nothing but a comment has at most
//! [`MAX_COLUMNS`] columns.

mod count;
mod dialect;
mod passages;

use crate::cli::ProseOptions;
use anyhow::{Context, Result, ensure};
use dialect::Dialect;
use duct::cmd;
use palimpsest_host::workspace::Workspace;
use passages::{Kind, Language, Passage};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fmt, fs};

/// The longest comment line, in characters.
const MAX_COLUMNS: usize = 100;

/// A file of the repository, with its path relative to the root.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    language: Language,
    text: String,
}

/// A place in a file and what is wrong there.
#[derive(Debug)]
struct Finding<'a> {
    path: &'a Path,
    line: usize,
    problem: String,
}

impl fmt::Display for Finding<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path.display(), self.line, self.problem)
    }
}

/// Checks the given paths, or the whole repository if there are none.
///
/// # Errors
/// - `git ls-files` fails.
/// - A file cannot be read or is not UTF-8.
/// - No file is below the given paths.
pub(crate) fn run(workspace: &Workspace, options: &ProseOptions) -> Result<ExitCode> {
    let dialect = Dialect::of_this_repository();
    let sources = sources(workspace, &options.paths)?;
    if options.count {
        print!("{}", count::table(&sources, &dialect));
        return Ok(ExitCode::SUCCESS);
    }
    let findings: Vec<_> = sources.iter().flat_map(|source| findings(source, &dialect)).collect();
    for finding in &findings {
        println!("{finding}");
    }
    println!("{} files, {} findings", sources.len(), findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads all files of a known [`Language`] that git does not ignore.
fn sources(workspace: &Workspace, paths: &[PathBuf]) -> Result<Vec<Source>> {
    let listed = cmd!("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        .dir(workspace.root())
        .read()
        .context("`git ls-files` failed: run `cargo xtask prose` in a clone of the repository")?;
    let mut sources = Vec::new();
    for path in listed.split_terminator('\0').map(Path::new) {
        let Some(language) = Language::of(path) else { continue };
        let file = workspace.root().join(path);
        // A file that was deleted but not yet committed is still listed.
        if is_selected(path, paths) && file.exists() {
            let text =
                fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            sources.push(Source { path: path.to_owned(), language, text });
        }
    }
    ensure!(!sources.is_empty(), "no source file is below the given paths: give them relative to the root");
    Ok(sources)
}

fn is_selected(path: &Path, paths: &[PathBuf]) -> bool {
    let is_below = |selected: &PathBuf| path.starts_with(selected.strip_prefix(".").unwrap_or(selected));
    paths.is_empty() || paths.iter().any(is_below)
}

/// All findings in a file, in the order of their lines.
fn findings<'a>(source: &'a Source, dialect: &Dialect) -> Vec<Finding<'a>> {
    let mut findings = Vec::new();
    for passage in source.language.passages(&source.text) {
        for (line, entry) in dialect.find(&passage) {
            let problem = format!("\"{}\": {}", entry.phrase(), entry.replacement());
            findings.push(Finding { path: &source.path, line, problem });
        }
        for (line, columns) in long_lines(&source.text, &passage) {
            let problem = format!("{columns} columns of comment: wrap at {MAX_COLUMNS}");
            findings.push(Finding { path: &source.path, line, problem });
        }
    }
    findings.sort_by_key(|finding| finding.line);
    findings
}

/// Lines of a comment that are too long and can be broken, with their length.
fn long_lines(text: &str, passage: &Passage<'_>) -> Vec<(usize, usize)> {
    if passage.kind != Kind::CommentLines {
        return Vec::new();
    }
    let lines = text.lines().enumerate().skip(passage.line - 1).take(passage.text.lines().count());
    lines
        .map(|(index, line)| (index + 1, line, line.chars().count()))
        .filter(|&(_, line, columns)| columns > MAX_COLUMNS && can_break(line))
        .map(|(number, _, columns)| (number, columns))
        .collect()
}

/// Returns false for a single long word, such as an address, and for a row of a Markdown table.
fn can_break(line: &str) -> bool {
    let mut words = line.split_whitespace().skip(1);
    words.next() != Some("|") && words.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(name: &str, text: &str) -> Vec<String> {
        let path = PathBuf::from(name);
        let language = Language::of(&path).expect("the extension is known");
        let source = Source { path, language, text: text.to_owned() };
        let dialect = Dialect::parse("grue = monster\n");
        findings(&source, &dialect).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_finding_names_the_file_the_line_and_the_replacement() {
        let expected = "a.rs:2: \"grue\": monster";
        assert_eq!(problems("a.rs", "fn f() {}\n/// A Grue.\nfn g() {}\n"), [expected]);
    }

    #[test]
    fn long_comment_lines_are_found_and_long_code_lines_are_not() {
        let words = "word ".repeat(20);
        let text = format!("// {words}\nlet x = \"{words}\"; // {words}\n");
        assert_eq!(problems("a.rs", &text), ["a.rs:1: 103 columns of comment: wrap at 100"]);
    }

    #[test]
    fn an_address_and_a_table_row_may_be_long() {
        let address = "x".repeat(120);
        assert!(problems("a.rs", &format!("// {address}\n//! | {address} | {address} |\n")).is_empty());
    }

    #[test]
    fn columns_are_characters() {
        assert!(problems("a.toml", &format!("# é {}\n", "é".repeat(96))).is_empty());
        assert_eq!(problems("a.toml", &format!("# é {}\n", "é".repeat(97))).len(), 1);
    }

    #[test]
    fn a_path_selects_what_is_below_it_and_no_path_selects_everything() {
        assert!(is_selected(Path::new("wasi/a.rs"), &[]));
        for selected in [".", "wasi", "./wasi"].map(PathBuf::from) {
            assert!(is_selected(Path::new("wasi/a.rs"), &[selected]));
        }
        assert!(!is_selected(Path::new("wasi-more/a.rs"), &[PathBuf::from("wasi")]));
    }
}
