//! The boot archive: one tar file, which the loader passes as its single module.
//!
//! The request comes first, then the files that it needs. A directory for the guest is packed as a
//! tar file among them, with extended headers (pax) for names that are too long for others. Equal
//! requests make equal bytes.

use anyhow::{Context, Result};
use palimpsest_protocol::{Request, files};
use std::fmt;
use std::fs::{self, FileType};
use std::io;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};
use walkdir::{DirEntry, WalkDir};

/// Writes the archive of one boot to `path`. `files` are pairs of name and contents.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, request: &Request, files: &[(&str, &[u8])]) -> Result<()> {
    pack(request, files)
        .and_then(|bytes| fs::write(path, bytes))
        .with_context(|| format!("cannot write the boot archive {}", path.display()))
}

fn pack(request: &Request, files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let request = serde_json::to_vec(request)?;
    let mut archive = Builder::new(Vec::new());
    for (name, contents) in [(files::REQUEST, request.as_slice())].iter().chain(files) {
        append_file(&mut archive, name, contents)?;
    }
    archive.into_inner()
}

/// Packs files for the guest to see: pairs of name and contents.
///
/// # Errors
/// A name is absolute or leads out of the archive.
pub fn pack_files(files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (name, contents) in files {
        append_file(&mut archive, name, contents)
            .with_context(|| format!("cannot pack {name} for the guest"))?;
    }
    Ok(archive.into_inner()?)
}

/// A packed directory.
#[derive(Debug)]
pub struct Packed {
    /// The archive
    pub archive: Vec<u8>,
    /// What it does not contain, in the order of names
    pub skipped: Vec<Skipped>,
}

/// An entry of a directory that the guest does not get. A guest's file has a name in UTF-8 and
/// bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Skipped {
    /// Its path
    path: PathBuf,
    /// Why, as the end of a sentence
    reason: String,
}

impl Skipped {
    fn new(path: &Path, reason: impl Into<String>) -> Self {
        Self { path: path.to_path_buf(), reason: reason.into() }
    }

    /// Finds the reason for what the walk could not enter.
    fn of_walk(error: &walkdir::Error, directory: &Path) -> Self {
        let path = error.path().unwrap_or(directory);
        if error.loop_ancestor().is_some() {
            return Self::new(path, "a link to a directory that contains it");
        }
        match error.io_error() {
            Some(cause) if path.is_symlink() && cause.kind() == io::ErrorKind::NotFound => {
                Self::new(path, "a link to nothing")
            }
            Some(_) if path.is_symlink() => Self::new(path, "a link that leads nowhere"),
            Some(cause) => Self::new(path, format!("unreadable: {cause}")),
            None => Self::new(path, "unreadable"),
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `Debug` escapes what a terminal must not get.
        write!(formatter, "{:?} is skipped: it is {}", self.path, self.reason)
    }
}

/// Packs a directory with everything in it that a guest can see. Symbolic links become what they
/// lead to. Entries that no guest can see are skipped and listed.
///
/// # Errors
/// `directory` is not a directory.
pub fn pack_directory(directory: &Path) -> Result<Packed> {
    let shown = directory.display();
    anyhow::ensure!(directory.is_dir(), "{shown} is not a directory: name one with --dir");
    let mut archive = Builder::new(Vec::new());
    let mut skipped = Vec::new();
    let mut walk = WalkDir::new(directory).min_depth(1).follow_links(true).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                skipped.push(Skipped::of_walk(&error, directory));
                continue;
            }
        };
        let name = entry.path().strip_prefix(directory).expect("the walk stays below its start");
        match name.to_str() {
            Some(name) => {
                if let Some(reason) = append_entry(&mut archive, name, &entry)
                    .with_context(|| format!("cannot pack {} for the guest", entry.path().display()))?
                {
                    skipped.push(Skipped::new(entry.path(), reason));
                }
            }
            None => {
                skipped.push(Skipped::new(entry.path(), "a name that is not UTF-8"));
                if entry.file_type().is_dir() {
                    walk.skip_current_dir();
                }
            }
        }
    }
    Ok(Packed { archive: archive.into_inner()?, skipped })
}

/// Adds a file or a directory. Returns the reason if the guest cannot have it.
fn append_entry(archive: &mut Builder<Vec<u8>>, name: &str, entry: &DirEntry) -> io::Result<Option<String>> {
    let kind = entry.file_type();
    if kind.is_dir() {
        return append(archive, name, EntryType::Directory, 0o755, &[]).map(|()| None);
    }
    if !kind.is_file() {
        return Ok(Some(special(kind).to_owned()));
    }
    match fs::read(entry.path()) {
        Ok(contents) => append_file(archive, name, &contents).map(|()| None),
        Err(error) => Ok(Some(format!("unreadable: {error}"))),
    }
}

/// Describes what is neither a file nor a directory.
#[cfg(unix)]
fn special(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match kind {
        kind if kind.is_socket() => "a socket",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_block_device() || kind.is_char_device() => "a device",
        _ => "neither a file nor a directory",
    }
}

/// Describes what is neither a file nor a directory.
#[cfg(not(unix))]
fn special(_kind: FileType) -> &'static str {
    "neither a file nor a directory"
}

fn append_file(archive: &mut Builder<Vec<u8>>, name: &str, contents: &[u8]) -> io::Result<()> {
    append(archive, name, EntryType::Regular, 0o644, contents)
}

/// The name in the header of an entry whose own name is in an extended header.
const PLACEHOLDER: &str = "name-in-the-extended-header";

fn append(
    archive: &mut Builder<Vec<u8>>,
    name: &str,
    kind: EntryType,
    mode: u32,
    contents: &[u8],
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(contents.len() as u64);
    if header.set_path(name).is_err() {
        archive.append_pax_extensions([("path", name.as_bytes())])?;
        header.set_path(PLACEHOLDER)?;
    }
    header.set_cksum();
    archive.append(&header, contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use palimpsest_protocol::Task;
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
    fn the_request_comes_first_and_files_keep_their_bytes() -> Result<()> {
        let request = Request::new(Task::Tour);
        let bytes = pack(&request, &[(files::GUEST, b"\0asm")])?;
        let request = serde_json::to_vec(&request)?;
        let expected = [(files::REQUEST.to_owned(), request), (files::GUEST.to_owned(), b"\0asm".to_vec())];
        assert_eq!(entries(&bytes)?, expected);
        Ok(())
    }

    #[test]
    fn equal_requests_make_equal_archives() -> Result<()> {
        let request = Request::new(Task::ListTests);
        assert_eq!(pack(&request, &[])?, pack(&request, &[])?);
        Ok(())
    }

    /// A directory in the temporary directory, removed when dropped.
    struct TestDirectory(PathBuf);

    impl TestDirectory {
        fn new(name: &str) -> io::Result<Self> {
            let path = std::env::temp_dir().join(format!("palimpsest-{}-{name}", std::process::id()));
            fs::create_dir_all(&path)?;
            Ok(Self(path))
        }
    }

    impl Drop for TestDirectory {
        fn drop(&mut self) {
            // A directory that stays in the temporary directory does no harm.
            drop(fs::remove_dir_all(&self.0));
        }
    }

    /// The names in a packed directory, and what is skipped of it without the directory's own path.
    fn names(directory: &TestDirectory) -> Result<(Vec<String>, Vec<String>)> {
        let packed = pack_directory(&directory.0)?;
        let names = entries(&packed.archive)?.into_iter();
        let start = format!("{}/", directory.0.display());
        let skipped = packed.skipped.iter().map(|skipped| skipped.to_string().replace(&start, ""));
        Ok((names.map(|(name, _)| name.trim_end_matches('/').to_owned()).collect(), skipped.collect()))
    }

    #[test]
    fn a_directory_is_packed_with_its_empty_directories_in_the_order_of_names() -> Result<()> {
        let directory = TestDirectory::new("pack")?;
        fs::create_dir_all(directory.0.join("b").join("empty"))?;
        fs::write(directory.0.join("b").join("x"), b"1")?;
        fs::write(directory.0.join("a"), b"2")?;
        let packed = pack_directory(&directory.0)?;
        let expected = [("a", b"2".as_slice()), ("b", b""), ("b/empty", b""), ("b/x", b"1")];
        let expected = expected.map(|(name, contents)| (name.to_owned(), contents.to_vec()));
        let found: Vec<_> = entries(&packed.archive)?
            .into_iter()
            .map(|(name, contents)| (name.trim_end_matches('/').to_owned(), contents))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(packed.skipped, []);
        Ok(())
    }

    #[test]
    fn names_of_any_length_and_alphabet_are_packed() -> Result<()> {
        let directory = TestDirectory::new("names")?;
        let long = "x".repeat(200);
        let deep = [long.as_str(); 5].join("/");
        fs::create_dir_all(directory.0.join(&deep))?;
        let name = format!("{deep}/\u{df}\u{4e2d}\u{1f980}");
        fs::write(directory.0.join(&name), b"1")?;
        let (names, skipped) = names(&directory)?;
        assert_eq!(names.last(), Some(&name));
        assert_eq!((names.len(), skipped.len()), (6, 0));
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn what_a_guest_cannot_see_is_skipped_with_its_reason() -> Result<()> {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::symlink;
        use std::os::unix::net::UnixListener;

        let directory = TestDirectory::new("odd")?;
        let path = |name: &str| directory.0.join(name);
        fs::create_dir_all(path("d"))?;
        symlink("..", path("d/circle"))?;
        symlink("loop", path("loop"))?;
        symlink("nothing", path("dangling"))?;
        let _listener = UnixListener::bind(path("socket"))?;
        duct::cmd!("mkfifo", path("pipe")).run()?;
        let bad = directory.0.join(OsStr::from_bytes(b"bad\xff"));
        fs::create_dir_all(&bad)?;
        fs::write(bad.join("below"), b"")?;
        fs::write(path("z"), b"")?;
        let (names, skipped) = names(&directory)?;
        assert_eq!(names, ["d", "z"]);
        let expected = [
            r#""bad\xFF" is skipped: it is a name that is not UTF-8"#,
            r#""d/circle" is skipped: it is a link to a directory that contains it"#,
            r#""dangling" is skipped: it is a link to nothing"#,
            r#""loop" is skipped: it is a link that leads nowhere"#,
            r#""pipe" is skipped: it is a named pipe"#,
            r#""socket" is skipped: it is a socket"#,
        ];
        let mut skipped = skipped;
        skipped.sort();
        assert_eq!(skipped, expected);
        Ok(())
    }

    #[test]
    fn a_file_is_not_a_directory() {
        let error = pack_directory(Path::new("Cargo.toml")).expect_err("it is a file");
        assert_eq!(error.to_string(), "Cargo.toml is not a directory: name one with --dir");
    }
}
