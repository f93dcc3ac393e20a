//! What a program gets from the boot: the machine it runs on.
//!
//! Owns the request, the boot files and the memory map, and gives access to the pool and the address space.
//! There is one `Machine`, made by `boot` and handed to the function of `boot_main!`.

use palimpsest_paging::FramePool;
use palimpsest_protocol::Request;

use crate::boot::{CommandLine, MemoryMap, MemoryRange};
use crate::files::BootFiles;
use crate::heap::{self, HeapUsage};
use crate::memory::{self, Space};

/// The machine after boot.
#[derive(Debug)]
pub struct Machine {
    memory_map: MemoryMap,
    command_line: CommandLine,
    files: BootFiles,
}

impl Machine {
    pub(crate) fn new(memory_map: MemoryMap, command_line: CommandLine, files: BootFiles) -> Self {
        Self { memory_map, command_line, files }
    }

    /// The loader's memory map.
    #[must_use]
    pub fn memory_map(&self) -> &[MemoryRange] {
        &self.memory_map
    }

    /// What the loader was given to pass on (QEMU's `-append`); empty if nothing.
    #[must_use]
    pub fn command_line(&self) -> &str {
        &self.command_line
    }

    /// What the kernel was started to do.
    #[must_use]
    pub fn request(&self) -> &Request {
        self.files.request()
    }

    /// The content of a file that came with the kernel, such as `guest.wasm`.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&'static [u8]> {
        self.files.file(name)
    }

    /// The content of a file of the directory that a guest sees as `/`.
    #[must_use]
    pub fn guest_file(&self, name: &str) -> Option<&'static [u8]> {
        self.files.guest_file(name)
    }

    /// The pool of all frames that are neither the kernel's nor the boot files'.
    #[must_use]
    pub fn frames(&self) -> &'static FramePool {
        memory::pool()
    }

    /// The address space that regions are reserved in.
    #[must_use]
    pub fn space(&self) -> &'static Space {
        memory::space()
    }

    /// How full the kernel heap is now.
    #[must_use]
    pub fn heap(&self) -> HeapUsage {
        heap::usage()
    }
}
