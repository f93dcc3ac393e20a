//! Stepping over a `rep stos` of zeros over pages that read as zero anyway.
//!
//! Zeros that are stored into an absent page change nothing. So the handler does not map such
//! pages: it moves RDI and RCX past them and returns, and one fault fills 4 GiB. It recognises the
//! two forms that `memset` takes on x86_64, `rep stosb` and `rep stosq`. Any other write takes a
//! frame, or goes into the sink while the zero-fill guard is up.

use core::ptr;

use x86_64::VirtAddr;
use x86_64::registers::rflags::RFlags;
use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::StringRegisters;
use super::classify::{PageState, Place};
use super::resolve::place_of;
use crate::pages::page_after;
use crate::record::Record;
use crate::state::ZeroStores;
use crate::table::ShardTables;

/// Moves a store of zeros, which faulted at this page, to the end of the pages that read as zero.
/// Returns whether it was moved.
///
/// It is not moved unless the place of the page is `accepted`: a usable page that is not mapped
/// writable.
#[inline]
pub(super) fn step_over(
    page: Page,
    store: ZeroStore<'_>,
    record: &mut Record,
    tables: &mut ShardTables,
    policy: ZeroStores,
    accepted: impl FnOnce(Place) -> bool,
) -> bool {
    let mut table = tables.descend(page, PageTableLevel::One);
    let place = place_of(page, record, &table);
    if !accepted(place) {
        return false;
    }
    let Some(end) = end_of_skipping(page, record, policy) else { return false };
    let end = record.next_original(page, end);
    if end == page {
        return false;
    }
    let pages = store.pages(page, end);
    // Most fills end within one entry of the lowest table, and need no search.
    let is_absent = place == Place::Page(PageState::Absent);
    let searched = if is_absent { table.end_of_absent(pages) } else { page };
    let rest = Page::range(searched, pages.end);
    let end = if rest.is_empty() { pages.end } else { tables.end_of_unwritable(rest) };
    let is_moved = store.advance(end.start_address());
    record.figures.faults += u64::from(is_moved);
    is_moved
}

/// The end of the pages over which a store of zeros at this page may be moved, if it may be moved.
#[inline]
fn end_of_skipping(page: Page, record: &Record, policy: ZeroStores) -> Option<Page> {
    if record.is_filling(page) {
        return Some(record.filling.end.min(record.usable_end()));
    }
    match policy {
        ZeroStores::Off => None,
        ZeroStores::StepOver => Some(record.usable_end()),
    }
}

/// A `rep`-prefixed string store (Intel SDM Vol 2B, "STOS" and "REP").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StringStore {
    /// `f3 aa`: stores AL.
    Bytes,
    /// `f3 48 ab`: stores RAX.
    Quadwords,
}

impl StringStore {
    /// Decodes the instruction that starts with these bytes. Reads no byte after it.
    fn decode(mut code: impl Iterator<Item = u8>) -> Option<Self> {
        if code.next()? != 0xf3 {
            return None;
        }
        match code.next()? {
            0xaa => Some(Self::Bytes),
            0x48 => (code.next()? == 0xab).then_some(Self::Quadwords),
            _ => None,
        }
    }

    /// The base-2 logarithm of the bytes of an element.
    const fn element_bits(self) -> u32 {
        match self {
            Self::Bytes => 0,
            Self::Quadwords => 3,
        }
    }

    fn stores_zero(self, rax: u64) -> bool {
        match self {
            Self::Bytes => rax.to_le_bytes()[0] == 0,
            Self::Quadwords => rax == 0,
        }
    }
}

/// The registers of code that has just faulted on this CPU, in ring 0.
#[derive(Debug)]
pub(crate) struct Interrupted<'a>(&'a mut StringRegisters);

impl<'a> Interrupted<'a> {
    /// # Safety
    ///
    /// The caller guarantees that these are the registers that the interrupted code had when this
    /// CPU raised the fault that is being handled, and that the fault's error code shows whether it
    /// was user-mode code.
    pub(crate) const unsafe fn new(registers: &'a mut StringRegisters) -> Self {
        Self(registers)
    }

    /// The store of zeros that faulted at this address. Returns `None` if the instruction is
    /// another one, stores other bytes, runs downwards, or faulted in the middle of an element.
    #[inline]
    pub(super) fn zero_store(&mut self, fault_address: VirtAddr) -> Option<ZeroStore<'_>> {
        let Self(registers) = self;
        // SAFETY: `decode` takes the next byte only if what it has seen is the start of a longer
        // instruction (a prefix), so each byte belongs to the instruction at RIP, which faulted by
        // the contract of `new`.
        let code = (0..).map(|offset| unsafe { code_byte(registers.rip, offset) });
        let store = StringStore::decode(code)?;
        let upwards = registers.rflags & RFlags::DIRECTION_FLAG.bits() == 0;
        let at_element = registers.rdi == fault_address.as_u64();
        let is_one = upwards && at_element && store.stores_zero(registers.rax);
        is_one.then_some(ZeroStore { registers, element_bits: store.element_bits() })
    }
}

/// A string store that fills memory with zeros, and is about to store its next element.
#[derive(Debug)]
pub(super) struct ZeroStore<'a> {
    registers: &'a mut StringRegisters,
    /// The base-2 logarithm of the bytes of an element.
    element_bits: u32,
}

impl ZeroStore<'_> {
    /// The pages that it would write, from this one on and up to this end.
    #[inline]
    pub(super) fn pages(&self, first: Page, end: Page) -> PageRange {
        let elements_left = self.registers.rcx;
        let room_bytes = end.start_address().as_u64().saturating_sub(self.registers.rdi);
        if elements_left >= room_bytes >> self.element_bits {
            return Page::range(first, end);
        }
        let last = self.registers.rdi + (elements_left << self.element_bits).saturating_sub(1);
        Page::range(first, page_after(Page::containing_address(VirtAddr::new_truncate(last)), 1))
    }

    /// Moves the registers past the elements that end at or before `end`, and returns whether there
    /// were any.
    #[inline]
    pub(super) fn advance(self, end: VirtAddr) -> bool {
        let Self { registers, element_bits } = self;
        let room_bytes = end.as_u64().saturating_sub(registers.rdi);
        let elements = registers.rcx.min(room_bytes >> element_bits);
        registers.rdi += elements << element_bits;
        registers.rcx -= elements;
        elements > 0
    }
}

/// Reads one byte of the instruction that faulted.
///
/// # Safety
///
/// The caller guarantees that the byte belongs to the instruction at `rip`, which faulted just now
/// on this CPU.
#[inline]
unsafe fn code_byte(rip: u64, offset: usize) -> u8 {
    let address = usize::try_from(rip).expect("x86_64 has 64-bit addresses");
    let byte = ptr::with_exposed_provenance::<u8>(address).wrapping_add(offset);
    // SAFETY: the CPU has just fetched this byte from there to execute it, in ring 0, where every
    // page that can be executed can be read. So the page is present and readable. It is code, which
    // is not written.
    unsafe { byte.read_volatile() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REP_STOSB: [u8; 2] = [0xf3, 0xaa];
    const REP_STOSQ: [u8; 3] = [0xf3, 0x48, 0xab];
    const PLACE: u64 = 0x4000_0000;

    fn registers(code: &[u8], count: u64) -> StringRegisters {
        let rip = code.as_ptr().expose_provenance() as u64;
        StringRegisters { rip, rax: 0, rcx: count, rdi: PLACE, rflags: 0 }
    }

    /// Handles the fault at the place of the store, with `room` bytes up to the end. Returns RCX
    /// and RDI.
    fn run(registers: &mut StringRegisters, room: u64) -> Option<(u64, u64)> {
        let address = VirtAddr::new(PLACE);
        // SAFETY: RIP points to a whole instruction in this test's memory.
        let mut interrupted = unsafe { Interrupted::new(registers) };
        let moved = interrupted.zero_store(address).is_some_and(|store| store.advance(address + room));
        moved.then_some((registers.rcx, registers.rdi - PLACE))
    }

    #[test]
    fn both_forms_are_moved_to_the_end_of_the_room() {
        assert_eq!(run(&mut registers(&REP_STOSB, 5000), 4096), Some((904, 4096)));
        assert_eq!(run(&mut registers(&REP_STOSQ, 5000), 4096), Some((4488, 4096)));
    }

    #[test]
    fn a_short_store_ends_where_its_count_does() {
        assert_eq!(run(&mut registers(&REP_STOSB, 7), 4096), Some((0, 7)));
        assert_eq!(run(&mut registers(&REP_STOSQ, 7), 4096), Some((0, 56)));
    }

    #[test]
    fn a_quadword_that_crosses_the_end_is_left_to_the_cpu() {
        assert_eq!(run(&mut registers(&REP_STOSQ, 100), 20), Some((98, 16)));
        assert_eq!(run(&mut registers(&REP_STOSQ, 100), 7), None);
    }

    #[test]
    fn only_zeros_are_skipped() {
        let mut bytes = StringRegisters { rax: 0x100, ..registers(&REP_STOSB, 10) };
        assert_eq!(run(&mut bytes, 4096), Some((0, 10)), "AL is zero");
        let mut quadwords = StringRegisters { rax: 0x100, ..registers(&REP_STOSQ, 10) };
        assert_eq!(run(&mut quadwords, 4096), None, "RAX is not");
        let mut ones = StringRegisters { rax: 1, ..registers(&REP_STOSB, 10) };
        assert_eq!(run(&mut ones, 4096), None);
    }

    #[test]
    fn a_store_that_runs_downwards_is_left_to_the_cpu() {
        let mut down = StringRegisters { rflags: RFlags::DIRECTION_FLAG.bits(), ..registers(&REP_STOSB, 10) };
        assert_eq!(run(&mut down, 4096), None);
    }

    #[test]
    fn a_fault_in_the_middle_of_an_element_is_left_to_the_cpu() {
        let mut before = StringRegisters { rdi: PLACE + 4, ..registers(&REP_STOSQ, 10) };
        assert_eq!(run(&mut before, 4096), None);
    }

    #[test]
    fn other_instructions_are_left_to_the_cpu() {
        let others: [&[u8]; 6] = [
            &[0x90],             // nop
            &[0xaa],             // stosb
            &[0xf3, 0xab],       // rep stosd
            &[0xf3, 0xa4],       // rep movsb
            &[0xf3, 0x48, 0xa5], // rep movsq
            &[0xf2, 0xaa],       // repne stosb
        ];
        for code in others {
            let mut before = registers(code, 10);
            assert_eq!(run(&mut before, 4096), None, "{code:x?}");
            assert_eq!(before, registers(code, 10));
        }
    }
}
