//! A guest and everything that it is given, ready to be booted.
//!
//! A program's standard output becomes the command's standard output, and the kernel's text goes to
//! standard error. For the call of a single function the kernel's text is the output.

use crate::boot::{Session, Streams};
use crate::progress::{self, Progress};
use crate::qemu::{Ending, Machine};
use anyhow::Result;
use palimpsest_protocol::{Entry, Run, Task, files};
use std::io;

/// A guest and everything that it is given.
#[derive(Clone, Debug)]
pub struct Job {
    /// The module, in its binary form
    pub module: Vec<u8>,
    /// How it is run
    pub run: Run,
    /// The directory that it sees, as an archive
    pub root: Option<Vec<u8>>,
    /// What it reads from its standard input
    pub input: Option<Vec<u8>>,
    /// The snapshot that it starts from
    pub snapshot: Option<Vec<u8>>,
}

impl Job {
    /// A guest that is given nothing.
    #[must_use]
    pub const fn new(module: Vec<u8>, entry: Entry) -> Self {
        Self { module, run: Run::new(entry), root: None, input: None, snapshot: None }
    }

    /// Boots the kernel with it.
    ///
    /// # Errors
    /// Those of [`Session::boot`]; or one of the streams cannot be written.
    pub fn boot(&self, session: &Session, machine: Machine, streams: Streams<'_>) -> Result<Ending> {
        let mut files = vec![(files::GUEST, self.module.as_slice())];
        files.extend(self.root.as_deref().map(|root| (files::ROOT, root)));
        files.extend(self.input.as_deref().map(|input| (files::INPUT, input)));
        files.extend(self.snapshot.as_deref().map(|snapshot| (files::SNAPSHOT, snapshot)));
        session.boot_guest(machine, Task::Run(self.run.clone()), &files, streams)
    }

    /// Boots the kernel with it. Copies the output to this process's standard output and error
    /// while the guest runs.
    ///
    /// # Errors
    /// Those of [`Session::boot`]; or one of the streams cannot be written.
    pub fn boot_aloud(&self, session: &Session, machine: Machine) -> Result<Ending> {
        let progress = &Progress::new("booting");
        let console: &mut dyn FnMut(&str) = match self.run.entry {
            Entry::Call { .. } => &mut |line| {
                progress.finish();
                println!("{line}");
            },
            Entry::Program { .. } => &mut |line| {
                progress.finish();
                eprintln!("{line}");
            },
        };
        let output = &mut progress::Ending { progress, inner: io::stdout() };
        let errors = &mut progress::Ending { progress, inner: io::stderr() };
        self.boot(session, machine, Streams { console, output, errors })
    }
}
