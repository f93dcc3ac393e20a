//! The world of one program.
//!
//! [`Wasi`] owns the descriptors and the volumes, and keeps them consistent: a node's count of
//! opens is the number of descriptors that refer to it. The functions of preview 1 are in
//! [`calls`](crate::calls).

use alloc::{boxed::Box, vec::Vec};
use core::fmt;
use palimpsest_engine::Memory;
use wasip1::{ERRNO_NOSYS, Errno, Rights};

use crate::{
    builder::WasiBuilder,
    fd::{CHANGE_RIGHTS, Descriptor, Descriptors, Place, Stream},
    fs::Volume,
    layout::Stat,
    world::{Clock, Empty, Input, Output, Random},
};

/// Everything that one program can reach. It is a part of the data of the program's store.
pub struct Wasi {
    /// Without terminating NULs.
    pub(crate) args: Vec<Vec<u8>>,
    /// `name=value`, without terminating NULs.
    pub(crate) environ: Vec<Vec<u8>>,
    pub(crate) host: Host,
    pub(crate) descriptors: Descriptors,
    pub(crate) volumes: Vec<Volume>,
    /// The memory of the call that a task makes again.
    pub(crate) memory: Option<Memory>,
}

/// The services that the embedder provides.
pub(crate) struct Host {
    pub(crate) stdin: Box<dyn Input>,
    pub(crate) stdout: Box<dyn Output>,
    pub(crate) stderr: Box<dyn Output>,
    pub(crate) clock: Option<Box<dyn Clock>>,
    pub(crate) random: Option<Box<dyn Random>>,
}

impl Default for Host {
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
    /// Returns a builder of a world without arguments, clock, random numbers and files, whose
    /// streams are empty.
    #[must_use]
    pub fn builder() -> WasiBuilder {
        WasiBuilder::new()
    }

    /// Returns the destination of standard output or error, or None for the input.
    pub(crate) fn output(&mut self, stream: Stream) -> Option<&mut dyn Output> {
        match stream {
            Stream::Input => None,
            Stream::Output => Some(&mut *self.host.stdout),
            Stream::Error => Some(&mut *self.host.stderr),
        }
    }

    /// # Errors
    ///
    /// `ENOSYS` if the embedder provides no clock.
    pub(crate) fn clock(&mut self) -> Result<&mut dyn Clock, Errno> {
        self.host.clock.as_deref_mut().map(|clock| clock as _).ok_or(ERRNO_NOSYS)
    }

    /// # Errors
    ///
    /// `ENOSYS` if the embedder provides no random numbers.
    pub(crate) fn random(&mut self) -> Result<&mut dyn Random, Errno> {
        self.host.random.as_deref_mut().map(|random| random as _).ok_or(ERRNO_NOSYS)
    }

    /// Returns the price of the work on the volumes since the last call, in units of fuel.
    pub(crate) fn take_work(&self) -> u64 {
        self.volumes.iter().map(Volume::take_work).sum()
    }

    /// Returns the time for changes of files, or 0 without a clock.
    pub(crate) fn now_ns(&mut self) -> u64 {
        self.clock().map_or(0, |clock| clock.realtime_ns())
    }

    /// Returns the file of a descriptor that has `rights`.
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

    /// Returns the directory of a descriptor that has `rights`.
    ///
    /// # Errors
    ///
    /// `EBADF`, `ENOTDIR`, `ENOTCAPABLE`. A change in an archive is `EROFS`, which is more precise
    /// than a missing right.
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

    /// Returns the attributes of a node. Device 0 is that of the streams.
    ///
    /// # Errors
    ///
    /// `ESTALE` if the node does not exist.
    pub(crate) fn stat(&self, place: Place) -> Result<Stat, Errno> {
        self.volumes[place.volume].stat(place.inode, place.volume as u64 + 1)
    }

    /// Opens `descriptor` as `fd`, and counts it in the volume of its node.
    ///
    /// # Errors
    ///
    /// `EBADF` if `fd` is neither open nor the result of [`Descriptors::lowest_free`]; `ESTALE` if
    /// the node does not exist.
    pub(crate) fn install(&mut self, fd: u32, descriptor: Descriptor) -> Result<(), Errno> {
        if let Some(place) = descriptor.object.place() {
            self.volumes[place.volume].open(place.inode)?;
        }
        let replaced = self.descriptors.put(fd, descriptor)?;
        if let Some(replaced) = replaced {
            self.discard(&replaced);
        }
        Ok(())
    }

    /// Releases the node of a descriptor that was closed.
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
