//! From the first instruction after the loader to the first Rust function.
//!
//! A PVH loader (`qemu -kernel`) finds `boot_entry` in a note. It jumps there in 32-bit protected
//! mode, without paging and with interrupts off. The linker computes all addresses, so the page
//! tables are complete in the file. They map [`MAPPED_BYTES`] at their own addresses, except for
//! the first 2 MiB, and stay active. When Rust is entered, `.bss` is zeroed, and CR0.WP and
//! EFER.NXE are set, as Palimpsest requires.

use core::arch::global_asm;

use x86_64::registers::control::{Cr0Flags, Cr4Flags};
use x86_64::registers::model_specific::EferFlags;
use x86_64::structures::gdt::DescriptorFlags;
use x86_64::structures::paging::{PageSize, PageTableFlags, Size2MiB};

use crate::kernel_main;
use crate::memory::MAPPED_BYTES;

/// `XEN_ELFNOTE_PHYS32_ENTRY`: the note contains the address of the 32-bit entry.
const PVH_NOTE_TYPE: u32 = 18;

/// The number of the EFER register (Intel SDM Vol 4, table 2-2).
const EFER_MSR: u32 = 0xc000_0080;

const TABLE: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE);
const LARGE_PAGE: PageTableFlags = TABLE.union(PageTableFlags::HUGE_PAGE);

/// The number of mapped entries in the level-2 table. The first entry is not mapped.
const LARGE_PAGES: u64 = MAPPED_BYTES / Size2MiB::SIZE - 1;

global_asm!(
    ".pushsection .note.pvh, \"a\", @note",
    ".balign 4",
    ".long 4",
    ".long 8",
    ".long {note_type}",
    ".asciz \"Xen\"",
    ".quad boot_entry",
    ".popsection",
    note_type = const PVH_NOTE_TYPE,
);

// The page tables and the segments.
global_asm!(
    ".pushsection .data.boot, \"aw\"",
    ".balign 4096",
    "boot_level_4:",
    ".quad boot_level_3 + {table}",
    ".fill 511, 8, 0",
    "boot_level_3:",
    ".quad boot_level_2 + {table}",
    ".fill 511, 8, 0",
    "boot_level_2:",
    ".quad 0",
    ".set boot_address, {large_page_bytes}",
    ".rept {large_pages}",
    ".quad boot_address + {large_page}",
    ".set boot_address, boot_address + {large_page_bytes}",
    ".endr",
    ".fill 511 - {large_pages}, 8, 0",
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
    large_pages = const LARGE_PAGES,
    code_segment = const DescriptorFlags::KERNEL_CODE64.bits(),
);

// 32-bit code: zeroes `.bss`, enables paging and long mode (Intel SDM Vol 3A, 11.8.5), and enters
// 64-bit code with a far return.
global_asm!(
    ".pushsection .text.boot, \"ax\"",
    ".code32",
    ".global boot_entry",
    "boot_entry:",
    "cld",
    "lea esp, [__stack_top]",
    // The loader need not zero the part of the segment that is not in the file.
    "lea edi, [__bss_start]",
    "lea ecx, [__bss_end]",
    "sub ecx, edi",
    "shr ecx, 2",
    "xor eax, eax",
    "rep stosd",
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
    // 64-bit mode ignores data segments, and ring 0 requires a null SS.
    "xor eax, eax",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    // The upper half of a register is undefined after the switch from 32-bit mode.
    "lea rsp, [rip + __stack_top]",
    "xor ebp, ebp",
    "call {kernel_main}",
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
    kernel_main = sym kernel_main,
);
