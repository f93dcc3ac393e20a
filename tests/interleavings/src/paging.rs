//! What the tested files import from other modules of their crate.

pub(crate) mod frame {
    /// Physical memory without a frame.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct PhysicalMemory;
}

pub(crate) mod platform {
    pub(crate) use palimpsest_paging::Platform;

    pub(crate) const MOST_CPUS: usize = 64;
}
