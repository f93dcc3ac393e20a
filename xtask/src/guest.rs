//! Reads the guest's file, and assembles it if it is text.
//!
//! A binary module is not validated here, because the engine does that and its message is the one
//! that the user should see.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use wasmparser::Payload;
use wat::{Detect, Parser};

/// How a prepared module begins (`engine/src/module/prepared.rs`).
const PREPARED: &[u8] = b"\0plm";

/// The offsets in a prepared module of the length of the Wasm binary in it, and of the binary.
const LENGTH_AT: usize = 32;
const BINARY_AT: usize = 48;

/// The name of the module that programs import the system from.
const WASI: &str = "wasi_snapshot_preview1";

/// How a component begins: the magic number of Wasm, and the version of the component model.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// The function that a program exports.
const START: &str = "_start";

/// Reads the module at `path`, in its binary form or prepared.
///
/// # Errors
/// - The file is missing, a directory, unreadable or empty.
/// - It is neither a binary module nor its text form. A component is named as such.
/// - The text has a mistake. The message shows its line.
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
    ensure!(
        !bytes.starts_with(COMPONENT),
        "{shown} is a component (WASI preview 2), and Palimpsest runs core modules: build it for \
         wasm32-wasip1, or take its modules out with `wasm-tools component unbundle`"
    );
    if bytes.starts_with(PREPARED) {
        return Ok(bytes);
    }
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

/// Returns the Wasm binary in a module that may be prepared. What is in a damaged one does not
/// matter, because the engine refuses it.
pub(crate) fn binary(module: &[u8]) -> &[u8] {
    if !module.starts_with(PREPARED) {
        return module;
    }
    let length = module.get(LENGTH_AT..).and_then(<[u8]>::first_chunk).map(|word| u64::from_le_bytes(*word));
    let length = length.and_then(|length| usize::try_from(length).ok());
    let binary = module.get(BINARY_AT..).zip(length).and_then(|(rest, length)| rest.get(..length));
    binary.unwrap_or_default()
}

/// Whether the module imports from WASI and exports `_start`: then the kernel runs it as a program,
/// with streams, files and an exit code. For a damaged module the result does not matter, because
/// the engine refuses it.
pub(crate) fn is_program(module: &[u8]) -> bool {
    let mut has_wasi = false;
    let mut has_start = false;
    for payload in wasmparser::Parser::new(0).parse_all(binary(module)) {
        match payload {
            Ok(Payload::ImportSection(imports)) => {
                has_wasi = imports.into_iter().flatten().any(|import| import.module == WASI);
            }
            Ok(Payload::ExportSection(exports)) => {
                has_start = exports.into_iter().flatten().any(|export| export.name == START);
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    has_wasi && has_start
}

fn assemble(path: &Path, text: &[u8]) -> Result<Vec<u8>> {
    let module = Parser::new().parse_bytes(Some(path), text);
    module.map(Into::into).with_context(|| format!("{} cannot be assembled", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A file in the temporary directory, removed when dropped.
    struct TestFile(PathBuf);

    impl TestFile {
        fn new(name: &str, contents: &[u8]) -> Result<Self> {
            let path = std::env::temp_dir().join(format!("palimpsest-{}-{name}", std::process::id()));
            fs::write(&path, contents)?;
            Ok(Self(path))
        }

        fn error(&self) -> String {
            let error = load(&self.0).expect_err("the file is not a module");
            format!("{error:#}").replace(&self.0.display().to_string(), "FILE")
        }
    }

    impl Drop for TestFile {
        fn drop(&mut self) {
            // A file that stays in the temporary directory does no harm.
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
    fn a_program_is_known_by_its_imports_and_its_start_export() -> Result<()> {
        let wasi = r#"(import "env" "f" (func)) (import "wasi_snapshot_preview1" "fd_write" (func))"#;
        let start = r#"(func (export "_start"))"#;
        assert!(is_program(&wat::parse_str(format!("(module {wasi} {start})"))?));
        assert!(!is_program(&wat::parse_str(format!("(module {wasi})"))?));
        assert!(!is_program(&wat::parse_str(format!("(module {start})"))?));
        assert!(!is_program(b"\0asm\x01\0\0\0\x02\x05\x01"));
        Ok(())
    }

    #[test]
    fn a_prepared_program_is_known_by_the_module_in_it() -> Result<()> {
        let wasm = wat::parse_str(
            r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)) (func (export "_start")))"#,
        )?;
        let mut prepared = [PREPARED, &[0; BINARY_AT - PREPARED.len()], &wasm, b"data"].concat();
        prepared[LENGTH_AT..LENGTH_AT + 8].copy_from_slice(&(wasm.len() as u64).to_le_bytes());
        assert_eq!(binary(&prepared), wasm);
        assert!(is_program(&prepared) && !is_program(&prepared[..BINARY_AT + 20]));
        let file = TestFile::new("guest.palimpsest", &prepared)?;
        assert_eq!(load(&file.0)?, prepared);
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
    fn bytes_that_are_not_a_module_are_refused() -> Result<()> {
        let error = TestFile::new("picture.wasm", b"\x89PNG\r\n")?.error();
        assert!(error.starts_with("FILE is not WebAssembly"), "{error}");
        Ok(())
    }

    #[test]
    fn a_component_is_recognised() -> Result<()> {
        let error = TestFile::new("component.wasm", b"\0asm\x0d\0\x01\0")?.error();
        assert!(error.starts_with("FILE is a component (WASI preview 2), and"), "{error}");
        Ok(())
    }

    #[test]
    fn a_missing_file_and_a_directory_have_different_messages() {
        let missing = load(Path::new("no/such.wasm")).expect_err("the file does not exist");
        assert_eq!(missing.to_string(), "no/such.wasm does not exist: name a .wasm or .wat file");
        let directory = load(Path::new(".")).expect_err("a directory is not a module");
        assert_eq!(directory.to_string(), ". is a directory: name a .wasm or .wat file");
    }
}
