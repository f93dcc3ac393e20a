//! The state of each CPU: segments, exception stacks, the protection features of CR4, and what the
//! kernel keeps for it.
//!
//! Every exception runs on a stack of the TSS's interrupt stack table. This is necessary because
//! the `core` of the hosted target was compiled with a red zone: an exception frame on the
//! interrupted stack would overwrite live values.

use core::arch::asm;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use palimpsest_engine::HeapMeter;
use raw_cpuid::CpuId;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::control::{Cr4, Cr4Flags};
use x86_64::registers::model_specific::GsBase;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

use crate::stack::CpuStacks;
use crate::trap;

/// An index into the TSS's interrupt stack table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum TrapStack {
    /// Page faults, the only exception that is resolved.
    PageFault = 0,
    /// Double faults.
    DoubleFault = 1,
    /// All other exceptions.
    Exception = 2,
    /// The interrupts of the timer and of the local APIC.
    Timer = 3,
    /// Non-maskable interrupts, which may interrupt every other handler.
    NonMaskable = 4,
}

impl TrapStack {
    /// The number of these stacks.
    pub(crate) const COUNT: usize = 5;
}

/// The largest page that this CPU can map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LargestPage {
    /// 2 MiB, mapped by a level-2 entry.
    TwoMib,
    /// 1 GiB, mapped by a level-3 entry.
    OneGib,
}

/// What this kernel keeps for each CPU. The base of GS is its address.
///
/// Each page fault writes to it, so it shares no cache line with that of another CPU.
#[repr(C, align(128))]
pub(crate) struct Cpu {
    /// The address of this value, so that one load through GS returns it. It is the first field.
    own: AtomicPtr<Cpu>,
    index: usize,
    tss: Once<TaskStateSegment>,
    segments: Once<Segments>,
    /// Set while the page-fault handler runs on this CPU.
    handling_page_fault: AtomicBool,
    /// Counts what this CPU allocates from the heap.
    heap_meter: HeapMeter,
}

/// The CPU that booted.
pub(crate) static FIRST_CPU: Cpu = Cpu::new(0);

impl Cpu {
    pub(crate) const fn new(index: usize) -> Self {
        Self {
            own: AtomicPtr::new(ptr::null_mut()),
            index,
            tss: Once::new(),
            segments: Once::new(),
            handling_page_fault: AtomicBool::new(false),
            heap_meter: HeapMeter::new(),
        }
    }

    /// The number of this CPU: 0 is the one that booted, and the others follow in the order in
    /// which they are started.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Whether the page-fault handler runs on this CPU.
    pub(crate) fn handling_page_fault(&self) -> &AtomicBool {
        &self.handling_page_fault
    }

    /// Counts what this CPU allocates from the heap.
    pub(crate) fn heap_meter(&self) -> &HeapMeter {
        &self.heap_meter
    }

    /// Makes this value the one that [`this`] returns on the calling CPU, and loads GDT, TSS and
    /// IDT. After this, exceptions are reported, and page faults in regions resolved.
    pub(crate) fn start(&'static self) {
        let own = ptr::from_ref(self).cast_mut();
        self.own.store(own, Ordering::Relaxed);
        GsBase::write(VirtAddr::from_ptr(own));
        let tss = self.tss.call_once(|| task_state(&CpuStacks::of(self.index)));
        let segments = self.segments.call_once(|| Segments::new(tss));
        segments.table.load();
        // SAFETY: the selector is the 64-bit ring 0 code segment of the table that was just loaded.
        unsafe { CS::set_reg(segments.code) };
        // SAFETY: the selector is that of this CPU's own TSS, which is static, and was not loaded
        // before, because each CPU starts once.
        unsafe { load_tss(segments.tss) };
        trap::load_table();
    }
}

/// Returns what the kernel keeps for the calling CPU.
pub(crate) fn this() -> &'static Cpu {
    let own: *const Cpu;
    // SAFETY: `start` is the first call on each CPU. After it, the base of GS is the address of a
    // `Cpu`, whose first field is that address again and does not change.
    unsafe { asm!("mov {}, gs:[0]", out(reg) own, options(nostack, preserves_flags, pure, readonly)) };
    // SAFETY: `start` has stored the address of a static value.
    unsafe { &*own }
}

struct Segments {
    table: GlobalDescriptorTable,
    code: SegmentSelector,
    tss: SegmentSelector,
}

impl Segments {
    fn new(tss: &'static TaskStateSegment) -> Self {
        let mut table = GlobalDescriptorTable::new();
        let code = table.append(Descriptor::kernel_code_segment());
        let tss = table.append(Descriptor::tss_segment(tss));
        Self { table, code, tss }
    }
}

fn task_state(stacks: &CpuStacks) -> TaskStateSegment {
    let mut tss = TaskStateSegment::new();
    for (index, end) in stacks.traps.into_iter().enumerate() {
        tss.interrupt_stack_table[index] = end;
    }
    tss
}

/// Enables SMEP, SMAP and UMIP, as far as this CPU has them (SDM Vol 3A 2.5). Ring 0 can then
/// neither execute nor access user pages, and ring 3 cannot read the addresses of the tables. This
/// kernel has no user pages, so a page that is mapped as one by mistake faults.
pub(crate) fn harden() {
    let mut wanted = Cr4Flags::empty();
    if let Some(features) = CpuId::new().get_extended_feature_info() {
        wanted.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, features.has_smep());
        wanted.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, features.has_smap());
        wanted.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, features.has_umip());
    }
    // SAFETY: 1. CPUID reports that the CPU supports these bits. 2. They forbid only accesses to
    // user pages, and this kernel has none.
    unsafe { Cr4::update(|flags| flags.insert(wanted)) };
}

/// Returns the largest page that this CPU can map.
pub(crate) fn largest_page() -> LargestPage {
    let features = CpuId::new().get_extended_processor_and_feature_identifiers();
    match features.is_some_and(|features| features.has_1gib_pages()) {
        true => LargestPage::OneGib,
        false => LargestPage::TwoMib,
    }
}
