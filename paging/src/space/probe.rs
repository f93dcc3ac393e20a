//! Whether fills of zeros are stepped over.
//!
//! They are if the kernel's handler has the interrupted registers, as with the entry of
//! [`page_fault_entry`](crate::page_fault_entry), and if the program's `memset` is one of the
//! instructions that are recognised. Nothing but an attempt shows that.

use alloc::sync::Arc;
use core::hint::black_box;
use core::sync::atomic::Ordering;

use super::AddressSpace;
use crate::pages::{PAGE_BYTES, PAGE_LEN};
use crate::platform::Platform;
use crate::supply::Account;

impl<P: Platform> AddressSpace<P> {
    /// Returns whether the page-fault handler steps over a fill of zeros under a
    /// [`ZeroFill`](crate::ZeroFill) guard, so that a fill of any length takes the same time.
    ///
    /// Unless a fill was stepped over before, the function fills a page of a region that it makes
    /// for that. So the kernel's page-fault handler must be in place, as the contract of
    /// [`new`](Self::new) demands. A region that cannot be made counts as a fill that is not
    /// stepped over.
    #[must_use]
    pub fn steps_over_fills(&self) -> bool {
        self.has_stepped_over.load(Ordering::Relaxed) || self.try_to_fill()
    }

    #[cold]
    fn try_to_fill(&self) -> bool {
        let account = Arc::new(Account::new(None));
        let Ok(mut region) = self.reserve(PAGE_BYTES, &account) else { return false };
        if region.set_limit(PAGE_BYTES).is_err() {
            return false;
        }
        let start = region.base().as_mut_ptr::<u8>();
        let pages = region.pages();
        self.enter(&account);
        let Ok(guard) = region.zero_fill(pages) else { return false };
        // A length that the compiler does not know makes it call `memset`, as a fill of a memory
        // does.
        let length = black_box(PAGE_LEN);
        // SAFETY: 1. The bytes are those of the region and below its limit, so the page-fault
        // handler resolves the fault, by guarantee 5 of `new`. 2. The region is new and borrowed by
        // the guard, so nothing else refers to them. 3. Zeros are written, as the guard demands.
        unsafe { start.write_bytes(0, length) };
        drop(guard);
        self.has_stepped_over.load(Ordering::Relaxed)
    }
}
