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

#[test]
fn a_root_without_the_windows_entries_is_named() {
    let world = World::new();
    let region = world.region(GIB);
    let (read, written, filled) = (address(&region, 1), address(&region, 2), address(&region, 700));
    let mmu = world.cpu.mmu();
    let (root, allocated) = (mmu.root(), world.source.allocated());
    let other = world.source.frame_for_kernel();
    mmu.write_root(other.phys(), []);
    mmu.load_root(other.phys());
    let named = NotOurs::OtherRoot { index: region.base().p4_index() };
    assert_eq!(world.cpu.read(world.space(), read), Err(named));
    assert_eq!(world.cpu.write(world.space(), written, 7), Err(named));
    assert_eq!(world.cpu.write(world.space(), written, 7), Err(named), "at the first fault as well");

    mmu.write_root(other.phys(), world.space().root_entries());
    mmu.load_root(other.phys());
    world.write(written, 7);
    world.write(filled, 8);
    assert_eq!((world.read(read), world.read(written)), (0, 7));
    mmu.load_root(root);
    assert_eq!((world.read(written), world.read(filled)), (7, 8));
    world.source.release_of_kernel(other);
    drop(region);
    assert_eq!(world.source.allocated(), allocated);
}

#[test]
fn the_root_entries_are_those_of_the_window() {
    const TIB: u64 = 1 << 40;
    let world = World::with(2 * TIB, 2_048);
    let entries: Vec<_> = world.space().root_entries().collect();
    let first = usize::from(VirtAddr::new(WINDOW_START).p4_index());
    assert_eq!(
        entries.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
        (first..first + 4).collect::<Vec<_>>()
    );
    let root = world.cpu.mmu().root();
    let copied: Vec<_> =
        entries.iter().map(|(index, _)| (*index, world.cpu.mmu().raw_entry(root, *index))).collect();
    assert_eq!(entries, copied);
}

#[test]
fn a_window_in_the_upper_half_works() {
    const UPPER: u64 = 0xffff_c000_0000_0000;
    let world = World::at(UPPER, 1024 * GIB, 2_048);
    let mut region = world.region(4 * GIB);
    assert!(region.base().as_u64() >= UPPER);
    let touched = [0, 1, 511, 512, 4 * GIB / PAGE - 1].map(|page| address(&region, page));
    for (value, address) in (1..).zip(touched) {
        world.write(address, value);
        assert_eq!(world.read(address), value);
    }
    assert_eq!(region.residency().resident_frames, 5);
    let pages = region.pages();
    assert_eq!(region.decommit(pages).map(|cleared| cleared.frames_released), Ok(5));
    assert!(touched.into_iter().all(|address| world.read(address) == 0));
    let indices: Vec<_> = world.space().root_entries().map(|(index, _)| index).collect();
    assert_eq!(indices, [384, 385]);
    let outcome = world.space().handle_fault(Fault::new(UPPER - 1, 2));
    assert_eq!(outcome, Outcome::NotOurs(NotOurs::Stray));
}
