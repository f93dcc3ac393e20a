//! The bits of an entry: its state, and the count that the owner of a table carries.
//!
//! The flags of this crate and the count are bits that the CPU ignores in these entries: 11:9 in
//! all, and 62:52 in entries that refer to a table (Intel SDM Vol 3A, 4.5, "Use of the paging
//! structures"). It ignores every bit but the present bit of an entry that is not present (same
//! section), so the address of a deferred or detached frame stays in the entry.
//!
//! The accessed bit of every entry is set from the start, and so is the dirty bit, except in the
//! entry of a page that was committed ahead. So the CPU does not write an entry, with two
//! exceptions: it sets the dirty bit of such a page, and both bits of a level-1 entry in which they
//! were cleared to see whether the page is used ([`forget_use`]).

use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::structures::paging::page_table::PageTableEntry;
use x86_64::structures::paging::{PageTableFlags, PhysFrame};

/// The entry does not own what it refers to.
const BORROWED: PageTableFlags = PageTableFlags::BIT_9;

/// The entry is not present, and a touch takes back the frame that it owns.
const DEFERRED: PageTableFlags = PageTableFlags::BIT_10;

/// The entry owns a table that has a deferred page, in this table or in one below. For entries
/// above level 1.
const DEFERRED_BELOW: PageTableFlags = PageTableFlags::BIT_11;

/// The entry owns a data frame that was committed ahead, and the CPU has not written it if the
/// dirty bit is clear. For entries of level 1.
pub(super) const AHEAD: PageTableFlags = PageTableFlags::BIT_11;

const READABLE: PageTableFlags = PageTableFlags::PRESENT
    .union(PageTableFlags::NO_EXECUTE)
    .union(PageTableFlags::ACCESSED)
    .union(PageTableFlags::DIRTY);

/// The entry owns the frame: data, or a table.
pub(super) const OWNED: PageTableFlags = READABLE.union(PageTableFlags::WRITABLE);
/// A data frame that was committed ahead, and that the CPU has not written yet.
pub(super) const OWNED_AHEAD: PageTableFlags = OWNED.difference(PageTableFlags::DIRTY).union(AHEAD);
/// The sink.
pub(super) const SINK: PageTableFlags = OWNED.union(BORROWED);
/// The shared zero frame, or a frame of an image.
pub(super) const SHARED: PageTableFlags = READABLE.union(BORROWED);

/// The number of things that keep alive the table that the entry owns: its present and deferred
/// entries, and the regions that pin it. These are at most 512 + 512, and 11 bits count to 2047.
const OCCUPANCY: PageTableFlags = PageTableFlags::BIT_52
    .union(PageTableFlags::BIT_53)
    .union(PageTableFlags::BIT_54)
    .union(PageTableFlags::BIT_55)
    .union(PageTableFlags::BIT_56)
    .union(PageTableFlags::BIT_57)
    .union(PageTableFlags::BIT_58)
    .union(PageTableFlags::BIT_59)
    .union(PageTableFlags::BIT_60)
    .union(PageTableFlags::BIT_61)
    .union(PageTableFlags::BIT_62);

const ONE: u64 = PageTableFlags::BIT_52.bits();
const ONE_SHIFT: u32 = ONE.trailing_zeros();

/// The state of an entry, with the frame that it owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryState {
    /// It refers to nothing.
    Absent,
    /// It owns a frame: data at level 1, a table above.
    Owned(PhysFrame),
    /// It shows the zero frame or a frame of an image, which others share.
    Shared,
    /// It leads to the sink, or to a table all of whose entries lead there.
    Sink,
    /// It owns a data frame with old bytes, which the CPU cannot reach until a touch takes it back.
    Deferred(PhysFrame),
    /// It owns a frame that the CPU cannot reach any more and that is about to be released.
    Detached(PhysFrame),
}

/// Reads the state of an entry.
#[inline]
pub(super) fn state(entry: &PageTableEntry) -> EntryState {
    if entry.is_unused() {
        return EntryState::Absent;
    }
    let flags = entry.flags();
    let frame = frame_of(entry);
    if !flags.contains(PageTableFlags::PRESENT) {
        return if flags.contains(DEFERRED) {
            EntryState::Deferred(frame)
        } else {
            EntryState::Detached(frame)
        };
    }
    match (flags.contains(BORROWED), flags.contains(PageTableFlags::WRITABLE)) {
        (false, _) => EntryState::Owned(frame),
        (true, true) => EntryState::Sink,
        (true, false) => EntryState::Shared,
    }
}

/// The frame that an entry refers to.
#[inline]
pub(super) fn frame_of(entry: &PageTableEntry) -> PhysFrame {
    PhysFrame::containing_address(entry.addr())
}

/// Whether an entry above level 1 owns a table within the CPU's reach.
///
/// The same as [`EntryState::Owned`], in one comparison, because every walk checks it once a level.
#[inline]
pub(super) fn owns_table(entry: &PageTableEntry) -> bool {
    entry.flags().intersection(PageTableFlags::PRESENT.union(BORROWED)) == PageTableFlags::PRESENT
}

/// The bits by which entries that own data frames differ in their states.
pub(super) const KIND: PageTableFlags = PageTableFlags::PRESENT.union(BORROWED).union(DEFERRED);

/// Those of [`KIND`] that are set.
#[inline]
pub(super) fn kind_bits(entry: &PageTableEntry) -> PageTableFlags {
    entry.flags().intersection(KIND)
}

/// The frame that an entry owns, and the state in which it does, in one number. An entry that owns
/// the next frame in the same state has a number that is a page's bytes greater.
#[inline]
pub(super) fn owned_number(entry: &PageTableEntry) -> u64 {
    (entry.addr().as_u64() | entry.flags().bits()) & OWNED_NUMBER
}

/// The bits of an entry that are in its [`owned_number`].
pub(super) const OWNED_NUMBER: u64 = ADDRESS | KIND.bits();

/// The bits of an entry that are the address of a frame.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Takes the entry's frame out of the CPU's reach for good. The entry still owns it.
#[inline]
pub(super) fn detach(entry: &mut PageTableEntry) {
    entry.set_flags(entry.flags().difference(PageTableFlags::PRESENT.union(DEFERRED)));
}

/// Takes the entry's frame out of the CPU's reach until a touch. The entry still owns it.
pub(super) fn defer(entry: &mut PageTableEntry) {
    entry.set_flags(entry.flags().difference(PageTableFlags::PRESENT).union(DEFERRED));
}

/// Marks the entry that owns a table: a deferred page is below.
pub(super) fn mark_deferred(owner: &mut PageTableEntry) {
    owner.set_flags(owner.flags().union(DEFERRED_BELOW));
}

/// Takes the mark back.
pub(super) fn unmark_deferred(owner: &mut PageTableEntry) {
    owner.set_flags(owner.flags().difference(DEFERRED_BELOW));
}

/// Whether the entry that owns a table is marked.
pub(super) fn is_marked_deferred(owner: &PageTableEntry) -> bool {
    owner.flags().contains(DEFERRED_BELOW)
}

/// Whether a level-1 entry owns a frame within the CPU's reach that was committed ahead and never
/// written.
pub(super) fn is_untouched(entry: &PageTableEntry) -> bool {
    let bits = PageTableFlags::PRESENT.union(BORROWED).union(PageTableFlags::DIRTY).union(AHEAD);
    entry.flags().intersection(bits) == PageTableFlags::PRESENT.union(AHEAD)
}

/// Whether a level-1 entry owns a frame within the CPU's reach that was written, and not only
/// committed ahead, since its use was last forgotten.
pub(super) fn is_written(entry: &PageTableEntry) -> bool {
    let bits = PageTableFlags::PRESENT.union(BORROWED).union(PageTableFlags::DIRTY);
    entry.flags().intersection(bits) == PageTableFlags::PRESENT.union(PageTableFlags::DIRTY)
}

/// Whether a level-1 entry has a page within the CPU's reach, not only committed ahead, that was
/// read or written since its use was last forgotten.
pub(super) fn is_accessed(entry: &PageTableEntry) -> bool {
    let bits = PageTableFlags::PRESENT.union(PageTableFlags::ACCESSED);
    entry.flags().contains(bits) && !is_untouched(entry)
}

/// Clears the accessed and the dirty bit of an entry within the CPU's reach, so that the CPU sets
/// them again when it uses the page after the next flush. Returns whether one of them was set.
///
/// The entry of a page that was committed ahead and never written stays as it is.
pub(super) fn forget_use(entry: &mut PageTableEntry) -> bool {
    let use_bits = PageTableFlags::ACCESSED.union(PageTableFlags::DIRTY);
    if !entry.flags().contains(PageTableFlags::PRESENT) || is_untouched(entry) {
        return false;
    }
    // A page that was committed ahead has been written, or it would be untouched.
    let before = clear_bits(entry, use_bits.union(AHEAD));
    before.intersects(use_bits)
}

/// Whether the CPU has written the frame of a suspended entry.
pub(super) fn is_dirty(entry: &PageTableEntry) -> bool {
    entry.flags().contains(PageTableFlags::DIRTY)
}

/// Takes the frame of an entry that the CPU may be about to write out of its reach. The entry is
/// detached until it is settled.
pub(super) fn suspend(entry: &mut PageTableEntry) {
    clear_bits(entry, PageTableFlags::PRESENT);
}

/// Clears bits of an entry whose accessed and dirty bits the CPU may be about to set, and returns
/// the flags before.
fn clear_bits(entry: &mut PageTableEntry, cleared: PageTableFlags) -> PageTableFlags {
    // SAFETY: an entry is an aligned `u64` (`repr(transparent)`), and no other Rust code accesses
    // it while it is borrowed exclusively. The operation is atomic, because a CPU's page walk sets
    // the bits with a locked access (Intel SDM Vol 3A, "Automatic Locking").
    let bits = unsafe { AtomicU64::from_ptr(ptr::from_mut(entry).cast()) };
    PageTableFlags::from_bits_truncate(bits.fetch_and(!cleared.bits(), Ordering::Relaxed))
}

#[inline]
pub(super) fn count_up(owner: &mut PageTableEntry, by: u64) {
    debug_assert!(occupancy(owner) + by <= 1024, "more than 1024 things keep a table alive");
    owner.set_flags(PageTableFlags::from_bits_retain(owner.flags().bits() + by * ONE));
}

#[inline]
pub(super) fn count_down(owner: &mut PageTableEntry, by: u64) {
    debug_assert!(occupancy(owner) >= by, "more things are uncounted than were counted");
    owner.set_flags(PageTableFlags::from_bits_retain(owner.flags().bits() - by * ONE));
}

/// How many things keep alive the table that the entry owns.
#[inline]
pub(super) fn occupancy(owner: &PageTableEntry) -> u64 {
    owner.flags().intersection(OCCUPANCY).bits() >> ONE_SHIFT
}

/// Whether anything keeps alive the table that the entry owns.
#[inline]
pub(super) fn is_needed(owner: &PageTableEntry) -> bool {
    owner.flags().intersects(OCCUPANCY)
}

#[cfg(test)]
mod tests {
    use x86_64::PhysAddr;

    use super::*;

    fn entry(flags: PageTableFlags) -> PageTableEntry {
        let mut entry = PageTableEntry::new();
        entry.set_addr(PhysAddr::new(0x5000), flags);
        entry
    }

    #[test]
    fn each_state_differs_from_the_others() {
        let frame = PhysFrame::containing_address(PhysAddr::new(0x5000));
        assert_eq!(state(&PageTableEntry::new()), EntryState::Absent);
        assert_eq!(state(&entry(OWNED)), EntryState::Owned(frame));
        assert_eq!(state(&entry(SHARED)), EntryState::Shared);
        assert_eq!(state(&entry(SINK)), EntryState::Sink);
        assert_eq!(state(&entry(OWNED_AHEAD)), EntryState::Owned(frame));
        let mut fading = entry(OWNED_AHEAD);
        defer(&mut fading);
        assert_eq!(state(&fading), EntryState::Deferred(frame));
        detach(&mut fading);
        assert_eq!(state(&fading), EntryState::Detached(frame));
    }

    #[test]
    fn a_page_that_was_committed_ahead_is_untouched_until_its_dirty_bit_is_set() {
        let others = [PageTableEntry::new(), entry(OWNED), entry(SHARED), entry(SINK)];
        assert!(is_untouched(&entry(OWNED_AHEAD)) && !others.iter().any(is_untouched));
        for written in [false, true] {
            let mut suspended = entry(OWNED_AHEAD);
            if written {
                suspended.set_flags(suspended.flags() | PageTableFlags::DIRTY);
            }
            assert_eq!(is_untouched(&suspended), !written);
            suspend(&mut suspended);
            assert!(matches!(state(&suspended), EntryState::Detached(_)) && !is_untouched(&suspended));
            assert_eq!(is_dirty(&suspended), written);
        }
    }

    #[test]
    fn the_use_of_a_page_is_forgotten_until_the_cpu_sets_the_bits_again() {
        for flags in [OWNED, SHARED] {
            let mut used = entry(flags);
            assert_eq!((is_accessed(&used), is_written(&used)), (true, flags == OWNED));
            let before = state(&used);
            assert!(forget_use(&mut used));
            assert_eq!((is_accessed(&used), is_written(&used)), (false, false));
            assert!(state(&used) == before && !is_untouched(&used) && !forget_use(&mut used));
            used.set_flags(used.flags() | PageTableFlags::ACCESSED);
            assert_eq!((is_accessed(&used), is_written(&used)), (true, false));
        }
    }

    #[test]
    fn a_page_that_was_committed_ahead_is_used_when_it_is_written() {
        let mut ahead = entry(OWNED_AHEAD);
        assert!(!is_accessed(&ahead) && !is_written(&ahead));
        assert!(!forget_use(&mut ahead) && is_untouched(&ahead));
        ahead.set_flags(ahead.flags() | PageTableFlags::DIRTY);
        assert!(is_accessed(&ahead) && is_written(&ahead));
        assert!(forget_use(&mut ahead) && !is_untouched(&ahead), "it has other bytes than zeros");
        for mut other in [PageTableEntry::new(), entry(OWNED)] {
            defer(&mut other);
            assert!(!is_accessed(&other) && !is_written(&other) && !forget_use(&mut other));
        }
    }

    #[test]
    fn a_table_is_reached_through_an_owned_entry_alone() {
        let mut detached = entry(OWNED);
        detach(&mut detached);
        let others = [PageTableEntry::new(), entry(SHARED), entry(SINK), detached];
        assert!(owns_table(&entry(OWNED)) && !others.iter().any(owns_table));
    }

    #[test]
    fn the_frame_at_address_zero_is_not_mistaken_for_nothing() {
        let mut zero = PageTableEntry::new();
        zero.set_addr(PhysAddr::zero(), OWNED);
        defer(&mut zero);
        assert_eq!(state(&zero), EntryState::Deferred(PhysFrame::containing_address(PhysAddr::zero())));
        detach(&mut zero);
        assert_eq!(state(&zero), EntryState::Detached(PhysFrame::containing_address(PhysAddr::zero())));
    }

    #[test]
    fn counting_leaves_the_rest_of_the_entry_alone() {
        let mut owner = entry(OWNED);
        (0..24).for_each(|_| count_up(&mut owner, 1));
        count_up(&mut owner, 1000);
        assert_eq!((is_needed(&owner), occupancy(&owner)), (true, 1024));
        assert_eq!(owner.flags().difference(OCCUPANCY), OWNED);
        assert_eq!(owner.addr(), PhysAddr::new(0x5000));
        count_down(&mut owner, 1024);
        assert!(!is_needed(&owner));
        assert_eq!(owner.flags(), OWNED);
    }

    #[test]
    fn the_cpu_writes_no_entry_but_those_ahead_and_never_executes_or_serves_user_mode_through_one() {
        for flags in [OWNED, OWNED_AHEAD, SHARED, SINK] {
            assert!(flags.contains(PageTableFlags::ACCESSED));
            assert_eq!(flags.contains(PageTableFlags::DIRTY), flags != OWNED_AHEAD);
            assert!(flags.contains(PageTableFlags::NO_EXECUTE));
            assert!(!flags.intersects(PageTableFlags::USER_ACCESSIBLE | PageTableFlags::GLOBAL));
        }
    }
}
