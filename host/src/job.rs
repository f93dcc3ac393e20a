//! A guest and everything that it is given.
//!
//! Owns what goes into the boot archive for a guest, and which of the machine's texts are the command's own
//! output: of a program only what it writes to its standard output, of a plain call the kernel's text. Made
//! by `run` and the tests of programs; booted once or several times.

use crate::archive::{Driver, Entry, GUEST, INPUT, ROOT, Request, Run};
use crate::boot::{Session, Streams};
use crate::qemu::{Ending, Machine};
use anyhow::Result;
use std::io;

/// A guest and everything that it is given.
#[derive(Clone, Debug)]
pub struct Job {
    /// The module, in its binary form
    pub module: Vec<u8>,
    /// How it is run
    pub kind: Kind,
    /// The arguments of the call, or of the program
    pub arguments: Vec<String>,
    /// The environment: names and values
    pub environment: Vec<(String, String)>,
    /// The directory that it sees, as an archive
    pub root: Option<Vec<u8>>,
    /// What it reads from its standard input
    pub input: Option<Vec<u8>>,
}

/// How a guest is run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// One function is called; the kernel knows the usual entry points if there is no name
    Call {
        /// The export
        invoke: Option<String>,
    },
    /// It is run as a program
    Program {
        /// How the kernel drives it
        driver: Driver,
        /// Its argument 0
        name: String,
    },
}

impl Job {
    /// A guest that is given nothing.
    #[must_use]
    pub const fn new(module: Vec<u8>, kind: Kind) -> Self {
        Self { module, kind, arguments: Vec::new(), environment: Vec::new(), root: None, input: None }
    }

    /// Boots the kernel with it.
    ///
    /// # Errors
    /// As [`Session::boot_guest`].
    pub fn boot(&self, session: &Session, machine: Machine, streams: Streams<'_>) -> Result<Ending> {
        let entry = match &self.kind {
            Kind::Call { invoke } => Entry::Call { invoke: invoke.as_deref() },
            Kind::Program { driver, name } => Entry::Program { driver: *driver, name },
        };
        let run = Run { entry, arguments: &self.arguments, environment: &self.environment };
        let mut files = vec![(GUEST, self.module.as_slice())];
        files.extend(self.root.as_deref().map(|root| (ROOT, root)));
        files.extend(self.input.as_deref().map(|input| (INPUT, input)));
        session.boot_guest(machine, Request::Run(run), &files, streams)
    }

    /// Boots the kernel with it, and passes everything on to our own standard output and error as it comes.
    ///
    /// # Errors
    /// As [`Session::boot_guest`].
    pub fn boot_aloud(&self, session: &Session, machine: Machine) -> Result<Ending> {
        let console: &mut dyn FnMut(&str) = match self.kind {
            Kind::Call { .. } => &mut |line| println!("{line}"),
            Kind::Program { .. } => &mut |line| eprintln!("{line}"),
        };
        let (output, errors) = (&mut io::stdout(), &mut io::stderr());
        self.boot(session, machine, Streams { console, output, errors })
    }
}
