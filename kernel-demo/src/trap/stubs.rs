//! The assembly between the CPU's exception frame and `dispatch`.
//!
//! Owns the entry points of all vectors. Invariant: when the interrupted code goes on, every register that
//! Rust code may change holds what it held, but for those that `dispatch` changed in the frame: the general
//! registers that a call may change, RFLAGS (by IRETQ), MXCSR and the XMM registers, which are all 16 where the
//! compiler keeps live values in them, and the two of `c_runtime::floats` where it knows of none. The rest of the
//! FXSAVE image is not touched by this kernel; moving the 16 registers by hand takes a tenth of the time of
//! FXSAVE64 and FXRSTOR64 under TCG. Registered by `trap::table`.

use core::arch::naked_asm;

use crate::trap::dispatch;

/// How many of the XMM registers Rust code may change.
const XMM_REGISTERS: usize = if cfg!(target_feature = "sse2") { 16 } else { 2 };

/// Room for 16 XMM registers, MXCSR, and the default MXCSR for the handler; a multiple of 16 bytes.
const SSE_BYTES: usize = 16 * 16 + 16;

/// MXCSR as Rust code expects it: all exceptions masked, round to nearest (SDM Vol 1 10.2.3).
const DEFAULT_MXCSR: u32 = 0x1f80;

/// Entry of a vector for which the CPU pushes no error code.
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

/// Entry of a vector for which the CPU pushes an error code.
#[unsafe(naked)]
pub(super) extern "sysv64" fn with_code<const VECTOR: u8>() {
    naked_asm!(
        "push {vector}",
        "jmp {common}",
        vector = const VECTOR,
        common = sym common,
    )
}

/// Builds a `TrapFrame`, calls `dispatch` with it and returns to the interrupted code.
///
/// The CPU aligned the stack to 16 bytes before it pushed 5 words (SDM Vol 3A 7.14.2); with error code,
/// vector and the 9 registers that makes 16 words, so the stack is aligned again for the call.
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
        // The interrupted code may be copying backwards; Rust code expects the direction flag clear.
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
        // Vector and error code.
        "add rsp, 16",
        "iretq",
        xmm_registers = const XMM_REGISTERS,
        sse_bytes = const SSE_BYTES,
        default_mxcsr = const DEFAULT_MXCSR,
        dispatch = sym dispatch,
    )
}
