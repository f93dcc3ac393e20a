//! The list of the machine's CPUs, from the ACPI tables.
//!
//! A PVH loader passes the address of the root pointer (RSDP), and a Multiboot2 loader a copy of
//! it. Both lead to the multiple APIC description table (MADT), which has an entry for each CPU
//! (ACPI specification 6.5, 5.2.12). The crate `acpi` reads the tables through the boot page
//! tables. A machine without ACPI has one CPU.

use core::ptr::NonNull;

use acpi::madt::{Madt, MadtEntry};
use acpi::{AcpiError, AcpiHandler, AcpiTables, PhysicalMapping};
use arrayvec::ArrayVec;
use thiserror::Error;
use x86_64::{PhysAddr, VirtAddr};

use crate::boot::entry::IDENTITY_MAPPED_BYTES;

/// The limit of CPUs.
pub(crate) const MAX_CPUS: usize = 64;

/// In the flags of a CPU's entry: the CPU can be used.
const ENABLED: u32 = 1 << 0;

/// Where the ACPI tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcpiRoot {
    /// The root pointer is at this address.
    Pointer(PhysAddr),
    /// The root table is at this address, and the root pointer has this revision.
    Table { at: PhysAddr, revision: u8 },
}

/// Why the list of CPUs cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum ProcessorsError {
    /// The tables are damaged.
    #[error("ACPI tables: {0:?}")]
    Tables(AcpiError),
    /// The list is too long.
    #[error("the machine has more than {MAX_CPUS} CPUs: increase MAX_CPUS")]
    TooMany,
}

impl From<AcpiError> for ProcessorsError {
    fn from(error: AcpiError) -> Self {
        Self::Tables(error)
    }
}

/// The local APIC IDs of the CPUs that can be used, in the order of the table.
pub(crate) type Processors = ArrayVec<u32, MAX_CPUS>;

/// Reads the list of CPUs.
///
/// # Errors
///
/// See [`ProcessorsError`].
///
/// # Safety
///
/// The caller guarantees that
/// 1. the boot page tables are active, and
/// 2. `root` is from the loader, and no code writes to the ACPI tables during the call.
pub(super) unsafe fn read(root: AcpiRoot) -> Result<Processors, ProcessorsError> {
    let tables = match root {
        // SAFETY: the loader states that the root pointer is there (guarantee 2).
        AcpiRoot::Pointer(at) => unsafe { AcpiTables::from_rsdp(Identity, identity(at)) },
        // SAFETY: the loader's copy of the root pointer has this address (guarantee 2).
        AcpiRoot::Table { at, revision } => unsafe {
            AcpiTables::from_rsdt(Identity, revision, identity(at))
        },
    }?;
    let table = tables.find_table::<Madt>()?;
    let mut processors = Processors::new();
    for entry in table.get().entries() {
        let (id, flags) = if let MadtEntry::LocalApic(cpu) = entry {
            (u32::from(cpu.apic_id), cpu.flags)
        } else if let MadtEntry::LocalX2Apic(cpu) = entry {
            (cpu.x2apic_id, cpu.flags)
        } else {
            continue;
        };
        if flags & ENABLED != 0 {
            processors.try_push(id).map_err(|_| ProcessorsError::TooMany)?;
        }
    }
    Ok(processors)
}

/// The address at which the boot page tables map `at`, in the type that the crate takes.
fn identity(at: PhysAddr) -> usize {
    VirtAddr::new(at.as_u64()).as_ptr::<u8>().addr()
}

/// Physical memory at its own addresses, as the boot page tables map it.
#[derive(Clone)]
struct Identity;

impl AcpiHandler for Identity {
    unsafe fn map_physical_region<T>(&self, at: usize, bytes: usize) -> PhysicalMapping<Self, T> {
        let is_mapped = at.checked_add(bytes).is_some_and(|end| end as u64 <= IDENTITY_MAPPED_BYTES);
        assert!(is_mapped, "an ACPI table has {bytes} bytes at {at:#x}, which are not in the first 4 GiB");
        let start = NonNull::new(at as *mut T).expect("no ACPI table is at address 0");
        // SAFETY: the boot page tables map the range at its own address, as was just checked.
        unsafe { PhysicalMapping::new(at, start, bytes, bytes, self.clone()) }
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}
}
