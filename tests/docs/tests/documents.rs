//! Checks what the compiler cannot: links, paths, names of functions, and blocks that are not Rust.

use std::fs;
use std::path::{Path, PathBuf};

/// Languages of code blocks. The blocks in Rust are documentation tests of this crate.
const LANGUAGES: [&str; 8] = ["rust", "toml", "text", "console", "sh", "wat", "asm", "c"];
/// Endings by which a quoted word is recognised as the path of a file.
const FILES: [&str; 7] = [".rs", ".md", ".toml", ".wast", ".wat", ".txt", ".svg"];

struct Document {
    /// Relative to the root of the repository
    path: PathBuf,
    text: String,
}

#[derive(Debug)]
struct Block {
    line: usize,
    /// The words after the backticks, separated by commas
    info: String,
    text: String,
}

impl Block {
    fn language(&self) -> &str {
        self.info.split(',').next().unwrap_or_default()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All Markdown files of the repository. Folders of sources contain only parts of documents.
fn documents() -> Vec<Document> {
    let root = root();
    let mut folders = vec![root.clone()];
    let mut documents = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the repository can be read") {
            let path = entry.expect("the repository can be read").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "src" {
                folders.push(path);
            } else if name.ends_with(".md") {
                let text = fs::read_to_string(&path).expect("documents are UTF-8");
                let path = path.strip_prefix(&root).expect("the root was the start").to_owned();
                documents.push(Document { path, text });
            }
        }
    }
    documents.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(documents.iter().any(|document| document.path == Path::new("README.md")));
    documents
}

/// Splits a document into its code blocks and the lines of prose with their numbers.
fn split(text: &str) -> (Vec<Block>, Vec<(usize, &str)>) {
    let (mut blocks, mut prose): (Vec<Block>, Vec<_>) = (Vec::new(), Vec::new());
    let mut is_inside = false;
    for (line, words) in (1..).zip(text.lines()) {
        match (words.trim_start().strip_prefix("```"), is_inside) {
            (Some(_), true) => is_inside = false,
            (Some(info), false) => {
                is_inside = true;
                blocks.push(Block { line, info: info.to_owned(), text: String::new() });
            }
            (None, true) => {
                let block = blocks.last_mut().expect("a block was opened");
                block.text.push_str(words);
                block.text.push('\n');
            }
            (None, false) => prose.push((line, words)),
        }
    }
    (blocks, prose)
}

/// The quoted words of a line of prose.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The targets of a line's links.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next())
}

/// Whether a quoted word is meant as a path of this repository: it has a folder and an ending, and
/// nothing that only a pattern or a placeholder has.
fn is_path(word: &str) -> bool {
    let is_plain = !word.contains([' ', '*', '<', '{', '$', ':']) && !word.starts_with(['/', '.', '~']);
    is_plain && word.contains('/') && FILES.iter().any(|ending| word.ends_with(ending))
}

#[test]
fn every_block_has_a_language() {
    let mut wrong = Vec::new();
    for Document { path, text } in documents() {
        let (blocks, _) = split(&text);
        let unknown = blocks.iter().filter(|block| !LANGUAGES.contains(&block.language()));
        wrong.extend(unknown.map(|block| format!("{}:{}: {:?}", path.display(), block.line, block.info)));
    }
    assert!(wrong.is_empty(), "give these blocks one of {LANGUAGES:?}:\n{}", wrong.join("\n"));
}

#[test]
fn every_block_of_rust_is_a_documentation_test() {
    let library = include_str!("../src/lib.rs");
    for Document { path, text } in documents() {
        let (blocks, _) = split(&text);
        if let Some(block) = blocks.iter().find(|block| block.language() == "rust") {
            let included = format!("include_str!(\"../../../{}\")", path.display());
            assert!(library.contains(&included), "{}:{} is not compiled", path.display(), block.line);
            assert!(!block.info.contains("ignore"), "{}:{} is not compiled", path.display(), block.line);
        }
    }
}

#[test]
fn blocks_of_configuration_parse() {
    for Document { path, text } in documents() {
        let (blocks, _) = split(&text);
        for block in blocks.iter().filter(|block| block.language() == "toml") {
            let parsed = block.text.parse::<toml::Table>();
            assert!(parsed.is_ok(), "{}:{}: {parsed:?}", path.display(), block.line);
        }
    }
}

#[test]
fn links_and_paths_lead_to_files() {
    let root = root();
    let mut missing = Vec::new();
    for Document { path, text } in documents() {
        let folder = root.join(path.parent().unwrap_or(Path::new("")));
        let (_, prose) = split(&text);
        for (line, words) in prose {
            for target in links(words).filter(|target| !target.contains("://") && !target.starts_with('#')) {
                let file = target.split('#').next().unwrap_or_default();
                if !folder.join(file).exists() {
                    missing.push(format!("{}:{line}: {target}", path.display()));
                }
            }
            for word in quoted(words).filter(|word| is_path(word)) {
                if !root.join(word).exists() && !folder.join(word).exists() {
                    missing.push(format!("{}:{line}: {word}", path.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "not in the repository:\n{}", missing.join("\n"));
}

/// The anchors of a document's headings, as the sites that show Markdown make them.
fn anchors(text: &str) -> Vec<String> {
    let (_, prose) = split(text);
    let headings = prose.into_iter().filter_map(|(_, line)| line.strip_prefix('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_with_an_anchor_lead_to_a_heading() {
    let root = root();
    let (mut checked, mut missing) = (0, Vec::new());
    for Document { path, text } in documents() {
        let folder = root.join(path.parent().unwrap_or(Path::new("")));
        let (_, prose) = split(&text);
        for (line, words) in prose {
            for target in links(words).filter(|target| !target.contains("://")) {
                let Some((file, anchor)) = target.split_once('#') else { continue };
                let linked = if file.is_empty() { root.join(&path) } else { folder.join(file) };
                let linked = fs::read_to_string(linked).unwrap_or_default();
                checked += 1;
                if !anchors(&linked).iter().any(|known| known == anchor) {
                    missing.push(format!("{}:{line}: {target}", path.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "no such heading:\n{}", missing.join("\n"));
    assert!(checked > 0, "no link has an anchor");
}

/// In a table row that starts with the path of a Rust file, the second cell names functions and
/// types of that file.
#[test]
fn names_that_are_cited_with_their_file_are_defined_there() {
    let root = root();
    let (mut checked, mut missing) = (0, Vec::new());
    for Document { path, text } in documents() {
        let (_, prose) = split(&text);
        for (line, words) in prose {
            let cells: Vec<_> = words.trim().trim_matches('|').split(" | ").map(str::trim).collect();
            let [file, names, _, ..] = cells[..] else { continue };
            let file = file.trim_matches('`');
            if !(file.ends_with(".rs") && names.starts_with('`')) {
                continue;
            }
            let source = fs::read_to_string(root.join(file)).unwrap_or_default();
            for name in quoted(names) {
                checked += 1;
                // `Type::function` is defined as `fn function`.
                let name = name.rsplit("::").next().unwrap_or(name);
                if !is_defined(&source, name) {
                    missing.push(format!("{}:{line}: {name} in {file}", path.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "defined elsewhere or not at all:\n{}", missing.join("\n"));
    assert!(checked > 0, "no table cites a function with its file");
}

/// The lines `crate:  a < b` of `docs/architecture.md` are those of the crates.
#[test]
fn the_layers_are_those_of_the_crates() {
    let root = root();
    let text = fs::read_to_string(root.join("docs/architecture.md")).expect("the document exists");
    let orders: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(_, order)| order.contains(" < "))
        .collect();
    assert_eq!(orders.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["paging", "engine", "heap"]);
    for (name, order) in orders {
        let source = fs::read_to_string(root.join(name).join("src/lib.rs")).expect("the crate exists");
        let order = format!("//! {}", order.trim());
        assert!(source.lines().any(|line| line == order), "{name}/src/lib.rs has no line {order:?}");
    }
}

/// The table of `docs/security.md` lists exactly those files of the libraries that contain unsafe
/// code.
#[test]
fn the_unsafe_inventory_is_complete() {
    let root = root();
    let text = fs::read_to_string(root.join("docs/security.md")).expect("the document exists");
    let section = text.split("## Where the unsafe code is").nth(1).expect("the section exists");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut listed: Vec<_> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(PathBuf::from)
        .collect();
    listed.sort();
    let mut found = Vec::new();
    let mut folders: Vec<_> = ["engine", "floats", "heap", "paging", "wasi"]
        .into_iter()
        .map(|library| root.join(library).join("src"))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("the repository can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path).is_ok_and(|source| has_unsafe_code(&source)) {
                found.push(path.strip_prefix(&root).expect("the root was the start").to_owned());
            }
        }
    }
    found.sort();
    assert_eq!(listed, found, "left: docs/security.md; right: the sources");
}

fn has_unsafe_code(source: &str) -> bool {
    let keywords = ["unsafe {", "unsafe impl", "unsafe fn", "unsafe trait", "unsafe extern", "#[unsafe("];
    let product = source.split("mod tests {").next().unwrap_or_default();
    let mut code = product.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.any(|line| keywords.iter().any(|keyword| line.contains(keyword)))
}

fn is_defined(source: &str, name: &str) -> bool {
    let keywords = ["fn ", "struct ", "enum ", "trait ", "type ", "const "];
    keywords.iter().any(|keyword| {
        source.match_indices(keyword).any(|(at, _)| {
            let rest = &source[at + keyword.len()..];
            rest.strip_prefix(name)
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        })
    })
}
