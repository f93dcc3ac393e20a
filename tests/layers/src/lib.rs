//! Checks the layers of a crate: a source file imports only from its own layer and from those below
//! it.
//!
//! The order is read from the crate's documentation, where one line names the layers from the
//! lowest to the highest, as in `a < b, c < d`. A layer is a file `src/NAME.rs` with the folder
//! `src/NAME/`. Paths are found in the token stream, so comments and documentation do not count.
//! Every path counts that starts at the root of the crate: `crate::name`, a group in `use
//! crate::{name}`, and a chain of `super` that leaves the layer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Checks all files of the crate in `folder`, which is `env!("CARGO_MANIFEST_DIR")` in a test of
/// the crate.
///
/// # Panics
///
/// Panics if a file imports from a layer above its own, if the order does not name exactly the
/// modules of the crate, or if the sources cannot be read.
pub fn check(folder: &str) {
    let source = Path::new(folder).join("src");
    let crate_root = read(&source.join("lib.rs"));
    let order = Order::of_crate(&crate_root);
    let modules: BTreeSet<_> =
        crate_root.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    let layers: BTreeSet<_> = order.ranks.keys().map(String::as_str).collect();
    assert_eq!(modules, layers, "the order names the modules of the crate");
    let mut violations = Vec::new();
    for file in source_files(&source) {
        let module = module_path(&source, &file);
        if module != ["lib"] {
            violations.extend(order.violations(&module, &read(&file)));
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// Whether a line that states an order can contain the character.
fn is_in_order(c: char) -> bool {
    c.is_ascii_lowercase() || matches!(c, '_' | '<' | ',' | ' ')
}

/// The rank of each layer. Layers of the same rank do not know each other.
struct Order {
    ranks: BTreeMap<String, usize>,
}

impl Order {
    fn of_crate(crate_root: &str) -> Self {
        let mut documentation = crate_root.lines().filter_map(|line| line.strip_prefix("//! "));
        let line = documentation.find(|line| line.contains(" < ") && line.chars().all(is_in_order));
        Self::parse(line.expect("a line of the crate's documentation states the order"))
    }

    fn parse(line: &str) -> Self {
        let ranked = line.split('<').enumerate();
        let ranks =
            ranked.flat_map(|(rank, names)| names.split(',').map(move |name| (name.trim().to_owned(), rank)));
        Self { ranks: ranks.collect() }
    }

    /// Reports each path of a module's source that leads to a layer which the module must not know.
    fn violations(&self, module: &[String], source: &str) -> Vec<String> {
        let layer = &module[0];
        let own_rank =
            self.ranks.get(layer).unwrap_or_else(|| panic!("{layer} is not in the order of the layers"));
        let tokens = TokenStream::from_str(source).expect("the source file is Rust");
        let mut names = Vec::new();
        root_names(tokens, module.len(), &mut names);
        let is_allowed =
            |name: &String| name == layer || self.ranks.get(name).is_some_and(|rank| rank < own_rank);
        let forbidden = names.iter().filter(|name| !is_allowed(name));
        forbidden.map(|name| format!("{} uses crate::{name}", module.join("/"))).collect()
    }
}

/// Collects the first name of every path that starts at the root of the crate.
///
/// `depth` is the number of modules between the tokens and the root.
fn root_names(tokens: TokenStream, depth: usize, names: &mut Vec<String>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        let starts_path = ["crate", "super", "self"].iter().any(|start| is_ident(token, start));
        if starts_path && is_path_separator(&tokens[index + 1..]) {
            index += follow_path(&tokens[index..], depth, names);
            continue;
        }
        if let TokenTree::Group(group) = token {
            let is_module = index >= 2 && is_ident(&tokens[index - 2], "mod");
            root_names(group.stream(), depth + usize::from(is_module), names);
        }
        index += 1;
    }
}

/// Follows a path that starts in a module at this depth, records its name at the root if it comes
/// to that, and returns the number of tokens that it has read.
fn follow_path(tokens: &[TokenTree], depth: usize, names: &mut Vec<String>) -> usize {
    let (mut depth, mut index) = (depth, 0);
    loop {
        match tokens.get(index) {
            Some(token) if is_ident(token, "crate") => depth = 0,
            Some(token) if is_ident(token, "super") => depth -= 1,
            Some(token) if is_ident(token, "self") => {}
            Some(TokenTree::Ident(name)) => {
                if depth == 0 {
                    names.push(name.to_string());
                }
                return index + 1;
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let parts: Vec<_> = group.stream().into_iter().collect();
                let is_comma =
                    |token: &TokenTree| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',');
                for part in parts.split(is_comma).filter(|part| !part.is_empty()) {
                    follow_path(part, depth, names);
                }
                return index + 1;
            }
            _ => return index.max(1),
        }
        index += 1;
        if is_path_separator(&tokens[index..]) {
            index += 2;
        } else {
            return index;
        }
    }
}

fn is_ident(token: &TokenTree, expected: &str) -> bool {
    matches!(token, TokenTree::Ident(name) if name == expected)
}

fn is_path_separator(tokens: &[TokenTree]) -> bool {
    let is_colon = |token: &TokenTree| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ':');
    matches!(tokens, [first, second, ..] if is_colon(first) && is_colon(second))
}

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the crate has its source folder");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let (folders, files): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
    let nested = folders.iter().flat_map(|folder| source_files(folder));
    let sources = files.into_iter().filter(|file| file.extension().is_some_and(|name| name == "rs"));
    nested.chain(sources).collect()
}

/// The names of the modules on the way from the root of the crate to a file.
fn module_path(source: &Path, file: &Path) -> Vec<String> {
    let relative = file.strip_prefix(source).expect("the file is in the source folder").with_extension("");
    relative.iter().map(|name| name.to_str().expect("module names are ASCII").to_owned()).collect()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_found_in_the_documentation() {
        let order =
            Order::of_crate("//! A crate, with a < b in a sentence.\n//!\n//! low < mid_a, mid_b < high\n");
        let ranks: Vec<_> = order.ranks.iter().map(|(name, rank)| (name.as_str(), *rank)).collect();
        assert_eq!(ranks, [("high", 2), ("low", 0), ("mid_a", 1), ("mid_b", 1)]);
    }

    #[test]
    fn a_planted_upward_import_is_found_in_each_form() {
        let planted = [
            ("table", "use crate::clear::sweep;"),
            ("table", "pub(crate) use crate::clear::sweep;"),
            ("table/entry", "use super::super::clear::sweep;"),
            ("table", "use super::{pages::count, clear::{self, sweep}};"),
            ("table", "use crate::{frame::Frame, fault::Fault};"),
            ("table", "fn visit() { crate::clear::sweep() }"),
            ("table", "fn visit() -> Option<crate::space::Region> { None }"),
            ("table", "mod tests { use super::super::clear::sweep; }"),
            ("table", "macro_rules! visit { () => { crate::clear::sweep() } }"),
            ("tlb", "use crate::frame::Frame;"),
            ("table", "use crate::Region;"),
        ];
        for (module, source) in planted {
            assert_eq!(violations(module, source).len(), 1, "{module}: {source}");
        }
    }

    #[test]
    fn imports_from_below_or_from_the_same_layer_are_accepted() {
        let accepted = [
            ("table", "use crate::{frame::Frame, pages::count, table::Held};"),
            ("table/entry", "use super::{clear, Table};"),
            ("table/entry", "use super::super::frame::Frame;"),
            ("table", "mod tests { use super::clear::sweep; }"),
            ("table", "// use crate::clear::sweep;\n/// See [`sweep`](crate::clear::sweep).\nfn visit() {}"),
            ("table", "const TEXT: &str = \"crate::clear::sweep\";"),
            ("table", "pub(in crate::table) fn visit() { self::super::frame::visit() }"),
            ("space", "use crate::fault::Fault;"),
        ];
        for (module, source) in accepted {
            assert_eq!(violations(module, source), Vec::<String>::new(), "{module}: {source}");
        }
    }

    fn violations(module: &str, source: &str) -> Vec<String> {
        let order = Order::parse("pages < frame, tlb < table < clear < fault < space");
        let module: Vec<_> = module.split('/').map(String::from).collect();
        order.violations(&module, source)
    }
}
