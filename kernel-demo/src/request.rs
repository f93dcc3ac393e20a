//! What the kernel was started to do, and the files that came with it.
//!
//! Owns the boot archive: the loader's one module is a tar file with `request.json`, `guest.wasm` and
//! whatever else a program needs (`root.tar`, the files that it sees; `stdin`), or a bare Wasm file. Without
//! a module, or without a request, the kernel gives the tour; a bare Wasm file is run. `boot` reads it once
//! there is a heap; `cargo xtask` writes it.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use core::slice;

use serde::Deserialize;
use tar_no_std::{CorruptDataError, TarArchiveRef};
use thiserror::Error;
use x86_64::PhysAddr;

use crate::boot::{PHYSICAL_OFFSET, UsableRam};

/// The first bytes of every Wasm binary.
const WASM_MAGIC: &[u8] = b"\0asm";

const REQUEST_FILE: &str = "request.json";
const GUEST_FILE: &str = "guest.wasm";
const ROOT_FILE: &str = "root.tar";

/// What the kernel is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Show everything that Palimpsest does.
    Tour,
    /// Run `guest.wasm` and report.
    Run,
    /// List the emulator tests.
    List,
    /// Run one emulator test.
    Test,
}

/// How `guest.wasm` is run as a program: with output, files and an exit code, in slices of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// A WASI command: its `_start` does everything.
    Command,
    /// QuickJS as a library: the kernel gives it a script to evaluate.
    QuickJs,
    /// LodePNG as a library: the kernel gives it a picture to decode.
    LodePng,
    /// libwebp as a library: likewise.
    WebP,
}

/// The content of `request.json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What to do.
    pub mode: Mode,
    /// How the guest is run; a plain call of an export if nothing is said.
    #[serde(default)]
    pub program: Option<Program>,
    /// The export to call.
    #[serde(default)]
    pub invoke: Option<String>,
    /// Its arguments, or those of the program, as they were typed.
    #[serde(default)]
    pub args: Vec<String>,
    /// The name that the program is called by: its argument 0.
    #[serde(default)]
    pub name: String,
    /// The program's environment: names and values.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// The emulator test to run.
    #[serde(default)]
    pub test: Option<String>,
    /// Whether the clock counts instructions, so that costs are worth reporting.
    #[serde(default)]
    pub icount: bool,
}

impl Request {
    fn plain(mode: Mode) -> Self {
        Self {
            mode,
            program: None,
            invoke: None,
            args: Vec::new(),
            name: String::new(),
            env: Vec::new(),
            test: None,
            icount: false,
        }
    }
}

/// Why the module cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum RequestError {
    /// The module's range is not RAM.
    #[error("module at {start:#x}..{end:#x} is not inside of one range of RAM")]
    NotInRam { start: PhysAddr, end: PhysAddr },
    /// Neither an archive nor Wasm.
    #[error("module of {bytes} bytes is neither a Wasm file nor a tar archive: {cause}")]
    NotAnArchive { bytes: usize, cause: CorruptDataError },
    /// The request is not what `cargo xtask` writes.
    #[error("{REQUEST_FILE} in the boot archive: {0}")]
    Request(#[from] serde_json::Error),
}

/// The files that came with the kernel, and the request among them.
#[derive(Debug)]
pub(crate) struct BootFiles {
    content: Content,
    request: Request,
}

#[derive(Debug)]
enum Content {
    Nothing,
    BareWasm(&'static [u8]),
    Archive(TarArchiveRef<'static>),
}

impl BootFiles {
    /// Looks into the loader's module, which lies in one of the ranges of `mapped`.
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    ///
    /// # Safety
    ///
    /// The ranges of `mapped` are mapped at [`PHYSICAL_OFFSET`] for good, and nobody writes to the module's.
    pub(crate) unsafe fn read(
        module: Option<&Range<PhysAddr>>,
        mapped: &UsableRam,
    ) -> Result<Self, RequestError> {
        let Some(module) = module else {
            return Ok(Self { content: Content::Nothing, request: Request::plain(Mode::Tour) });
        };
        if !mapped.contains(module) {
            return Err(RequestError::NotInRam { start: module.start, end: module.end });
        }
        let bytes =
            usize::try_from(module.end - module.start).expect("an address has as many bits as a usize");
        let start = PHYSICAL_OFFSET + module.start.as_u64();
        // SAFETY: 1. the range is mapped for good and never written: the caller's facts and the check above.
        // 2. Any byte is a `u8`.
        let module = unsafe { slice::from_raw_parts(start.as_ptr::<u8>(), bytes) };
        Self::of(module)
    }

    fn of(module: &'static [u8]) -> Result<Self, RequestError> {
        if module.starts_with(WASM_MAGIC) {
            return Ok(Self { content: Content::BareWasm(module), request: Request::plain(Mode::Run) });
        }
        let not_an_archive = |cause| RequestError::NotAnArchive { bytes: module.len(), cause };
        let archive = TarArchiveRef::new(module).map_err(not_an_archive)?;
        let request = match find(&archive, REQUEST_FILE) {
            Some(json) => serde_json::from_slice(json)?,
            None => Request::plain(Mode::Tour),
        };
        Ok(Self { content: Content::Archive(archive), request })
    }

    /// The request.
    pub(crate) fn request(&self) -> &Request {
        &self.request
    }

    /// The content of a file of the archive. A bare Wasm file has the name `guest.wasm`.
    pub(crate) fn file(&self, name: &str) -> Option<&'static [u8]> {
        match &self.content {
            Content::Nothing => None,
            Content::BareWasm(wasm) => (name == GUEST_FILE).then_some(*wasm),
            Content::Archive(archive) => find(archive, name),
        }
    }

    /// The content of a file of the directory that the guest sees.
    pub(crate) fn guest_file(&self, name: &str) -> Option<&'static [u8]> {
        let archive = TarArchiveRef::new(self.file(ROOT_FILE)?).ok()?;
        find(&archive, name)
    }
}

fn find(archive: &TarArchiveRef<'static>, name: &str) -> Option<&'static [u8]> {
    let mut entries = archive.entries();
    entries.find(|entry| entry.filename().as_str() == Ok(name)).map(|entry| entry.data())
}
