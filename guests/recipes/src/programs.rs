//! Real programs for the guest side, written by somebody else: what they are made of and what they are given.
//!
//! Owns the names that `--program` knows, and for each the [`Job`] that the kernel runs: a module, from npm
//! or compiled here, and files and words where the user gives none. What cannot be had is left out, and why
//! is said; in CI it is an error. [`churn`] and [`allocators`] compare several runs; [`stock`] runs a program
//! elsewhere, to compare with. Called by `run` and by the tests.

use crate::guest::{self, Allocator, Guest, Program};
use crate::npm::{self, Fetched};
use anyhow::{Context, Result};
use palimpsest_host::archive::pack_files;
use palimpsest_host::job::Job;
use palimpsest_host::protocol::{Driver, Entry};
use palimpsest_host::setup::MissingPolicy;
use palimpsest_host::workspace::Workspace;

/// A program that is one run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Single {
    /// QuickJS
    QuickJs,
    /// LodePNG
    LodePng,
    /// libwebp
    WebP,
    /// A command that is compiled here
    Guest(Guest),
}

impl Single {
    /// A command with the C library's own allocator.
    #[must_use]
    pub const fn command(program: Program) -> Self {
        Self::Guest(Guest { program, allocator: Allocator::WasiLibc })
    }
}

/// Where programs come from, and what happens if something for it is missing.
#[derive(Clone, Copy, Debug)]
pub struct Programs<'a> {
    /// Where they are fetched to and built
    pub workspace: &'a Workspace,
    /// Whether tools may be installed for it
    pub policy: MissingPolicy,
}

impl Programs<'_> {
    /// What is to be run for a program that is given `words`; without any, words and files of its own. `None`
    /// if it cannot be had; why has then been said.
    ///
    /// # Errors
    /// It does not compile; or, in CI, it cannot be had.
    pub fn job(&self, single: Single, words: &[String]) -> Result<Option<Job>> {
        let job = match single {
            Single::QuickJs => self.quickjs()?,
            Single::LodePng => self.lodepng(words)?,
            Single::WebP => self.webp(words)?,
            Single::Guest(guest) => self.guest(guest, words)?,
        };
        Ok(job.map(|mut job| {
            if !words.is_empty() {
                job.run.arguments = words.to_vec();
            }
            job
        }))
    }

    /// A package of npm's.
    ///
    /// # Errors
    /// In CI, it cannot be had.
    pub fn package(&self, package: npm::Package) -> Result<Option<Fetched>> {
        npm::find(self.workspace, package, self.policy)
    }

    fn quickjs(&self) -> Result<Option<Job>> {
        let Some(quickjs) = self.package(npm::QUICKJS)? else { return Ok(None) };
        library(&quickjs, npm::QUICKJS_WASM, Driver::QuickJs).map(Some)
    }

    fn lodepng(&self, words: &[String]) -> Result<Option<Job>> {
        let Some(lodepng) = self.package(npm::LODEPNG)? else { return Ok(None) };
        let job = library(&lodepng, npm::LODEPNG_WASM, Driver::LodePng)?;
        self.with_file(job, words, npm::PICTURES, npm::PICTURE_PNG)
    }

    fn webp(&self, words: &[String]) -> Result<Option<Job>> {
        let Some(webp) = self.package(npm::WEBP)? else { return Ok(None) };
        let job = library(&webp, npm::WEBP_WASM, Driver::WebP)?;
        self.with_file(job, words, npm::PICTURES, npm::PICTURE_WEBP)
    }

    fn guest(&self, guest: Guest, words: &[String]) -> Result<Option<Job>> {
        let Some(module) = guest::build(self.workspace, guest, self.policy)? else { return Ok(None) };
        let name = guest.program.name().to_owned();
        let job = Job::new(module, Entry::Program { driver: Driver::Command, name });
        match guest.program {
            Program::Compress => {
                let job = self.with_file(job, words, npm::QUICKJS, npm::QUICKJS_WASM)?;
                Ok(job.map(|mut job| {
                    job.run.arguments.push(SCRATCH.to_owned());
                    job
                }))
            }
            Program::Churn | Program::Patterns | Program::Sqlite | Program::CoreMark | Program::RustChurn => {
                Ok(Some(job))
            }
        }
    }

    /// Gives a job that the user gives no words a file of a package, and its name.
    fn with_file(
        &self,
        mut job: Job,
        words: &[String],
        package: npm::Package,
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

/// The directory that every program may write to.
const SCRATCH: &str = "/tmp";

fn library(package: &Fetched, path: &str, driver: Driver) -> Result<Job> {
    let module = package.read(path).context("the package was complete a moment ago")?;
    Ok(Job::new(module, Entry::Program { driver, name: path.to_owned() }))
}
