//! A second level-4 table, and a window in the upper half, with a real CPU.

use alloc::sync::Arc;
use core::ops::Range;

use kernel_demo::Machine;
use kernel_demo::memory::PHYSICAL_OFFSET;
use palimpsest_paging::{
    Account, AddressSpace, Fault, Frame, FramePool, Layout, Outcome, PoolError, SingleCpu, SpaceError,
};
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::{PageTable, PhysFrame};
use x86_64::{PhysAddr, VirtAddr};

use crate::access::{load, store};
use crate::fixture::{GIB, Guest, PAGE_BYTES};
use crate::harness::{Checks, VmTest};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("a-root-with-the-windows-entries-sees-the-regions", 5, copied_entries),
    VmTest::death(
        "a-root-without-the-windows-entries-is-named",
        "entry 32 of the level-4 table in CR3",
        missing_entries,
    ),
    VmTest::new("a-window-in-the-upper-half-works", 6, upper_half),
    VmTest::new("physical-memory-that-is-not-mapped-is-named", 6, not_mapped),
];

/// Offsets and ranges at which nothing is mapped. Nothing is accessed there.
fn not_mapped(checks: &mut Checks, machine: &Machine) {
    let root = Cr3::read().0;
    let space_at = |physical_offset| {
        let platform = SingleCpu::new(machine.frames()).expect("the boot has set the CPU up");
        let layout = Layout { window: UNUSED_WINDOW, physical_offset, root };
        // SAFETY: the space is refused before it accesses anything.
        unsafe { AddressSpace::new(layout, platform) }.map(drop).err()
    };
    let free = machine.frames().free_frames();
    for physical_offset in [UNUSED_WINDOW.start, VirtAddr::new(0x7fff_ffff_f000)] {
        let refused = space_at(physical_offset);
        let frame = root.start_address();
        checks.equal("a wrong offset", refused, Some(SpaceError::Unmapped { frame, physical_offset }));
    }
    let frame = machine.frames().allocate_frame().expect("the machine has a frame");
    let (mapped, far) = (frame.phys().start_address(), PhysAddr::new(1 << 46));
    let pool_of = |range: Range<PhysAddr>| {
        // SAFETY: the pool is refused before it accesses anything.
        unsafe { FramePool::new(&[range], PHYSICAL_OFFSET) }.map(drop).err()
    };
    let unmapped = |frame| Some(PoolError::Unmapped { frame, physical_offset: PHYSICAL_OFFSET });
    checks.equal("a range that starts unmapped", pool_of(far..far + 8 * PAGE_BYTES), unmapped(far));
    checks.equal("a range that ends unmapped", pool_of(mapped..far), unmapped(far - PAGE_BYTES));
    machine.frames().release_frame(frame);
    checks.equal("free frames", machine.frames().free_frames(), free);
    let mut guest = Guest::new(machine, GIB);
    guest.store(GIB - 1, 7);
    checks.equal("page faults are resolved as before", guest.load(GIB - 1), 7);
}

/// Addresses in the upper half at which nothing is mapped.
const UNUSED_WINDOW: Range<VirtAddr> =
    VirtAddr::new(0xffff_c000_0000_0000)..VirtAddr::new(0xffff_c080_0000_0000);

/// The table in a frame of the machine.
fn table(frame: PhysFrame) -> *mut PageTable {
    (PHYSICAL_OFFSET + frame.start_address().as_u64()).as_mut_ptr()
}

/// A level-4 table with the kernel's entries, and none for the window.
fn root_without_window(machine: &Machine) -> Frame {
    let root = machine.frames().allocate_frame().expect("the machine has a frame");
    // SAFETY: the frame is mapped there, and the test owns it.
    let new = unsafe { &mut *table(root.phys()) };
    // SAFETY: the kernel's root is mapped there, and nothing writes it meanwhile.
    *new = unsafe { &*table(Cr3::read().0) }.clone();
    for (index, _) in machine.space().root_entries() {
        new[index].set_unused();
    }
    root
}

/// Runs `work` in another root.
fn in_root<R>(root: PhysFrame, work: impl FnOnce() -> R) -> R {
    let (own, flags) = Cr3::read();
    // SAFETY: the root maps the kernel as the kernel's own one does.
    unsafe { Cr3::write(root, Cr3Flags::empty()) };
    let result = work();
    // SAFETY: it was the root before.
    unsafe { Cr3::write(own, flags) };
    result
}

fn copied_entries(checks: &mut Checks, machine: &Machine) {
    let mut guest = Guest::new(machine, GIB);
    let root = root_without_window(machine);
    let mut copied = 0;
    for (index, entry) in machine.space().root_entries() {
        let entries: *mut [u64; 512] = table(root.phys()).cast();
        // SAFETY: the frame is mapped there, and the test owns it.
        unsafe { (*entries)[index] = entry };
        copied += 1;
    }
    checks.equal("entries of a window of 16 TiB", copied, 32);
    guest.store(0, 1);
    in_root(root.phys(), || {
        checks.equal("what the other root sees", guest.load(0), 1);
        guest.store(GIB - 1, 2);
    });
    checks.equal("what was written in the other root", guest.load(GIB - 1), 2);
    let pages = guest.region.pages();
    let released = guest.region.decommit(pages).map(|cleared| cleared.frames_released);
    checks.equal("frames released", released, Ok(2));
    let cleared = in_root(root.phys(), || guest.load(0));
    checks.equal("what the other root sees after the clear", cleared, 0);
    machine.frames().release_frame(root);
}

fn missing_entries(_: &mut Checks, machine: &Machine) {
    let mut guest = Guest::new(machine, GIB);
    let root = root_without_window(machine);
    in_root(root.phys(), || guest.store(0, 1));
    machine.frames().release_frame(root);
}

/// The kernel's handler does not know this space, so the test reports each fault before the access.
fn upper_half(checks: &mut Checks, machine: &Machine) {
    const START: u64 = 0xffff_d000_0000_0000;
    let layout = Layout {
        window: VirtAddr::new(START)..VirtAddr::new(START + 1024 * GIB),
        physical_offset: PHYSICAL_OFFSET,
        root: Cr3::read().0,
    };
    let platform = SingleCpu::new(machine.frames()).expect("the machine's own space has checked the CPU");
    // SAFETY: 1. The kernel maps nothing there. 2. The kernel maps all RAM at the offset, always.
    // 3. There is one CPU. 4. There is one root.
    let space =
        unsafe { AddressSpace::new(layout, platform) }.expect("the machine has frames for the tables");
    let mut region = space.reserve(4 * GIB, &Arc::new(Account::new(None))).expect("the window has room");
    region.set_limit(4 * GIB).expect("the limit is the region's size");
    let touched = [0, 511 * PAGE_BYTES, 512 * PAGE_BYTES, 4 * GIB - 1].map(|offset| region.base() + offset);
    for (byte, address) in (1..).zip(touched) {
        let outcome = space.handle_fault(Fault::new(address.as_u64(), 2));
        assert_eq!(outcome, Outcome::Handled, "the page is the region's");
        // SAFETY: the page is the region's, and was just committed.
        unsafe { store(address, byte) };
    }
    checks.equal("the region is in the upper half", region.base().as_u64() >= START, true);
    checks.equal("what was written", touched.map(load), [1, 2, 3, 4]);
    checks.equal("resident frames", region.residency().resident_frames, 4);
    let pages = region.pages();
    let released = region.decommit(pages).map(|cleared| cleared.frames_released);
    checks.equal("frames released", released, Ok(4));
    let outcome = space.handle_fault(Fault::new(touched[0].as_u64(), 0));
    checks.equal("a read after the clear", outcome, Outcome::Handled);
    checks.equal("what it reads", load(touched[0]), 0);
}
