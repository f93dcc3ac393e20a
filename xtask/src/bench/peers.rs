//! The peer programs: Linux in the same emulator, the bare program, the other runtimes.
//!
//! Owns how their scripts are called and what their lines of JSON become. Their folder is the user's: nothing
//! of it is copied but into a boot archive. The kernels' arguments are those of the Linux guest's own script,
//! so that both sides run the same. A peer that fails is an error; the runtimes of the host are left out, and
//! said to be, where they have not been built.

use super::figure::{Figure, Figures, Origin, Source, Unit};
use super::goals::KERNEL;
use super::modules::Module;
use crate::qemu::{Clock, Cpu};
use anyhow::{Context, Result, bail, ensure};
use duct::cmd;
use serde_json::{Value, json};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the peers.
#[derive(Debug)]
pub(super) struct Peers {
    directory: PathBuf,
}

/// What Linux measures in one boot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LinuxSuite {
    /// Page operations
    Pages,
    /// The kernels in wasmi
    Wasm,
}

/// A function that is called again and again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Job {
    file: String,
    function: String,
    argument: i32,
    instances: Instances,
}

/// What is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Instances {
    One,
    New,
}

impl Job {
    /// `FILE:FUNCTION:ARGUMENT`, and `:new` if each call has an instance of its own.
    fn parse(word: &str) -> Option<Self> {
        let mut parts = word.split(':');
        let (file, function, argument) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
        let instances = match (parts.next(), parts.next()) {
            (None, None) => Instances::One,
            (Some("new"), None) => Instances::New,
            (Some(_), _) | (None, Some(_)) => return None,
        };
        let is_module = file.ends_with(".wasm");
        is_module.then(|| Self { file: file.to_owned(), function: function.to_owned(), argument, instances })
    }

    /// Called after its file, but for the file that holds many.
    fn name(&self) -> &str {
        match self.file.trim_end_matches(".wasm") {
            "kernels" => &self.function,
            file => file,
        }
    }

    /// As it stands in the kernel's plan.
    pub(super) fn to_json(&self) -> Value {
        let instances = match self.instances {
            Instances::One => "one",
            Instances::New => "new",
        };
        json!({
            "name": self.name(),
            "file": self.file,
            "function": self.function,
            "argument": self.argument,
            "instances": instances,
        })
    }
}

impl Peers {
    /// The peers in `directory`.
    ///
    /// # Errors
    /// They are not there.
    pub(super) fn find(directory: &Path) -> Result<Self> {
        let run = directory.join("linux-guest/run");
        ensure!(run.is_file(), "there is no {}: name the folder of the peers", run.display());
        let directory = fs::canonicalize(directory).context("cannot resolve the peers' folder")?;
        Ok(Self { directory })
    }

    /// The kernels that the Linux guest runs, with their arguments.
    ///
    /// # Errors
    /// The guest's script cannot be read, or names none.
    pub(super) fn jobs(&self) -> Result<Vec<Job>> {
        let script = self.directory.join("linux-guest/init");
        let text =
            fs::read_to_string(&script).with_context(|| format!("cannot read {}", script.display()))?;
        let jobs: Vec<_> = text.split_ascii_whitespace().filter_map(Job::parse).collect();
        ensure!(!jobs.is_empty(), "{} names no kernels", script.display());
        Ok(jobs)
    }

    /// The modules of these jobs.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub(super) fn modules(&self, jobs: &[Job]) -> Result<Vec<Module>> {
        let mut files: Vec<_> = jobs.iter().map(|job| job.file.clone()).collect();
        files.sort_unstable();
        files.dedup();
        let read = |file: String| {
            let path = self.directory.join("kernels").join(&file);
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Module { file, bytes })
        };
        files.into_iter().map(read).collect()
    }

    /// What Linux measures in the emulator.
    ///
    /// # Errors
    /// Its script fails, which has then said why.
    pub(super) fn linux(&self, suite: LinuxSuite, cpu: Cpu) -> Result<Figures> {
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
        Ok(Figures::of(Origin { source: Source::Linux, cpu, clock: Clock::Host }, figures(&lines)?))
    }

    /// What the bare program measures in the emulator.
    ///
    /// # Errors
    /// Its script fails, which has then said why.
    pub(super) fn floor(&self) -> Result<Figures> {
        let lines = self.script("floor/run", [])?;
        let origin = Origin { source: Source::Floor, cpu: Cpu::Max, clock: Clock::Host };
        Ok(Figures::of(origin, figures(&lines)?))
    }

    /// What the runtimes on this machine need for the kernels; none where they have not been built.
    ///
    /// # Errors
    /// Their script fails, which has then said why.
    pub(super) fn host_runtimes(&self) -> Result<Figures> {
        let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")));
        if !cache.is_some_and(|cache| cache.join("wasm-peers/bin/wasmi").is_file()) {
            println!("the runtimes on the host are left out: the peers' runtimes/build has not built them");
            return Ok(Figures::default());
        }
        let list = env::temp_dir().join(format!("palimpsest-{}-runtimes", std::process::id()));
        let ran = self.script("runtimes/suite.py", ["--rounds", "1", "--json", &list.to_string_lossy()]);
        let lines = fs::read_to_string(&list).context("the peers' suite wrote no results");
        // It may not be there; and a file that is left in the temporary directory does no harm.
        drop(fs::remove_file(&list));
        ran?;
        let mut figures = Vec::new();
        for line in lines?.lines() {
            let line: Value = serde_json::from_str(line).context("the peers' suite wrote no JSON")?;
            let runtime = text(&line, "runtime")?;
            let mut figure = figure(&line)?.context("a line of the peers' suite has no time")?;
            figure.name = format!("{}/{runtime}", figure.name);
            figures.push(figure);
        }
        let origin = Origin { source: Source::Host, cpu: Cpu::Max, clock: Clock::Host };
        Ok(Figures::of(origin, figures))
    }

    fn script<'a>(&self, script: &str, words: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let path = self.directory.join(script);
        println!("$ {}", path.display());
        cmd(&path, words).stdin_null().read().with_context(|| format!("{} failed", path.display()))
    }
}

/// The figures among a script's lines; what has no time is about the run and left out.
fn figures(lines: &str) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for line in lines.lines().filter(|line| line.starts_with('{')) {
        let line: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        figures.extend(figure(&line)?);
    }
    ensure!(!figures.is_empty(), "the script printed no figures");
    Ok(figures)
}

/// A line of one of three forms: time for a page, for a call of a guest, or for anything else.
fn figure(line: &Value) -> Result<Option<Figure>> {
    let name = text(line, "name")?;
    let number = |field: &str| line[field].as_f64();
    let result = line["result"].as_i64();
    let (name, unit, median, min) = if let Some(median) = number("ns_per_page") {
        // The ways to zero memory are measured in one buffer: its size says nothing.
        let name = match number("bytes") {
            Some(bytes) if !name.starts_with("zero_") => format!("{name}/{bytes}"),
            Some(_) | None => name,
        };
        (name, Unit::NsPerPage, median, number("min_ns_per_page"))
    } else if let Some(median) = number("median_ns") {
        (format!("{KERNEL}{name}"), Unit::Ns, median, number("min_ns"))
    } else if let Some(median) = number("ns") {
        (name, Unit::Ns, median, number("min_ns"))
    } else {
        return Ok(None);
    };
    let runs = line["runs"].as_u64().unwrap_or(1);
    Ok(Some(Figure { name, unit, median, min: min.unwrap_or(median), runs, result }))
}

fn text(line: &Value, field: &str) -> Result<String> {
    match line[field].as_str() {
        Some(text) => Ok(text.to_owned()),
        None => bail!("a line of the peers has no field `{field}`: {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_found_among_the_words_of_a_script() {
        let script =
            "/bin/runner --runs 3 fib.wasm:run:24 kernels.wasm:sieve:-2 \\\n grow.wasm:run:256:new a:b:c";
        let jobs: Vec<_> = script.split_ascii_whitespace().filter_map(Job::parse).collect();
        let found: Vec<_> = jobs.iter().map(|job| (job.name(), job.argument, job.instances)).collect();
        let expected =
            [("fib", 24, Instances::One), ("sieve", -2, Instances::One), ("grow", 256, Instances::New)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_line_for_pages_is_called_after_its_range() -> Result<()> {
        let found = figures(concat!(
            r#"{"name": "run", "bench": "memns"}"#,
            "\nnoise\n",
            r#"{"name": "clear", "bytes": 65536, "ns_per_page": 1954.5, "min_ns_per_page": 900.0}"#,
            "\n",
            r#"{"name": "zero_memset", "bytes": 65536, "ns_per_page": 377.0, "min_ns_per_page": 370.0}"#,
        ))?;
        let found: Vec<_> = found.iter().map(|figure| (figure.name.as_str(), figure.median)).collect();
        assert_eq!(found, [("clear/65536", 1954.5), ("zero_memset", 377.0)]);
        Ok(())
    }

    #[test]
    fn a_line_for_a_kernel_keeps_its_result() -> Result<()> {
        let line =
            r#"{"name": "fib", "argument": 24, "min_ns": 5, "median_ns": 7, "runs": 9, "result": 46368}"#;
        let found = figures(line)?;
        let expected = Figure {
            name: "kernel/fib".to_owned(),
            unit: Unit::Ns,
            median: 7.0,
            min: 5.0,
            runs: 9,
            result: Some(46368),
        };
        assert_eq!(found, [expected]);
        Ok(())
    }

    #[test]
    fn a_script_without_figures_has_failed() {
        assert!(figures(r#"{"name": "run", "bench": "wasm"}"#).is_err());
        assert!(figures("{\"name\": ").is_err());
    }
}
