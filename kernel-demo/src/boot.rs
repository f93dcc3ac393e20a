//! From the loader's start information to a `Machine`.
//!
//! This module owns the order of initialization: exception tables, console, start information,
//! final page tables, frame pool, heap, address space, the other CPUs, boot files, then the
//! program's main function. The assembly in `entry` calls `start`. Any error is printed and ends
//! the emulator with a failing status.

mod entry;
mod image;
mod mapping;
mod other_cpu;
mod processors;
mod ram;
mod start_info;

use palimpsest_protocol::ExitStatus;
use thiserror::Error;
use x86_64::PhysAddr;
use x86_64::structures::paging::PhysFrame;

use crate::cpu::{self, FIRST_CPU};
use crate::cpus::{self, CpusError};
use crate::exit::{die, exit};
use crate::files::{LoadedFiles, RequestError};
use crate::interrupts;
use crate::machine::Machine;
use crate::memory::{self, MemoryError};
use crate::serial;

use mapping::{KernelTables, MappingError};
use processors::ProcessorsError;
use ram::{BootFrames, RamError};
use start_info::{StartInfo, StartInfoError};

pub use mapping::PHYSICAL_OFFSET;
pub(crate) use other_cpu::{REAL_MODE_CODE, place_code, set_parameters};
pub(crate) use processors::{MAX_CPUS, Processors};
pub(crate) use ram::UsableRam;
pub(crate) use start_info::{CommandLine, MemoryMap};
pub use start_info::{MemoryKind, MemoryRange};

unsafe extern "Rust" {
    /// `boot_main!` defines it in the program that links this library.
    safe fn palimpsest_kernel_main(machine: Machine) -> ExitStatus;
}

/// Why the kernel did not boot.
#[derive(Debug, Error)]
#[non_exhaustive]
enum BootError {
    #[error(transparent)]
    StartInfo(#[from] StartInfoError),
    #[error(transparent)]
    Ram(#[from] RamError),
    #[error(transparent)]
    Mapping(#[from] MappingError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Processors(#[from] ProcessorsError),
    #[error(transparent)]
    Cpus(#[from] CpusError),
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// The first Rust function. The assembly in `entry` calls it on the kernel stack, with the loader's
/// pointer and magic number.
extern "sysv64" fn start(start_info: u64, magic: u32) -> ! {
    FIRST_CPU.start();
    serial::init();
    match boot(PhysAddr::new_truncate(start_info), magic) {
        Ok(machine) => exit(palimpsest_kernel_main(machine)),
        Err(error) => die(format_args!("cannot boot: {error}")),
    }
}

fn boot(start_info: PhysAddr, magic: u32) -> Result<Machine, BootError> {
    // SAFETY: 1. The assembly in `entry` activated the boot page tables. 2. The address and
    // the number are the loader's. There is one CPU, and it has only written `.bss`, where no
    // loader places anything.
    let start_info = unsafe { StartInfo::read(start_info, magic) }?;
    let acpi = start_info.acpi.filter(|_| memory::USES_MANY_CPUS);
    // SAFETY: 1. The boot page tables are active. 2. The loader has passed the root.
    let processors = acpi.map(|root| unsafe { processors::read(root) }).transpose()?;
    let mut usable = UsableRam::all(&start_info.memory_map);
    usable.exclude(&image::frames())?;
    let mapped = usable.clone();
    usable.exclude_low_memory()?;
    if let Some(module) = &start_info.module {
        usable.exclude(module)?;
    }
    let root = switch_tables(&mapped, &mut usable)?;
    cpu::harden();
    interrupts::mask_controllers();
    // SAFETY: 1. `switch_tables` mapped the ranges of `mapped`. 2. The module is not in `usable`,
    // so no code writes to it.
    let files = unsafe { LoadedFiles::find(start_info.module.as_ref(), &mapped) }?;
    let processors = processors.unwrap_or_default();
    // SAFETY: 1. `switch_tables` mapped the ranges that remain in `usable`, and nothing else uses
    // them.
    // 2. It activated `root`, which maps the image and physical memory. Both are outside the
    //    window.
    // 3. `start` runs once.
    unsafe { memory::init(&usable, root, files.guest_bytes(), processors.len().max(1)) }?;
    // SAFETY: 1. `switch_tables` mapped the ranges of `mapped`. The first MiB is not in `usable`,
    // so nothing uses the frame. 2. It activated `root`. 3. `start` runs once, and memory was just
    // initialized.
    unsafe { cpus::start(&processors, &mapped, root) }?;
    Ok(Machine::new(start_info.memory_map, start_info.command_line, files.read()?))
}

/// Builds the final page tables, activates them, and returns their root. Removes their frames from
/// `usable`.
fn switch_tables(mapped: &UsableRam, usable: &mut UsableRam) -> Result<PhysFrame, BootError> {
    let reachable = PhysAddr::new(entry::IDENTITY_MAPPED_BYTES);
    let mut frames = BootFrames::new(usable.largest_below(reachable)?);
    // SAFETY: 1. The boot page tables are active until `KernelTables::activate`. 2. The frames are
    // below `reachable`.
    let mut tables = unsafe { KernelTables::new(&mut frames) }?;
    tables.map_image()?;
    let largest = cpu::largest_page();
    for ram in mapped.ranges() {
        tables.map_ram(ram, largest)?;
    }
    tables.map_local_apic()?;
    // SAFETY: 1. The image is mapped. 2. The start information was copied, and from here all frames
    // are accessed through `PHYSICAL_OFFSET`.
    let root = unsafe { tables.activate() };
    usable.exclude(&frames.taken())?;
    Ok(root)
}
