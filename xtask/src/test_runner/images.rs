//! Builds everything that the tests and the benchmark boot, before they need it.
//!
//! The link-time optimization of an image runs on one CPU, so the targets are built at the same
//! time. Each has its own output directory.

use super::solo;
use crate::iso::LIMINE;
use anyhow::Result;
use palimpsest_host::board::Board;
use palimpsest_host::kernel::{self, Image, Target};
use palimpsest_host::tally::{Tally, Timed};
use palimpsest_host::workspace::{WITHOUT_LTO, Workspace};
use std::fmt;
use std::sync::Mutex;
use std::time::Instant;

/// Images that are built one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Images {
    /// The kernels of a target
    Kernels(Target),
    /// The example of firmware, for each board
    Firmware,
}

/// What is booted on boards: the board, the package and the binary.
const FIRMWARE: [(Board, &str, &str); 3] = [
    (Board::CortexM4, "palimpsest-firmware", "firmware"),
    (Board::Riscv32, "palimpsest-firmware", "firmware"),
    (Board::Riscv32, "palimpsest-spec-firmware", "spec-firmware"),
];

impl Images {
    /// Builds them and counts the result: one that does not build is a failure.
    pub(crate) fn build_and_count(self, workspace: &Workspace, tally: &Mutex<Tally>) {
        let start = Instant::now();
        let built = self.build(workspace);
        let name = format!("ci/build/{self}");
        let name = Timed(&name, start.elapsed());
        let mut tally = tally.lock().expect("no thread panics while it counts");
        match built {
            Ok(()) => tally.pass(&name),
            Err(error) => tally.fail(&name, &format_args!("{error:#}"), ""),
        }
    }

    /// # Errors
    /// One of them does not build. The others are left out.
    fn build(self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Kernels(target) => {
                let limine = (target == Target::None).then_some(LIMINE);
                let kernels = [Image::KERNEL, Image::TESTS, Image::BENCH];
                let mut images = kernels.into_iter().chain(solo::images(target)).chain(limine);
                images.try_for_each(|image| kernel::build(workspace, target, image).map(drop))
            }
            Self::Firmware => FIRMWARE.into_iter().try_for_each(|(board, package, binary)| {
                board.build(workspace, package, binary, &[], WITHOUT_LTO).map(drop)
            }),
        }
    }
}

impl fmt::Display for Images {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernels(target) => target.fmt(formatter),
            Self::Firmware => formatter.write_str("firmware"),
        }
    }
}
