//! The loader's start information: memory map, command line, module, ACPI tables.
//!
//! A PVH loader passes `struct hvm_start_info` and its tables (Xen,
//! `public/arch-x86/hvm/start_info.h`), and a Multiboot2 loader its boot information, which the
//! crate `multiboot2` parses. The loader may have placed them in frames that will be allocated, so
//! everything that the kernel needs is copied. An unknown version, a missing memory map, or an
//! address outside the boot page tables is an error.

use core::ops::Range;
use core::ptr;

use arrayvec::{ArrayString, ArrayVec};
use multiboot2::{BootInformation, LoadError};
use thiserror::Error;
use x86_64::{PhysAddr, VirtAddr};

use crate::boot::entry::IDENTITY_MAPPED_BYTES;
use crate::boot::processors::AcpiRoot;

/// `XEN_HVM_START_MAGIC_VALUE`.
const MAGIC: u32 = 0x336e_c578;
/// The first version of the structure that has a memory map.
const FIRST_VERSION_WITH_MEMORY_MAP: u32 = 1;
/// The type of RAM in both memory maps, as in an ACPI address range.
const RAM: u32 = 1;

/// The limit of entries in a memory map. QEMU's have 7 or 8.
pub(crate) const MAX_MEMORY_MAP_ENTRIES: usize = 64;
/// The limit of bytes in a command line.
const MAX_COMMAND_LINE_BYTES: usize = 512;

/// Why the start information cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum StartInfoError {
    /// The structure does not have the magic number.
    #[error("start information at {at:#x} starts with {found:#x}, not with the PVH magic {MAGIC:#x}")]
    Magic { at: PhysAddr, found: u32 },
    /// The loader does not provide a memory map.
    #[error("start information has version {version}: at least {FIRST_VERSION_WITH_MEMORY_MAP} is required")]
    Version { version: u32 },
    /// The boot information is damaged.
    #[error("Multiboot2 information at {at:#x}: {cause}")]
    Multiboot2 { at: PhysAddr, cause: LoadError },
    /// The loader does not provide a memory map.
    #[error("Multiboot2 information at {at:#x} has no memory map")]
    NoMemoryMap { at: PhysAddr },
    /// A table is outside the range that the boot page tables map.
    #[error("start information refers to {bytes} bytes at {at:#x}, which are not inside the first 4 GiB")]
    OutOfReach { at: PhysAddr, bytes: u64 },
    /// A value is too large for a physical address.
    #[error("start information contains {value:#x}, which is not a physical address")]
    NotAnAddress { value: u64 },
    /// The memory map has too many entries.
    #[error("memory map has {entries} entries, but at most {MAX_MEMORY_MAP_ENTRIES} are supported")]
    MemoryMapTooLong { entries: usize },
    /// The command line is too long, or not terminated.
    #[error("command line is longer than {MAX_COMMAND_LINE_BYTES} bytes: shorten it")]
    CommandLineTooLong,
    /// The command line is not ASCII.
    #[error("command line contains the byte {byte:#x}: use only ASCII")]
    CommandLineNotAscii { byte: u8 },
    /// The loader passed more than one module.
    #[error("loader passed {modules} modules: pass one, an archive or a Wasm file")]
    TooManyModules { modules: usize },
}

/// Whether a range of the memory map is usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Ordinary memory.
    Ram,
    /// Anything else. The number is the loader's type, the same as in an ACPI address range.
    Other(u32),
}

/// One range of the loader's memory map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// The physical addresses.
    pub addresses: Range<PhysAddr>,
    /// What the range contains.
    pub kind: MemoryKind,
}

/// The loader's memory map.
pub(crate) type MemoryMap = ArrayVec<MemoryRange, MAX_MEMORY_MAP_ENTRIES>;

/// The loader's command line.
pub(crate) type CommandLine = ArrayString<MAX_COMMAND_LINE_BYTES>;

/// The part of the start information that the kernel uses.
#[derive(Debug)]
pub(crate) struct StartInfo {
    pub(crate) memory_map: MemoryMap,
    pub(crate) command_line: CommandLine,
    /// The range of the module, if there is one.
    pub(crate) module: Option<Range<PhysAddr>>,
    /// Where the ACPI tables are, if the machine has them.
    pub(crate) acpi: Option<AcpiRoot>,
}

impl StartInfo {
    /// Reads the start information at `at` and everything that it refers to. `magic` is the
    /// number by which a Multiboot2 loader makes itself known.
    ///
    /// # Errors
    ///
    /// See [`StartInfoError`].
    ///
    /// # Safety
    ///
    /// The caller guarantees that
    /// 1. the boot page tables are active: physical memory below [`IDENTITY_MAPPED_BYTES`] is
    ///    readable at its own addresses, and
    /// 2. `at` and `magic` are from the loader, and no code writes to the loader's structures
    ///    during the call.
    pub(crate) unsafe fn read(at: PhysAddr, magic: u32) -> Result<Self, StartInfoError> {
        if magic == multiboot2::MAGIC {
            let information = VirtAddr::new(at.as_u64()).as_ptr();
            // SAFETY: the loader's structure is readable at its own address and not written to, by
            // the caller's guarantees 1 and 2.
            let information = unsafe { BootInformation::load(information) };
            let information = information.map_err(|cause| StartInfoError::Multiboot2 { at, cause })?;
            return Self::of_multiboot2(at, &information);
        }
        // SAFETY: the caller guarantees both requirements, by 1 and 2.
        let loader = unsafe { LoaderMemory::assume_mapped() };
        Self::of_pvh(at, &loader)
    }

    fn of_multiboot2(at: PhysAddr, information: &BootInformation<'_>) -> Result<Self, StartInfoError> {
        let map = information.memory_map_tag().ok_or(StartInfoError::NoMemoryMap { at })?.memory_areas();
        let mut memory_map = MemoryMap::new();
        for area in map {
            let entry = memory_range(area.start_address(), area.size(), area.typ().into())?;
            let too_long = StartInfoError::MemoryMapTooLong { entries: map.len() };
            memory_map.try_push(entry).map_err(|_| too_long)?;
        }
        let mut command_line = CommandLine::new();
        let line = information.command_line_tag().and_then(|tag| tag.cmdline().ok()).unwrap_or_default();
        line.bytes().try_for_each(|byte| push(&mut command_line, byte))?;
        let mut modules = information.module_tags();
        let module =
            modules.next().map(|module| range(module.start_address().into(), module.module_size().into()));
        let acpi = acpi_of_multiboot2(information)?;
        match modules.count() {
            0 => Ok(Self { memory_map, command_line, module: module.transpose()?, acpi }),
            more => Err(StartInfoError::TooManyModules { modules: 1 + more }),
        }
    }

    fn of_pvh(at: PhysAddr, loader: &LoaderMemory) -> Result<Self, StartInfoError> {
        let raw: RawStartInfo = loader.read(at)?;
        if raw.magic != MAGIC {
            return Err(StartInfoError::Magic { at, found: raw.magic });
        }
        if raw.version < FIRST_VERSION_WITH_MEMORY_MAP {
            return Err(StartInfoError::Version { version: raw.version });
        }
        Ok(Self {
            memory_map: memory_map(loader, &raw)?,
            command_line: command_line(loader, &raw)?,
            module: module(loader, &raw)?,
            acpi: match raw.root_pointer {
                0 => None,
                at => Some(AcpiRoot::Pointer(address(at)?)),
            },
        })
    }
}

fn acpi_of_multiboot2(information: &BootInformation<'_>) -> Result<Option<AcpiRoot>, StartInfoError> {
    let new = information.rsdp_v2_tag().map(|tag| (tag.xsdt_address(), tag.revision()));
    let old = || information.rsdp_v1_tag().map(|tag| (tag.rsdt_address(), tag.revision()));
    let table = new.or_else(old);
    table.map(|(at, revision)| Ok(AcpiRoot::Table { at: address(at as u64)?, revision })).transpose()
}

fn memory_map(loader: &LoaderMemory, raw: &RawStartInfo) -> Result<MemoryMap, StartInfoError> {
    let mut map = MemoryMap::new();
    for index in 0..u64::from(raw.memory_map_entries) {
        let entry: RawMemoryMapEntry = loader.read_element(raw.memory_map, index)?;
        let too_long = StartInfoError::MemoryMapTooLong { entries: raw.memory_map_entries as usize };
        map.try_push(memory_range(entry.start, entry.bytes, entry.kind)?).map_err(|_| too_long)?;
    }
    Ok(map)
}

fn command_line(loader: &LoaderMemory, raw: &RawStartInfo) -> Result<CommandLine, StartInfoError> {
    let mut line = CommandLine::new();
    if raw.command_line == 0 {
        return Ok(line);
    }
    for index in 0..=MAX_COMMAND_LINE_BYTES as u64 {
        let byte: u8 = loader.read_element(raw.command_line, index)?;
        if byte == 0 {
            return Ok(line);
        }
        push(&mut line, byte)?;
    }
    Err(StartInfoError::CommandLineTooLong)
}

/// Appends a byte to the command line.
fn push(line: &mut CommandLine, byte: u8) -> Result<(), StartInfoError> {
    if !byte.is_ascii() {
        return Err(StartInfoError::CommandLineNotAscii { byte });
    }
    line.try_push(char::from(byte)).map_err(|_| StartInfoError::CommandLineTooLong)
}

fn module(loader: &LoaderMemory, raw: &RawStartInfo) -> Result<Option<Range<PhysAddr>>, StartInfoError> {
    match raw.modules {
        0 => Ok(None),
        1 => {
            let module: RawModule = loader.read(address(raw.module_list)?)?;
            range(module.start, module.bytes).map(Some)
        }
        modules => Err(StartInfoError::TooManyModules { modules: modules as usize }),
    }
}

fn memory_range(start: u64, bytes: u64, kind: u32) -> Result<MemoryRange, StartInfoError> {
    let kind = if kind == RAM { MemoryKind::Ram } else { MemoryKind::Other(kind) };
    Ok(MemoryRange { addresses: range(start, bytes)?, kind })
}

fn address(value: u64) -> Result<PhysAddr, StartInfoError> {
    PhysAddr::try_new(value).map_err(|_| StartInfoError::NotAnAddress { value })
}

fn range(start: u64, bytes: u64) -> Result<Range<PhysAddr>, StartInfoError> {
    let end = start.checked_add(bytes).ok_or(StartInfoError::NotAnAddress { value: bytes })?;
    Ok(address(start)?..address(end)?)
}

/// `struct hvm_start_info`.
#[derive(Clone, Copy)]
#[repr(C)]
struct RawStartInfo {
    magic: u32,
    version: u32,
    _flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    root_pointer: u64,
    memory_map: u64,
    memory_map_entries: u32,
    _reserved: u32,
}

/// `struct hvm_modlist_entry`.
#[derive(Clone, Copy)]
#[repr(C)]
struct RawModule {
    start: u64,
    bytes: u64,
    _command_line: u64,
    _reserved: u64,
}

/// `struct hvm_memmap_table_entry`.
#[derive(Clone, Copy)]
#[repr(C)]
struct RawMemoryMapEntry {
    start: u64,
    bytes: u64,
    kind: u32,
    _reserved: u32,
}

/// A type of the loader's structures.
///
/// # Safety
///
/// Every bit pattern of the size of the type must be a valid value.
unsafe trait Plain: Copy {}

// SAFETY: every bit pattern is a valid integer.
unsafe impl Plain for u8 {}
// SAFETY: it consists of integers, without padding.
unsafe impl Plain for RawStartInfo {}
// SAFETY: it consists of integers, without padding.
unsafe impl Plain for RawModule {}
// SAFETY: it consists of integers, without padding.
unsafe impl Plain for RawMemoryMapEntry {}

/// Checked reads of physical memory through the boot page tables.
struct LoaderMemory(());

impl LoaderMemory {
    /// # Safety
    ///
    /// While the value is used, the caller guarantees that
    /// 1. physical memory below [`IDENTITY_MAPPED_BYTES`] is readable at its own addresses, and
    /// 2. no code writes to memory that is read through it.
    unsafe fn assume_mapped() -> Self {
        Self(())
    }

    fn read<T: Plain>(&self, at: PhysAddr) -> Result<T, StartInfoError> {
        let bytes = size_of::<T>() as u64;
        let out_of_reach = StartInfoError::OutOfReach { at, bytes };
        let end = at.as_u64().checked_add(bytes).ok_or(out_of_reach)?;
        if at.is_null() || end > IDENTITY_MAPPED_BYTES {
            return Err(out_of_reach);
        }
        let pointer = VirtAddr::new(at.as_u64()).as_ptr::<T>();
        // SAFETY: 1. The bytes are below `IDENTITY_MAPPED_BYTES`, so they are mapped and not
        // written to, by the guarantees of `assume_mapped`. 2. `T` is `Plain`, so they are a valid
        // value.
        Ok(unsafe { ptr::read_unaligned(pointer) })
    }

    fn read_element<T: Plain>(&self, array: u64, index: u64) -> Result<T, StartInfoError> {
        let offset = index.checked_mul(size_of::<T>() as u64);
        let value = offset.and_then(|offset| array.checked_add(offset));
        self.read(address(value.ok_or(StartInfoError::NotAnAddress { value: array })?)?)
    }
}
