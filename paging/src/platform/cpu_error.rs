//! Why a CPU cannot be used.

use thiserror::Error;

/// Why a CPU cannot be used with this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CpuError {
    /// Ring 0 ignores read-only entries.
    #[error("CR0.WP is clear: set it, so that ring 0 cannot write the shared zero frame")]
    WriteProtectOff,
    /// The no-execute bit is a reserved bit.
    #[error("EFER.NXE is clear: set it, so that pages can be mapped no-execute")]
    NoExecuteOff,
    /// The CPU walks five levels of tables.
    #[error("CR4.LA57 is set: switch to 4-level paging, because the root is read as a level-4 table")]
    FiveLevelPaging,
    /// Translations are tagged with process contexts.
    #[error("CR4.PCIDE is set: clear it, because a flush reaches the current process context only")]
    ProcessContexts,
    /// A space is for 1 to 64 CPUs.
    #[error("a platform for {cpus} CPUs was requested: request 1 to 64")]
    TooMany {
        /// The number of CPUs that was requested.
        cpus: usize,
    },
}
