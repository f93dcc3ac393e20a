//! What the kernel is told: one tar file, which QEMU hands over as the single PVH module.
//!
//! Owns the request's JSON form and the names of the files inside. `request.json` comes first, then the files
//! that it speaks of; a directory for the guest to see is a tar file of its own among them. The same request
//! always makes the same bytes. `run` and the test runner build one per boot.

use crate::qemu::Clock;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::path::Path;
use tar::{Builder, EntryType, Header};
use walkdir::WalkDir;

/// The name of the module that a run executes.
pub const GUEST: &str = "guest.wasm";

/// The name of the archive with the directory that the guest sees.
pub const ROOT: &str = "root.tar";

/// The name of what the guest reads from its standard input.
pub const INPUT: &str = "stdin";

/// What the kernel shall do in this boot.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// Show what Palimpsest does
    Tour,
    /// Run [`GUEST`]
    Run(Run<'a>),
    /// Print the names of the emulator tests
    List,
    /// Run one emulator test
    Test(&'a str),
}

/// How the guest is run.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Who calls what
    pub entry: Entry<'a>,
    /// The arguments, as typed: only the kernel knows a function's type
    pub arguments: &'a [String],
    /// The guest's environment: names and values
    pub environment: &'a [(String, String)],
}

/// Who calls what of a guest.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// One function is called
    Call {
        /// The export; the kernel knows the usual entry points if there is none
        invoke: Option<&'a str>,
    },
    /// The guest is run as a program
    Program {
        /// How the kernel drives it
        driver: Driver,
        /// Its argument 0
        name: &'a str,
    },
}

/// How the kernel drives a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Driver {
    /// A WASI command
    Command,
    /// QuickJS evaluates a script
    QuickJs,
    /// LodePNG decodes a picture
    LodePng,
    /// libwebp decodes a picture
    WebP,
}

impl Driver {
    /// Its name in the request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::QuickJs => "quickjs",
            Self::LodePng => "lodepng",
            Self::WebP => "webp",
        }
    }
}

impl Request<'_> {
    fn to_json(self, clock: Clock) -> Value {
        let mut json = match self {
            Self::Tour => json!({ "mode": "tour" }),
            Self::Run(run) => run.to_json(),
            Self::List => json!({ "mode": "list" }),
            Self::Test(name) => json!({ "mode": "test", "test": name }),
        };
        json["icount"] = match clock {
            Clock::Host => false.into(),
            Clock::Instructions => true.into(),
        };
        json
    }
}

impl Run<'_> {
    fn to_json(self) -> Value {
        let mut json = json!({ "mode": "run", "args": self.arguments, "env": self.environment });
        match self.entry {
            Entry::Call { invoke } => json["invoke"] = invoke.into(),
            Entry::Program { driver, name } => {
                json["program"] = driver.name().into();
                json["name"] = name.into();
            }
        }
        json
    }
}

/// Writes the archive of one boot to `path`. `files` are pairs of name and contents.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, request: Request<'_>, clock: Clock, files: &[(&str, &[u8])]) -> Result<()> {
    pack(request, clock, files)
        .and_then(|bytes| fs::write(path, bytes))
        .with_context(|| format!("cannot write the boot archive {}", path.display()))
}

fn pack(request: Request<'_>, clock: Clock, files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let request = request.to_json(clock).to_string();
    let mut archive = Builder::new(Vec::new());
    for (name, contents) in [("request.json", request.as_bytes())].iter().chain(files) {
        append_file(&mut archive, name, contents)?;
    }
    archive.into_inner()
}

/// Packs files for the guest to see: pairs of name and contents.
///
/// # Errors
/// A name does not fit into a tar header.
pub fn pack_files(files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (name, contents) in files {
        append_file(&mut archive, name, contents)
            .with_context(|| format!("cannot pack {name} for the guest"))?;
    }
    Ok(archive.into_inner()?)
}

/// Packs a directory with everything in it for the guest to see. Symbolic links become what they lead to.
///
/// # Errors
/// The directory, or something in it, cannot be read; a name does not fit into a tar header; symbolic links
/// go in a circle.
pub fn pack_directory(directory: &Path) -> Result<Vec<u8>> {
    let shown = directory.display();
    anyhow::ensure!(directory.is_dir(), "{shown} is no directory: name one with --dir");
    let mut archive = Builder::new(Vec::new());
    for entry in WalkDir::new(directory).min_depth(1).follow_links(true).sort_by_file_name() {
        let entry = entry.with_context(|| format!("cannot read {shown}"))?;
        let name = entry.path().strip_prefix(directory).expect("the walk stays below its start");
        append_entry(&mut archive, name, entry.path(), entry.file_type())
            .with_context(|| format!("cannot pack {} for the guest", entry.path().display()))?;
    }
    Ok(archive.into_inner()?)
}

/// Adds a file or a directory; what is neither has no place in a guest's world and is left out.
fn append_entry(
    archive: &mut Builder<Vec<u8>>,
    name: &Path,
    path: &Path,
    kind: fs::FileType,
) -> io::Result<()> {
    if kind.is_file() {
        return append_file(archive, name, &fs::read(path)?);
    }
    if kind.is_dir() {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        return archive.append_data(&mut header, name, io::empty());
    }
    Ok(())
}

fn append_file(archive: &mut Builder<Vec<u8>>, name: impl AsRef<Path>, contents: &[u8]) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(contents.len() as u64);
    archive.append_data(&mut header, name, contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn entries(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        for entry in tar::Archive::new(archive).entries()? {
            let mut entry = entry?;
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents)?;
            files.push((entry.path()?.display().to_string(), contents));
        }
        Ok(files)
    }

    #[test]
    fn a_call_names_its_function_and_keeps_arguments_as_typed() {
        let arguments = ["-1".to_owned(), "18446744073709551615".to_owned()];
        let entry = Entry::Call { invoke: Some("add") };
        let request = Request::Run(Run { entry, arguments: &arguments, environment: &[] });
        assert_eq!(
            request.to_json(Clock::Instructions).to_string(),
            r#"{"mode":"run","args":["-1","18446744073709551615"],"env":[],"invoke":"add","icount":true}"#
        );
    }

    #[test]
    fn a_program_has_a_name_and_an_environment() {
        let entry = Entry::Program { driver: Driver::Command, name: "ls.wasm" };
        let environment = [("HOME".to_owned(), "/".to_owned())];
        let request = Request::Run(Run { entry, arguments: &[], environment: &environment });
        assert_eq!(
            request.to_json(Clock::Host).to_string(),
            r#"{"mode":"run","args":[],"env":[["HOME","/"]],"program":"command","name":"ls.wasm","icount":false}"#
        );
    }

    #[test]
    fn a_test_is_asked_for_by_name() {
        assert_eq!(
            Request::Test("page-zero").to_json(Clock::Host).to_string(),
            r#"{"mode":"test","test":"page-zero","icount":false}"#
        );
    }

    #[test]
    fn the_request_comes_first_and_files_keep_their_bytes() -> Result<()> {
        let bytes = pack(Request::Tour, Clock::Host, &[(GUEST, b"\0asm")])?;
        let request = Request::Tour.to_json(Clock::Host).to_string().into_bytes();
        let expected = [("request.json".to_owned(), request), (GUEST.to_owned(), b"\0asm".to_vec())];
        assert_eq!(entries(&bytes)?, expected);
        Ok(())
    }

    #[test]
    fn equal_requests_make_equal_archives() -> Result<()> {
        assert_eq!(pack(Request::List, Clock::Host, &[])?, pack(Request::List, Clock::Host, &[])?);
        Ok(())
    }

    #[test]
    fn a_directory_is_packed_with_its_empty_directories_in_the_order_of_names() -> Result<()> {
        let directory = std::env::temp_dir().join(format!("palimpsest-{}-pack", std::process::id()));
        fs::create_dir_all(directory.join("b").join("empty"))?;
        fs::write(directory.join("b").join("x"), b"1")?;
        fs::write(directory.join("a"), b"2")?;
        let packed = pack_directory(&directory);
        fs::remove_dir_all(&directory)?;
        let expected = [("a", b"2".as_slice()), ("b", b""), ("b/empty", b""), ("b/x", b"1")];
        let expected = expected.map(|(name, contents)| (name.to_owned(), contents.to_vec()));
        let found: Vec<_> = entries(&packed?)?
            .into_iter()
            .map(|(name, contents)| (name.trim_end_matches('/').to_owned(), contents))
            .collect();
        assert_eq!(found, expected);
        Ok(())
    }

    #[test]
    fn a_file_is_no_directory() {
        let error = pack_directory(Path::new("Cargo.toml")).expect_err("it is a file");
        assert_eq!(error.to_string(), "Cargo.toml is no directory: name one with --dir");
    }
}
