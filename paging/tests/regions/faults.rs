//! Which faults are handled, and which are returned to the kernel.

use palimpsest_paging::x86_64::VirtAddr;
use palimpsest_paging::x86_64::structures::idt::PageFaultErrorCode as Code;
use palimpsest_paging::{Fault, NotOurs, Outcome};

use crate::world::{GIB, MIB, PAGE, WINDOW_START, World, address};

#[test]
fn a_fault_in_no_region_is_stray() {
    let world = World::new();
    let region = world.region(3 * MIB);
    let after = address(&region, 3 * MIB / PAGE);
    let strays = [VirtAddr::zero(), VirtAddr::new(WINDOW_START - 1), region.base() - 1, after];
    for address in strays.into_iter().chain([VirtAddr::new(0xffff_8000_0000_0000), after + 512 * GIB]) {
        for code in [Code::empty(), Code::CAUSED_BY_WRITE] {
            let outcome = world.space().handle_fault(Fault { address, code });
            assert_eq!(outcome, Outcome::NotOurs(NotOurs::Stray), "{address:?}");
        }
    }
}

#[test]
fn a_fault_that_is_not_ours_changes_nothing() {
    let world = World::new();
    let region = world.region(GIB);
    let (before, allocated) = (region.residency(), world.source.allocated());
    let reasons = [
        (Code::INSTRUCTION_FETCH, NotOurs::InstructionFetch),
        (Code::MALFORMED_TABLE | Code::PROTECTION_VIOLATION, NotOurs::ReservedBit),
        (Code::USER_MODE | Code::CAUSED_BY_WRITE, NotOurs::UserMode),
        (Code::PROTECTION_KEY | Code::PROTECTION_VIOLATION, NotOurs::ForeignCheck),
        (Code::PROTECTION_VIOLATION | Code::CAUSED_BY_WRITE, NotOurs::Protection),
    ];
    for (code, reason) in reasons {
        let outcome = world.space().handle_fault(Fault { address: region.base(), code });
        assert_eq!(outcome, Outcome::NotOurs(reason));
    }
    assert_eq!((region.residency(), world.source.allocated()), (before, allocated));
    assert_eq!(world.cpu.peek(region.base()), None);
}

#[test]
fn a_fault_on_a_page_that_is_present_by_now_is_retried() {
    let world = World::new();
    let region = world.region(GIB);
    world.write(region.base(), 5);
    let allocated = world.source.allocated();
    for code in [Code::empty(), Code::CAUSED_BY_WRITE] {
        assert_eq!(world.space().handle_fault(Fault { address: region.base(), code }), Outcome::Handled);
    }
    assert_eq!((world.source.allocated(), world.read(region.base())), (allocated, 5));
}

#[test]
fn a_refused_access_to_a_writable_page_is_not_fixed() {
    let world = World::new();
    let region = world.region(GIB);
    world.write(region.base(), 5);
    for code in [Code::PROTECTION_VIOLATION, Code::PROTECTION_VIOLATION | Code::CAUSED_BY_WRITE] {
        let outcome = world.space().handle_fault(Fault { address: region.base(), code });
        assert_eq!(outcome, Outcome::NotOurs(NotOurs::Protection));
    }
}

#[test]
fn an_ended_region_is_stray() {
    let world = World::new();
    let region = world.region(MIB);
    let base = region.base();
    world.write(base, 1);
    drop(region);
    assert_eq!(world.cpu.write(world.space(), base, 1), Err(NotOurs::Stray));
}
