//! The peer programs: Linux and a bare program in the same emulator, and other runtimes on the
//! host.
//!
//! This module calls their scripts; [`lines`] parses their output, and [`job`] what the Linux guest
//! runs. Nothing is written to the peers' folder: a kernel is added to a copy of it. A peer that
//! fails is an error. The host's runtimes are skipped with a message if they have not been built.

mod copy;
pub(crate) mod forks;
mod job;
mod lines;
pub(crate) mod runtimes;

use crate::figure::{Figures, Origin, Source};
use crate::kernels::Kernels;
use crate::modules::Module;
use anyhow::{Context, Result, ensure};
use duct::cmd;
use palimpsest_host::qemu::{Clock, Cpu};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use job::parse as parse_job;

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

/// What a boot of Linux measured.
#[derive(Debug)]
pub(crate) struct LinuxRun {
    /// The figures
    pub(crate) figures: Figures,
    /// The release of its kernel, if it names it
    pub(crate) kernel: Option<String>,
}

/// The variable that makes the peers' emulator count instructions.
const ICOUNT: &str = "ICOUNT";

/// The word that selects this model of the CPU.
const fn cpu_word(cpu: Cpu) -> Option<&'static str> {
    match cpu {
        Cpu::Max => None,
        Cpu::WithoutErms => Some("-erms"),
    }
}

impl Peers {
    /// Finds the peers in `directory`.
    ///
    /// # Errors
    /// It does not contain them.
    pub(crate) fn find(directory: &Path) -> Result<Self> {
        let run = directory.join("linux-guest/run");
        ensure!(run.is_file(), "{} does not exist: name the folder of the peers", run.display());
        let directory = fs::canonicalize(directory).context("cannot resolve the peers' folder")?;
        Ok(Self { directory })
    }

    /// Copies the peers to the folder `copy`, in which the Linux guest also runs `module`. Its job
    /// is `word`.
    ///
    /// # Errors
    /// The copy cannot be made.
    pub(crate) fn with_kernel(self, copy: PathBuf, module: &Module, word: &str) -> Result<Self> {
        copy::with_kernel(&self.directory, &copy, module, word).context("cannot copy the peers' folder")?;
        Ok(Self { directory: copy })
    }

    /// The kernels that the Linux guest runs.
    ///
    /// # Errors
    /// The guest's script cannot be read, or names none; or a module cannot be read.
    pub(crate) fn kernels(&self) -> Result<Kernels> {
        let script = self.directory.join(copy::SCRIPT);
        let text =
            fs::read_to_string(&script).with_context(|| format!("cannot read {}", script.display()))?;
        let jobs = job::all_in(&text);
        ensure!(!jobs.is_empty(), "{} names no kernels", script.display());
        let mut files: Vec<_> = jobs.iter().map(|job| job.file.clone()).collect();
        files.sort_unstable();
        files.dedup();
        let read = |file: String| {
            let path = self.directory.join(copy::KERNELS).join(&file);
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Module { file, bytes })
        };
        let modules = files.into_iter().map(read).collect::<Result<_>>()?;
        Ok(Kernels { jobs, modules })
    }

    /// Measures a suite on Linux in the emulator.
    ///
    /// # Errors
    /// Its script fails; it has then printed why.
    pub(crate) fn linux(&self, suite: LinuxSuite, cpu: Cpu, clock: Clock) -> Result<LinuxRun> {
        let suite = match suite {
            LinuxSuite::Pages => "memns",
            LinuxSuite::Wasm => "wasm",
        };
        let words = [suite].into_iter().chain(cpu_word(cpu));
        let lines = self.script("linux-guest/run", words, clock)?;
        let figures = lines::figures(&lines, clock)?;
        let origin = Origin { source: Source::Linux, cpu, clock };
        Ok(LinuxRun { figures: Figures::of(origin, figures), kernel: lines::linux_release(&lines) })
    }

    /// Measures threads that discard memory on Linux, on a machine with `cpus` CPUs. Returns a line
    /// for each figure.
    ///
    /// # Errors
    /// Its script fails, or a line is damaged.
    pub(crate) fn linux_on_cpus(&self, cpus: u32, cpu: Cpu) -> Result<Vec<Value>> {
        let path = self.directory.join("linux-guest/run");
        let words = ["smp"].into_iter().chain(cpu_word(cpu));
        println!("$ CPUS={cpus} {} smp", path.display());
        let command = cmd(&path, words).stdin_null().env_remove(ICOUNT).env("CPUS", cpus.to_string());
        let lines = command.read().with_context(|| format!("{} failed", path.display()))?;
        let lines = lines.lines().filter(|line| line.starts_with('{'));
        lines.map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))).collect()
    }

    /// Measures the bare program in the emulator.
    ///
    /// # Errors
    /// Its script fails; it has then printed why.
    pub(crate) fn floor(&self, clock: Clock) -> Result<Figures> {
        let lines = self.script("floor/run", [], clock)?;
        let origin = Origin { source: Source::Floor, cpu: Cpu::Max, clock };
        Ok(Figures::of(origin, lines::figures(&lines, clock)?))
    }

    /// Measures the runtimes on this machine. Returns no figures if they have not been built.
    ///
    /// # Errors
    /// Their script fails; it has then printed why.
    pub(crate) fn host_runtimes(&self, rounds: u32) -> Result<Figures> {
        runtimes::measure(self, rounds)
    }

    fn script<'a>(
        &self,
        script: &str,
        words: impl IntoIterator<Item = &'a str>,
        clock: Clock,
    ) -> Result<String> {
        let path = self.directory.join(script);
        let words: Vec<_> = words.into_iter().collect();
        let shown = format!("{} {}", path.display(), words.join(" "));
        let command = cmd(&path, words).stdin_null();
        let command = match clock {
            Clock::Host => {
                println!("$ {shown}");
                command.env_remove(ICOUNT)
            }
            Clock::Instructions => {
                println!("$ {ICOUNT}=1 {shown}");
                command.env(ICOUNT, "1")
            }
        };
        command.read().with_context(|| format!("{} failed", path.display()))
    }
}
