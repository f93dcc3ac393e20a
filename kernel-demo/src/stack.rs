//! The kernel's stacks. A page that is never mapped is below each, so an overflow is a page fault.
//!
//! Each CPU has the stack that it runs on, and five for exceptions and interrupts, which `cpu`
//! stores in its TSS. Those of the first CPU are in `.bss`. `guard_pages` must contain the guard of
//! each, because `boot::mapping` maps all other pages of `.bss`. The boot assembly paints the first
//! CPU's kernel stack, and `peak_bytes` measures how much paint is left. `map` maps the stacks
//! of another CPU before that is started.

use core::array;
use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr;

use x86_64::VirtAddr;
use x86_64::structures::paging::mapper::MapToError;
use x86_64::structures::paging::{FrameAllocator, Mapper, Page, PageSize, PageTableFlags, Size4KiB};

use crate::boot::MAX_CPUS;
use crate::cpu::TrapStack;

/// The size of the stack that the kernel and every guest run on, in bytes.
pub const KERNEL_STACK_BYTES: usize = 512 * 1024;

/// The size of the guard below a stack, in bytes: one page.
pub(crate) const GUARD_BYTES: usize = 4096;

/// The size of each exception stack, in bytes. The handlers print with `core::fmt` but do not
/// recurse.
const TRAP_STACK_BYTES: usize = 32 * 1024;

/// Where the stacks of all CPUs but the first are mapped, above physical memory.
const STACKS: VirtAddr = VirtAddr::new_truncate(0xffff_c000_0000_0000);
/// The distance between two of them.
const SLOT_BYTES: u64 = 1 << 20;
/// The stack that a CPU runs on, and those for exceptions and interrupts.
const SLOTS_PER_CPU: usize = 1 + TrapStack::COUNT;
/// The size of the range for stacks.
const STACKS_BYTES: u64 = (MAX_CPUS * SLOTS_PER_CPU) as u64 * SLOT_BYTES;

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

/// Returns the guard pages of the first CPU's stacks.
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

/// Returns whether `page` is the guard page of a stack.
pub(crate) fn is_guard(page: Page) -> bool {
    let offset = page.start_address().as_u64().wrapping_sub(STACKS.as_u64());
    let is_of_other_cpu = offset < STACKS_BYTES && offset.is_multiple_of(SLOT_BYTES);
    is_of_other_cpu || guard_pages().contains(&page)
}

/// The ends of the stacks of one CPU.
pub(crate) struct CpuStacks {
    /// Of the stack that the CPU runs on.
    pub(crate) kernel: VirtAddr,
    /// Of the stacks for exceptions and interrupts, by [`TrapStack`].
    pub(crate) traps: [VirtAddr; TrapStack::COUNT],
}

impl CpuStacks {
    /// Returns the stacks of the CPU with this number.
    pub(crate) fn of(cpu: usize) -> Self {
        if cpu == 0 {
            return Self::of_first_cpu();
        }
        let trap = |stack: usize| slot(cpu, 1 + stack).end;
        Self { kernel: slot(cpu, 0).end, traps: array::from_fn(trap) }
    }

    fn of_first_cpu() -> Self {
        let mut traps = [VirtAddr::zero(); TrapStack::COUNT];
        traps[TrapStack::PageFault as usize] = PAGE_FAULT_STACK.top();
        traps[TrapStack::DoubleFault as usize] = DOUBLE_FAULT_STACK.top();
        traps[TrapStack::Exception as usize] = EXCEPTION_STACK.top();
        traps[TrapStack::Timer as usize] = TIMER_STACK.top();
        traps[TrapStack::NonMaskable as usize] = NMI_STACK.top();
        Self { kernel: KERNEL_STACK.top(), traps }
    }
}

/// Maps the stacks of a CPU that is not the first. Their guard pages stay unmapped.
///
/// # Errors
///
/// A frame was not available, or a page is mapped already.
///
/// # Safety
///
/// The caller guarantees that `frames` allocates frames without another use.
pub(crate) unsafe fn map(
    cpu: usize,
    tables: &mut impl Mapper<Size4KiB>,
    frames: &mut impl FrameAllocator<Size4KiB>,
) -> Result<(), MapToError<Size4KiB>> {
    let rights = PageTableFlags::PRESENT | PageTableFlags::WRITABLE | PageTableFlags::NO_EXECUTE;
    for slot in (0..SLOTS_PER_CPU).map(|number| slot(cpu, number)) {
        let [first, last] = [slot.start, slot.end - 1].map(Page::containing_address);
        for page in Page::range_inclusive(first, last) {
            let frame = frames.allocate_frame().ok_or(MapToError::FrameAllocationFailed)?;
            // SAFETY: the frame has no other use, by the caller's guarantee. Nothing else uses the
            // page, because each CPU has other slots, and is started once.
            unsafe { tables.map_to(page, frame, rights, frames) }?.flush();
        }
    }
    Ok(())
}

/// The addresses of a stack of a CPU that is not the first. The guard page, at the start of its
/// slot, is not among them.
fn slot(cpu: usize, number: usize) -> Range<VirtAddr> {
    let bytes = if number == 0 { KERNEL_STACK_BYTES } else { TRAP_STACK_BYTES };
    let slots_before = (cpu - 1) * SLOTS_PER_CPU + number;
    let start = STACKS + slots_before as u64 * SLOT_BYTES + GUARD_BYTES as u64;
    start..start + bytes as u64
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
const _: () = assert!((GUARD_BYTES + KERNEL_STACK_BYTES) as u64 <= SLOT_BYTES);
const _: () = assert!(KERNEL_STACK_BYTES.is_multiple_of(4096) && TRAP_STACK_BYTES.is_multiple_of(4096));
