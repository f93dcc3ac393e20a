//! The boot files, and the request among them.
//!
//! The loader's module is a tar archive that contains [`files::REQUEST`] and the files that the
//! request names. It may also be a bare Wasm file, which is run. Without a module or a request, the
//! kernel takes the tour.

use core::ops::Range;
use core::slice;

use palimpsest_protocol::{Entry, Request, Run, Task, files};
use tar_no_std::{CorruptDataError, TarArchiveRef};
use thiserror::Error;
use x86_64::PhysAddr;

use crate::boot::{PHYSICAL_OFFSET, UsableRam};

/// The first bytes of every Wasm binary.
const WASM_MAGIC: &[u8] = b"\0asm";

/// Why the module cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum RequestError {
    /// The module is not in RAM.
    #[error("module at {start:#x}..{end:#x} is not inside one range of RAM")]
    NotInRam { start: PhysAddr, end: PhysAddr },
    /// The module is neither an archive nor Wasm.
    #[error("module of {bytes} bytes is neither a Wasm file nor a tar archive: {cause}")]
    NotAnArchive { bytes: usize, cause: CorruptDataError },
    /// The request is not the JSON of a [`Request`].
    #[error("{name} in the boot archive: {0}", name = files::REQUEST)]
    Request(#[from] serde_json::Error),
}

/// The boot files, and the request among them.
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

/// The boot files as the loader left them. They are found without a heap.
#[derive(Debug)]
pub(crate) struct LoadedFiles(Content);

impl LoadedFiles {
    /// Finds the files in the loader's module, which must be inside one of the ranges of `mapped`.
    ///
    /// # Errors
    ///
    /// [`RequestError::NotInRam`] and [`RequestError::NotAnArchive`].
    ///
    /// # Safety
    ///
    /// The caller guarantees that the ranges of `mapped` are always mapped at [`PHYSICAL_OFFSET`],
    /// and that no code ever writes to the module.
    pub(crate) unsafe fn find(
        module: Option<&Range<PhysAddr>>,
        mapped: &UsableRam,
    ) -> Result<Self, RequestError> {
        let Some(module) = module else { return Ok(Self(Content::Nothing)) };
        if !mapped.contains(module) {
            return Err(RequestError::NotInRam { start: module.start, end: module.end });
        }
        let bytes = usize::try_from(module.end - module.start).expect("a usize is as large as an address");
        let start = PHYSICAL_OFFSET + module.start.as_u64();
        // SAFETY: 1. The range is inside `mapped`, so it is always mapped, and is never written, by
        // the caller's guarantee. 2. Every byte is a valid `u8`.
        let module = unsafe { slice::from_raw_parts(start.as_ptr::<u8>(), bytes) };
        if module.starts_with(WASM_MAGIC) {
            return Ok(Self(Content::BareWasm(module)));
        }
        let not_an_archive = |cause| RequestError::NotAnArchive { bytes, cause };
        let archive = TarArchiveRef::new(module).map_err(not_an_archive)?;
        Ok(Self(Content::Archive(archive)))
    }

    /// Returns the size of the module to run, in bytes, or 0 if there is none.
    pub(crate) fn guest_bytes(&self) -> u64 {
        self.0.file(files::GUEST).map_or(0, |wasm| wasm.len() as u64)
    }

    /// Reads the request, which takes heap.
    ///
    /// # Errors
    ///
    /// [`RequestError::Request`].
    pub(crate) fn read(self) -> Result<BootFiles, RequestError> {
        let Self(content) = self;
        let request = match (&content, content.file(files::REQUEST)) {
            (_, Some(json)) => serde_json::from_slice(json)?,
            (Content::BareWasm(_), None) => Request::new(Task::Run(Run::new(Entry::Call { invoke: None }))),
            (Content::Nothing | Content::Archive(_), None) => Request::new(Task::Tour),
        };
        Ok(BootFiles { content, request })
    }
}

impl Content {
    /// Returns the content of a boot file. A bare Wasm file has the name `guest.wasm`.
    fn file(&self, name: &str) -> Option<&'static [u8]> {
        match self {
            Self::Nothing => None,
            Self::BareWasm(wasm) => (name == files::GUEST).then_some(*wasm),
            Self::Archive(archive) => find(archive, name),
        }
    }
}

impl BootFiles {
    /// Returns the request.
    pub(crate) fn request(&self) -> &Request {
        &self.request
    }

    /// Returns the content of a boot file. A bare Wasm file has the name `guest.wasm`.
    pub(crate) fn file(&self, name: &str) -> Option<&'static [u8]> {
        self.content.file(name)
    }

    /// Returns the content of a file in the guest's root directory.
    pub(crate) fn guest_file(&self, name: &str) -> Option<&'static [u8]> {
        let archive = TarArchiveRef::new(self.file(files::ROOT)?).ok()?;
        find(&archive, name)
    }
}

fn find(archive: &TarArchiveRef<'static>, name: &str) -> Option<&'static [u8]> {
    let mut entries = archive.entries();
    entries.find(|entry| entry.filename().as_str() == Ok(name)).map(|entry| entry.data())
}
