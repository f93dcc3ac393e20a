//! Builds everything that the tests and the benchmark boot, before they need it.
//!
//! The link-time optimization of an image runs on one CPU. So the targets are built at the same
//! time. Those of the kernels have their own output directories, for which cargo does not wait.

use super::solo;
use crate::iso::LIMINE;
use anyhow::Result;
use palimpsest_host::board::Board;
use palimpsest_host::kernel::{self, Image, Target};
use palimpsest_host::tally::{Tally, Timed};
use palimpsest_host::workers;
use palimpsest_host::workspace::Workspace;
use std::convert::Infallible;
use std::fmt;
use std::time::Instant;

/// Images that are built one after the other.
#[derive(Clone, Copy, Debug)]
enum Images {
    /// The kernels of a target
    Kernels(Target),
    /// The example of firmware, for each board
    Firmware,
}

/// All of them. The first one takes longest.
const ALL: [Images; 3] = [Images::Kernels(Target::None), Images::Kernels(Target::Gnu), Images::Firmware];

/// What is booted on boards: the board, the package and the binary.
const FIRMWARE: [(Board, &str, &str); 3] = [
    (Board::CortexM4, "palimpsest-firmware", "firmware"),
    (Board::Riscv32, "palimpsest-firmware", "firmware"),
    (Board::Riscv32, "palimpsest-spec-firmware", "spec-firmware"),
];

/// Builds all images, and counts a target with an image that does not build as a failure.
pub(crate) fn build(workspace: &Workspace, tally: &mut Tally) {
    let workers = vec![(); workers::count()];
    let build = |(): &(), images: &Images| {
        let start = Instant::now();
        (images.build(workspace), start.elapsed())
    };
    let Ok(()) = workers::share(&workers, &ALL, build, |images, (built, elapsed)| {
        let name = format!("ci/build/{images}");
        let name = Timed(&name, elapsed);
        match built {
            Ok(()) => tally.pass(&name),
            Err(error) => tally.fail(&name, &format_args!("{error:#}"), ""),
        }
        Ok::<_, Infallible>(())
    });
}

impl Images {
    /// # Errors
    /// One of them does not build. The others are left out.
    fn build(self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Kernels(target) => {
                let limine = (target == Target::None).then_some(LIMINE);
                let kernels = [Image::KERNEL, Image::TESTS, Image::SPEC, Image::BENCH];
                let mut images = kernels.into_iter().chain(solo::images(target)).chain(limine);
                images.try_for_each(|image| kernel::build(workspace, target, image).map(drop))
            }
            Self::Firmware => FIRMWARE.into_iter().try_for_each(|(board, package, binary)| {
                board.build(workspace, package, binary, &[], &[]).map(drop)
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
