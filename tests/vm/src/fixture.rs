//! Regions to test with, and safe accesses to them.
//!
//! A `Guest` owns its region and checks every offset, so its accesses reach no other memory.

use alloc::sync::Arc;

use kernel_demo::Machine;
use kernel_demo::memory::Hardware;
use palimpsest_paging::{Account, Region, Residency};
use x86_64::VirtAddr;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::{Page, PageSize, Size4KiB};

use crate::access;

/// Size of a page and of a frame, in bytes.
pub(crate) const PAGE_BYTES: u64 = Size4KiB::SIZE;

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

/// A region of the kernel's address space, all of it within the limit.
pub(crate) struct Guest {
    pub(crate) region: Region<'static, Hardware>,
    pub(crate) account: Arc<Account>,
}

impl Guest {
    /// A new region of `bytes` bytes with its own account.
    pub(crate) fn new(machine: &Machine, bytes: u64) -> Self {
        Self::with_account(machine, bytes, Account::new(None))
    }

    /// A new region of `bytes` bytes charged to `account`.
    pub(crate) fn with_account(machine: &Machine, bytes: u64, account: Account) -> Self {
        let account = Arc::new(account);
        let mut region =
            machine.space().reserve(bytes, &account).expect("the window is larger than any test's regions");
        region.set_limit(bytes).expect("the limit is the region's size");
        Self { region, account }
    }

    /// The address of the byte at `offset`.
    pub(crate) fn address(&self, offset: u64) -> VirtAddr {
        assert!(offset < self.region.limit_bytes(), "a test accesses an offset outside of its region");
        self.region.base() + offset
    }

    /// Reads the byte at `offset`.
    pub(crate) fn load(&self, offset: u64) -> u8 {
        access::load(self.address(offset))
    }

    /// Writes the byte at `offset`.
    pub(crate) fn store(&mut self, offset: u64, byte: u8) {
        // SAFETY: the address is in the region, which `self` owns.
        unsafe { access::store(self.address(offset), byte) };
    }

    /// The pages from byte `start` up to byte `end`.
    pub(crate) fn pages(&self, start: u64, end: u64) -> PageRange {
        let [start, end] = [start, end].map(|offset| Page::containing_address(self.region.base() + offset));
        Page::range(start, end)
    }

    /// The region's figures.
    pub(crate) fn residency(&self) -> Residency {
        self.region.residency()
    }
}
