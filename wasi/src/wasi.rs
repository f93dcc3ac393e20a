//! The world of one program, and the ways through it that several calls share.
//!
//! [`Wasi`] owns the descriptors and the volumes, and keeps one invariant between them: a node's count of
//! opens in its volume is the number of descriptors that stand for it. The functions of preview 1 are in
//! [`calls`](crate::calls).

use alloc::{boxed::Box, vec::Vec};
use core::fmt;
use wasip1::{ERRNO_NOSYS, Errno, Rights};

use crate::{
    builder::WasiBuilder,
    fd::{CHANGE_RIGHTS, Descriptor, Descriptors, Place, Stream},
    fs::Volume,
    layout::Stat,
    world::{Clock, Empty, Input, Output, Random},
};

/// What one program sees of the world; lives in its store's data.
pub struct Wasi {
    /// Without the NUL at the end of each.
    pub(crate) args: Vec<Vec<u8>>,
    /// `name=value`, without the NUL at the end of each.
    pub(crate) environ: Vec<Vec<u8>>,
    pub(crate) outside: Outside,
    pub(crate) descriptors: Descriptors,
    pub(crate) volumes: Vec<Volume>,
}

/// What the embedder provides.
pub(crate) struct Outside {
    pub(crate) stdin: Box<dyn Input>,
    pub(crate) stdout: Box<dyn Output>,
    pub(crate) stderr: Box<dyn Output>,
    pub(crate) clock: Option<Box<dyn Clock>>,
    pub(crate) random: Option<Box<dyn Random>>,
}

impl Default for Outside {
    fn default() -> Self {
        Self {
            stdin: Box::new(Empty),
            stdout: Box::new(Empty),
            stderr: Box::new(Empty),
            clock: None,
            random: None,
        }
    }
}

impl Wasi {
    /// A world to be furnished: without arguments, with empty streams, without clock, random numbers and
    /// files.
    #[must_use]
    pub fn builder() -> WasiBuilder {
        WasiBuilder::new()
    }

    /// The stream that standard output or error goes to; nothing for the input.
    pub(crate) fn output(&mut self, stream: Stream) -> Option<&mut dyn Output> {
        match stream {
            Stream::Input => None,
            Stream::Output => Some(&mut *self.outside.stdout),
            Stream::Error => Some(&mut *self.outside.stderr),
        }
    }

    /// # Errors
    ///
    /// `ENOSYS` if the embedder gave none.
    pub(crate) fn clock(&mut self) -> Result<&mut dyn Clock, Errno> {
        self.outside.clock.as_deref_mut().map(|clock| clock as _).ok_or(ERRNO_NOSYS)
    }

    /// # Errors
    ///
    /// `ENOSYS` if the embedder gave none.
    pub(crate) fn random(&mut self) -> Result<&mut dyn Random, Errno> {
        self.outside.random.as_deref_mut().map(|random| random as _).ok_or(ERRNO_NOSYS)
    }

    /// The time that changes of files are noted with; the epoch if there is no clock.
    pub(crate) fn now_ns(&mut self) -> u64 {
        self.clock().map_or(0, |clock| clock.realtime_ns())
    }

    /// The file behind a descriptor that has `rights`.
    ///
    /// # Errors
    ///
    /// `EBADF`, `ESPIPE` for a stream, `EISDIR` for a directory, `ENOTCAPABLE`.
    pub(crate) fn file(&self, fd: u32, rights: Rights) -> Result<Place, Errno> {
        let descriptor = self.descriptors.get(fd)?;
        let place = descriptor.file()?;
        descriptor.require(rights)?;
        Ok(place)
    }

    /// The directory behind a descriptor that has `rights`. Whoever may not change anything in an archive is
    /// told so by the volume: `EROFS` says more than a missing right.
    ///
    /// # Errors
    ///
    /// `EBADF`, `ENOTDIR`, `ENOTCAPABLE`; `EROFS` in place of it for a change in an archive.
    pub(crate) fn directory(&self, fd: u32, rights: Rights) -> Result<Place, Errno> {
        let descriptor = self.descriptors.get(fd)?;
        let place = descriptor.directory()?;
        descriptor.require(rights).or_else(|missing| {
            if rights & CHANGE_RIGHTS != 0 {
                self.volumes[place.volume].require_writable()?;
            }
            Err(missing)
        })?;
        Ok(place)
    }

    /// What is known about a node; the streams' device has the number 0.
    pub(crate) fn stat(&self, place: Place) -> Stat {
        self.volumes[place.volume].stat(place.inode, place.volume as u64 + 1)
    }

    /// Opens `descriptor`, which stands for a node of a volume, under `fd`.
    ///
    /// # Errors
    ///
    /// `EBADF` if `fd` is neither open nor what [`Descriptors::free`] has said.
    pub(crate) fn install(&mut self, fd: u32, descriptor: Descriptor) -> Result<(), Errno> {
        let place = descriptor.object.place();
        let replaced = self.descriptors.put(fd, descriptor)?;
        if let Some(place) = place {
            self.volumes[place.volume].open(place.inode);
        }
        if let Some(replaced) = replaced {
            self.discard(&replaced);
        }
        Ok(())
    }

    /// Lets go of what a descriptor stood for.
    pub(crate) fn discard(&mut self, descriptor: &Descriptor) {
        if let Some(place) = descriptor.object.place() {
            self.volumes[place.volume].close(place.inode);
        }
    }
}

impl fmt::Debug for Wasi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Wasi");
        fields.field("args", &self.args.len()).field("environ", &self.environ.len());
        fields.field("descriptors", &self.descriptors).field("volumes", &self.volumes).finish_non_exhaustive()
    }
}
