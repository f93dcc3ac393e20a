//! The kernel's stacks, each above a page that is never mapped.
//!
//! Owns the stack that the kernel runs on and the three that exceptions are taken on (`cpu` puts them into
//! the TSS). Invariant: `guard_pages` names the guard of every stack here and `boot::mapping` leaves them
//! out, so that an overflow is a page fault and never a silent overwrite. The boot assembly paints the kernel
//! stack; `peak_bytes` looks how much of the paint is left.

use core::cell::UnsafeCell;
use core::ptr;

use x86_64::VirtAddr;
use x86_64::structures::paging::{Page, PageSize, Size4KiB};

/// Size of the stack that the kernel and every guest call run on, in bytes.
pub const KERNEL_STACK_BYTES: usize = 512 * 1024;

/// Size of the guard below a stack, in bytes: one page.
pub(crate) const GUARD_BYTES: usize = 4096;

/// Size of each exception stack, in bytes: the handlers print with `core::fmt` and do not recurse.
const TRAP_STACK_BYTES: usize = 32 * 1024;

/// What the words of the kernel stack hold until they are written.
pub(crate) const PAINT: u64 = u64::from_le_bytes(*b"unused! ");

/// The stack that the boot assembly switches to and that the kernel stays on.
pub(crate) static KERNEL_STACK: Stack<KERNEL_STACK_BYTES> = Stack::new();
/// Page faults: the one exception that is handled and returned from.
pub(crate) static PAGE_FAULT_STACK: Stack<TRAP_STACK_BYTES> = Stack::new();
/// Double faults, which must not depend on any other stack.
pub(crate) static DOUBLE_FAULT_STACK: Stack<TRAP_STACK_BYTES> = Stack::new();
/// Every other exception. Apart from the page faults', so that one inside the handler leaves its frame alone.
pub(crate) static EXCEPTION_STACK: Stack<TRAP_STACK_BYTES> = Stack::new();

/// A stack of `BYTES` bytes above its guard page. The boot assembly knows this layout.
#[repr(C, align(4096))]
pub(crate) struct Stack<const BYTES: usize> {
    guard: [u8; GUARD_BYTES],
    usable: UnsafeCell<[u8; BYTES]>,
}

// SAFETY: no reference to the content is ever made; it is written by the CPU's pushes and calls, and read
// word by word through raw pointers in `peak_bytes`.
unsafe impl<const BYTES: usize> Sync for Stack<BYTES> {}

impl<const BYTES: usize> Stack<BYTES> {
    const fn new() -> Self {
        Self { guard: [0; GUARD_BYTES], usable: UnsafeCell::new([0; BYTES]) }
    }

    /// The address just above the stack, aligned to 16 bytes, where the first push goes below.
    pub(crate) fn top(&'static self) -> VirtAddr {
        VirtAddr::from_ptr(self.usable.get()) + BYTES as u64
    }

    fn guard_page(&'static self) -> Page {
        Page::containing_address(VirtAddr::from_ptr(&raw const self.guard))
    }
}

/// The guard pages of all stacks.
pub(crate) fn guard_pages() -> [Page; 4] {
    [
        KERNEL_STACK.guard_page(),
        PAGE_FAULT_STACK.guard_page(),
        DOUBLE_FAULT_STACK.guard_page(),
        EXCEPTION_STACK.guard_page(),
    ]
}

/// The most bytes of the kernel stack that were ever in use at once, since boot.
#[must_use]
pub fn peak_bytes() -> usize {
    let bottom = KERNEL_STACK.usable.get().cast::<u64>();
    let words = KERNEL_STACK_BYTES / size_of::<u64>();
    let untouched = (0..words).take_while(|&word| read_word(bottom.wrapping_add(word)) == PAINT).count();
    (words - untouched) * size_of::<u64>()
}

/// Reads one word of the kernel stack.
fn read_word(word: *const u64) -> u64 {
    // SAFETY: 1. `peak_bytes` passes aligned addresses inside KERNEL_STACK, which is mapped for good.
    // 2. The stack may be written by this very call chain, but only above the words that still hold paint,
    //    and a volatile read makes no assumption about the value.
    unsafe { ptr::read_volatile(word) }
}

const _: () = assert!(GUARD_BYTES as u64 == Size4KiB::SIZE);
const _: () = assert!(KERNEL_STACK_BYTES.is_multiple_of(4096) && TRAP_STACK_BYTES.is_multiple_of(4096));
