//! Addition, subtraction, multiplication, division, and conversion between the two widths.

use core::arch::naked_asm;

/// Functions of two `f64`: the symbol, and the instruction that implements it.
macro_rules! double {
    ($($symbol:ident = $instruction:literal;)+) => {$(
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        extern "C" fn $symbol(left: u64, right: u64) -> u64 {
            naked_asm!(
                "movq xmm0, rdi",
                "movq xmm1, rsi",
                concat!($instruction, " xmm0, xmm1"),
                "movq rax, xmm0",
                "ret",
            )
        }
    )+};
}

/// Functions of two `f32`: the symbol, and the instruction that implements it.
macro_rules! single {
    ($($symbol:ident = $instruction:literal;)+) => {$(
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        extern "C" fn $symbol(left: u32, right: u32) -> u32 {
            naked_asm!(
                "movd xmm0, edi",
                "movd xmm1, esi",
                concat!($instruction, " xmm0, xmm1"),
                "movd eax, xmm0",
                "ret",
            )
        }
    )+};
}

double! {
    __adddf3 = "addsd";
    __subdf3 = "subsd";
    __muldf3 = "mulsd";
    __divdf3 = "divsd";
}

single! {
    __addsf3 = "addss";
    __subsf3 = "subss";
    __mulsf3 = "mulss";
    __divsf3 = "divss";
}

/// Converts `f32` to `f64`.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn __extendsfdf2(value: u32) -> u64 {
    naked_asm!("movd xmm0, edi", "cvtss2sd xmm0, xmm0", "movq rax, xmm0", "ret")
}

/// Converts `f64` to the nearest `f32`.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn __truncdfsf2(value: u64) -> u32 {
    naked_asm!("movq xmm0, rdi", "cvtsd2ss xmm0, xmm0", "movd eax, xmm0", "ret")
}
