//! From the start-up interrupt of another CPU to its first Rust function.
//!
//! The first CPU copies the real-mode code to a frame below 1 MiB and passes the number of that
//! frame with the interrupt (SDM Vol 3A 9.4). The code needs no page tables that map this frame,
//! because it jumps into the kernel image before it enables paging, and the image has equal
//! physical and virtual addresses. CPUs are started one after the other, so one set of parameters
//! is enough.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::ops::Range;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use x86_64::registers::mxcsr::MxCsr;
use x86_64::structures::gdt::DescriptorFlags;
use x86_64::structures::paging::{PageSize, PhysFrame, Size4KiB};
use x86_64::{PhysAddr, VirtAddr};

use crate::cpu::Cpu;
use crate::cpus::run_other;
use crate::memory::PHYSICAL_OFFSET;

/// The number of the frame for the real-mode code. Firmware keeps its data below it and at the end
/// of low memory.
const REAL_MODE_FRAME: u8 = 8;
/// The addresses of this frame.
pub(crate) const REAL_MODE_CODE: Range<PhysAddr> =
    PhysAddr::new_truncate(REAL_MODE_FRAME as u64 * Size4KiB::SIZE)
        ..PhysAddr::new_truncate((REAL_MODE_FRAME as u64 + 1) * Size4KiB::SIZE);

/// What the started CPU reads.
struct Parameters {
    /// The address of the level-4 table, which is below 4 GiB.
    root: AtomicU32,
    /// The end of its stack.
    stack: AtomicU64,
    /// What the kernel keeps for it.
    cpu: AtomicPtr<Cpu>,
}

static PARAMETERS: Parameters = Parameters {
    root: AtomicU32::new(0),
    stack: AtomicU64::new(0),
    cpu: AtomicPtr::new(core::ptr::null_mut()),
};

/// Two words for the far return into 64-bit code. Only the assembly writes them.
#[repr(transparent)]
struct FarReturn(UnsafeCell<[u64; 2]>);

// SAFETY: the type has no methods, so Rust code neither reads nor writes its content.
unsafe impl Sync for FarReturn {}

static FAR_RETURN: FarReturn = FarReturn(UnsafeCell::new([0; 2]));

unsafe extern "C" {
    safe static other_cpu_real_mode: u8;
    safe static other_cpu_real_mode_end: u8;
}

/// Copies the real-mode code to [`REAL_MODE_CODE`], and returns the number of that frame for the
/// start-up interrupt.
///
/// # Safety
///
/// The caller guarantees that the frame is RAM without another use, mapped at
/// [`PHYSICAL_OFFSET`] and writable.
pub(crate) unsafe fn place_code() -> u8 {
    let code = &raw const other_cpu_real_mode;
    let bytes = &raw const other_cpu_real_mode_end as usize - code as usize;
    assert!(bytes as u64 <= Size4KiB::SIZE, "the real-mode code has one frame");
    let to = PHYSICAL_OFFSET + REAL_MODE_CODE.start.as_u64();
    // SAFETY: the code is in the text, and the frame is the caller's to write. They do not overlap,
    // because the image is above 1 MiB.
    unsafe { code.copy_to_nonoverlapping(to.as_mut_ptr(), bytes) };
    REAL_MODE_FRAME
}

/// Sets what the next CPU that is started reads: it runs with the page tables of `root` on `stack`,
/// as `cpu`.
pub(crate) fn set_parameters(root: PhysFrame, stack: VirtAddr, cpu: &'static Cpu) {
    let root = u32::try_from(root.start_address().as_u64());
    PARAMETERS.root.store(root.expect("boot takes the root from below 4 GiB"), Ordering::Relaxed);
    PARAMETERS.stack.store(stack.as_u64(), Ordering::Relaxed);
    // The start-up interrupt is a write to an uncached register, which follows all earlier writes.
    PARAMETERS.cpu.store(core::ptr::from_ref(cpu).cast_mut(), Ordering::Release);
}

/// The first Rust function of another CPU. The assembly below calls it on the CPU's own stack.
extern "sysv64" fn start_other(cpu: &'static Cpu) -> ! {
    run_other(cpu)
}

// 16-bit code: enters protected mode and the image. Its segment begins at the frame's address.
global_asm!(
    ".pushsection .text.boot, \"ax\"",
    ".code16",
    ".balign 16",
    ".global other_cpu_real_mode",
    ".global other_cpu_real_mode_end",
    "other_cpu_real_mode:",
    "cli",
    "cld",
    "movw %cs, %ax",
    "movw %ax, %ds",
    "lgdtl other_cpu_segments_pointer - other_cpu_real_mode",
    "movl %cr0, %eax",
    "orl $1, %eax",
    "movl %eax, %cr0",
    "ljmpl $8, $other_cpu_protected_mode",
    ".balign 8",
    "other_cpu_segments_pointer:",
    ".word 23",
    ".long other_cpu_segments",
    "other_cpu_real_mode_end:",
    ".code64",
    ".popsection",
    ".pushsection .rodata.boot, \"a\"",
    ".balign 8",
    "other_cpu_segments:",
    ".quad 0",
    ".quad {code_segment}",
    ".quad {data_segment}",
    ".popsection",
    code_segment = const DescriptorFlags::KERNEL_CODE32.bits(),
    data_segment = const DescriptorFlags::KERNEL_DATA.bits(),
    options(att_syntax),
);

// 32-bit code: continues as the first CPU does, but with the final page tables.
global_asm!(
    ".pushsection .text.boot, \"ax\"",
    ".code32",
    "other_cpu_protected_mode:",
    "mov ax, 16",
    "mov ds, ax",
    "mov es, ax",
    "mov ss, ax",
    "mov edi, [{parameters} + {root}]",
    "lea ebx, [other_cpu_long_mode]",
    "lea esp, [{far_return} + 16]",
    "jmp boot_enter_long_mode",
    ".code64",
    "other_cpu_long_mode:",
    "xor eax, eax",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov fs, eax",
    "mov gs, eax",
    "mov rsp, [rip + {parameters} + {stack}]",
    "xor ebp, ebp",
    "push {mxcsr}",
    "ldmxcsr [rsp]",
    "pop rax",
    "mov rdi, [rip + {parameters} + {cpu}]",
    "call {start}",
    "ud2",
    ".popsection",
    parameters = sym PARAMETERS,
    root = const core::mem::offset_of!(Parameters, root),
    stack = const core::mem::offset_of!(Parameters, stack),
    cpu = const core::mem::offset_of!(Parameters, cpu),
    far_return = sym FAR_RETURN,
    // As for the first CPU.
    mxcsr = const MxCsr::from_bits_truncate(0x1f80).union(MxCsr::PRECISION).bits(),
    start = sym start_other,
);
