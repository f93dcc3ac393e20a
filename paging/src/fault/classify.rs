//! What a fault means: a decision, as a pure function over plain values.
//!
//! The order of the guard clauses is the policy. First comes what no region ever causes, then where
//! the address is, and only then the state of its page. A fault on a present page is never fixed,
//! except for the first write to a page that shows a shared frame or zeros.

use x86_64::structures::idt::PageFaultErrorCode as Code;

use super::NotOurs;

/// Where an address is, from the view of an address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In no region.
    Nowhere,
    /// In a region, beyond its limit.
    BeyondLimit,
    /// In a region, on a page in this state.
    Page(PageState),
}

/// The state of a page of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageState {
    /// It has no frame: it was never touched, or was decommitted.
    Absent,
    /// It shows a shared frame, read-only: the zero frame, or one of an image.
    Shared,
    /// It leads to the sink, where writes are not kept, or reads as zero for want of a table.
    Sink,
    /// It owns a frame out of the CPU's reach. The next touch must zero the old bytes.
    Deferred,
    /// It owns a mapped frame.
    Own,
}

/// The action that resolves a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Map the shared frame that the page starts with, because an absent page was read.
    Show,
    /// Map an own frame with the bytes that the page starts with, because an absent page was
    /// written.
    Commit,
    /// Replace the shared frame by an own frame with the same bytes, because the page was written.
    Upgrade,
    /// Zero the page's frame and map it again, because a deferred page was read or written.
    TakeBack,
    /// Map the sink in place of zeros, because a page was written that could not be read.
    Absorb,
    /// Do nothing, because the page is mapped by now.
    Retry,
}

impl Remedy {
    /// Whether a write of zeros changes nothing of what the page reads as.
    pub(super) const fn reads_as_zero(self) -> bool {
        match self {
            Self::Commit | Self::Upgrade | Self::TakeBack => true,
            Self::Show | Self::Absorb | Self::Retry => false,
        }
    }

    /// Whether the page was written and owns no frame.
    pub(super) const fn takes_frame(self) -> bool {
        match self {
            Self::Commit | Self::Upgrade => true,
            Self::Show | Self::TakeBack | Self::Absorb | Self::Retry => false,
        }
    }
}

/// Decides what to do about a fault with this error code at an address in this place.
///
/// # Errors
///
/// The fault is not ours. Returns the first reason that applies, in this order:
///
/// - [`NotOurs::InstructionFetch`], [`NotOurs::ReservedBit`], [`NotOurs::UserMode`],
///   [`NotOurs::ForeignCheck`]: the error code has a bit that no access of the kernel to its data
///   causes.
/// - [`NotOurs::Stray`], [`NotOurs::BeyondLimit`]: the address is not usable.
/// - [`NotOurs::Protection`]: the page is present and refuses the access.
pub(super) fn classify(code: Code, place: Place) -> Result<Remedy, NotOurs> {
    if code.contains(Code::INSTRUCTION_FETCH) {
        return Err(NotOurs::InstructionFetch);
    }
    if code.contains(Code::MALFORMED_TABLE) {
        return Err(NotOurs::ReservedBit);
    }
    if code.contains(Code::USER_MODE) {
        return Err(NotOurs::UserMode);
    }
    // Any other bit is the mark of a check that this crate does not use.
    if !Code::PROTECTION_VIOLATION.union(Code::CAUSED_BY_WRITE).contains(code) {
        return Err(NotOurs::ForeignCheck);
    }
    match place {
        Place::Nowhere => Err(NotOurs::Stray),
        Place::BeyondLimit => Err(NotOurs::BeyondLimit),
        Place::Page(state) if code.contains(Code::PROTECTION_VIOLATION) => refused(code, state),
        Place::Page(state) => Ok(missing(code, state)),
    }
}

/// The CPU found the page present and refused the access.
fn refused(code: Code, state: PageState) -> Result<Remedy, NotOurs> {
    match state {
        PageState::Shared if code.contains(Code::CAUSED_BY_WRITE) => Ok(Remedy::Upgrade),
        PageState::Sink if code.contains(Code::CAUSED_BY_WRITE) => Ok(Remedy::Absorb),
        PageState::Shared | PageState::Absent | PageState::Sink | PageState::Deferred | PageState::Own => {
            Err(NotOurs::Protection)
        }
    }
}

/// The CPU found the page absent.
fn missing(code: Code, state: PageState) -> Remedy {
    match state {
        PageState::Absent if code.contains(Code::CAUSED_BY_WRITE) => Remedy::Commit,
        PageState::Absent => Remedy::Show,
        PageState::Deferred => Remedy::TakeBack,
        // Another CPU has mapped it. A write to a shared frame faults again, as a refused access.
        PageState::Shared | PageState::Sink | PageState::Own => Remedy::Retry,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const STATES: [PageState; 5] =
        [PageState::Absent, PageState::Shared, PageState::Sink, PageState::Deferred, PageState::Own];

    /// Every combination of the error code's defined bits.
    pub(in crate::fault) fn every_code() -> impl Iterator<Item = Code> {
        let bits: [Code; 10] = [
            Code::PROTECTION_VIOLATION,
            Code::CAUSED_BY_WRITE,
            Code::USER_MODE,
            Code::MALFORMED_TABLE,
            Code::INSTRUCTION_FETCH,
            Code::PROTECTION_KEY,
            Code::SHADOW_STACK,
            Code::HLAT,
            Code::SGX,
            Code::RMP,
        ];
        (0..1_u32 << bits.len()).map(move |mask| {
            let chosen = bits.into_iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
            chosen.map(|(_, flag)| flag).collect()
        })
    }

    pub(in crate::fault) fn every_place() -> impl Iterator<Item = Place> {
        [Place::Nowhere, Place::BeyondLimit].into_iter().chain(STATES.map(Place::Page))
    }

    #[test]
    fn only_plain_supervisor_data_accesses_are_ever_fixed() {
        let plain = Code::PROTECTION_VIOLATION | Code::CAUSED_BY_WRITE;
        for (code, place) in every_code().flat_map(|code| every_place().map(move |place| (code, place))) {
            if classify(code, place).is_ok() {
                assert!(plain.contains(code), "{code:?} was fixed at {place:?}");
                assert!(matches!(place, Place::Page(_)), "{code:?} was fixed at {place:?}");
            }
        }
    }

    #[test]
    fn a_refused_access_is_fixed_only_for_a_write_to_a_page_that_owns_no_frame() {
        let write = Code::PROTECTION_VIOLATION | Code::CAUSED_BY_WRITE;
        for state in STATES {
            let expected = match state {
                PageState::Shared => Ok(Remedy::Upgrade),
                PageState::Sink => Ok(Remedy::Absorb),
                PageState::Absent | PageState::Deferred | PageState::Own => Err(NotOurs::Protection),
            };
            assert_eq!(classify(write, Place::Page(state)), expected, "{state:?}");
            let read = classify(Code::PROTECTION_VIOLATION, Place::Page(state));
            assert_eq!(read, Err(NotOurs::Protection), "{state:?}");
        }
    }

    #[test]
    fn a_missing_page_is_shown_as_zero_when_read_and_committed_when_written() {
        let absent = Place::Page(PageState::Absent);
        assert_eq!(classify(Code::empty(), absent), Ok(Remedy::Show));
        assert_eq!(classify(Code::CAUSED_BY_WRITE, absent), Ok(Remedy::Commit));
    }

    #[test]
    fn a_deferred_page_is_taken_back_whatever_touches_it() {
        for code in [Code::empty(), Code::CAUSED_BY_WRITE] {
            assert_eq!(classify(code, Place::Page(PageState::Deferred)), Ok(Remedy::TakeBack));
        }
    }

    #[test]
    fn a_page_that_is_there_by_now_is_retried() {
        for state in [PageState::Shared, PageState::Sink, PageState::Own] {
            assert_eq!(classify(Code::empty(), Place::Page(state)), Ok(Remedy::Retry));
            assert_eq!(classify(Code::CAUSED_BY_WRITE, Place::Page(state)), Ok(Remedy::Retry));
        }
    }

    #[test]
    fn each_reason_has_its_name() {
        let page = Place::Page(PageState::Absent);
        let reason = |code, place| classify(code, place).err();
        assert_eq!(reason(Code::empty(), Place::Nowhere), Some(NotOurs::Stray));
        assert_eq!(reason(Code::empty(), Place::BeyondLimit), Some(NotOurs::BeyondLimit));
        assert_eq!(reason(Code::INSTRUCTION_FETCH, page), Some(NotOurs::InstructionFetch));
        assert_eq!(reason(Code::MALFORMED_TABLE, page), Some(NotOurs::ReservedBit));
        assert_eq!(reason(Code::USER_MODE, page), Some(NotOurs::UserMode));
        for foreign in [Code::PROTECTION_KEY, Code::SHADOW_STACK, Code::HLAT, Code::SGX, Code::RMP] {
            assert_eq!(reason(foreign, page), Some(NotOurs::ForeignCheck));
        }
    }

    #[test]
    fn an_undefined_bit_is_a_foreign_check() {
        let undefined = Code::from_bits_retain(1 << 20);
        assert_eq!(classify(undefined, Place::Page(PageState::Absent)), Err(NotOurs::ForeignCheck));
    }
}
