//! The virtual machine: its command line, its time limit and the meaning of its exit status.
//!
//! [`boot`] owns the QEMU process: it returns only after the process has ended, and kills it
//! through its own handle when the time is up or a signal ends this process. The first serial port
//! is the kernel's text, line by line. The second one carries the report, the third and the fourth
//! what a guest writes; each goes to a file.

use crate::interrupt;
use crate::iso;
use crate::packages::Tool;
pub use palimpsest_protocol::Clock;

use anyhow::{Context, Result};
use clap::ValueEnum;
use duct::{ReaderHandle, cmd};
use palimpsest_protocol::{EXIT_PORT, ExitStatus as KernelStatus};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// What executes the virtual machine's code.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Accelerator {
    /// QEMU's own translator: it works on every host, and alike
    Tcg,
    /// Linux's hypervisor
    Kvm,
    /// macOS's hypervisor
    Hvf,
}

/// The model of the emulated CPU.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cpu {
    /// Everything that QEMU emulates. It claims fast string instructions (ERMS and FSRM), but
    /// executes them byte by byte
    Max,
    /// The same without ERMS and FSRM
    WithoutErms,
}

impl Cpu {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Max, Self::WithoutErms];

    /// Its name in QEMU.
    const fn model(self) -> &'static str {
        match self {
            Self::Max => "max",
            Self::WithoutErms => "max,-erms,-fsrm",
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.model())
    }
}

/// The purpose of a boot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Setting {
    /// To find out whether something works
    Trying,
    /// To find out what something costs, on this CPU. All memory is touched beforehand, so that
    /// page faults of the host are not measured
    Measuring(Cpu),
}

impl Setting {
    const fn cpu(self) -> Cpu {
        match self {
            Self::Trying => Cpu::Max,
            Self::Measuring(cpu) => cpu,
        }
    }

    /// The arguments that make QEMU touch the memory.
    fn memory(self, mib: u32) -> Vec<OsString> {
        match self {
            Self::Trying => Vec::new(),
            Self::Measuring(_) => {
                let object = format!("memory-backend-ram,id=ram,size={mib}M,prealloc=on");
                vec!["-object".into(), object.into(), "-machine".into(), "memory-backend=ram".into()]
            }
        }
    }
}

/// The hardware of one boot.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Memory in MiB
    pub memory_mib: u32,
    /// The number of its CPUs
    pub cpus: u32,
    /// What executes its code
    pub accelerator: Accelerator,
    /// What its clock counts
    pub clock: Clock,
    /// The time after which the process is killed
    pub time_limit: Duration,
    /// Its purpose
    pub setting: Setting,
}

impl Machine {
    /// The accelerator TCG with a thread of the host for each CPU. Each then has its own TLB, so a
    /// missing flush shows. A clock that counts instructions excludes it.
    fn threads(self) -> &'static str {
        match self.clock {
            Clock::Host if self.cpus > 1 => "tcg,thread=multi",
            Clock::Host | Clock::Instructions => "tcg,thread=single",
        }
    }
}

/// What starts the machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Firmware {
    /// The BIOS that comes with QEMU
    SeaBios,
    /// UEFI
    Ovmf,
}

/// What the machine boots.
#[derive(Clone, Debug)]
pub enum Medium {
    /// A kernel, which QEMU itself loads by PVH
    Kernel {
        /// Its ELF image
        image: PathBuf,
        /// The boot archive, for a kernel that reads one
        archive: Option<PathBuf>,
    },
    /// A CD image, whose loader the firmware starts
    Disc {
        /// The image
        image: PathBuf,
        /// What starts the loader
        firmware: Firmware,
    },
}

/// The files of one boot.
#[derive(Clone, Debug)]
pub struct Files {
    /// What is booted
    pub medium: Medium,
    /// The file for the second serial port: the report
    pub report: PathBuf,
    /// The file for the third one: the guest's standard output
    pub output: PathBuf,
    /// The file for the fourth one: the guest's standard error
    pub errors: PathBuf,
}

/// How a boot ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ending {
    /// The kernel ended the machine: everything went well
    Success,
    /// The kernel ended the machine: a check failed, or the guest's call trapped or could not be
    /// made
    GuestFailed,
    /// The kernel ended the machine: a panic, or a fault that it does not handle
    KernelDied,
    /// The processor was reset, which a triple fault does
    Rebooted,
    /// The process was killed at the time limit
    TimedOut(Duration),
    /// Something else: QEMU refused its command line, crashed or was killed by a third party
    Unknown(ExitStatus),
}

impl Ending {
    /// Under `-no-reboot` a reset ends QEMU with 0, which must not be taken for success.
    fn from_status(status: ExitStatus) -> Self {
        let Some(code) = status.code().and_then(|code| u32::try_from(code).ok()) else {
            return Self::Unknown(status);
        };
        match KernelStatus::from_qemu_code(code) {
            Some(KernelStatus::Success) => Self::Success,
            Some(KernelStatus::GuestFailed) => Self::GuestFailed,
            Some(KernelStatus::KernelFailed) => Self::KernelDied,
            None if code == 0 => Self::Rebooted,
            None => Self::Unknown(status),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => formatter.write_str("ended with success"),
            Self::GuestFailed => formatter.write_str("the kernel reports a failure"),
            Self::KernelDied => formatter.write_str("the kernel panicked or took a fatal fault"),
            Self::Rebooted => formatter.write_str("the machine rebooted, as after a triple fault"),
            Self::TimedOut(limit) => write!(formatter, "timed out after {} s", limit.as_secs()),
            Self::Unknown(status) => write!(formatter, "QEMU itself ended with {status}"),
        }
    }
}

/// Boots the machine and waits for its end. Passes each line of its first serial port, and QEMU's
/// own messages, to `on_line`.
///
/// # Errors
/// QEMU cannot be started, or its output cannot be read.
pub fn boot(machine: Machine, files: Files, on_line: impl FnMut(&str)) -> Result<Ending> {
    follow(Tool::Qemu, arguments(machine, files), machine.time_limit, on_line)
}

/// Starts an emulator and waits for its end, for `time_limit` at most. Passes each line that it
/// prints to `on_line`.
///
/// # Errors
/// QEMU cannot be started, or its output cannot be read.
pub(crate) fn follow(
    emulator: Tool,
    arguments: Vec<OsString>,
    time_limit: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<Ending> {
    let command = cmd(emulator.executable(), arguments).stdin_null().stderr_to_stdout().unchecked();
    let qemu = interrupt::start(|| command.reader())
        .with_context(|| format!("cannot start {}", emulator.executable()))?;
    let qemu = Process(qemu);
    let (end_watch, ended) = mpsc::channel();
    let timed_out = thread::scope(|scope| {
        let watch = scope.spawn(|| kill_when_late(&qemu.0, ended, time_limit));
        let read = read_lines(&qemu.0, &mut on_line);
        drop(end_watch);
        let timed_out = watch.join().expect("the watching thread has nothing that panics");
        read.and(timed_out).context("lost the connection to QEMU")
    })?;
    if timed_out == Watch::Killed {
        return Ok(Ending::TimedOut(time_limit));
    }
    let output = qemu.0.try_wait()?.context("QEMU closed its output and goes on")?;
    Ok(Ending::from_status(output.status))
}

fn arguments(machine: Machine, files: Files) -> Vec<OsString> {
    let accelerator: &[&str] = match machine.accelerator {
        Accelerator::Tcg => &["-accel", machine.threads(), "-cpu", machine.setting.cpu().model()],
        Accelerator::Kvm => &["-accel", "kvm", "-cpu", "host"],
        Accelerator::Hvf => &["-accel", "hvf", "-cpu", "host"],
    };
    let clock: &[&str] = match machine.clock {
        Clock::Host => &[],
        Clock::Instructions => &["-icount", "shift=0,sleep=off"],
    };
    let fixed = ["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"];
    let exit_device = format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=0x04");
    let words = [accelerator, clock, &fixed, &["-device", &exit_device]].concat();

    let memory = format!("{}M", machine.memory_mib);
    let mut arguments: Vec<OsString> = words.into_iter().map(Into::into).collect();
    for path in [files.report, files.output, files.errors] {
        let mut port = OsString::from("file:");
        port.push(path);
        arguments.extend(["-serial".into(), port]);
    }
    arguments.extend(["-m".into(), memory.into()]);
    arguments.extend(["-smp".into(), machine.cpus.to_string().into()]);
    arguments.extend(machine.setting.memory(machine.memory_mib));
    arguments.extend(files.medium.arguments());
    arguments
}

impl Medium {
    fn arguments(self) -> Vec<OsString> {
        match self {
            Self::Kernel { image, archive } => {
                let archive = archive.into_iter().flat_map(|archive| ["-initrd".into(), archive.into()]);
                ["-kernel".into(), image.into()].into_iter().chain(archive).collect()
            }
            Self::Disc { image, firmware } => {
                let firmware = match firmware {
                    Firmware::SeaBios => None,
                    Firmware::Ovmf => iso::ovmf(),
                };
                let firmware = firmware.into_iter().flat_map(|path| ["-bios".into(), path.into()]);
                firmware.chain(["-cdrom".into(), image.into()]).collect()
            }
        }
    }
}

/// A process that is killed when this value is dropped.
#[derive(Debug)]
struct Process(Arc<ReaderHandle>);

impl Drop for Process {
    fn drop(&mut self) {
        // It has usually ended; a failure to kill it cannot be reported from here.
        drop(self.0.kill());
    }
}

/// What became of a process with a time limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Watch {
    InTime,
    Killed,
}

/// Returns when the other end of `ended` is dropped, or kills the process when `limit` has passed.
fn kill_when_late(qemu: &ReaderHandle, ended: Receiver<()>, limit: Duration) -> io::Result<Watch> {
    match ended.recv_timeout(limit) {
        Ok(()) | Err(RecvTimeoutError::Disconnected) => Ok(Watch::InTime),
        Err(RecvTimeoutError::Timeout) => qemu.kill().map(|()| Watch::Killed),
    }
}

fn read_lines(qemu: &ReaderHandle, on_line: &mut dyn FnMut(&str)) -> io::Result<()> {
    for line in BufReader::new(qemu).split(b'\n') {
        on_line(String::from_utf8_lossy(&line?).trim_end_matches('\r'));
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    /// An exit code as `wait` encodes it.
    fn exited(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn only_the_kernels_own_success_code_is_success() {
        assert_eq!(Ending::from_status(exited(33)), Ending::Success);
        assert_eq!(Ending::from_status(exited(35)), Ending::GuestFailed);
        assert_eq!(Ending::from_status(exited(37)), Ending::KernelDied);
        assert_eq!(Ending::from_status(exited(0)), Ending::Rebooted);
        assert_eq!(Ending::from_status(exited(1)), Ending::Unknown(exited(1)));
    }

    #[test]
    fn a_process_ended_by_a_signal_is_not_a_result_of_the_kernel() {
        let killed = ExitStatus::from_raw(9);
        assert_eq!(Ending::from_status(killed), Ending::Unknown(killed));
    }

    #[test]
    fn a_silent_process_is_killed_when_its_time_is_up() -> Result<()> {
        let process = cmd!("sleep", "60").unchecked().reader()?;
        let (_end_watch, ended) = mpsc::channel();
        assert_eq!(kill_when_late(&process, ended, Duration::from_millis(10))?, Watch::Killed);
        Ok(())
    }
}
