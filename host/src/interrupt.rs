//! Ends the machines that run, and removes the line about progress, when a signal ends this
//! process.
//!
//! A terminal sends Ctrl-C to QEMU as well, because it is in the same process group. Another
//! process sends it to this process alone, and then QEMU would go on although no process reads its
//! output.

use crate::progress;
use duct::ReaderHandle;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};

/// The processes that run. Some may have ended.
static MACHINES: Mutex<Vec<Weak<ReaderHandle>>> = Mutex::new(Vec::new());

/// Starts a process that is killed when a signal ends this one.
///
/// # Errors
/// `start` fails.
pub(crate) fn start(start: impl FnOnce() -> io::Result<ReaderHandle>) -> io::Result<Arc<ReaderHandle>> {
    watch();
    // The lock is held until the process is in the list, so a signal does not find it missing.
    let mut machines = lock();
    let process = Arc::new(start()?);
    machines.retain(|machine| machine.strong_count() > 0);
    machines.push(Arc::downgrade(&process));
    Ok(process)
}

fn lock() -> MutexGuard<'static, Vec<Weak<ReaderHandle>>> {
    // A panic of another thread leaves the list as it is.
    MACHINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets a signal do this from here on.
pub(crate) fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(wait_for_signals);
}

/// Waits for a signal on another thread, kills the processes, and ends this one as the signal would
/// have.
#[cfg(unix)]
fn wait_for_signals() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;
    use std::thread;

    // Without the signals, the terminal's Ctrl-C still reaches QEMU.
    let Ok(mut signals) = Signals::new([SIGHUP, SIGINT, SIGTERM]) else { return };
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Not unlocked again: no process may start from here on.
            let machines = lock();
            for machine in machines.iter().filter_map(Weak::upgrade) {
                // A process that has ended needs no signal.
                drop(machine.kill());
            }
            progress::clear();
            drop(emulate_default_handler(signal));
        }
    });
}

/// On other systems, the console ends all processes that it started.
#[cfg(not(unix))]
fn wait_for_signals() {}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use duct::cmd;
    use std::env;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::thread;
    use std::time::Duration;

    /// The signal of Ctrl-C.
    const SIGINT: i32 = 2;

    /// Runs a machine until this process is interrupted. The test below starts it.
    #[test]
    #[ignore = "it waits for a signal"]
    fn machine() -> io::Result<()> {
        let process = start(|| cmd!("sleep", "60").reader())?;
        println!("machine {}", process.pids()[0]);
        thread::sleep(Duration::from_secs(60));
        Ok(())
    }

    #[test]
    fn an_interrupted_process_leaves_no_machine() -> io::Result<()> {
        let words = ["--exact", "interrupt::tests::machine", "--ignored", "--nocapture"];
        let this = cmd(env::current_exe()?, words).stderr_null().unchecked().reader()?;
        let lines = BufReader::new(&this).lines().map_while(Result::ok);
        let machine = lines
            .filter_map(|line| Some(line.split_once("machine ")?.1.to_owned()))
            .find(|pid| pid.parse::<u32>().is_ok())
            .expect("the process names its machine");
        assert!(is_running(&machine));
        cmd!("kill", "-INT", this.pids()[0].to_string()).run()?;
        let status = loop {
            match this.try_wait()? {
                Some(output) => break output.status,
                None => thread::sleep(Duration::from_millis(10)),
            }
        };
        assert_eq!(status.signal(), Some(SIGINT));
        for _ in 0..500 {
            if !is_running(&machine) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the machine runs on");
    }

    /// Whether the process exists and is not a zombie.
    fn is_running(pid: &str) -> bool {
        let state = cmd!("ps", "-o", "stat=", "-p", pid).unchecked().read().unwrap_or_default();
        !state.is_empty() && !state.starts_with('Z')
    }
}
