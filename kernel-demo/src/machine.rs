//! The machine, as the boot passes it to the program's main function.
//!
//! It owns the request, the boot files and the memory map, and provides access to the pool and the
//! address space.

use palimpsest_engine::{Config, Limits, ReserveError};
use palimpsest_protocol::Request;

use crate::apic::{self, Reason};
use crate::boot::{CommandLine, MemoryMap, MemoryRange};
use crate::cpus;
use crate::files::BootFiles;
use crate::heap::{self, HeapUsage};
use crate::memory::{self, Frames, Space};

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
    pub fn frames(&self) -> &'static Frames {
        memory::pool()
    }

    /// Returns the address space for regions.
    #[must_use]
    pub fn space(&self) -> &'static Space {
        memory::space()
    }

    /// Returns the number of CPUs.
    #[must_use]
    pub fn cpus(&self) -> usize {
        cpus::count()
    }

    /// Calls `work` on every CPU, with the number of the CPU, and returns after all calls have, and
    /// all CPUs have flushed their TLBs.
    ///
    /// # Panics
    ///
    /// Panics if it is called by `work`.
    pub fn on_all_cpus(&self, work: impl Fn(usize) + Sync) {
        cpus::on_all(&work);
    }

    /// Returns the number of interrupts that CPUs have sent to each other for this reason.
    #[must_use]
    pub fn interrupts_sent(&self, reason: Reason) -> u64 {
        apic::sent(reason)
    }

    /// Returns the current use of the kernel heap.
    #[must_use]
    pub fn heap(&self) -> HeapUsage {
        heap::usage()
    }

    /// Sets `bytes` of the heap aside, from which the kernel is served when a guest has taken the
    /// rest. With 0, nothing is set aside.
    ///
    /// # Errors
    ///
    /// Fails if the heap has no block of that size.
    pub fn reserve_heap(&self, bytes: usize) -> Result<(), ReserveError> {
        heap::budget().set_reserve(bytes)
    }

    /// Returns whether the reserve of the heap is set aside. While it is in use, no guest runs.
    #[must_use]
    pub fn has_heap_reserve(&self) -> bool {
        heap::budget().has_reserve()
    }

    /// Lets a test choose which allocations of the heap fail.
    #[cfg(feature = "failing-heap")]
    #[must_use]
    pub fn failing_heap(&self) -> &'static palimpsest_exhaustion::Failing<linked_list_allocator::LockedHeap> {
        heap::budget().inner()
    }

    /// Returns the configuration of an engine on this machine, with these limits and with half of
    /// the heap for each guest. What a guest takes is accounted for.
    #[must_use]
    pub fn engine_config(&self, limits: Limits) -> Config {
        self.engine_config_with_heap(limits, heap::guest_bytes())
    }

    /// Returns the same for a guest that is alone on this machine: it may take all of the heap that
    /// is free now.
    #[must_use]
    pub fn engine_config_for_one(&self, limits: Limits) -> Config {
        let HeapUsage { used_bytes, size_bytes, .. } = self.heap();
        self.engine_config_with_heap(limits, size_bytes - used_bytes)
    }

    fn engine_config_with_heap(&self, mut limits: Limits, heap_bytes: usize) -> Config {
        limits.heap_bytes = limits.heap_bytes.min(heap_bytes);
        Config::default().limits(limits).heap(heap::budget())
    }
}
