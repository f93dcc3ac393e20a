//! The programs as jobs for the kernel: a module with its arguments and files.
//!
//! The module is from [`registry`] or [compiled](crate::guest). A program that the user gives no
//! words runs with arguments and files from here.

use crate::guest::{self, Allocator, Guest, Program};
use crate::registry::{self, Fetched};
use anyhow::{Context, Result};
use palimpsest_host::archive::pack_files;
use palimpsest_host::job::Job;
use palimpsest_host::protocol::{Driver, Entry};
use palimpsest_host::setup::MissingPolicy;
use palimpsest_host::workspace::Workspace;
use std::sync::{Mutex, PoisonError};

/// A program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Single {
    /// QuickJS
    QuickJs,
    /// LodePNG
    LodePng,
    /// libwebp
    WebP,
    /// CPython
    Python,
    /// A command that is compiled on this machine
    Guest(Guest),
}

impl Single {
    /// A command with the C library's own allocator.
    #[must_use]
    pub const fn command(program: Program) -> Self {
        Self::Guest(Guest { program, allocator: Allocator::WasiLibc })
    }
}

/// Where programs are fetched to, and what happens if a tool for it is missing.
#[derive(Clone, Copy, Debug)]
pub struct Programs<'a> {
    /// The repository below whose output directory they are fetched and built
    pub workspace: &'a Workspace,
    /// Whether missing tools are installed
    pub policy: MissingPolicy,
}

impl Programs<'_> {
    /// Returns the job of a program with these arguments. Without any, the program gets default
    /// arguments and files. Returns `None` if the program is not available; the reason has then
    /// been printed on standard error. One thread at a time finds a program.
    ///
    /// # Errors
    /// The program does not compile; or, in CI, it is not available.
    pub fn job(&self, single: Single, words: &[String]) -> Result<Option<Job>> {
        // Threads would install the same tool, or build the same file.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let job = match single {
            Single::QuickJs => self.quickjs()?,
            Single::LodePng => self.lodepng(words)?,
            Single::WebP => self.webp(words)?,
            Single::Python => self.python()?,
            Single::Guest(guest) => self.guest(guest, words)?,
        };
        Ok(job.map(|mut job| {
            if !words.is_empty() {
                job.run.arguments = words.to_vec();
            }
            job
        }))
    }

    /// Finds a package.
    ///
    /// # Errors
    /// In CI, it is not available.
    pub fn package(&self, package: registry::Package<'_>) -> Result<Option<Fetched>> {
        registry::find(self.workspace, package, self.policy)
    }

    fn quickjs(&self) -> Result<Option<Job>> {
        let Some(quickjs) = self.package(registry::QUICKJS)? else { return Ok(None) };
        library(&quickjs, registry::QUICKJS_WASM, Driver::QuickJs).map(Some)
    }

    fn lodepng(&self, words: &[String]) -> Result<Option<Job>> {
        let Some(lodepng) = self.package(registry::LODEPNG)? else { return Ok(None) };
        let job = library(&lodepng, registry::LODEPNG_WASM, Driver::LodePng)?;
        self.with_file(job, words, registry::PICTURES, registry::PICTURE_PNG)
    }

    fn webp(&self, words: &[String]) -> Result<Option<Job>> {
        let Some(webp) = self.package(registry::WEBP)? else { return Ok(None) };
        let job = library(&webp, registry::WEBP_WASM, Driver::WebP)?;
        self.with_file(job, words, registry::PICTURES, registry::PICTURE_WEBP)
    }

    /// Without words, it calculates: a prompt would find the end of its input.
    fn python(&self) -> Result<Option<Job>> {
        let Some(python) = self.package(registry::PYTHON)? else { return Ok(None) };
        let mut job = library(&python, registry::PYTHON_WASM, Driver::Command)?;
        job.run.arguments = ["-c", "print(sum(range(10)))"].map(str::to_owned).to_vec();
        Ok(Some(job))
    }

    fn guest(&self, guest: Guest, words: &[String]) -> Result<Option<Job>> {
        let Some(module) = guest::build(self.workspace, guest, self.policy)? else { return Ok(None) };
        let name = guest.program.name().to_owned();
        let entry = match guest.program {
            Program::CompressServer => Entry::Call { invoke: Some(SERVE.to_owned()) },
            Program::Churn
            | Program::Patterns
            | Program::Compress
            | Program::Sqlite
            | Program::CoreMark
            | Program::RustChurn => Entry::Program { driver: Driver::Command, name },
        };
        let job = Job::new(module, entry);
        match guest.program {
            Program::Compress => {
                let job = self.with_file(job, words, registry::QUICKJS, registry::QUICKJS_WASM)?;
                Ok(job.map(|mut job| {
                    job.run.arguments.push(SCRATCH.to_owned());
                    job
                }))
            }
            Program::Churn
            | Program::Patterns
            | Program::CompressServer
            | Program::Sqlite
            | Program::CoreMark
            | Program::RustChurn => Ok(Some(job)),
        }
    }

    /// Gives a job without arguments a file of a package, and the file's name as its argument.
    fn with_file(
        &self,
        mut job: Job,
        words: &[String],
        package: registry::Package<'_>,
        path: &str,
    ) -> Result<Option<Job>> {
        if !words.is_empty() {
            return Ok(Some(job));
        }
        let Some(package) = self.package(package)? else { return Ok(None) };
        let (_, name) = path.rsplit_once('/').unwrap_or(("", path));
        job.root = Some(pack_files(&[(name, &package.read(path)?)])?);
        job.run.arguments = vec![name.to_owned()];
        Ok(Some(job))
    }
}

/// The function of [`Program::CompressServer`].
const SERVE: &str = "serve";

/// The directory that each program may write to.
const SCRATCH: &str = "/tmp";

fn library(package: &Fetched, path: &str, driver: Driver) -> Result<Job> {
    let module = package.read(path).context("the package was complete before")?;
    Ok(Job::new(module, Entry::Program { driver, name: path.to_owned() }))
}
