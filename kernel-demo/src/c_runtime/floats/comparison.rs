//! Comparisons. A caller looks at the sign of what they return.
//!
//! With a NaN among the operands the answer is the one that makes the caller's test fail: positive where it asks
//! for "less", "at most" or "equal" (and for "not equal", where it holds), negative for "greater" and "at
//! least". `ucomisd` sets CF for less and ZF for equal, and both when there is a NaN (SDM Vol 2B). LLVM reads 32
//! bits of the result and GCC 64: all 64 are the number.

use core::arch::naked_asm;

/// Comparisons of one width: how its operands reach XMM0 and XMM1, the instruction, and the symbols by what they
/// return for a NaN.
macro_rules! comparisons {
    (
        $bits:ty, $load_left:literal, $load_right:literal, $compare:literal;
        positive: $($positive:ident)+; negative: $($negative:ident)+; is_nan: $is_nan:ident;
    ) => {
        $(
            /// -1 if left < right, 0 if they are equal, 1 otherwise.
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
            /// 1 if left > right, 0 if they are equal, -1 otherwise.
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
        /// 1 if one of them is a NaN, 0 otherwise.
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
