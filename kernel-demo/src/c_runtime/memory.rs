//! `memcpy`, `memmove`, `memset`, `memcmp`, `bcmp` and `strlen`, in assembly.
//!
//! They are in assembly because the compiler would compile loops in Rust to calls of these same
//! functions. They use string instructions on 8 bytes at a time, with up to 7 single bytes before
//! and after: under TCG, `rep stosb` takes eight times as long as `rep stosq`. The register-aware
//! fault entry of `palimpsest-paging` fast-forwards the `rep stosq` of `memset` over pages that are
//! zero.
//!
//! All follow the C standard and the System V calling convention: the direction flag is clear on
//! entry and return.

use core::arch::naked_asm;
use core::ffi::{c_char, c_int, c_void};

/// Sets `count` bytes at `to` to the low byte of `value`, and returns `to`.
///
/// # Safety
///
/// As in C, `count` bytes at `to` must be writable.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memset(to: *mut c_void, value: c_int, count: usize) -> *mut c_void {
    naked_asm!(
        "mov r8, rdi",
        "movzx esi, sil",
        "movabs rax, 0x0101010101010101",
        "imul rax, rsi",
        // Single bytes up to the first multiple of 8, or to the end.
        "mov ecx, edi",
        "neg ecx",
        "and ecx, 7",
        "cmp rcx, rdx",
        "cmova rcx, rdx",
        "sub rdx, rcx",
        "rep stosb",
        "mov rcx, rdx",
        "shr rcx, 3",
        "rep stosq",
        "mov ecx, edx",
        "and ecx, 7",
        "rep stosb",
        "mov rax, r8",
        "ret",
    )
}

/// Copies `count` bytes between ranges that do not overlap, and returns `to`.
///
/// # Safety
///
/// As in C, `count` bytes must be readable at `from` and writable at `to`, and must not overlap.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memcpy(to: *mut c_void, from: *const c_void, count: usize) -> *mut c_void {
    naked_asm!(
        "mov rax, rdi",
        "mov rcx, rdx",
        "shr rcx, 3",
        "rep movsq",
        "mov ecx, edx",
        "and ecx, 7",
        "rep movsb",
        "ret",
    )
}

/// Copies `count` bytes between ranges that may overlap, and returns `to`.
///
/// # Safety
///
/// As in C, `count` bytes must be readable at `from` and writable at `to`.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memmove(to: *mut c_void, from: *const c_void, count: usize) -> *mut c_void {
    naked_asm!(
        // Copying forward is correct unless `to` is in the `count` bytes after `from`.
        "mov rax, rdi",
        "sub rax, rsi",
        "cmp rax, rdx",
        "jae {forward}",
        "mov rax, rdi",
        "lea rdi, [rdi + rdx - 1]",
        "lea rsi, [rsi + rdx - 1]",
        "std",
        "mov ecx, edx",
        "and ecx, 7",
        "rep movsb",
        // Move from the last byte of a word to its first.
        "sub rdi, 7",
        "sub rsi, 7",
        "mov rcx, rdx",
        "shr rcx, 3",
        "rep movsq",
        "cld",
        "ret",
        forward = sym memcpy,
    )
}

/// Compares `count` bytes as unsigned numbers. The result has the sign of the first difference.
///
/// # Safety
///
/// As in C, `count` bytes at `left` and at `right` must be readable.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memcmp(left: *const c_void, right: *const c_void, count: usize) -> c_int {
    naked_asm!(
        "mov rcx, rdx",
        "shr rcx, 3",
        "jz 3f",
        "2:",
        "mov rax, [rdi]",
        "mov r8, [rsi]",
        "cmp rax, r8",
        "jne 5f",
        "add rdi, 8",
        "add rsi, 8",
        "dec rcx",
        "jnz 2b",
        "3:",
        "xor eax, eax",
        "and edx, 7",
        "jz 6f",
        "4:",
        "movzx eax, byte ptr [rdi]",
        "movzx ecx, byte ptr [rsi]",
        "sub eax, ecx",
        "jne 6f",
        "inc rdi",
        "inc rsi",
        "dec edx",
        "jnz 4b",
        "ret",
        // The words differ. The byte at the lowest address decides.
        "5:",
        "bswap rax",
        "bswap r8",
        "cmp rax, r8",
        "sbb eax, eax",
        "or eax, 1",
        "6:",
        "ret",
    )
}

/// Compares `count` bytes. Returns zero if they are equal.
///
/// # Safety
///
/// As in C, `count` bytes at `left` and at `right` must be readable.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn bcmp(left: *const c_void, right: *const c_void, count: usize) -> c_int {
    naked_asm!("jmp {memcmp}", memcmp = sym memcmp)
}

/// Returns the number of bytes before the first zero byte.
///
/// # Safety
///
/// As in C, all bytes from `text` to a zero byte must be readable.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn strlen(text: *const c_char) -> usize {
    naked_asm!(
        "mov rax, rdi",
        "2:",
        "cmp byte ptr [rax], 0",
        "je 3f",
        "inc rax",
        "jmp 2b",
        "3:",
        "sub rax, rdi",
        "ret",
    )
}
