//! One built image and the files of its boots.
//!
//! Owns a directory of this process and image below cargo's output directory, so that two xtasks at once do
//! not mix their boot archives; it is removed when the session is dropped. `run` boots once, the test runner
//! once per test.

use crate::archive::{self, Request};
use crate::kernel::{self, Image, Target};
use crate::qemu::{self, Ending, Files, Machine};
use crate::report::{Report, ReportError};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

/// Memory of the virtual machine when nobody asks for more, in MiB.
pub(crate) const DEFAULT_MEMORY_MIB: u32 = 256;

/// A kernel image that can be booted any number of times, one boot after the other.
#[derive(Debug)]
pub(crate) struct Session {
    kernel: PathBuf,
    directory: PathBuf,
}

impl Session {
    /// Builds the image and makes the directory.
    ///
    /// # Errors
    /// The image does not build, or the directory cannot be made.
    pub(crate) fn new(workspace: &Workspace, target: Target, image: Image) -> Result<Self> {
        let kernel = kernel::build(workspace, target, image)?;
        let directory = workspace.output("boot").join(format!("{}-{}", image.binary(), process::id()));
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self { kernel, directory })
    }

    /// Boots the image with a request and the Wasm `modules` that belong to it, and passes on its text line
    /// by line.
    ///
    /// # Errors
    /// The archive cannot be written, or QEMU cannot be started or listened to.
    pub(crate) fn boot(
        &self,
        machine: Machine,
        request: Request<'_>,
        modules: &[(&str, &[u8])],
        on_line: impl FnMut(&str),
    ) -> Result<Ending> {
        let archive = self.directory.join("boot.tar");
        archive::write(&archive, request, machine.clock, modules)?;
        let files = Files { kernel: &self.kernel, archive: Some(&archive), report: &self.report_file() };
        qemu::boot(machine, files, on_line)
    }

    /// Boots an image that knows of no request.
    ///
    /// # Errors
    /// QEMU cannot be started or listened to.
    pub(crate) fn boot_without_archive(&self, machine: Machine, on_line: impl FnMut(&str)) -> Result<Ending> {
        let files = Files { kernel: &self.kernel, archive: None, report: &self.report_file() };
        qemu::boot(machine, files, on_line)
    }

    /// The directory, for files that shall be gone with the session.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the last boot wrote to its second serial port.
    ///
    /// # Errors
    /// It wrote no report, or one that is damaged.
    pub(crate) fn report(&self) -> Result<Report, ReportError> {
        let text = fs::read_to_string(self.report_file()).map_err(ReportError::Unreadable)?;
        Report::parse(&text)
    }

    fn report_file(&self) -> PathBuf {
        self.directory.join("report.json")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What is left behind is a few files below cargo's output directory.
        drop(fs::remove_dir_all(&self.directory));
    }
}
