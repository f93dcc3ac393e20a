//! The machine, as the boot passes it to the program's main function.
//!
//! It owns the request, the boot files and the memory map, and provides access to the pool and the
//! address space.

use palimpsest_paging::FramePool;
use palimpsest_protocol::Request;

use crate::boot::{CommandLine, MemoryMap, MemoryRange};
use crate::files::BootFiles;
use crate::heap::{self, HeapUsage};
use crate::memory::{self, Space};

/// The machine after boot. There is one.
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

    /// Returns the loader's memory map.
    #[must_use]
    pub fn memory_map(&self) -> &[MemoryRange] {
        &self.memory_map
    }

    /// Returns the command line (QEMU's `-append`). It is empty if there is none.
    #[must_use]
    pub fn command_line(&self) -> &str {
        &self.command_line
    }

    /// Returns the task that the kernel was started for.
    #[must_use]
    pub fn request(&self) -> &Request {
        self.files.request()
    }

    /// Returns the content of a boot file, for example `guest.wasm`.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&'static [u8]> {
        self.files.file(name)
    }

    /// Returns the content of a file in the guest's root directory.
    #[must_use]
    pub fn guest_file(&self, name: &str) -> Option<&'static [u8]> {
        self.files.guest_file(name)
    }

    /// Returns the pool of all frames that neither the kernel nor the boot files occupy.
    #[must_use]
    pub fn frames(&self) -> &'static FramePool {
        memory::pool()
    }

    /// Returns the address space for regions.
    #[must_use]
    pub fn space(&self) -> &'static Space {
        memory::space()
    }

    /// Returns the current use of the kernel heap.
    #[must_use]
    pub fn heap(&self) -> HeapUsage {
        heap::usage()
    }
}
