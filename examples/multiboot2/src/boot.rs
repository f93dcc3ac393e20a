//! From GRUB's jump to the first Rust function, which runs in the upper half.
//!
//! GRUB finds `boot_entry` in the Multiboot2 header. It jumps there in 32-bit protected mode,
//! without paging and with interrupts off, with a magic number in EAX and the address of the boot
//! information in EBX. The linker computes all addresses, so the page tables are complete in the
//! file. They map the first [`MAPPED_BYTES`] of physical memory three times:
//!
//! | at | for |
//! | --- | --- |
//! | 0 | the instructions between enabling paging and the jump; removed after it |
//! | [`PHYSICAL_OFFSET`] | page tables, frames, and what GRUB passes |
//! | the last 2 GiB | the kernel, which is linked there (`kernel.ld`); only the first GiB |
//!
//! The window for the memories of guests is between the last two.
//!
//! When Rust is entered, CR0.WP and EFER.NXE are set, as Palimpsest requires. GRUB has zeroed
//! `.bss`.

use core::arch::global_asm;

use x86_64::VirtAddr;
use x86_64::registers::control::{Cr0Flags, Cr4Flags};
use x86_64::registers::model_specific::EferFlags;
use x86_64::structures::gdt::DescriptorFlags;
use x86_64::structures::paging::{PageSize, PageTableFlags, Size2MiB};

use crate::kernel_main;

/// The physical memory that is mapped. RAM above it is not used.
pub(crate) const MAPPED_BYTES: u64 = 4 << 30;

/// Where physical address 0 is mapped.
pub(crate) const PHYSICAL_OFFSET: VirtAddr = VirtAddr::new(0xffff_8000_0000_0000);

/// The magic number of the header, and its architecture: 32-bit protected mode of i386
/// (Multiboot2 specification, 3.1.2).
const HEADER_MAGIC: u32 = 0xe852_50d6;
const I386: u32 = 0;

/// The number of the EFER register (Intel SDM Vol 4, table 2-2).
const EFER_MSR: u32 = 0xc000_0080;

const TABLE: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE);
const LARGE_PAGE: PageTableFlags = TABLE.union(PageTableFlags::HUGE_PAGE);

/// Each level-2 table maps 1 GiB.
const LEVEL_2_TABLES: u64 = MAPPED_BYTES >> 30;

/// The index of the physical memory in the level-4 table.
const PHYSICAL_INDEX: u64 = (PHYSICAL_OFFSET.as_u64() >> 39) & 511;

// The header: the magic number, the architecture, the length and a checksum, and the tag that ends
// it. GRUB takes the entry and the addresses from the ELF file.
global_asm!(
    ".pushsection .boot.header, \"a\"",
    ".balign 8",
    "boot_header:",
    ".long {magic}, {i386}, boot_header_end - boot_header",
    ".long -({magic} + {i386} + (boot_header_end - boot_header))",
    ".word 0, 0",
    ".long 8",
    "boot_header_end:",
    ".popsection",
    magic = const HEADER_MAGIC,
    i386 = const I386,
);

// The page tables and the segments.
global_asm!(
    ".pushsection .boot.tables, \"aw\"",
    ".balign 4096",
    "boot_level_4:",
    ".quad boot_level_3 + {table}",
    ".fill {physical_index} - 1, 8, 0",
    ".quad boot_level_3 + {table}",
    ".fill 510 - {physical_index}, 8, 0",
    ".quad boot_level_3_of_kernel + {table}",
    "boot_level_3:",
    ".set boot_address, boot_level_2",
    ".rept {level_2_tables}",
    ".quad boot_address + {table}",
    ".set boot_address, boot_address + 4096",
    ".endr",
    ".fill 512 - {level_2_tables}, 8, 0",
    "boot_level_3_of_kernel:",
    ".fill 510, 8, 0",
    ".quad boot_level_2 + {table}, 0",
    "boot_level_2:",
    ".set boot_physical, 0",
    ".rept {level_2_tables} * 512",
    ".quad boot_physical + {large_page}",
    ".set boot_physical, boot_physical + {large_page_bytes}",
    ".endr",
    "boot_segments:",
    ".quad 0",
    ".quad {code_segment}",
    "boot_segments_pointer:",
    ".word 15",
    ".long boot_segments",
    ".popsection",
    table = const TABLE.bits(),
    large_page = const LARGE_PAGE.bits(),
    large_page_bytes = const Size2MiB::SIZE,
    level_2_tables = const LEVEL_2_TABLES,
    physical_index = const PHYSICAL_INDEX,
    code_segment = const DescriptorFlags::KERNEL_CODE64.bits(),
);

// 32-bit code: enables paging and long mode (Intel SDM Vol 3A, 11.8.5), and enters 64-bit code with
// a far return.
global_asm!(
    ".pushsection .boot.text, \"ax\"",
    ".code32",
    ".global boot_entry",
    "boot_entry:",
    "cld",
    "lea esp, [__stack_top_physical]",
    "mov edi, eax",
    "mov esi, ebx",
    "mov eax, {cr4}",
    "mov cr4, eax",
    "lea eax, [boot_level_4]",
    "mov cr3, eax",
    "mov ecx, {efer_msr}",
    "xor edx, edx",
    "mov eax, {efer}",
    "wrmsr",
    "mov eax, {cr0}",
    "mov cr0, eax",
    "lgdt [boot_segments_pointer]",
    "push 8",
    "lea eax, [boot_long_mode]",
    "push eax",
    "retf",
    ".code64",
    "boot_long_mode:",
    "movabs rax, offset boot_upper_half",
    "jmp rax",
    ".popsection",
    cr4 = const Cr4Flags::PHYSICAL_ADDRESS_EXTENSION.bits(),
    efer_msr = const EFER_MSR,
    efer = const EferFlags::LONG_MODE_ENABLE.union(EferFlags::NO_EXECUTE_ENABLE).bits(),
    cr0 = const Cr0Flags::PROTECTED_MODE_ENABLE
        .union(Cr0Flags::EXTENSION_TYPE)
        .union(Cr0Flags::NUMERIC_ERROR)
        .union(Cr0Flags::WRITE_PROTECT)
        .union(Cr0Flags::PAGING)
        .bits(),
);

// 64-bit code in the upper half: loads the segments, unmaps the lower half, and calls Rust with
// what GRUB passed.
global_asm!(
    ".pushsection .text.boot, \"ax\"",
    "boot_upper_half:",
    // 64-bit mode ignores data segments, and ring 0 requires a null SS.
    "xor eax, eax",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "movabs rax, {physical_offset}",
    "mov rcx, cr3",
    "mov qword ptr [rax + rcx], 0",
    "mov cr3, rcx",
    // The upper half of a register is undefined after the switch from 32-bit mode.
    "mov edi, edi",
    "mov esi, esi",
    "lea rsp, [rip + __stack_top]",
    "xor ebp, ebp",
    "call {kernel_main}",
    ".popsection",
    physical_offset = const PHYSICAL_OFFSET.as_u64(),
    kernel_main = sym kernel_main,
);
