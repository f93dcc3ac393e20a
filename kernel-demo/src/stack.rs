//! The kernel's stacks. A page that is never mapped is below each, so an overflow is a page fault.
//!
//! There is the stack that the kernel runs on, and five for exceptions and interrupts, which `cpu`
//! stores in the TSS. `guard_pages` must contain the guard of every stack, because `boot::mapping`
//! maps all other pages of `.bss`. The boot assembly paints the kernel stack, and `peak_bytes`
//! measures how much paint is left.

use core::cell::UnsafeCell;
use core::ptr;

use x86_64::VirtAddr;
use x86_64::structures::paging::{Page, PageSize, Size4KiB};

/// The size of the stack that the kernel and every guest run on, in bytes.
pub const KERNEL_STACK_BYTES: usize = 512 * 1024;

/// The size of the guard below a stack, in bytes: one page.
pub(crate) const GUARD_BYTES: usize = 4096;

/// The size of each exception stack, in bytes. The handlers print with `core::fmt` but do not
/// recurse.
const TRAP_STACK_BYTES: usize = 32 * 1024;

/// The value of every word of the kernel stack before it is first written.
pub(crate) const PAINT: u64 = u64::from_le_bytes(*b"unused! ");

/// The stack of the kernel. The boot assembly switches to it.
pub(crate) static KERNEL_STACK: Stack<KERNEL_STACK_BYTES> = Stack::new();
/// For page faults.
pub(crate) static PAGE_FAULT_STACK: Stack<TRAP_STACK_BYTES> = Stack::new();
/// For double faults, which must not depend on any other stack.
pub(crate) static DOUBLE_FAULT_STACK: Stack<TRAP_STACK_BYTES> = Stack::new();
/// For all other exceptions. It is separate from the stack for page faults, so that an exception in
/// the page-fault handler does not overwrite that handler's frame.
pub(crate) static EXCEPTION_STACK: Stack<TRAP_STACK_BYTES> = Stack::new();
/// For the timer's interrupts.
pub(crate) static TIMER_STACK: Stack<TRAP_STACK_BYTES> = Stack::new();
/// For non-maskable interrupts. No handler can keep them away, so no other handler may run on it.
pub(crate) static NMI_STACK: Stack<TRAP_STACK_BYTES> = Stack::new();

/// A stack of `BYTES` bytes above its guard page. The boot assembly depends on this layout.
#[repr(C, align(4096))]
pub(crate) struct Stack<const BYTES: usize> {
    guard: [u8; GUARD_BYTES],
    usable: UnsafeCell<[u8; BYTES]>,
}

// SAFETY: no reference to the content is ever created. The CPU writes it by pushes and calls, and
// `peak_bytes` reads it word by word through raw pointers.
unsafe impl<const BYTES: usize> Sync for Stack<BYTES> {}

impl<const BYTES: usize> Stack<BYTES> {
    const fn new() -> Self {
        Self { guard: [0; GUARD_BYTES], usable: UnsafeCell::new([0; BYTES]) }
    }

    /// Returns the end of the stack, which is aligned to 16 bytes.
    pub(crate) fn top(&'static self) -> VirtAddr {
        VirtAddr::from_ptr(self.usable.get()) + BYTES as u64
    }

    fn guard_page(&'static self) -> Page {
        Page::containing_address(VirtAddr::from_ptr(&raw const self.guard))
    }
}

/// Returns the guard pages of all stacks.
pub(crate) fn guard_pages() -> [Page; 6] {
    [
        KERNEL_STACK.guard_page(),
        PAGE_FAULT_STACK.guard_page(),
        DOUBLE_FAULT_STACK.guard_page(),
        EXCEPTION_STACK.guard_page(),
        TIMER_STACK.guard_page(),
        NMI_STACK.guard_page(),
    ]
}

/// Returns the largest number of bytes of the kernel stack that were in use at once since boot.
#[must_use]
pub fn peak_bytes() -> usize {
    let bottom = KERNEL_STACK.usable.get().cast::<u64>();
    let words = KERNEL_STACK_BYTES / size_of::<u64>();
    let untouched = (0..words).take_while(|&word| read_word(bottom.wrapping_add(word)) == PAINT).count();
    (words - untouched) * size_of::<u64>()
}

/// Reads one word of the kernel stack.
fn read_word(word: *const u64) -> u64 {
    // SAFETY: 1. `peak_bytes` passes aligned addresses inside `KERNEL_STACK`, which is always
    // mapped.
    // 2. The calls that run now may write to the stack, but only above the words that still contain
    //    paint. A volatile read does not depend on the value.
    unsafe { ptr::read_volatile(word) }
}

const _: () = assert!(GUARD_BYTES as u64 == Size4KiB::SIZE);
const _: () = assert!(KERNEL_STACK_BYTES.is_multiple_of(4096) && TRAP_STACK_BYTES.is_multiple_of(4096));
