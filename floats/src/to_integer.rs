//! Conversion of floats to integers, rounding toward zero.
//!
//! A value that does not fit becomes the nearest integer that does, and a NaN becomes zero, as in
//! `compiler_builtins`. In both cases the CPU returns the integer in which only the highest bit is
//! set (Intel SDM Vol 1 4.8.3.7). The functions convert to 64 bits and detect these cases from the
//! result.

use core::arch::naked_asm;

/// Conversions from one width of float: the instruction that moves the operand to XMM0, the ones
/// that convert, compare and subtract, the register with the operand's bits, the number of the sign
/// bit, and the bits of 2^63.
macro_rules! conversions {
    (
        $bits:ty, $load:literal, $convert:literal, $compare:literal, $subtract:literal;
        $register:literal, $sign:literal, $two_to_63:literal;
        i32: $to_i32:ident; u32: $to_u32:ident; i64: $to_i64:ident; u64: $to_u64:ident;
    ) => {
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        extern "C" fn $to_i32(value: $bits) -> i32 {
            naked_asm!(
                $load,
                concat!($convert, " rax, xmm0"),
                "movsxd rcx, eax",
                "cmp rcx, rax",
                "jne 2f",
                "ret",
                "2:",
                "xor eax, eax",
                concat!($compare, " xmm0, xmm0"),
                "jp 3f",
                // The largest integer, plus the sign bit: if it is set, the sum is the smallest.
                concat!("shr ", $register, ", ", $sign),
                "lea eax, [rdi + 0x7fffffff]",
                "3:",
                "ret",
            )
        }

        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        extern "C" fn $to_i64(value: $bits) -> i64 {
            naked_asm!(
                $load,
                concat!($convert, " rax, xmm0"),
                // Subtracting 1 overflows for the CPU's special result only.
                "cmp rax, 1",
                "jo 2f",
                "ret",
                "2:",
                "xor eax, eax",
                concat!($compare, " xmm0, xmm0"),
                "jp 3f",
                concat!("shr ", $register, ", ", $sign),
                "movabs rax, 0x7fffffffffffffff",
                "add rax, rdi",
                "3:",
                "ret",
            )
        }

        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        extern "C" fn $to_u32(value: $bits) -> u32 {
            naked_asm!(
                $load,
                concat!($convert, " rax, xmm0"),
                "mov ecx, eax",
                "cmp rcx, rax",
                "jne 2f",
                "ret",
                "2:",
                "xor eax, eax",
                "xorps xmm1, xmm1",
                concat!($compare, " xmm0, xmm1"),
                // A NaN, or negative: zero.
                "jbe 3f",
                "dec eax",
                "3:",
                "ret",
            )
        }

        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        extern "C" fn $to_u64(value: $bits) -> u64 {
            naked_asm!(
                $load,
                concat!($convert, " rax, xmm0"),
                "test rax, rax",
                "js 2f",
                "ret",
                "2:",
                "xor eax, eax",
                "xorps xmm1, xmm1",
                concat!($compare, " xmm0, xmm1"),
                // A NaN, or negative: zero.
                "jbe 3f",
                // 2^63 or more: convert the difference to 2^63 and set the highest bit. If the
                // difference does not fit either, all bits are set.
                concat!("mov rcx, ", $two_to_63),
                "movq xmm1, rcx",
                concat!($subtract, " xmm0, xmm1"),
                concat!($convert, " rax, xmm0"),
                "mov rcx, rax",
                "sar rcx, 63",
                "btc rax, 63",
                "or rax, rcx",
                "3:",
                "ret",
            )
        }
    };
}

conversions! {
    u64, "movq xmm0, rdi", "cvttsd2si", "ucomisd", "subsd";
    "rdi", "63", "0x43e0000000000000";
    i32: __fixdfsi; u32: __fixunsdfsi; i64: __fixdfdi; u64: __fixunsdfdi;
}

conversions! {
    u32, "movd xmm0, edi", "cvttss2si", "ucomiss", "subss";
    "edi", "31", "0x5f000000";
    i32: __fixsfsi; u32: __fixunssfsi; i64: __fixsfdi; u64: __fixunssfdi;
}
