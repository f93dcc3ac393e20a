//! A run of a program whose output and report are kept.
//!
//! If the kernel or a trap ends the run, the error contains everything that the kernel and the
//! program printed.

use crate::boot::{Session, Streams};
use crate::job::Job;
use crate::qemu::{Ending, Machine};
use anyhow::{Context, Result, bail, ensure};
use palimpsest_protocol::{Outcome, Report};

/// The result of a run.
#[derive(Debug)]
pub struct Recording {
    /// The program's standard output
    pub output: Vec<u8>,
    /// The program's standard error
    errors: Vec<u8>,
    /// The program's exit code
    pub exit_code: u32,
    /// The kernel's report
    pub report: Report,
}

impl Recording {
    /// Runs the job.
    ///
    /// # Errors
    /// The run does not end by itself, frames are missing at its end, or it cannot be started.
    pub fn make(session: &Session, machine: Machine, job: &Job) -> Result<Self> {
        let (mut console, mut output, mut errors) = (String::new(), Vec::new(), Vec::new());
        let streams = Streams {
            console: &mut |line| console.extend([line, "\n"]),
            output: &mut output,
            errors: &mut errors,
        };
        let ending = job.boot(session, machine, streams)?;
        let said =
            || format!("{}{}{console}", String::from_utf8_lossy(&output), String::from_utf8_lossy(&errors));
        let report = session.answer::<Report>().with_context(said)?;
        let exit_code = match (&ending, report.outcome) {
            (Ending::Success, Outcome::Returned) => 0,
            (Ending::GuestFailed, Outcome::Exited) => report.exit_code.with_context(said)?,
            (_, Outcome::Returned | Outcome::Exited | Outcome::Trap | Outcome::Error) => {
                bail!("{ending}; it said:\n{}", said())
            }
        };
        let (start, end) = (report.free_frames_at_start, report.free_frames_at_end);
        ensure!(start == end, "{start} frames are free at the start, {end} at the end");
        Ok(Self { output, errors, exit_code, report })
    }

    /// Returns the recording if the program ended with exit code 0.
    ///
    /// # Errors
    /// It ended with another one.
    pub fn successful(self) -> Result<Self> {
        let said = String::from_utf8_lossy(&self.errors);
        ensure!(self.exit_code == 0, "the program ended with exit code {}: {said}", self.exit_code);
        Ok(self)
    }

    /// The output as text.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn text(&self) -> Result<&str> {
        str::from_utf8(&self.output).context("the program's output is not UTF-8")
    }

    /// The lines of the output, and the frames that were resident when each was complete.
    ///
    /// # Errors
    /// The output is not UTF-8, or the report has no figure for a line.
    pub fn frames_by_line(&self) -> Result<Vec<(&str, u64)>> {
        by_line(self.text()?, &self.report.output_timeline)
    }
}

/// Finds the sample for each line. A sample is a number of bytes, and the frames that were resident
/// when so many bytes were written.
fn by_line<'a>(text: &'a str, samples: &[(u64, u64)]) -> Result<Vec<(&'a str, u64)>> {
    let mut written = 0;
    let lines = text.split_inclusive('\n').map(|line| {
        written += line.len() as u64;
        let sample = samples.iter().find(|(bytes, _)| *bytes >= written);
        let (_, frames) =
            sample.with_context(|| format!("the report has no figure for the line {line:?}"))?;
        Ok((line.trim_end(), *frames))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_figure_of_the_write_that_completed_it() -> Result<()> {
        let samples = [(2, 10), (4, 20), (9, 30)];
        assert_eq!(by_line("abc\nd\nef\n", &samples)?, [("abc", 20), ("d", 30), ("ef", 30)]);
        Ok(())
    }

    #[test]
    fn a_line_without_a_figure_is_an_error() {
        assert!(by_line("abc\nd\n", &[(4, 20)]).is_err());
    }
}
