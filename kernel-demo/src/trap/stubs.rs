//! The assembly between the CPU's exception frame and `dispatch`, for every vector but that of page
//! faults, whose entry is in `palimpsest_paging`.
//!
//! Invariant: when the interrupted code continues, every register that Rust code may change has its
//! previous value. These registers are
//! - the general registers that a call may change, and RFLAGS, which IRETQ restores,
//! - MXCSR, and the XMM registers: all 16 where the compiler uses them, otherwise the two that
//!   `palimpsest_sse2_floats` uses.
//!
//! This kernel does not change the rest of the FXSAVE image. Under TCG, saving and restoring the 16
//! registers one by one takes a tenth of the time of FXSAVE64 and FXRSTOR64.

use core::arch::naked_asm;

use crate::trap::dispatch;

/// The number of XMM registers that Rust code may change.
const XMM_REGISTERS: usize = if cfg!(target_feature = "sse2") { 16 } else { 2 };

/// Space for 16 XMM registers, MXCSR, and the handler's MXCSR. It is a multiple of 16 bytes.
const SSE_BYTES: usize = 16 * 16 + 16;

/// The MXCSR that Rust code requires: all exceptions masked, round to nearest (SDM Vol 1 10.2.3).
const DEFAULT_MXCSR: u32 = 0x1f80;

/// The entry of a vector for which the CPU pushes no error code.
#[unsafe(naked)]
pub(super) extern "sysv64" fn without_code<const VECTOR: u8>() {
    naked_asm!(
        "push 0",
        "push {vector}",
        "jmp {common}",
        vector = const VECTOR,
        common = sym common,
    )
}

/// The entry of a vector for which the CPU pushes an error code.
#[unsafe(naked)]
pub(super) extern "sysv64" fn with_code<const VECTOR: u8>() {
    naked_asm!(
        "push {vector}",
        "jmp {common}",
        vector = const VECTOR,
        common = sym common,
    )
}

/// Builds a `TrapFrame`, calls `dispatch` with it, and returns to the interrupted code.
///
/// The CPU aligned the stack to 16 bytes before it pushed 5 words (SDM Vol 3A 7.14.2). With the
/// error code, the vector and the 9 registers these are 16 words, so the stack is aligned for the
/// call.
#[unsafe(naked)]
extern "sysv64" fn common() {
    naked_asm!(
        ".irp register, rax,rcx,rdx,rsi,rdi,r8,r9,r10,r11",
        "push \\register",
        ".endr",
        "mov rdi, rsp",
        "sub rsp, {sse_bytes}",
        "stmxcsr [rsp + 256]",
        "mov dword ptr [rsp + 260], {default_mxcsr}",
        "ldmxcsr [rsp + 260]",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        ".if \\n < {xmm_registers}",
        "movups [rsp + 16 * \\n], xmm\\n",
        ".endif",
        ".endr",
        // The interrupted code may have set the direction flag, but Rust code requires it clear.
        "cld",
        "call {dispatch}",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        ".if \\n < {xmm_registers}",
        "movups xmm\\n, [rsp + 16 * \\n]",
        ".endif",
        ".endr",
        "ldmxcsr [rsp + 256]",
        "add rsp, {sse_bytes}",
        ".irp register, r11,r10,r9,r8,rdi,rsi,rdx,rcx,rax",
        "pop \\register",
        ".endr",
        // Remove the vector and the error code.
        "add rsp, 16",
        "iretq",
        xmm_registers = const XMM_REGISTERS,
        sse_bytes = const SSE_BYTES,
        default_mxcsr = const DEFAULT_MXCSR,
        dispatch = sym dispatch,
    )
}
