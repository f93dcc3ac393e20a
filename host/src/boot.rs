//! One built image and the files of its boots.
//!
//! A [`Session`] owns a directory below cargo's output directory. The process and the image are in
//! its name, so two sessions at the same time do not mix their boot archives. What a guest writes
//! is passed on while the guest runs.

use crate::answer::{self, AnswerError};
use crate::archive;
use crate::follow::follow;
use crate::iso;
use crate::kernel::{self, Image, Target};
use crate::qemu::{self, Ending, Files, Firmware, Machine, Medium};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use palimpsest_protocol::{Request, Task};
use serde::de::DeserializeOwned;
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::mpsc;
use std::thread;

/// The default for the memory of the virtual machine, in MiB.
pub const DEFAULT_MEMORY_MIB: u32 = 256;

/// A kernel image that can be booted repeatedly, one boot at a time. Dropping it removes its
/// directory.
#[derive(Debug)]
pub struct Session {
    kernel: PathBuf,
    directory: PathBuf,
}

impl Session {
    /// Builds the image and makes the directory.
    ///
    /// # Errors
    /// The image does not build, or the directory cannot be made.
    pub fn new(workspace: &Workspace, target: Target, image: Image) -> Result<Self> {
        let kernel = kernel::build(workspace, target, image)?;
        let directory = workspace.output("boot").join(format!("{}-{}", image.binary, process::id()));
        Self::in_directory(kernel, directory)
    }

    /// Returns this session and others of the same image, `count` in all, for boots at the same
    /// time.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub fn into_several(self, count: usize) -> Result<Vec<Self>> {
        let mut sessions = vec![self];
        for number in 1..count {
            let mut directory = sessions[0].directory.clone().into_os_string();
            directory.push(format!("-{number}"));
            sessions.push(Self::in_directory(sessions[0].kernel.clone(), directory.into())?);
        }
        Ok(sessions)
    }

    fn in_directory(kernel: PathBuf, directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self { kernel, directory })
    }

    /// Boots the image with a task and the `files` that the task needs. Passes each line of the
    /// kernel's text to `on_line`.
    ///
    /// # Errors
    /// The archive cannot be written, or QEMU cannot be started or listened to.
    pub fn boot(
        &self,
        machine: Machine,
        task: Task,
        files: &[(&str, &[u8])],
        on_line: impl FnMut(&str),
    ) -> Result<Ending> {
        let archive = self.directory.join("boot.tar");
        archive::write(&archive, &Request { task, clock: machine.clock }, files)?;
        qemu::boot(machine, self.files(self.medium(Some(&archive))), on_line)
    }

    /// Like [`boot`](Self::boot), and passes on what the guest writes while it runs.
    ///
    /// # Errors
    /// Those of `boot`; or one of the streams cannot be written.
    pub(crate) fn boot_guest(
        &self,
        machine: Machine,
        task: Task,
        files: &[(&str, &[u8])],
        streams: Streams<'_>,
    ) -> Result<Ending> {
        let Streams { console, output, errors } = streams;
        let ports = [(self.output_file(), output), (self.errors_file(), errors)];
        for (path, _) in &ports {
            File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        thread::scope(|scope| {
            let followers = ports.map(|(path, to)| {
                let (end, ended) = mpsc::channel();
                (end, scope.spawn(move || follow(&path, ended, to)))
            });
            let ending = self.boot(machine, task, files, console);
            for (end, follower) in followers {
                drop(end);
                let followed = follower.join().expect("a follower has nothing that panics");
                followed.context("cannot pass on what the guest writes")?;
            }
            ending
        })
    }

    /// Boots an image that reads no request.
    ///
    /// # Errors
    /// QEMU cannot be started or listened to.
    pub fn boot_without_archive(&self, machine: Machine, on_line: impl FnMut(&str)) -> Result<Ending> {
        qemu::boot(machine, self.files(self.medium(None)), on_line)
    }

    /// Makes a CD image with the kernel, and with an archive of the task if there is one, and boots
    /// it.
    ///
    /// # Errors
    /// The archive or the image cannot be written, or QEMU cannot be started or listened to.
    pub fn boot_disc(
        &self,
        machine: Machine,
        firmware: Firmware,
        task: Option<Task>,
        on_line: impl FnMut(&str),
    ) -> Result<Ending> {
        let disc = self.directory.join("boot.iso");
        let archive = task.map(|task| (self.directory.join("boot.tar"), task));
        if let Some((path, task)) = &archive {
            archive::write(path, &Request { task: task.clone(), clock: machine.clock }, &[])?;
        }
        iso::build(&disc, &self.kernel, archive.as_ref().map(|(path, _)| path.as_path()))?;
        qemu::boot(machine, self.files(Medium::Disc { image: disc, firmware }), on_line)
    }

    fn medium(&self, archive: Option<&Path>) -> Medium {
        Medium::Kernel { image: self.kernel.clone(), archive: archive.map(Path::to_path_buf) }
    }

    fn files(&self, medium: Medium) -> Files {
        Files { medium, report: self.report_file(), output: self.output_file(), errors: self.errors_file() }
    }

    /// The directory, for files that are to be removed with the session.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the answer of the last boot.
    ///
    /// # Errors
    /// The kernel sent no answer, or a damaged one.
    pub fn answer<T: DeserializeOwned>(&self) -> Result<T, AnswerError> {
        let text = fs::read_to_string(self.report_file()).map_err(AnswerError::Unreadable)?;
        answer::parse(&text)
    }

    fn report_file(&self) -> PathBuf {
        self.directory.join("report.json")
    }

    fn output_file(&self) -> PathBuf {
        self.directory.join("stdout")
    }

    fn errors_file(&self) -> PathBuf {
        self.directory.join("stderr")
    }
}

/// Where the text of a boot goes.
pub struct Streams<'a> {
    /// The kernel's lines
    pub console: &'a mut dyn FnMut(&str),
    /// The guest's standard output
    pub output: &'a mut (dyn Write + Send),
    /// The guest's standard error
    pub errors: &'a mut (dyn Write + Send),
}

impl fmt::Debug for Streams<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Streams").finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // On failure a few files stay below cargo's output directory.
        drop(fs::remove_dir_all(&self.directory));
    }
}
