//! The CPU's protection: segments, the stacks that exceptions are taken on, and what CR4 can forbid.
//!
//! Owns the GDT and the TSS. Every exception vector runs on a stack of the TSS's interrupt stack table,
//! because the hosted target's `core` was compiled with the red zone: an exception frame on the interrupted
//! stack would overwrite live values. `boot` calls `load_tables` before anything can fault and `harden` once
//! the final page tables are in force.

use raw_cpuid::CpuId;
use spin::Once;
use x86_64::instructions::segmentation::{CS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::control::{Cr4, Cr4Flags};
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

use crate::stack::{DOUBLE_FAULT_STACK, EXCEPTION_STACK, PAGE_FAULT_STACK};
use crate::trap;

/// An index into the TSS's interrupt stack table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum TrapStack {
    /// Page faults, which are handled and returned from.
    PageFault = 0,
    /// Double faults.
    DoubleFault = 1,
    /// Everything else.
    Exception = 2,
}

/// The largest page that this CPU can map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LargestPage {
    /// A level-2 entry.
    TwoMib,
    /// A level-3 entry.
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

/// Loads GDT, TSS and IDT. From here on every exception is reported, and page faults in regions are handled.
pub(crate) fn load_tables() {
    let tss = TSS.call_once(task_state);
    let segments = SEGMENTS.call_once(|| Segments::new(tss));
    segments.table.load();
    // SAFETY: the selector is the 64-bit ring 0 code segment of the table just loaded.
    unsafe { CS::set_reg(segments.code) };
    // SAFETY: the selector is that of `TSS`, which is static, and it is loaded once.
    unsafe { load_tss(segments.tss) };
    trap::load_table();
}

fn task_state() -> TaskStateSegment {
    let mut tss = TaskStateSegment::new();
    tss.interrupt_stack_table[TrapStack::PageFault as usize] = PAGE_FAULT_STACK.top();
    tss.interrupt_stack_table[TrapStack::DoubleFault as usize] = DOUBLE_FAULT_STACK.top();
    tss.interrupt_stack_table[TrapStack::Exception as usize] = EXCEPTION_STACK.top();
    tss
}

/// Switches on what this CPU has of SMEP, SMAP and UMIP (SDM Vol 3A 2.5): ring 0 neither executes nor touches
/// user pages, and ring 3 does not learn where the tables are. This kernel has no ring 3; a mapping that is
/// mistaken for one then faults.
pub(crate) fn harden() {
    let mut wanted = Cr4Flags::empty();
    if let Some(features) = CpuId::new().get_extended_feature_info() {
        wanted.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, features.has_smep());
        wanted.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, features.has_smap());
        wanted.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, features.has_umip());
    }
    // SAFETY: 1. CPUID says that the CPU has the bits that are set. 2. They forbid what this kernel does not
    // do: no page of it is a user page.
    unsafe { Cr4::update(|flags| flags.insert(wanted)) };
}

/// The largest page that this CPU can map.
pub(crate) fn largest_page() -> LargestPage {
    let features = CpuId::new().get_extended_processor_and_feature_identifiers();
    match features.is_some_and(|features| features.has_1gib_pages()) {
        true => LargestPage::OneGib,
        false => LargestPage::TwoMib,
    }
}
