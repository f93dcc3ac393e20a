//! A cache of compiled files, by a key of everything that influences them.
//!
//! An entry is a directory whose name ends in its key. It is filled under another name and renamed
//! when it is complete. Therefore an interrupted compilation leaves no entry, and two compilations
//! at the same time do not disturb each other.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

/// A directory of entries.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
}

/// The hash of everything that influences an entry.
#[derive(Clone, Default)]
pub(crate) struct Key(Sha256);

impl Key {
    /// Adds a part with its length, so that "ab" and "c" differ from "a" and "bc".
    pub(crate) fn add(&mut self, part: impl AsRef<[u8]>) {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// Adds a file's contents.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn add_file(&mut self, path: &Path) -> Result<()> {
        self.add(fs::read(path).with_context(|| format!("cannot read {}", path.display()))?);
        Ok(())
    }

    fn name(&self) -> String {
        self.0.clone().finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Cache {
    /// The cache in this directory, which need not exist yet.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// A directory for the outputs of cargo, which has its own cache.
    pub(crate) fn cargo_directory(&self, name: &str) -> PathBuf {
        self.directory.join("cargo").join(name)
    }

    /// Returns the directory of the entry with this key. If there is none yet, `fill` writes its
    /// files into an empty directory.
    ///
    /// # Errors
    /// `fill` fails, or the file system does.
    pub(crate) fn entry(
        &self,
        name: &str,
        key: &Key,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let entry = self.directory.join(format!("{name}-{}", key.name()));
        if entry.is_dir() {
            return Ok(entry);
        }
        let unfinished = entry.with_extension(format!("{}.unfinished", process::id()));
        fs::create_dir_all(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
        let filled = fill(&unfinished).and_then(|()| match fs::rename(&unfinished, &entry) {
            // Another process may have been faster, with the same contents.
            Err(error) if !entry.is_dir() => {
                Err(error).with_context(|| format!("cannot move {} into place", entry.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        });
        // It is absent after the rename; otherwise the next attempt makes its own directory.
        drop(fs::remove_dir_all(&unfinished));
        filled.map(|()| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::env;

    /// A cache in the temporary directory, removed when dropped.
    struct TestCache(Cache);

    impl TestCache {
        fn new(name: &str) -> Self {
            let directory = env::temp_dir().join(format!("palimpsest-cache-{}-{name}", process::id()));
            Self(Cache::new(directory))
        }

        fn names(&self) -> Result<Vec<String>> {
            let names = fs::read_dir(&self.0.directory)?.map(|entry| {
                Ok(entry?.file_name().into_string().expect("the names here are those that this test made"))
            });
            names.collect()
        }
    }

    impl Drop for TestCache {
        fn drop(&mut self) {
            // A directory that stays in the temporary directory does no harm.
            drop(fs::remove_dir_all(&self.0.directory));
        }
    }

    fn key(parts: &[&str]) -> Key {
        let mut key = Key::default();
        parts.iter().for_each(|part| key.add(part));
        key
    }

    #[test]
    fn an_entry_is_made_once_and_keeps_its_files() -> Result<()> {
        let cache = TestCache::new("once");
        let fill = |directory: &Path| Ok(fs::write(directory.join("file"), b"contents")?);
        let made = cache.0.entry("unit", &key(&["a"]), fill)?;
        let found = cache.0.entry("unit", &key(&["a"]), |_| bail!("it is there already"))?;
        assert_eq!(made, found);
        assert_eq!(fs::read(found.join("file"))?, b"contents");
        Ok(())
    }

    #[test]
    fn other_parts_make_another_entry() -> Result<()> {
        let cache = TestCache::new("other");
        let keys = [key(&["ab", "c"]), key(&["a", "bc"]), key(&["abc"])];
        for key in &keys {
            cache.0.entry("unit", key, |_| Ok(()))?;
        }
        assert_eq!(cache.names()?.len(), keys.len());
        Ok(())
    }

    #[test]
    fn a_failed_attempt_leaves_no_entry() -> Result<()> {
        let cache = TestCache::new("failed");
        let fill = |directory: &Path| {
            fs::write(directory.join("half"), b"")?;
            bail!("the compiler failed")
        };
        let error = cache.0.entry("unit", &key(&["a"]), fill).expect_err("filling fails");
        assert_eq!(error.to_string(), "the compiler failed");
        assert_eq!(cache.names()?, [""; 0]);
        Ok(())
    }
}
