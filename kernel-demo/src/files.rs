//! The request and the files that came with the kernel.
//!
//! The loader's one module is a tar archive with [`files::REQUEST`] and whatever the request needs, or a bare
//! Wasm file, which is run. A kernel without a module, or without a request, gives the tour. `boot` reads the
//! module once there is a heap.

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
    /// The module's range is not RAM.
    #[error("module at {start:#x}..{end:#x} is not inside of one range of RAM")]
    NotInRam { start: PhysAddr, end: PhysAddr },
    /// Neither an archive nor Wasm.
    #[error("module of {bytes} bytes is neither a Wasm file nor a tar archive: {cause}")]
    NotAnArchive { bytes: usize, cause: CorruptDataError },
    /// The request is not valid JSON of a [`Request`].
    #[error("{name} in the boot archive: {0}", name = files::REQUEST)]
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
            return Ok(Self { content: Content::Nothing, request: Request::new(Task::Tour) });
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
            let task = Task::Run(Run::new(Entry::Call { invoke: None }));
            return Ok(Self { content: Content::BareWasm(module), request: Request::new(task) });
        }
        let not_an_archive = |cause| RequestError::NotAnArchive { bytes: module.len(), cause };
        let archive = TarArchiveRef::new(module).map_err(not_an_archive)?;
        let request = match find(&archive, files::REQUEST) {
            Some(json) => serde_json::from_slice(json)?,
            None => Request::new(Task::Tour),
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
            Content::BareWasm(wasm) => (name == files::GUEST).then_some(*wasm),
            Content::Archive(archive) => find(archive, name),
        }
    }

    /// The content of a file of the directory that the guest sees.
    pub(crate) fn guest_file(&self, name: &str) -> Option<&'static [u8]> {
        let archive = TarArchiveRef::new(self.file(files::ROOT)?).ok()?;
        find(&archive, name)
    }
}

fn find(archive: &TarArchiveRef<'static>, name: &str) -> Option<&'static [u8]> {
    let mut entries = archive.entries();
    entries.find(|entry| entry.filename().as_str() == Ok(name)).map(|entry| entry.data())
}
