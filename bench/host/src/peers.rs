//! The peer programs: Linux in the same emulator, the bare program, the other runtimes.
//!
//! Owns how their scripts are called; what the lines become that they print is in [`lines`], what the Linux guest
//! runs in [`job`]. Their folder is the user's: nothing is written there, and what is added to the Linux guest is
//! added to a copy. A peer that fails is an error; the runtimes of the host are left out, and said to be, where
//! they have not been built.

mod copy;
mod job;
mod lines;
pub(crate) mod runtimes;

use crate::figure::{Figures, Origin, Source};
use crate::modules::Module;
use anyhow::{Context, Result, ensure};
use duct::cmd;
use palimpsest_host::protocol::Job;
use palimpsest_host::qemu::{Clock, Cpu};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the peers.
#[derive(Debug)]
pub(crate) struct Peers {
    directory: PathBuf,
}

/// What Linux measures in one boot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LinuxSuite {
    /// Page operations
    Pages,
    /// The kernels in wasmi
    Wasm,
}

impl Peers {
    /// The peers in `directory`.
    ///
    /// # Errors
    /// They are not there.
    pub(crate) fn find(directory: &Path) -> Result<Self> {
        let run = directory.join("linux-guest/run");
        ensure!(run.is_file(), "there is no {}: name the folder of the peers", run.display());
        let directory = fs::canonicalize(directory).context("cannot resolve the peers' folder")?;
        Ok(Self { directory })
    }

    /// The same peers in the folder `copy`, whose Linux guest also runs `module`: its job is `word`.
    ///
    /// # Errors
    /// The copy cannot be made.
    pub(crate) fn with_kernel(self, copy: PathBuf, module: &Module, word: &str) -> Result<Self> {
        copy::with_kernel(&self.directory, &copy, module, word).context("cannot copy the peers' folder")?;
        Ok(Self { directory: copy })
    }

    /// The kernels that the Linux guest runs, with their arguments.
    ///
    /// # Errors
    /// The guest's script cannot be read, or names none.
    pub(crate) fn jobs(&self) -> Result<Vec<Job>> {
        let script = self.directory.join(copy::SCRIPT);
        let text =
            fs::read_to_string(&script).with_context(|| format!("cannot read {}", script.display()))?;
        let jobs = job::all_in(&text);
        ensure!(!jobs.is_empty(), "{} names no kernels", script.display());
        Ok(jobs)
    }

    /// The modules of these jobs.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub(crate) fn modules(&self, jobs: &[Job]) -> Result<Vec<Module>> {
        let mut files: Vec<_> = jobs.iter().map(|job| job.file.clone()).collect();
        files.sort_unstable();
        files.dedup();
        let read = |file: String| {
            let path = self.directory.join(copy::KERNELS).join(&file);
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Module { file, bytes })
        };
        files.into_iter().map(read).collect()
    }

    /// What Linux measures in the emulator.
    ///
    /// # Errors
    /// Its script fails, which has then said why.
    pub(crate) fn linux(&self, suite: LinuxSuite, cpu: Cpu) -> Result<Figures> {
        let suite = match suite {
            LinuxSuite::Pages => "memns",
            LinuxSuite::Wasm => "wasm",
        };
        let cpu_word = match cpu {
            Cpu::Max => None,
            Cpu::WithoutErms => Some("-erms"),
        };
        let words = [suite].into_iter().chain(cpu_word);
        let lines = self.script("linux-guest/run", words)?;
        Ok(Figures::of(Origin { source: Source::Linux, cpu, clock: Clock::Host }, lines::figures(&lines)?))
    }

    /// What the bare program measures in the emulator.
    ///
    /// # Errors
    /// Its script fails, which has then said why.
    pub(crate) fn floor(&self) -> Result<Figures> {
        let lines = self.script("floor/run", [])?;
        let origin = Origin { source: Source::Floor, cpu: Cpu::Max, clock: Clock::Host };
        Ok(Figures::of(origin, lines::figures(&lines)?))
    }

    /// What the runtimes on this machine need; none where they have not been built.
    ///
    /// # Errors
    /// Their script fails, which has then said why.
    pub(crate) fn host_runtimes(&self, rounds: u32) -> Result<Figures> {
        runtimes::measure(self, rounds)
    }

    fn script<'a>(&self, script: &str, words: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let path = self.directory.join(script);
        println!("$ {}", path.display());
        cmd(&path, words).stdin_null().read().with_context(|| format!("{} failed", path.display()))
    }
}
