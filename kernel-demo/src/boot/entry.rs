//! From the first instruction after the loader to the first Rust function.
//!
//! A PVH loader finds `pvh_entry` in a note, and a Multiboot2 loader finds `multiboot2_entry` in a
//! header. Both jump there in 32-bit protected mode, without paging and with interrupts off. EBX
//! contains the physical address of the start information. A Multiboot2 loader also puts a magic
//! number into EAX. The boot page tables map the first 4 GiB at their own addresses, writable,
//! which is enough for the rest of the boot. On a CPU without long mode or NX, the code prints a
//! line to the first serial port and ends the emulator.
//!
//! When Rust is entered, `.bss` is zeroed, CR0.WP, EFER.NXE and SSE are enabled, and the kernel
//! stack is painted.

use core::arch::global_asm;
use core::cell::UnsafeCell;

use x86_64::registers::control::{Cr0Flags, Cr4Flags};
use x86_64::registers::model_specific::EferFlags;
use x86_64::registers::mxcsr::MxCsr;
use x86_64::structures::gdt::DescriptorFlags;
use x86_64::structures::paging::{PageSize, PageTable, PageTableFlags, Size2MiB};

use crate::boot::start;
use crate::serial::CONSOLE_PORT;
use crate::stack::{GUARD_BYTES, KERNEL_STACK, KERNEL_STACK_BYTES, PAINT};
use palimpsest_protocol::{EXIT_PORT, ExitStatus};

/// Each level-2 table maps 1 GiB. A 32-bit loader can write only below 4 GiB.
const LEVEL_2_TABLES: usize = 4;

/// The number of bytes that the boot page tables map at their own addresses, from address 0.
pub(super) const IDENTITY_MAPPED_BYTES: u64 = LEVEL_2_TABLES as u64 * 512 * Size2MiB::SIZE;

/// The tables that are active until `boot::mapping` has built the final ones.
#[repr(C, align(4096))]
struct BootTables {
    level_4: PageTable,
    level_3: PageTable,
    level_2: [PageTable; LEVEL_2_TABLES],
}

/// Memory in `.bss`. Only the assembly below writes it, before Rust runs. Later only the CPU reads
/// it.
#[repr(transparent)]
struct BootTablesCell(UnsafeCell<BootTables>);

// SAFETY: the type has no methods, so Rust code neither reads nor writes its content.
unsafe impl Sync for BootTablesCell {}

static BOOT_TABLES: BootTablesCell = BootTablesCell(UnsafeCell::new(BootTables {
    level_4: PageTable::new(),
    level_3: PageTable::new(),
    level_2: [const { PageTable::new() }; LEVEL_2_TABLES],
}));

/// The CPUID leaf with the extended feature bits, and the leaf that returns the largest supported
/// leaf (SDM Vol 2A, CPUID).
const EXTENDED_FEATURES_LEAF: u32 = 0x8000_0001;
const LARGEST_EXTENDED_LEAF: u32 = 0x8000_0000;
/// Bits of EDX in the leaf with the extended features.
const LONG_MODE_BIT: u32 = 29;
const EXECUTE_DISABLE_BIT: u32 = 20;

/// `XEN_ELFNOTE_PHYS32_ENTRY`: the descriptor is the address of the 32-bit entry point.
const PVH_NOTE_TYPE: u32 = 18;

/// The header that a Multiboot2 loader looks for: its magic number, and the architecture that it is
/// for, 32-bit protected mode of i386 (Multiboot2 specification, 3.1.2).
const MULTIBOOT2_HEADER_MAGIC: u32 = 0xe852_50d6;
const MULTIBOOT2_I386: u32 = 0;
/// The tags of the header: the end, and the address of the entry.
const MULTIBOOT2_END_TAG: u16 = 0;
const MULTIBOOT2_ENTRY_TAG: u16 = 3;

/// The number of the EFER register (SDM Vol 4, table 2-2).
const EFER_MSR: u32 = 0xc000_0080;

/// The line status register of a 16550, relative to its base port. If bit 5 is set, it accepts a
/// byte.
const LINE_STATUS: u16 = 5;
const TRANSMITTER_EMPTY: u8 = 1 << 5;

// The PVH note. Its name and its descriptor are aligned to 4 bytes.
global_asm!(
    ".pushsection .note.pvh, \"a\", @note",
    ".balign 4",
    ".long 4",
    ".long 8",
    ".long {note_type}",
    ".asciz \"Xen\"",
    ".quad pvh_entry",
    ".popsection",
    note_type = const PVH_NOTE_TYPE,
);

// The Multiboot2 header. Header and tags are aligned to 8 bytes. The sum of the first four words is
// 0.
global_asm!(
    ".pushsection .multiboot2, \"a\"",
    ".balign 8",
    "multiboot2_header:",
    ".long {header_magic}",
    ".long {architecture}",
    ".long multiboot2_header_end - multiboot2_header",
    ".long -({header_magic} + {architecture} + (multiboot2_header_end - multiboot2_header))",
    ".word {entry_tag}, 0",
    ".long 12",
    ".long multiboot2_entry",
    ".balign 8",
    ".word {end_tag}, 0",
    ".long 8",
    "multiboot2_header_end:",
    ".popsection",
    header_magic = const MULTIBOOT2_HEADER_MAGIC,
    architecture = const MULTIBOOT2_I386,
    entry_tag = const MULTIBOOT2_ENTRY_TAG,
    end_tag = const MULTIBOOT2_END_TAG,
);

// 32-bit code: sets up a stack, zeroes `.bss`, and checks the CPU.
global_asm!(
    ".pushsection .text.boot, \"ax\"",
    ".code32",
    ".global pvh_entry",
    ".global multiboot2_entry",
    "pvh_entry:",
    // The protocol does not define EAX.
    "xor eax, eax",
    "multiboot2_entry:",
    "cld",
    // CPUID changes EAX and EBX.
    "mov ebp, ebx",
    "mov edx, eax",
    "lea esp, [{stack} + {guard_bytes} + {stack_bytes}]",
    // The loader need not zero the part of the segment that is not in the file.
    "lea edi, [__bss_start]",
    "lea ecx, [__bss_end]",
    "sub ecx, edi",
    "shr ecx, 2",
    "xor eax, eax",
    "rep stosd",
    // The 8 bytes of the magic number, for the 64-bit code.
    "push 0",
    "push edx",
    "mov eax, {largest_extended_leaf}",
    "cpuid",
    "lea esi, [boot_no_long_mode]",
    "cmp eax, {extended_features_leaf}",
    "jb boot_refuse",
    "mov eax, {extended_features_leaf}",
    "cpuid",
    "bt edx, {long_mode_bit}",
    "jnc boot_refuse",
    "lea esi, [boot_no_execute_disable]",
    "bt edx, {execute_disable_bit}",
    "jnc boot_refuse",
    "jmp boot_build_tables",
    ".code64",
    ".popsection",
    stack = sym KERNEL_STACK,
    guard_bytes = const GUARD_BYTES,
    stack_bytes = const KERNEL_STACK_BYTES,
    largest_extended_leaf = const LARGEST_EXTENDED_LEAF,
    extended_features_leaf = const EXTENDED_FEATURES_LEAF,
    long_mode_bit = const LONG_MODE_BIT,
    execute_disable_bit = const EXECUTE_DISABLE_BIT,
);

// 32-bit code: builds the boot page tables. All addresses are below 4 GiB, so the upper halves of
// all entries are zero.
global_asm!(
    ".pushsection .text.boot, \"ax\"",
    ".code32",
    "boot_build_tables:",
    "lea edi, [{tables} + 2 * 4096]",
    "mov eax, {large_page}",
    "mov ecx, {level_2_tables} * 512",
    "2:",
    "mov [edi], eax",
    "add eax, {large_page_bytes}",
    "add edi, 8",
    "dec ecx",
    "jnz 2b",
    "lea eax, [{tables} + 2 * 4096 + {table}]",
    "lea edi, [{tables} + 4096]",
    "mov ecx, {level_2_tables}",
    "3:",
    "mov [edi], eax",
    "add eax, 4096",
    "add edi, 8",
    "dec ecx",
    "jnz 3b",
    "lea eax, [{tables} + 4096 + {table}]",
    "mov [{tables}], eax",
    "lea edi, [{tables}]",
    "lea ebx, [boot_long_mode]",
    "jmp boot_enter_long_mode",
    ".code64",
    ".popsection",
    tables = sym BOOT_TABLES,
    level_2_tables = const LEVEL_2_TABLES,
    large_page = const PageTableFlags::PRESENT
        .union(PageTableFlags::WRITABLE)
        .union(PageTableFlags::HUGE_PAGE)
        .bits(),
    large_page_bytes = const Size2MiB::SIZE,
    table = const PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE).bits(),
);

// 32-bit code: enables paging with the level-4 table at EDI, and long mode (SDM Vol 3A 11.8.5), and
// enters 64-bit code at EBX with a far return.
global_asm!(
    ".pushsection .text.boot, \"ax\"",
    ".code32",
    // For `other_cpu`, which may be in another object file.
    ".global boot_enter_long_mode",
    "boot_enter_long_mode:",
    "mov eax, {cr4}",
    "mov cr4, eax",
    "mov cr3, edi",
    "mov ecx, {efer_msr}",
    "xor edx, edx",
    "mov eax, {efer}",
    "wrmsr",
    "mov eax, {cr0}",
    "mov cr0, eax",
    "lgdt [boot_segments_pointer]",
    "push 8",
    "push ebx",
    "retf",
    ".code64",
    ".popsection",
    ".pushsection .rodata.boot, \"a\"",
    ".balign 8",
    "boot_segments:",
    ".quad 0",
    ".quad {code_segment}",
    "boot_segments_pointer:",
    ".word 15",
    ".long boot_segments",
    ".popsection",
    cr4 = const Cr4Flags::PHYSICAL_ADDRESS_EXTENSION
        .union(Cr4Flags::OSFXSR)
        .union(Cr4Flags::OSXMMEXCPT_ENABLE)
        .bits(),
    efer_msr = const EFER_MSR,
    efer = const EferFlags::LONG_MODE_ENABLE.union(EferFlags::NO_EXECUTE_ENABLE).bits(),
    // EM and TS are clear, so that SSE instructions do not fault (SDM Vol 3A 2.5).
    cr0 = const Cr0Flags::PROTECTED_MODE_ENABLE
        .union(Cr0Flags::MONITOR_COPROCESSOR)
        .union(Cr0Flags::EXTENSION_TYPE)
        .union(Cr0Flags::NUMERIC_ERROR)
        .union(Cr0Flags::WRITE_PROTECT)
        .union(Cr0Flags::PAGING)
        .bits(),
    code_segment = const DescriptorFlags::KERNEL_CODE64.bits(),
);

// 64-bit code: loads the segments, paints the stack, and calls Rust with the loader's two values.
global_asm!(
    ".pushsection .text.boot, \"ax\"",
    "boot_long_mode:",
    // 64-bit mode ignores data segments, and ring 0 requires a null SS.
    "xor eax, eax",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov fs, eax",
    "mov gs, eax",
    // The upper half of a register is undefined after the switch from 32-bit mode.
    "mov esp, esp",
    "pop rsi",
    "lea rdi, [rip + {stack} + {guard_bytes}]",
    "mov ecx, {stack_bytes} / 8",
    "movabs rax, {paint}",
    "rep stosq",
    // Zeroes the upper half of RDI.
    "mov edi, ebp",
    "lea rsp, [rip + {stack} + {guard_bytes} + {stack_bytes}]",
    "xor ebp, ebp",
    "push {mxcsr}",
    "ldmxcsr [rsp]",
    "pop rax",
    "call {start}",
    "ud2",
    ".popsection",
    stack = sym KERNEL_STACK,
    guard_bytes = const GUARD_BYTES,
    stack_bytes = const KERNEL_STACK_BYTES,
    paint = const PAINT,
    // The value after a reset (SDM Vol 1 10.2.3), with the sticky flag for inexact results set. The
    // kernel does not read this flag. QEMU can use the floats of its host only while the flag is
    // set.
    mxcsr = const MxCsr::from_bits_truncate(0x1f80).union(MxCsr::PRECISION).bits(),
    start = sym start,
);

// 32-bit code: prints the string at ESI and ends the emulator.
global_asm!(
    ".pushsection .text.boot, \"ax\"",
    ".code32",
    "boot_refuse:",
    "mov dx, {console} + {line_status}",
    "2:",
    "in al, dx",
    "test al, {transmitter_empty}",
    "jz 2b",
    "lodsb",
    "test al, al",
    "jz 3f",
    "mov dx, {console}",
    "out dx, al",
    "jmp boot_refuse",
    "3:",
    "mov dx, {exit_port}",
    "mov eax, {failed}",
    "out dx, eax",
    // Without an exit device, halt.
    "4:",
    "cli",
    "hlt",
    "jmp 4b",
    ".code64",
    ".popsection",
    ".pushsection .rodata.boot, \"a\"",
    "boot_no_long_mode:",
    ".asciz \"cannot boot: this CPU has no 64-bit mode (CPUID 80000001h, EDX bit 29)\\n\"",
    "boot_no_execute_disable:",
    ".asciz \"cannot boot: this CPU has no execute-disable bit (CPUID 80000001h, EDX bit 20)\\n\"",
    ".popsection",
    console = const CONSOLE_PORT,
    line_status = const LINE_STATUS,
    transmitter_empty = const TRANSMITTER_EMPTY,
    exit_port = const EXIT_PORT,
    failed = const ExitStatus::KernelFailed as u32,
);
