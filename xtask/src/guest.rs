//! The guest that the user names: read from a file, assembled if it is text.
//!
//! Owns the messages for files that are no guest, and the question whether a guest is a program. Whether the
//! module is valid is not judged here: that is the engine's job, and its message is the one to see. Called by
//! `run` before anything is built.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use wasmparser::Payload;
use wat::{Detect, Parser};

/// The module name that programs import the system by.
const WASI: &str = "wasi_snapshot_preview1";

/// Reads the module at `path`, in its binary form.
///
/// # Errors
/// The file is missing, a directory, unreadable, empty, or neither a binary module nor its text form; or the
/// text has a mistake, which is shown with its line.
pub(crate) fn load(path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    ensure!(!path.is_dir(), "{shown} is a directory: name a .wasm or .wat file");
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("{shown} does not exist: name a .wasm or .wat file")
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
    };
    ensure!(!bytes.is_empty(), "{shown} is empty: name a .wasm or .wat file with a module in it");
    match (Detect::from_bytes(&bytes), path.extension()) {
        (Detect::WasmBinary, _) => Ok(bytes),
        (Detect::WasmText, _) => assemble(path, &bytes),
        (Detect::Unknown, Some(extension)) if extension == "wat" => assemble(path, &bytes),
        (Detect::Unknown, _) => bail!(
            "{shown} is not WebAssembly: a module begins with the bytes 00 61 73 6d, its text form with \
             `(module`"
        ),
    }
}

/// Whether the module is a program, for the kernel to run with streams, files and an exit code: it imports
/// from WASI. Of a module that cannot be read the engine says what is wrong, whatever the answer is here.
pub(crate) fn is_program(module: &[u8]) -> bool {
    let mut payloads = wasmparser::Parser::new(0).parse_all(module);
    let imports = payloads.find_map(|payload| match payload {
        Ok(Payload::ImportSection(imports)) => Some(imports),
        Ok(_) | Err(_) => None,
    });
    imports.is_some_and(|imports| {
        imports.into_iter().any(|import| import.is_ok_and(|import| import.module == WASI))
    })
}

fn assemble(path: &Path, text: &[u8]) -> Result<Vec<u8>> {
    let module = Parser::new().parse_bytes(Some(path), text);
    module.map(Into::into).with_context(|| format!("{} cannot be assembled", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A file in cargo's directory for the tests of this package, removed when dropped.
    struct TestFile(PathBuf);

    impl TestFile {
        fn new(name: &str, contents: &[u8]) -> Result<Self> {
            let path = std::env::temp_dir().join(format!("palimpsest-{}-{name}", std::process::id()));
            fs::write(&path, contents)?;
            Ok(Self(path))
        }

        fn error(&self) -> String {
            let error = load(&self.0).expect_err("the file is no module");
            format!("{error:#}").replace(&self.0.display().to_string(), "FILE")
        }
    }

    impl Drop for TestFile {
        fn drop(&mut self) {
            // A file left behind in the temporary directory does no harm.
            drop(fs::remove_file(&self.0));
        }
    }

    #[test]
    fn text_is_assembled_and_binary_is_left_alone() -> Result<()> {
        let text = TestFile::new("text.wat", b"(module)")?;
        let binary = TestFile::new("binary.wasm", b"\0asm\x01\0\0\0")?;
        assert_eq!(load(&text.0)?, b"\0asm\x01\0\0\0");
        assert_eq!(load(&binary.0)?, b"\0asm\x01\0\0\0");
        Ok(())
    }

    #[test]
    fn a_program_is_known_by_what_it_imports() -> Result<()> {
        let program =
            r#"(module (import "env" "f" (func)) (import "wasi_snapshot_preview1" "fd_write" (func)))"#;
        assert!(is_program(&wat::parse_str(program)?));
        assert!(!is_program(&wat::parse_str(r#"(module (import "env" "wasi_snapshot_preview1" (func)))"#)?));
        assert!(!is_program(b"\0asm\x01\0\0\0\x02\x05\x01"));
        Ok(())
    }

    #[test]
    fn a_mistake_in_the_text_is_shown_with_its_place_and_line() -> Result<()> {
        let error = TestFile::new("mistake.wat", b"(module\n  (func i32.cosnt 1))")?.error();
        assert!(error.contains("FILE:2:9"), "{error}");
        assert!(error.contains("(func i32.cosnt 1))"), "{error}");
        Ok(())
    }

    #[test]
    fn an_empty_file_is_named_as_such() -> Result<()> {
        let error = TestFile::new("empty.wasm", b"")?.error();
        assert_eq!(error, "FILE is empty: name a .wasm or .wat file with a module in it");
        Ok(())
    }

    #[test]
    fn bytes_that_are_no_module_are_refused() -> Result<()> {
        let error = TestFile::new("picture.wasm", b"\x89PNG\r\n")?.error();
        assert!(error.starts_with("FILE is not WebAssembly"), "{error}");
        Ok(())
    }

    #[test]
    fn a_missing_file_and_a_directory_are_told_apart() {
        let missing = load(Path::new("no/such.wasm")).expect_err("there is no such file");
        assert_eq!(missing.to_string(), "no/such.wasm does not exist: name a .wasm or .wat file");
        let directory = load(Path::new(".")).expect_err("a directory is no module");
        assert_eq!(directory.to_string(), ". is a directory: name a .wasm or .wat file");
    }
}
