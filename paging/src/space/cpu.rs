//! The calls of a kernel with several CPUs: which CPU uses a region, and when a CPU flushes.
//!
//! With one CPU all of these functions return at once.

use core::ptr;

use x86_64::structures::paging::Page;

use super::AddressSpace;
use crate::clear::ALL_CPUS;
use crate::platform::Platform;
use crate::supply::Account;

impl<P: Platform> AddressSpace<P> {
    /// Makes the calling CPU the one that uses the regions of the account.
    ///
    /// It must be called before a region is touched on this CPU, if another CPU has touched or
    /// changed a region of the account since. The CPU flushes its TLB if anything of the account
    /// was unmapped since it last did. If the account was on the same CPU last, that takes one
    /// exchange of a word. It waits while another CPU takes frames of the account back, which it
    /// does with interrupts off and for a bounded number of frames.
    ///
    /// From then on no other CPU takes frames back that regions of the account hold, until the use
    /// [ends](Self::leave).
    #[inline]
    pub fn enter(&self, account: &Account) {
        if self.env.cpus.enter(account.seat(), &self.env.platform) {
            self.arrive(account);
        }
    }

    /// As [`enter`](Self::enter), for a CPU that only reads the regions. Other CPUs may do so at
    /// the same time.
    ///
    /// The use ends when a CPU enters and [leaves](Self::leave).
    #[inline]
    pub fn look(&self, account: &Account) {
        if self.env.cpus.look(account.seat(), &self.env.platform) {
            self.arrive(account);
        }
    }

    /// Ends the use of the account's regions by the calling CPU, which has entered.
    ///
    /// The regions may not be touched until a CPU enters again. That is inexpensive on the CPU that
    /// has left.
    #[inline]
    pub fn leave(&self, account: &Account) {
        self.env.cpus.leave(account.seat(), &self.env.platform);
    }

    /// Continues on the calling CPU a use that began on another one.
    ///
    /// A kernel that moves threads to other CPUs while they use a region must call it for the
    /// region's account, on the new CPU, before it switches to the thread. It may call it for an
    /// account that the thread does not use at the time, if no other thread does.
    pub fn migrate(&self, account: &Account) {
        if self.env.cpus.migrate(account.seat(), &self.env.platform) {
            self.arrive(account);
        }
    }

    /// Returns whether the platform has more than one CPU, so that [`enter`](Self::enter) must be
    /// called.
    pub fn has_many_cpus(&self) -> bool {
        self.env.platform.cpus() > 1
    }

    /// Returns the number of the calling CPU.
    pub fn cpu(&self) -> usize {
        self.env.platform.cpu()
    }

    /// Flushes the calling CPU if a table frame waits for it, and releases frames that have waited
    /// for all CPUs. A kernel calls it in the timer interrupt of each CPU.
    pub fn flush_if_awaited(&self) {
        self.env.cpus.flush_if_awaited(&self.env.platform);
    }

    /// Flushes the calling CPU, and releases frames that have waited for all CPUs. A kernel calls
    /// it when the CPU becomes idle, so that nothing waits for this CPU meanwhile.
    pub fn flush_before_idle(&self) {
        self.env.cpus.flush_this(&self.env.platform);
    }

    /// Takes back the sinks that regions of the account borrow, because a sink may not be used on
    /// two CPUs.
    #[cold]
    fn arrive(&self, account: &Account) {
        if account.seat().take_cover() {
            for sink in &self.env.sinks {
                let borrower = self.env.platform.without_interrupts(|| sink.lock().borrower());
                if let Some(base) = borrower
                    && let Some(shard) = self.directory.find(Page::containing_address(base))
                {
                    self.env.lock(shard, |state| {
                        if let Some(mut mapping) = state.mapping(base, &self.env.platform)
                            && ptr::eq(&raw const *mapping.record.account, account)
                        {
                            mapping.recall_sinks(ALL_CPUS, &self.env);
                        }
                    });
                }
            }
        }
    }
}
