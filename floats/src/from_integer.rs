//! Conversion of integers to the nearest float.

use core::arch::naked_asm;

/// Conversions to one width of float: the instruction that converts a signed integer, the one that
/// adds, and the one that moves the result out of XMM0.
macro_rules! conversions {
    (
        $bits:ty, $convert:literal, $add:literal, $result:literal;
        i32: $from_i32:ident; u32: $from_u32:ident; i64: $from_i64:ident; u64: $from_u64:ident;
    ) => {
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        extern "C" fn $from_i32(value: i32) -> $bits {
            naked_asm!(concat!($convert, " xmm0, edi"), $result, "ret")
        }

        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        extern "C" fn $from_u32(value: u32) -> $bits {
            naked_asm!("mov eax, edi", concat!($convert, " xmm0, rax"), $result, "ret")
        }

        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        extern "C" fn $from_i64(value: i64) -> $bits {
            naked_asm!(concat!($convert, " xmm0, rdi"), $result, "ret")
        }

        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        extern "C" fn $from_u64(value: u64) -> $bits {
            naked_asm!(
                "test rdi, rdi",
                "js 2f",
                concat!($convert, " xmm0, rdi"),
                $result,
                "ret",
                // The integer is too large for a signed conversion: convert half of it, and double
                // the result. The bit that is shifted out is ORed into the lowest bit. That bit is
                // far below the last place of the float, so it only decides whether the rest is a
                // tie.
                "2:",
                "mov rax, rdi",
                "shr rax, 1",
                "and edi, 1",
                "or rax, rdi",
                concat!($convert, " xmm0, rax"),
                concat!($add, " xmm0, xmm0"),
                $result,
                "ret",
            )
        }
    };
}

conversions! {
    u64, "cvtsi2sd", "addsd", "movq rax, xmm0";
    i32: __floatsidf; u32: __floatunsidf; i64: __floatdidf; u64: __floatundidf;
}

conversions! {
    u32, "cvtsi2ss", "addss", "movd eax, xmm0";
    i32: __floatsisf; u32: __floatunsisf; i64: __floatdisf; u64: __floatundisf;
}
