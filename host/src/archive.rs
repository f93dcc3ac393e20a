//! The boot archive: one tar file, which the loader passes as its single module.
//!
//! The request comes first, then the files that it needs. A directory for the guest is packed as a
//! tar file among them. Equal requests make equal bytes.

use anyhow::{Context, Result};
use palimpsest_protocol::{Request, files};
use std::fs;
use std::io;
use std::path::Path;
use tar::{Builder, EntryType, Header};
use walkdir::WalkDir;

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
/// A name does not fit into a tar header.
pub fn pack_files(files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (name, contents) in files {
        append_file(&mut archive, name, contents)
            .with_context(|| format!("cannot pack {name} for the guest"))?;
    }
    Ok(archive.into_inner()?)
}

/// Packs a directory with everything in it for the guest to see. Symbolic links become what they
/// lead to.
///
/// # Errors
/// The directory, or something in it, cannot be read; a name does not fit into a tar header;
/// symbolic links go in a circle.
pub fn pack_directory(directory: &Path) -> Result<Vec<u8>> {
    let shown = directory.display();
    anyhow::ensure!(directory.is_dir(), "{shown} is not a directory: name one with --dir");
    let mut archive = Builder::new(Vec::new());
    for entry in WalkDir::new(directory).min_depth(1).follow_links(true).sort_by_file_name() {
        let entry = entry.with_context(|| format!("cannot read {shown}"))?;
        let name = entry.path().strip_prefix(directory).expect("the walk stays below its start");
        append_entry(&mut archive, name, entry.path(), entry.file_type())
            .with_context(|| format!("cannot pack {} for the guest", entry.path().display()))?;
    }
    Ok(archive.into_inner()?)
}

/// Adds a file or a directory. Anything else, for example a device, is skipped.
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
    fn a_file_is_not_a_directory() {
        let error = pack_directory(Path::new("Cargo.toml")).expect_err("it is a file");
        assert_eq!(error.to_string(), "Cargo.toml is not a directory: name one with --dir");
    }
}
