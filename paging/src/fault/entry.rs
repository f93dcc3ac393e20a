//! The entry of the page-fault vector: the assembly between the CPU's exception frame and the
//! kernel's handler.
//!
//! Invariant: when the interrupted code continues, every register that the handler may change has
//! its previous value, except for RCX and RDI if a store of zeros was moved.

use core::arch::naked_asm;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

use super::{Fault, StringRegisters};

/// The number of XMM registers that the compiler uses in this build.
const XMM_REGISTERS: usize = if cfg!(target_feature = "sse2") { 16 } else { 0 };

/// Space for the XMM registers, MXCSR, and the handler's MXCSR. It is a multiple of 16 bytes.
const SSE_BYTES: usize = 16 * 16 + 16;

/// The MXCSR that Rust code requires: all exceptions masked, round to nearest (Intel SDM Vol 1,
/// 10.2.3).
const DEFAULT_MXCSR: u32 = 0x1f80;

/// A page fault, with the registers of the code that it interrupted.
///
/// The entry that [`page_fault_entry`] returns makes it and passes it to the kernel's handler.
/// [`AddressSpace::handle_page_fault`](crate::AddressSpace::handle_page_fault) takes it.
#[derive(Debug)]
#[repr(C)]
pub struct PageFault {
    address: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rax: u64,
    error_code: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
    /// The registers are those of one CPU, so the fault must stay there.
    on_this_cpu: PhantomData<*mut ()>,
}

impl PageFault {
    /// The address and the error code.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        Fault::new(self.address, self.error_code)
    }

    /// The address of the interrupted instruction: RIP.
    #[must_use]
    pub const fn instruction_pointer(&self) -> u64 {
        self.rip
    }

    /// The stack pointer of the interrupted code: RSP.
    #[must_use]
    pub const fn stack_pointer(&self) -> u64 {
        self.rsp
    }

    /// The code segment of the interrupted code: CS. Its lowest two bits are the privilege level.
    #[must_use]
    pub const fn code_segment(&self) -> u64 {
        self.cs
    }

    pub(crate) const fn string_registers(&self) -> StringRegisters {
        let Self { rip, rax, rcx, rdi, rflags, .. } = *self;
        StringRegisters { rip, rax, rcx, rdi, rflags }
    }

    /// Makes the interrupted code continue with RCX and RDI as they are in `registers`.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the interrupted code may continue with these values.
    pub(crate) const unsafe fn put_back(&mut self, registers: &StringRegisters) {
        (self.rcx, self.rdi) = (registers.rcx, registers.rdi);
    }
}

/// Prints the address, the error code, and where the interrupted code was.
impl fmt::Display for PageFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { address, code } = self.fault();
        let Self { error_code, rip, rsp, .. } = self;
        write!(formatter, "page fault at {address:#x}, error code {error_code:#x} {code:?}, ")?;
        write!(formatter, "RIP {rip:#x}, RSP {rsp:#x}")
    }
}

/// Returns the address of an entry for the page-fault vector. The entry calls `handler` with the
/// fault and the registers of the interrupted code.
///
/// The handler passes the fault to
/// [`AddressSpace::handle_page_fault`](crate::AddressSpace::handle_page_fault). If it returns, the
/// interrupted instruction runs again. For a fault that is not the address space's, the handler
/// does what the kernel does without this crate.
///
/// The handler is a function, or a closure without captures. Anything else does not compile.
///
/// # Registers
///
/// The entry saves and restores the registers that a function may change (System V ABI,
/// "Registers"):
///
/// | | |
/// | --- | --- |
/// | RAX, RCX, RDX, RSI, RDI, R8 to R11 | saved and restored. The address space changes RCX and RDI of a store of zeros |
/// | RBX, RBP, R12 to R15 | the handler preserves them, as every function does |
/// | RFLAGS | IRETQ restores it. The direction flag is clear in the handler |
/// | CR2 | read before the handler runs, which gets it as the fault's address |
/// | XMM0 to XMM15, MXCSR | saved and restored if the build uses SSE2. MXCSR has its default in the handler |
/// | x87 and MMX state, upper halves of YMM | not saved: a build with AVX does not compile |
/// | segment registers, GS base | not changed. A kernel with user mode whose handler uses GS must execute SWAPGS in it |
///
/// A build for `x86_64-unknown-none` uses no SSE register by itself, so the entry saves none, and
/// SSE may be disabled. This crate uses no floats. A handler that returns must not use floats
/// either if the kernel links `palimpsest-sse2-floats`, whose functions use XMM0, XMM1 and MXCSR.
///
/// # What the kernel must guarantee
///
/// Setting an IDT entry is unsafe. These facts make it sound (Intel SDM Vol 3A, chapter "Interrupt
/// and Exception Handling"):
///
/// 1. The address goes into vector 14 and no other, because the entry removes the error code that
///    the CPU pushes for this vector.
/// 2. The gate is an interrupt gate with a 64-bit code segment of ring 0, so the handler starts
///    with interrupts off. The handler leaves them off.
/// 3. The gate has an IST index. Its stack is mapped at all times, has at least 16 KiB, and is used
///    by one CPU and by this vector only. The interpreter touches linear memory at any depth of its
///    stack, and code that was compiled with a red zone uses the bytes below its stack pointer.
/// 4. The handler, and handlers that may interrupt it (machine checks, NMIs), cause no page fault:
///    the second one would start at the top of the same stack and overwrite the first.
///
/// # Examples
///
/// ```no_run
/// use palimpsest_paging::x86_64::VirtAddr;
/// use palimpsest_paging::x86_64::structures::idt::InterruptDescriptorTable;
/// use palimpsest_paging::{AddressSpace, FramePool, Outcome, PageFault, SingleCpu};
/// use palimpsest_paging::page_fault_entry;
/// use std::sync::OnceLock; // for example `spin::Once` in a kernel
///
/// static SPACE: OnceLock<AddressSpace<SingleCpu<FramePool>>> = OnceLock::new();
///
/// fn page_fault(fault: &mut PageFault) {
///     match SPACE.get().map(|space| space.handle_page_fault(fault)) {
///         Some(Outcome::Handled) => {}
///         Some(Outcome::NotOurs(reason)) => panic!("{fault}: {reason}"),
///         None => panic!("{fault}: the kernel is still booting"),
///     }
/// }
///
/// fn set_gate(idt: &mut InterruptDescriptorTable) {
///     let entry = VirtAddr::new(page_fault_entry(page_fault));
///     // SAFETY: 1. The gate is that of vector 14. 2. It is an interrupt gate. 4. `page_fault`
///     // causes no page fault.
///     let gate = unsafe { idt.page_fault.set_handler_addr(entry) };
///     // SAFETY: 3. The first stack of the TSS has 16 KiB and no other use.
///     unsafe { gate.set_stack_index(0) };
/// }
/// ```
#[must_use = "the entry does nothing until its address is in vector 14 of the IDT"]
pub fn page_fault_entry<H>(handler: H) -> u64
where
    H: Fn(&mut PageFault) + Copy + Send + Sync + 'static,
{
    const { assert!(size_of::<H>() == 0, "the handler must be a function, or a closure without captures") };
    const { assert!(!cfg!(target_feature = "avx"), "the page-fault entry does not save YMM registers") };
    let _: H = handler;
    entry::<H> as *const () as u64
}

/// Makes a [`PageFault`] on the stack, calls the handler with it, and returns to the interrupted
/// code.
///
/// The CPU aligned the stack to 16 bytes before it pushed 5 words and the error code (Intel SDM Vol
/// 3A, 7.14.2). With the 9 registers and the address these are 16 words, so the stack is aligned
/// for the call.
///
/// Only the CPU enters here, with the stack as above, by the first guarantee of
/// [`page_fault_entry`]. Rust code gets nothing but the address.
#[unsafe(naked)]
extern "sysv64" fn entry<H: Fn(&mut PageFault) + Copy + Send + Sync + 'static>() {
    naked_asm!(
        ".irp register, rax,rcx,rdx,rsi,rdi,r8,r9,r10,r11",
        "push \\register",
        ".endr",
        "mov rax, cr2",
        "push rax",
        "mov rdi, rsp",
        ".if {xmm_registers}",
        "sub rsp, {sse_bytes}",
        "stmxcsr [rsp + 256]",
        "mov dword ptr [rsp + 260], {default_mxcsr}",
        "ldmxcsr [rsp + 260]",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "movups [rsp + 16 * \\n], xmm\\n",
        ".endr",
        ".endif",
        // The interrupted code may have set the direction flag, but Rust code requires it clear.
        "cld",
        "call {call_handler}",
        ".if {xmm_registers}",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "movups xmm\\n, [rsp + 16 * \\n]",
        ".endr",
        "ldmxcsr [rsp + 256]",
        "add rsp, {sse_bytes}",
        ".endif",
        // Remove the address.
        "add rsp, 8",
        ".irp register, r11,r10,r9,r8,rdi,rsi,rdx,rcx,rax",
        "pop \\register",
        ".endr",
        // Remove the error code.
        "add rsp, 8",
        "iretq",
        xmm_registers = const XMM_REGISTERS,
        sse_bytes = const SSE_BYTES,
        default_mxcsr = const DEFAULT_MXCSR,
        call_handler = sym call_handler::<H>,
    )
}

extern "sysv64" fn call_handler<H: Fn(&mut PageFault) + Copy + 'static>(fault: &mut PageFault) {
    // SAFETY: `page_fault_entry` got a value of the type, which has no bytes, can be copied, and
    // lives as long as the program. So this is another copy of it.
    let handler = unsafe { NonNull::<H>::dangling().as_ref() };
    handler(fault);
}
