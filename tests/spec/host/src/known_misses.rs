//! The directives that are known to fail, each with its reason.
//!
//! `tests/spec/known-misses.txt` has empty lines, lines that begin with `#`, and lines of
//! `suite/file.wast:line` and a reason. An entry that begins with the word `soft-floats` is for
//! machines without floats in hardware. The list is exact: an entry that names no directive is an
//! error here, and an entry whose directive passes fails the run.

use anyhow::{Context, Result, anyhow, ensure};
use palimpsest_spec::stream::{Expected, File};
use std::collections::BTreeMap;

/// The first word of an entry for machines without floats in hardware.
const SOFT_FLOATS: &str = "soft-floats ";

/// The list, and which of its entries have been found.
#[derive(Debug)]
pub(crate) struct KnownMisses {
    /// By place.
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    expected: Expected,
    found: Found,
}

/// Whether the directive of an entry has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Yes,
    NotYet,
}

impl KnownMisses {
    /// Reads the list.
    ///
    /// # Errors
    /// A line has no reason, or a place occurs twice.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (expected, entry) = match line.strip_prefix(SOFT_FLOATS) {
                Some(entry) => (Expected::SoftFloatMiss, entry),
                None => (Expected::KnownMiss, line),
            };
            let (place, _reason) = entry
                .split_once(' ')
                .with_context(|| format!("the known miss `{line}` has no reason after its place"))?;
            let earlier = entries.insert(place.to_owned(), Entry { expected, found: Found::NotYet });
            ensure!(earlier.is_none(), "the known miss {place} occurs twice in the list");
        }
        Ok(Self { entries })
    }

    /// Whether the directive at `line` of `file` is to pass.
    pub(crate) fn expected(&mut self, file: File<'_>, line: u32) -> Expected {
        match self.entries.get_mut(&format!("{file}:{line}")) {
            Some(entry) => {
                entry.found = Found::Yes;
                entry.expected
            }
            None => Expected::Pass,
        }
    }

    /// Ends the search.
    ///
    /// # Errors
    /// An entry names a place where no directive begins.
    pub(crate) fn finish(self) -> Result<()> {
        let lost = self.entries.iter().find(|(_, entry)| entry.found == Found::NotYet);
        lost.map_or(Ok(()), |(place, _)| Err(anyhow!("no directive begins at the known miss {place}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palimpsest_spec::stream::Suite;

    const FILE: File<'_> = File { suite: Suite::Simd, name: "a.wast" };

    #[test]
    fn an_entry_is_found_at_its_line() -> Result<()> {
        let mut misses = KnownMisses::parse("# comment\n\nsimd/a.wast:3 because of this and that\n")?;
        assert_eq!(misses.expected(FILE, 2), Expected::Pass);
        assert_eq!(misses.expected(FILE, 3), Expected::KnownMiss);
        misses.finish()
    }

    #[test]
    fn an_entry_can_be_for_soft_floats() -> Result<()> {
        let mut misses = KnownMisses::parse("soft-floats simd/a.wast:3 because of this and that\n")?;
        assert_eq!(misses.expected(FILE, 3), Expected::SoftFloatMiss);
        misses.finish()
    }

    #[test]
    fn an_entry_that_names_nothing_is_an_error() -> Result<()> {
        let misses = KnownMisses::parse("simd/a.wast:3 because")?;
        let error = misses.finish().expect_err("nothing was looked up");
        assert_eq!(error.to_string(), "no directive begins at the known miss simd/a.wast:3");
        Ok(())
    }

    #[test]
    fn an_entry_has_a_reason_and_occurs_once() {
        assert!(KnownMisses::parse("simd/a.wast:3").is_err());
        assert!(KnownMisses::parse("soft-floats simd/a.wast:3").is_err());
        assert!(KnownMisses::parse("simd/a.wast:3 a\nsimd/a.wast:3 b").is_err());
    }
}
