//! The interrupt descriptor table.
//!
//! Every exception has a gate. Page faults, double faults, and non-maskable interrupts have a stack
//! each, and all other exceptions share one. Of the vectors from 32, only those of the timer and of
//! the local APIC have a gate, because the kernel enables no other interrupt. If one occurred, the
//! CPU would report a fault of the missing gate. All CPUs load this table; the stacks are those of
//! the TSS of each.

use palimpsest_paging::page_fault_entry;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::structures::idt::{Entry, InterruptDescriptorTable};

use crate::apic::{self, SPURIOUS_VECTOR, WAKE_VECTOR};
use crate::cpu::TrapStack;
use crate::interrupts::TIMER_VECTOR;
use crate::trap::page_fault;
use crate::trap::stubs::{with_code, without_code};

static TABLE: Once<InterruptDescriptorTable> = Once::new();

/// Loads the table.
pub(crate) fn load_table() {
    TABLE.call_once(table).load();
}

fn table() -> InterruptDescriptorTable {
    use TrapStack::{DoubleFault, Exception, NonMaskable, PageFault, Timer};
    let mut idt = InterruptDescriptorTable::new();
    set(&mut idt.divide_error, without_code::<0>, Exception);
    set(&mut idt.debug, without_code::<1>, Exception);
    set(&mut idt.non_maskable_interrupt, without_code::<2>, NonMaskable);
    set(&mut idt.breakpoint, without_code::<3>, Exception);
    set(&mut idt.overflow, without_code::<4>, Exception);
    set(&mut idt.bound_range_exceeded, without_code::<5>, Exception);
    set(&mut idt.invalid_opcode, without_code::<6>, Exception);
    set(&mut idt.device_not_available, without_code::<7>, Exception);
    set(&mut idt.double_fault, with_code::<8>, DoubleFault);
    set(&mut idt.invalid_tss, with_code::<10>, Exception);
    set(&mut idt.segment_not_present, with_code::<11>, Exception);
    set(&mut idt.stack_segment_fault, with_code::<12>, Exception);
    set(&mut idt.general_protection_fault, with_code::<13>, Exception);
    set_address(&mut idt.page_fault, VirtAddr::new(page_fault_entry(page_fault)), PageFault);
    set(&mut idt.x87_floating_point, without_code::<16>, Exception);
    set(&mut idt.alignment_check, with_code::<17>, Exception);
    set(&mut idt.machine_check, without_code::<18>, Exception);
    set(&mut idt.simd_floating_point, without_code::<19>, Exception);
    set(&mut idt.virtualization, without_code::<20>, Exception);
    set(&mut idt.cp_protection_exception, with_code::<21>, Exception);
    set(&mut idt.hv_injection_exception, without_code::<28>, Exception);
    set(&mut idt.vmm_communication_exception, with_code::<29>, Exception);
    set(&mut idt.security_exception, with_code::<30>, Exception);
    set(&mut idt[TIMER_VECTOR], without_code::<TIMER_VECTOR>, Timer);
    set(&mut idt[WAKE_VECTOR], without_code::<WAKE_VECTOR>, Timer);
    set(&mut idt[apic::TIMER_VECTOR], without_code::<{ apic::TIMER_VECTOR }>, Timer);
    set(&mut idt[SPURIOUS_VECTOR], without_code::<SPURIOUS_VECTOR>, Timer);
    idt
}

fn set<F>(entry: &mut Entry<F>, stub: extern "sysv64" fn(), stack: TrapStack) {
    set_address(entry, VirtAddr::from_ptr(stub as *const ()), stack);
}

fn set_address<F>(entry: &mut Entry<F>, address: VirtAddr, stack: TrapStack) {
    // SAFETY: the address is that of the code for this vector, by the table above. It restores all
    // registers that it changes, and ends in IRETQ or does not return. The gate is an interrupt
    // gate, and the handler of page faults causes none.
    let options = unsafe { entry.set_handler_addr(address) };
    // SAFETY: `cpu` fills the TSS entry of each `TrapStack`, and these stacks have no other use.
    unsafe { options.set_stack_index(stack as u16) };
}
