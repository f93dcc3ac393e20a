//! The kernel's exit status, as it reaches the host through QEMU's `isa-debug-exit` device.

/// The I/O port of the exit device.
pub const EXIT_PORT: u16 = 0xf4;

/// How the kernel's work ended. The discriminant is the value that is written to the exit device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ExitStatus {
    /// Everything that was requested succeeded. QEMU exits with 33.
    Success = 0x10,
    /// The guest's call failed, or a check of a test did. QEMU exits with 35.
    GuestFailed = 0x11,
    /// The kernel panicked, took a fault that it does not handle, or could not boot. QEMU exits
    /// with 37.
    KernelFailed = 0x12,
}

impl ExitStatus {
    const ALL: [Self; 3] = [Self::Success, Self::GuestFailed, Self::KernelFailed];

    /// Returns the exit code of the QEMU process after this status was written.
    ///
    /// QEMU exits with `(value << 1) | 1`. The code is never 0, with which QEMU exits after a reset
    /// (`-no-reboot`): a triple fault must not look like success.
    #[must_use]
    pub const fn qemu_code(self) -> u32 {
        ((self as u32) << 1) | 1
    }

    /// Returns the status for which QEMU exits with `code`, if there is one.
    #[must_use]
    pub fn from_qemu_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.qemu_code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_exit_code_and_a_reset_has_none() {
        assert_eq!(ExitStatus::ALL.map(ExitStatus::qemu_code), [33, 35, 37]);
        for status in ExitStatus::ALL {
            assert_eq!(ExitStatus::from_qemu_code(status.qemu_code()), Some(status));
        }
        assert_eq!(ExitStatus::from_qemu_code(0), None);
        assert_eq!(ExitStatus::from_qemu_code(1), None);
    }
}
