//! Checks that the examples are what the documents say of them.

use std::fs;
use std::path::Path;

/// Reads a file of the repository.
fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of code, without comments and indentation.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"))
}

/// The lines of a function, or none if the text does not define it.
fn function<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let start = text.find(&format!("\nfn {name}(")).unwrap_or(text.len());
    let end = text[start..].find("\n}\n").map_or(text.len(), |end| start + end);
    code(&text[start..end]).collect()
}

#[test]
fn the_wasm_part_of_the_multiboot2_example_is_shorter_than_30_lines() {
    let lines = code(&read("examples/multiboot2/src/wasm.rs")).count();
    assert!(lines < 30, "{lines} lines");
}

#[test]
fn the_multiboot2_example_has_the_functions_of_the_steps() {
    let steps = read("docs/embedding.md");
    for (name, file) in [("print", "wasm.rs"), ("page_fault", "trap.rs")] {
        let example = read(&format!("examples/multiboot2/src/{file}"));
        let (step, example) = (function(&steps, name), function(&example, name));
        assert!(!step.is_empty(), "no step has the function {name}");
        let without_owner = |line: &&str| line.replace("memory::space()", "SPACE.get()");
        let example: Vec<_> = example.iter().map(without_owner).collect();
        assert_eq!(step, example, "{name} of {file}");
    }
}

/// The kernel for Limine differs from the one for GRUB in what the loader passes, and in nothing
/// else.
#[test]
fn the_limine_example_shares_what_does_not_depend_on_the_loader() {
    let limine = read("examples/limine/src/main.rs");
    for file in ["memory.rs", "trap.rs", "wasm.rs"] {
        assert!(limine.contains(&format!("#[path = \"../../multiboot2/src/{file}\"]")), "{file}");
    }
}
