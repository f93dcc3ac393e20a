//! Comparisons. The caller tests the sign of the result.
//!
//! If an operand is a NaN, the result must make the caller's test fail. So it is positive where the
//! caller tests for less, less or equal, or equal. It is positive for "not equal" too, whose test
//! must succeed. It is negative where the caller tests for greater, or greater or equal.
//!
//! `ucomisd` sets CF for less and ZF for equal, and both if an operand is a NaN (Intel SDM Vol 2B).
//! LLVM reads 32 bits of the result and GCC reads 64, so all 64 bits are the number.

use core::arch::naked_asm;

/// Comparisons of one width: the instructions that move the operands to XMM0 and XMM1, the
/// instruction that compares, and the symbols, grouped by what they return for a NaN.
macro_rules! comparisons {
    (
        $bits:ty, $load_left:literal, $load_right:literal, $compare:literal;
        positive: $($positive:ident)+; negative: $($negative:ident)+; is_nan: $is_nan:ident;
    ) => {
        $(
            /// Returns -1 if `left < right`, 0 if they are equal, and 1 otherwise.
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            extern "C" fn $positive(left: $bits, right: $bits) -> i64 {
                naked_asm!(
                    $load_left,
                    $load_right,
                    "xor eax, eax",
                    "xor ecx, ecx",
                    concat!($compare, " xmm1, xmm0"),
                    "setb al",
                    "seta cl",
                    "sub rax, rcx",
                    "ret",
                )
            }
        )+
        $(
            /// Returns 1 if `left > right`, 0 if they are equal, and -1 otherwise.
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            extern "C" fn $negative(left: $bits, right: $bits) -> i64 {
                naked_asm!(
                    $load_left,
                    $load_right,
                    "xor eax, eax",
                    "xor ecx, ecx",
                    concat!($compare, " xmm0, xmm1"),
                    "seta al",
                    "setb cl",
                    "sub rax, rcx",
                    "ret",
                )
            }
        )+
        /// Returns 1 if an operand is a NaN, and 0 otherwise.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        extern "C" fn $is_nan(left: $bits, right: $bits) -> i64 {
            naked_asm!(
                $load_left,
                $load_right,
                "xor eax, eax",
                concat!($compare, " xmm0, xmm1"),
                "setp al",
                "ret",
            )
        }
    };
}

comparisons! {
    u64, "movq xmm0, rdi", "movq xmm1, rsi", "ucomisd";
    positive: __eqdf2 __nedf2 __ltdf2 __ledf2;
    negative: __gtdf2 __gedf2;
    is_nan: __unorddf2;
}

comparisons! {
    u32, "movd xmm0, edi", "movd xmm1, esi", "ucomiss";
    positive: __eqsf2 __nesf2 __ltsf2 __lesf2;
    negative: __gtsf2 __gesf2;
    is_nan: __unordsf2;
}
