//! The two machines: where they start, and what a fault does.

#[cfg(all(target_arch = "arm", feature = "guard"))]
pub(crate) mod mpu;
#[cfg(all(target_arch = "arm", feature = "guard"))]
mod thumb;

#[cfg(target_arch = "arm")]
mod arm {
    use cortex_m_rt::{ExceptionFrame, entry, exception};

    #[entry]
    fn main() -> ! {
        crate::run()
    }

    // SAFETY: the handler does not return, so what it interrupted never finds anything changed.
    #[exception]
    unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
        panic!("a fault at {:#x}", frame.pc())
    }
}

#[cfg(target_arch = "riscv32")]
mod riscv {
    use riscv_rt::{TrapFrame, entry};

    #[entry]
    fn main() -> ! {
        crate::run()
    }

    /// Takes the place of the runtime's handler, which would loop.
    #[unsafe(export_name = "ExceptionHandler")]
    extern "C" fn exception(frame: &TrapFrame) -> ! {
        panic!("a fault in a function that returns to {:#x}", frame.ra)
    }
}
