//! Builds a [`Wasi`] before its program starts.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::fmt;

use crate::{
    fd::{Descriptor, Descriptors, Place, Stream},
    fs::{ArchiveError, ROOT, Volume},
    wasi::{Host, Wasi},
    world::{Blocks, Clock, Input, Output, Random},
};

/// The default limit of open descriptors.
const OPEN_FILES: usize = 64;

/// The default limit of files and directories in one scratch directory.
const SCRATCH_FILES: usize = 4096;

/// The default quota of one scratch directory in bytes: half of the 32 MiB of heap that the default
/// limits of the engine are made for.
const SCRATCH_BYTES: u64 = 16 << 20;

/// Collects what a program may use. Returned by [`Wasi::builder`].
pub struct WasiBuilder {
    args: Vec<Vec<u8>>,
    environ: Vec<Vec<u8>>,
    host: Host,
    preopened: Vec<Preopened>,
    open_files: usize,
    scratch_files: usize,
    scratch_bytes: u64,
}

/// A preopened directory.
enum Preopened {
    Archive(Volume),
    Scratch { guest_path: Arc<str>, blocks: Box<dyn Blocks> },
}

impl WasiBuilder {
    pub(crate) fn new() -> Self {
        Self {
            args: Vec::new(),
            environ: Vec::new(),
            host: Host::default(),
            preopened: Vec::new(),
            open_files: OPEN_FILES,
            scratch_files: SCRATCH_FILES,
            scratch_bytes: SCRATCH_BYTES,
        }
    }

    /// Adds an argument. The first one is the program's name. A C program reads an argument up to
    /// its first NUL byte.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<Vec<u8>>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(self, args: impl IntoIterator<Item: Into<Vec<u8>>>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Adds an environment variable. A C program reads the value up to its first NUL byte, and the
    /// name up to its first `=`.
    #[must_use]
    pub fn env(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        let mut variable = name.into();
        variable.push(b'=');
        variable.extend(value.into());
        self.environ.push(variable);
        self
    }

    /// Sets the source of standard input. The guest sees it as a file and not as a terminal, so
    /// most programs do not prompt.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Input + 'static) -> Self {
        self.host.stdin = Box::new(stdin);
        self
    }

    /// Sets the destination of standard output. The guest sees it as a terminal, so most programs
    /// flush after each line.
    #[must_use]
    pub fn stdout(mut self, stdout: impl Output + 'static) -> Self {
        self.host.stdout = Box::new(stdout);
        self
    }

    /// Sets the destination of standard error.
    #[must_use]
    pub fn stderr(mut self, stderr: impl Output + 'static) -> Self {
        self.host.stderr = Box::new(stderr);
        self
    }

    /// Provides the time, and a way to wait. Without a clock, calls that need one return `ENOSYS`.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.host.clock = Some(Box::new(clock));
        self
    }

    /// Provides random numbers. Without them, `random_get` returns `ENOSYS`.
    #[must_use]
    pub fn random(mut self, random: impl Random + 'static) -> Self {
        self.host.random = Some(Box::new(random));
        self
    }

    /// Preopens the directory tree in `tar`, read-only, as `guest_path`, for example `/` or
    /// `/data`.
    ///
    /// # Errors
    ///
    /// Returns an [`ArchiveError`] if `tar` is not a tar archive, or contains an entry that a guest
    /// may not see or cannot use.
    pub fn archive(mut self, guest_path: &str, tar: &'static [u8]) -> Result<Self, ArchiveError> {
        self.preopened.push(Preopened::Archive(Volume::archive(guest_path.into(), tar)?));
        Ok(self)
    }

    /// Preopens an empty directory as `guest_path`, for example `/tmp`. The guest can read and
    /// write it. Its files consist of `blocks`, within the limits of [`scratch_files`] and
    /// [`scratch_bytes`].
    ///
    /// [`scratch_files`]: Self::scratch_files
    /// [`scratch_bytes`]: Self::scratch_bytes
    #[must_use]
    pub fn scratch(mut self, guest_path: &str, blocks: impl Blocks + 'static) -> Self {
        self.preopened.push(Preopened::Scratch { guest_path: guest_path.into(), blocks: Box::new(blocks) });
        self
    }

    /// Sets the limit of open descriptors, including the standard streams and the preopened
    /// directories. The default is 64.
    #[must_use]
    pub fn open_files(mut self, limit: usize) -> Self {
        self.open_files = limit;
        self
    }

    /// Sets the limit of files and directories in each scratch directory, including itself. The
    /// default is 4096.
    #[must_use]
    pub fn scratch_files(mut self, limit: usize) -> Self {
        self.scratch_files = limit;
        self
    }

    /// Sets the quota of each scratch directory, in bytes. The default is 16 MiB.
    ///
    /// Each block that a file has is charged [`BLOCK_CHARGE_BYTES`], and each file or directory
    /// [`FILE_CHARGE_BYTES`]. This covers the blocks and what they take of the heap. A hole in a
    /// file is not charged. A change that would exceed the quota fails with `ENOSPC`.
    ///
    /// [`BLOCK_CHARGE_BYTES`]: crate::BLOCK_CHARGE_BYTES
    /// [`FILE_CHARGE_BYTES`]: crate::FILE_CHARGE_BYTES
    #[must_use]
    pub fn scratch_bytes(mut self, limit: u64) -> Self {
        self.scratch_bytes = limit;
        self
    }

    /// Sets limits under which the files and descriptors of the program take at most `bytes` of the
    /// kernel's heap, with one scratch directory whose blocks are on the heap.
    ///
    /// The bound holds from 16 KiB on. It does not include arguments, environment and archives.
    #[must_use]
    pub fn for_heap(mut self, bytes: usize) -> Self {
        self.open_files = (bytes / 1024).clamp(8, OPEN_FILES);
        self.scratch_bytes = (bytes / 2) as u64;
        self.scratch_files = SCRATCH_FILES;
        self
    }

    /// Returns the world with everything that was added.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "every volume has a root, so it never panics")]
    pub fn build(self) -> Wasi {
        let mut descriptors: Vec<_> =
            [Stream::Input, Stream::Output, Stream::Error].into_iter().map(Descriptor::stream).collect();
        let mut volumes = Vec::new();
        for preopened in self.preopened {
            let mut volume = match preopened {
                Preopened::Archive(volume) => volume,
                Preopened::Scratch { guest_path, blocks } => {
                    Volume::scratch(guest_path, blocks, self.scratch_files, self.scratch_bytes)
                }
            };
            let place = Place { volume: volumes.len(), inode: ROOT };
            volume.open(place.inode).expect("every volume has a root");
            let guest_path = Arc::clone(volume.guest_path());
            descriptors.push(Descriptor::preopened(place, volume.access(), guest_path));
            volumes.push(volume);
        }
        let descriptors = Descriptors::new(descriptors, self.open_files);
        Wasi { args: self.args, environ: self.environ, host: self.host, descriptors, volumes, memory: None }
    }
}

impl fmt::Debug for WasiBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("WasiBuilder");
        fields.field("args", &self.args.len()).field("environ", &self.environ.len());
        fields.field("open_files", &self.open_files).field("scratch_files", &self.scratch_files);
        fields.field("scratch_bytes", &self.scratch_bytes);
        fields.finish_non_exhaustive()
    }
}
