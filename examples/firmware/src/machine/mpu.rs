//! The memory protection unit (MPU) as the guard of lent pages, and MemManage as its fault handler.
//!
//! A region of the unit is a power of two of bytes at a multiple of its size (ARMv7-M, B3.5.8), so
//! the guests' RAM is aligned to a Wasm page. What no region covers is as without the unit.

use core::arch::naked_asm;
use core::ops::Range;
use core::ptr;

use palimpsest_engine::{Fixed, PageGuard};
use spin::Once;

use super::thumb::Registers;

/// Registers of the system control space, by their addresses.
const SHCSR: usize = 0xe000_ed24;
const CFSR: usize = 0xe000_ed28;
const MMFAR: usize = 0xe000_ed34;
const MPU_TYPE: usize = 0xe000_ed90;
const MPU_CTRL: usize = 0xe000_ed94;
const MPU_RNR: usize = 0xe000_ed98;
const MPU_RBAR: usize = 0xe000_ed9c;
const MPU_RASR: usize = 0xe000_eda0;

/// `SHCSR`: faults of the unit are exceptions of their own.
const MEMFAULTENA: usize = 1 << 16;
/// `MPU_CTRL`: the unit is on, and privileged code may use what no region covers.
const ENABLE_WITH_DEFAULT_MAP: usize = 1 | 1 << 2;
/// `MPU_RASR`: nothing may access the region, not even to execute.
const NO_ACCESS: usize = 1 << 28;
/// `CFSR`: a data access was stopped, and `MMFAR` has its address.
const STOPPED_ACCESS: usize = 1 << 1 | 1 << 7;
/// `CFSR`: everything that MemManage reports.
const MEMORY_FAULTS: usize = 0xff;

/// The backing whose pages the unit guards.
static GUARDED: Once<Fixed> = Once::new();

/// Lets the unit guard the pages of `fixed`. Called once.
pub(crate) fn guard(fixed: Fixed) -> Fixed {
    let fixed = fixed.guarded_by(Mpu::enable());
    GUARDED.call_once(|| fixed.clone());
    fixed
}

/// The unit, with the number of regions in `MPU_TYPE`.
#[derive(Debug)]
struct Mpu {
    regions: usize,
}

impl Mpu {
    fn enable() -> Self {
        write(SHCSR, read(SHCSR) | MEMFAULTENA);
        write(MPU_CTRL, ENABLE_WITH_DEFAULT_MAP);
        Self { regions: read(MPU_TYPE) >> 8 & 0xff }
    }

    /// Sets the two registers of a region.
    fn set(slot: usize, base: usize, attributes: usize) {
        write(MPU_RNR, slot);
        // The old range is off before the new base applies.
        write(MPU_RASR, 0);
        write(MPU_RBAR, base);
        write(MPU_RASR, attributes);
        wait_for_writes();
    }
}

// SAFETY: a region without access stops every load and store of the CPU: this example has no other
//         bus master, and no code of priority -1. [`MemoryManagement`] then reports the access and
//         steps over it, or it ends the program.
unsafe impl PageGuard for Mpu {
    fn can_close(&self, slot: usize, range: &Range<usize>) -> bool {
        let len = range.len();
        slot < self.regions && len >= 32 && len.is_power_of_two() && range.start.is_multiple_of(len)
    }

    fn close(&self, slot: usize, range: &Range<usize>) {
        // The size is 2 to the power of this field plus 1.
        let size = range.len().ilog2() as usize - 1;
        Self::set(slot, range.start, NO_ACCESS | size << 1 | 1);
    }

    fn open(&self, slot: usize) {
        Self::set(slot, 0, 0);
    }
}

/// The exception MemManage. It passes the registers that the CPU does not save, since a load may
/// change them.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn MemoryManagement() {
    naked_asm!(
        "mov r0, sp", // All code of the example uses one stack, which has the frame.
        "push {{r3-r11, lr}}",
        "mov r1, sp",
        "bl {handle}",
        "pop {{r3-r11, pc}}",
        handle = sym handle,
    )
}

/// Steps over an access to closed pages, after which the engine ends the guest.
///
/// # Panics
///
/// Panics on every other fault.
extern "C" fn handle(frame: &mut [u32; 8], pushed: &mut [u32; 10]) {
    let mut registers = Registers { frame, pushed };
    let faults = read(CFSR) & MEMORY_FAULTS;
    let address = read(MMFAR);
    // A fault is cleared by writing its bit.
    write(CFSR, faults);
    let is_guest = faults == STOPPED_ACCESS && GUARDED.get().is_some_and(|fixed| fixed.handle_fault(address));
    if !(is_guest && registers.step_over()) {
        panic!("a fault at {:#x}: CFSR {faults:#x}, MMFAR {address:#x}", registers.pc());
    }
}

fn read(register: usize) -> usize {
    // SAFETY: it is a register of the system control space, which can be read at any time.
    unsafe { ptr::with_exposed_provenance::<usize>(register).read_volatile() }
}

fn write(register: usize, value: usize) {
    // SAFETY: it is a register of the system control space. The values turn the unit on, close
    //         pages that a store has lent, and clear faults, none of which frees or moves memory.
    unsafe { ptr::with_exposed_provenance_mut::<usize>(register).write_volatile(value) }
}

/// Waits until the unit applies what was written, also to instructions that were fetched before.
fn wait_for_writes() {
    // SAFETY: the instructions change no register and no memory.
    unsafe { core::arch::asm!("dsb", "isb", options(nostack, preserves_flags)) }
}
