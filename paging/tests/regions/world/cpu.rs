//! A CPU that accesses memory through the MMU, and whose page-fault handler is the crate under
//! test.

use palimpsest_paging::x86_64::VirtAddr;
use palimpsest_paging::x86_64::structures::paging::{Page, PhysFrame};
use palimpsest_paging::{Fault, NotOurs, Outcome, StringRegisters};

use super::mmu::Access;
use super::{Mmu, PAGE, Space};

/// The code of `rep stosb`.
pub(crate) const REP_STOSB: [u8; 2] = [0xf3, 0xaa];
/// The code of `rep stosq`.
pub(crate) const REP_STOSQ: [u8; 3] = [0xf3, 0x48, 0xab];

/// The most faults of one access. A page that shows the zero frame and is written takes two; an
/// access that takes more than three never ends.
const MOST_FAULTS: u32 = 3;

/// Which fault entry of the crate the handler calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Plain,
    WithRegisters,
}

/// A `rep stos` instruction and its operands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StringStore<'a> {
    pub(crate) code: &'a [u8],
    pub(crate) element_bytes: u64,
    pub(crate) value: u64,
    pub(crate) start: VirtAddr,
    pub(crate) count: u64,
}

/// The CPU.
#[derive(Debug)]
pub(crate) struct Cpu {
    mmu: &'static Mmu,
}

impl Cpu {
    pub(crate) fn new(mmu: &'static Mmu) -> Self {
        Self { mmu }
    }

    pub(crate) fn mmu(&self) -> &'static Mmu {
        self.mmu
    }

    pub(crate) fn read(&self, space: &Space, address: VirtAddr) -> Result<u8, NotOurs> {
        let byte = self.locate(space, address, Access::Read)?;
        // SAFETY: the byte is in the machine's memory.
        Ok(unsafe { byte.read() })
    }

    pub(crate) fn write(&self, space: &Space, address: VirtAddr, value: u8) -> Result<(), NotOurs> {
        let byte = self.locate(space, address, Access::Write)?;
        // SAFETY: the byte is in the machine's memory.
        unsafe { byte.write(value) };
        Ok(())
    }

    /// The frame that an address is translated to without a fault.
    pub(crate) fn frame_at(&self, address: VirtAddr) -> Option<PhysFrame> {
        self.mmu.translate(Page::containing_address(address), Access::Read).ok()
    }

    /// Reads a byte that must be translated already.
    pub(crate) fn peek(&self, address: VirtAddr) -> Option<u8> {
        let frame = self.frame_at(address)?;
        // SAFETY: the byte is in the machine's memory.
        Some(unsafe { self.byte(frame, address).read() })
    }

    /// Executes a string store, and returns the number of faults.
    pub(crate) fn string_store(
        &self,
        space: &Space,
        entry: Entry,
        store: StringStore<'_>,
    ) -> Result<u64, NotOurs> {
        let rip = store.code.as_ptr().expose_provenance() as u64;
        let (rdi, rcx) = (store.start.as_u64(), store.count);
        let mut registers = StringRegisters { rip, rax: store.value, rcx, rdi, rflags: 0 };
        let mut faults = 0;
        while registers.rcx > 0 {
            match self.store_into_page(&mut registers, store.element_bytes) {
                Ok(()) => {}
                Err(fault) => {
                    faults += 1;
                    handle(space, entry, fault, &mut registers)?;
                }
            }
        }
        Ok(faults)
    }

    /// Stores as many elements as start in the page that RDI points into, or faults at one of them.
    fn store_into_page(&self, registers: &mut StringRegisters, element_bytes: u64) -> Result<(), Fault> {
        let start = VirtAddr::new(registers.rdi);
        // The first element may lie in two pages.
        let border = (start + (element_bytes - 1)).align_down(PAGE);
        let places = if border > start { vec![start, border] } else { vec![start] };
        let frame = |address: &VirtAddr| {
            let frame = self.mmu.translate(Page::containing_address(*address), Access::Write);
            frame.map_err(|code| Fault { address: *address, code })
        };
        let frames = places.iter().map(frame).collect::<Result<Vec<_>, _>>()?;
        let room = PAGE - u64::from(start.page_offset());
        let elements = registers.rcx.min((room / element_bytes).max(1));
        let value = registers.rax.to_le_bytes()[0];
        let end = start + elements * element_bytes;
        for (place, frame) in places.into_iter().zip(frames) {
            let length = end.min(place.align_down(PAGE) + PAGE) - place;
            let length = usize::try_from(length).expect("at most a page");
            // SAFETY: the bytes are in the frame, which is in the machine's memory.
            unsafe { self.byte(frame, place).write_bytes(value, length) };
        }
        registers.rdi += elements * element_bytes;
        registers.rcx -= elements;
        Ok(())
    }

    fn locate(&self, space: &Space, address: VirtAddr, access: Access) -> Result<*mut u8, NotOurs> {
        for _ in 0..=MOST_FAULTS {
            match self.mmu.translate(Page::containing_address(address), access) {
                Ok(frame) => return Ok(self.byte(frame, address)),
                Err(code) => match space.handle_fault(Fault { address, code }) {
                    Outcome::Handled => {}
                    Outcome::NotOurs(reason) => return Err(reason),
                },
            }
        }
        panic!("{access:?} at {address:?} faults forever");
    }

    fn byte(&self, frame: PhysFrame, address: VirtAddr) -> *mut u8 {
        self.mmu.memory().bytes(frame).wrapping_add(usize::from(address.page_offset()))
    }
}

fn handle(space: &Space, entry: Entry, fault: Fault, registers: &mut StringRegisters) -> Result<(), NotOurs> {
    let outcome = match entry {
        Entry::Plain => space.handle_fault(fault),
        // SAFETY: RIP is the address of the string store that the test executes, and these are its
        // registers.
        Entry::WithRegisters => unsafe { space.handle_fault_with(fault, registers) },
    };
    match outcome {
        Outcome::Handled => Ok(()),
        Outcome::NotOurs(reason) => Err(reason),
    }
}
