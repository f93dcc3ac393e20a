//! Shows which work goes on, for a person who waits at a terminal.
//!
//! A [`Progress`] is a line on standard error with a spinner, the time, and where the work has
//! pieces how many of them are done. Only one is shown at a time: another that begins meanwhile is
//! part of the first one's work. It must end before its caller prints a result. Without a terminal
//! there are plain lines, only for work after which no result is printed: [`Progress::announced`].
//! `--quiet` removes both. A signal that ends this process removes the line first.

use crate::interrupt;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// The line that is shown.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// The time between two pictures of the spinner.
const TICK: Duration = Duration::from_millis(100);

/// Removes all lines about progress from here on.
pub fn set_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

/// Whether there are no lines about progress.
#[must_use]
pub fn is_quiet() -> bool {
    IS_QUIET.load(Ordering::Relaxed)
}

/// Removes the line that is shown, if there is one.
pub(crate) fn clear() {
    if let Some(bar) = shown().take() {
        bar.finish_and_clear();
    }
}

fn shown() -> MutexGuard<'static, Option<ProgressBar>> {
    // A panic of another thread leaves the line as it is.
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Work that goes on until this value is dropped or finished.
#[derive(Debug)]
#[must_use = "the work ends when it is dropped"]
pub struct Progress {
    /// None if another one is shown, without a terminal, or with `--quiet`
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins work whose result gets a line when it ends.
    pub fn new(what: &str) -> Self {
        if is_quiet() || !io::stderr().is_terminal() {
            return Self { bar: None };
        }
        interrupt::watch();
        let mut shown = shown();
        if shown.is_some() {
            return Self { bar: None };
        }
        let bar = ProgressBar::new_spinner()
            .with_style(style("{spinner} {msg} ({elapsed})"))
            .with_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        *shown = Some(bar.clone());
        Self { bar: Some(bar) }
    }

    /// Begins the same for work that consists of `pieces`, for example of files. Without a total,
    /// it shows how many are done.
    pub fn counted(what: &str, pieces: &str, total: Option<u64>) -> Self {
        let progress = Self::new(what);
        if let Some(bar) = &progress.bar {
            if let Some(total) = total {
                bar.set_length(total);
                bar.set_style(style("{spinner} {msg} [{bar:30}] {pos} of {len} {prefix} ({elapsed})"));
            } else {
                bar.set_style(style("{spinner} {msg}: {pos} {prefix} ({elapsed})"));
            }
            bar.set_prefix(pieces.to_owned());
        }
        progress
    }

    /// Records that one more piece is done.
    pub fn advance(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// Begins work without such a line: without a terminal, it is announced.
    pub fn announced(what: &str) -> Self {
        if !is_quiet() && !io::stderr().is_terminal() {
            eprintln!("{what}");
        }
        Self::new(what)
    }

    /// Ends it, so that its caller may print.
    pub fn finish(&self) {
        if self.bar.as_ref().is_some_and(|bar| !bar.is_finished()) {
            clear();
        }
    }
}

/// The style of a line.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates have no mistake")
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A writer whose first bytes end some work.
#[derive(Debug)]
pub(crate) struct Ending<'a, W> {
    pub(crate) progress: &'a Progress,
    pub(crate) inner: W,
}

impl<W: Write> Write for Ending<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.progress.finish();
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
