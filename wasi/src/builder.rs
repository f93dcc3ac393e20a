//! Furnishing a world before its program starts.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use crate::{
    fd::{Descriptor, Descriptors, Place, Stream},
    fs::{ArchiveError, ROOT, Volume},
    wasi::{Outside, Wasi},
    world::{Blocks, Clock, Input, Output, Random},
};

/// Descriptors that may be open at once, unless the embedder says otherwise.
const OPEN_FILES: usize = 64;

/// Files and directories of one scratch directory, unless the embedder says otherwise.
const SCRATCH_FILES: usize = 4096;

/// Collects what a program is to see; made by [`Wasi::builder`].
pub struct WasiBuilder {
    args: Vec<Vec<u8>>,
    environ: Vec<Vec<u8>>,
    outside: Outside,
    preopened: Vec<(Box<str>, Tree)>,
    open_files: usize,
    scratch_files: usize,
}

/// What a preopened directory is made of.
enum Tree {
    Archive(Volume),
    Scratch(Box<dyn Blocks>),
}

impl WasiBuilder {
    pub(crate) fn new() -> Self {
        Self {
            args: Vec::new(),
            environ: Vec::new(),
            outside: Outside::default(),
            preopened: Vec::new(),
            open_files: OPEN_FILES,
            scratch_files: SCRATCH_FILES,
        }
    }

    /// Adds an argument; the first one is the program's name. To a C program it ends at a NUL byte.
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

    /// Adds an environment variable. To a C program its value ends at a NUL byte, and its name at a `=`.
    #[must_use]
    pub fn env(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        let mut variable = name.into();
        variable.push(b'=');
        variable.extend(value.into());
        self.environ.push(variable);
        self
    }

    /// Sets where standard input comes from. To the guest it is no terminal, so programs do not start a
    /// dialogue.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Input + 'static) -> Self {
        self.outside.stdin = Box::new(stdin);
        self
    }

    /// Sets where standard output goes to. To the guest it is a terminal, so programs write line by line.
    #[must_use]
    pub fn stdout(mut self, stdout: impl Output + 'static) -> Self {
        self.outside.stdout = Box::new(stdout);
        self
    }

    /// Sets where standard error goes to.
    #[must_use]
    pub fn stderr(mut self, stderr: impl Output + 'static) -> Self {
        self.outside.stderr = Box::new(stderr);
        self
    }

    /// Gives the program the time, and a way to wait.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.outside.clock = Some(Box::new(clock));
        self
    }

    /// Gives the program random numbers.
    #[must_use]
    pub fn random(mut self, random: impl Random + 'static) -> Self {
        self.outside.random = Some(Box::new(random));
        self
    }

    /// Opens the directory tree in `tar` for the program, to be read, under the name `guest_path`: `/` or
    /// `/data`.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`]: it is no tar archive, or there is something in it that a guest should not or cannot
    /// see.
    pub fn archive(mut self, guest_path: &str, tar: &'static [u8]) -> Result<Self, ArchiveError> {
        self.preopened.push((guest_path.into(), Tree::Archive(Volume::archive(tar)?)));
        Ok(self)
    }

    /// Opens an empty directory for the program, to be read and written, under the name `guest_path`: `/tmp`.
    #[must_use]
    pub fn scratch(mut self, guest_path: &str, blocks: impl Blocks + 'static) -> Self {
        self.preopened.push((guest_path.into(), Tree::Scratch(Box::new(blocks))));
        self
    }

    /// Sets how many descriptors may be open at once, standard streams and preopened directories included:
    /// 64.
    #[must_use]
    pub fn open_files(mut self, limit: usize) -> Self {
        self.open_files = limit;
        self
    }

    /// Sets how many files and directories each scratch directory may hold, itself included: 4096.
    #[must_use]
    pub fn scratch_files(mut self, limit: usize) -> Self {
        self.scratch_files = limit;
        self
    }

    /// The world as it is furnished now.
    #[must_use]
    pub fn build(self) -> Wasi {
        let mut descriptors: Vec<_> =
            [Stream::Input, Stream::Output, Stream::Error].into_iter().map(Descriptor::stream).collect();
        let mut volumes = Vec::new();
        for (guest_path, tree) in self.preopened {
            let mut volume = match tree {
                Tree::Archive(volume) => volume,
                Tree::Scratch(blocks) => Volume::scratch(blocks, self.scratch_files),
            };
            let place = Place { volume: volumes.len(), inode: ROOT };
            volume.open(place.inode);
            descriptors.push(Descriptor::preopened(place, volume.access(), guest_path));
            volumes.push(volume);
        }
        let descriptors = Descriptors::new(descriptors, self.open_files);
        Wasi { args: self.args, environ: self.environ, outside: self.outside, descriptors, volumes }
    }
}

impl fmt::Debug for WasiBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("WasiBuilder");
        fields.field("args", &self.args.len()).field("environ", &self.environ.len());
        fields.field("open_files", &self.open_files).field("scratch_files", &self.scratch_files);
        fields.finish_non_exhaustive()
    }
}
