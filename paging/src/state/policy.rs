//! What an address space does beyond what it must: the policies that an embedder can set.
//!
//! Each is a trade that changes costs, and never what a page reads: a page that was committed ahead reads as
//! zero, like one that is absent. Each has a value `Off`, with which the space does exactly what it is asked.
//! Called by: the embedder, through [`AddressSpace::set_policies`](crate::AddressSpace::set_policies), at any
//! time; read by the fault path and by whatever clears pages.

/// The policies of an address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policies {
    /// What a first write to a page does about the pages behind it.
    pub fault_around: FaultAround,
    /// What a fill of zeros does to pages that read as zero.
    pub zero_stores: ZeroStores,
}

impl Policies {
    /// All of them off: a first write commits its page and no other, whatever it writes, and a clear takes one entry
    /// after the other and one frame after the other.
    pub const OFF: Self = Self { fault_around: FaultAround::Off, zero_stores: ZeroStores::Off };
}

/// Whether pages are committed before they are touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultAround {
    /// A first write commits its page and no other.
    Off,
    /// A first write that continues a run of first writes to neighbouring pages, in the order of their
    /// addresses, commits pages behind its own.
    ///
    /// The third write of a run commits the rest of its 64 KiB; each further one that finds an absent page
    /// twice as much as the one before, up to `limit_pages`, its own page included, and up to the end of its
    /// level-1 table. Whatever is not free to be taken, or is behind the limit, is not committed, and frames
    /// that were committed ahead and are still zero are given back before an access finds no frame.
    Adaptive {
        /// The largest number of pages that one fault commits.
        limit_pages: u16,
    },
}

impl FaultAround {
    /// The largest number of pages that one fault commits.
    pub(crate) const fn limit_pages(self) -> u16 {
        match self {
            Self::Off => 1,
            Self::Adaptive { limit_pages } => limit_pages,
        }
    }
}

/// A fault costs less than zeroing a page: with 64 of them it is hardly felt any more, and more pages would hold more
/// and gain little. `cargo xtask bench --icount` compares several limits.
const DEFAULT_LIMIT_PAGES: u16 = 64;

impl Default for FaultAround {
    fn default() -> Self {
        Self::Adaptive { limit_pages: DEFAULT_LIMIT_PAGES }
    }
}

/// What becomes of a `rep stosb` or `rep stosq` of zeros that runs over pages which read as zero.
///
/// It applies to [`handle_fault_with`](crate::AddressSpace::handle_fault_with), which knows the registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ZeroStores {
    /// It commits them, like any other write, unless a [`ZeroFill`](crate::ZeroFill) guard is up.
    Off,
    /// It is moved to the end of such pages, which stay as they are.
    #[default]
    StepOver,
}
