//! Segments, exception stacks, and the protection features of CR4.
//!
//! Every exception runs on a stack of the TSS's interrupt stack table. This is necessary because
//! the `core` of the hosted target was compiled with a red zone: an exception frame on the
//! interrupted stack would overwrite live values.

use raw_cpuid::CpuId;
use spin::Once;
use x86_64::instructions::segmentation::{CS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::control::{Cr4, Cr4Flags};
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

use crate::stack::{DOUBLE_FAULT_STACK, EXCEPTION_STACK, NMI_STACK, PAGE_FAULT_STACK, TIMER_STACK};
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
    /// The timer's interrupts.
    Timer = 3,
    /// Non-maskable interrupts, which may interrupt every other handler.
    NonMaskable = 4,
}

/// The largest page that this CPU can map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LargestPage {
    /// 2 MiB, mapped by a level-2 entry.
    TwoMib,
    /// 1 GiB, mapped by a level-3 entry.
    OneGib,
}

static TSS: Once<TaskStateSegment> = Once::new();
static SEGMENTS: Once<Segments> = Once::new();

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

/// Loads GDT, TSS and IDT. After this, exceptions are reported, and page faults in regions
/// resolved.
pub(crate) fn load_tables() {
    let tss = TSS.call_once(task_state);
    let segments = SEGMENTS.call_once(|| Segments::new(tss));
    segments.table.load();
    // SAFETY: the selector is the 64-bit ring 0 code segment of the table that was just loaded.
    unsafe { CS::set_reg(segments.code) };
    // SAFETY: the selector is that of `TSS`, which is static, and was not loaded before.
    unsafe { load_tss(segments.tss) };
    trap::load_table();
}

fn task_state() -> TaskStateSegment {
    let mut tss = TaskStateSegment::new();
    tss.interrupt_stack_table[TrapStack::PageFault as usize] = PAGE_FAULT_STACK.top();
    tss.interrupt_stack_table[TrapStack::DoubleFault as usize] = DOUBLE_FAULT_STACK.top();
    tss.interrupt_stack_table[TrapStack::Exception as usize] = EXCEPTION_STACK.top();
    tss.interrupt_stack_table[TrapStack::Timer as usize] = TIMER_STACK.top();
    tss.interrupt_stack_table[TrapStack::NonMaskable as usize] = NMI_STACK.top();
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
