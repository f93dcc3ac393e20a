//! The programs of the operating system that are needed, and how each package manager installs
//! them.
//!
//! This module only composes commands. It runs none that changes the system: `--version`, `id -u`
//! and `apt-cache show`.

use crate::clang::Clang;
use crate::iso;
use duct::cmd;
use std::fmt;

/// A program that the Rust toolchain does not bring.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tool {
    /// The emulator
    Qemu,
    /// The emulator of Cortex-M boards
    QemuArm,
    /// The emulator of 32-bit RISC-V boards
    QemuRiscv32,
    /// Fetches the guest program of the tour
    Npm,
    /// Fetches guest programs from PyPI
    Pip,
    /// Compiles guests: the C compiler with a linker and a C library for WASI
    WasiClang,
    /// Makes bootable CD images, with GRUB for a BIOS and for UEFI
    Grub,
    /// The UEFI firmware of the emulator
    Ovmf,
}

impl Tool {
    /// The name to start it by. The firmware is a file, and this is the name that users know.
    #[must_use]
    pub const fn executable(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-system-x86_64",
            Self::QemuArm => "qemu-system-arm",
            Self::QemuRiscv32 => "qemu-system-riscv32",
            Self::Npm => "npm",
            Self::Pip => "python3",
            Self::WasiClang => "clang",
            Self::Grub => iso::MAKER,
            Self::Ovmf => "OVMF",
        }
    }

    /// Whether it is installed, with everything that it needs.
    #[must_use]
    pub fn is_installed(self) -> bool {
        match self {
            Self::Qemu | Self::QemuArm | Self::QemuRiscv32 | Self::Npm => {
                answers(&[self.executable(), "--version"])
            }
            Self::Pip => answers(&[self.executable(), "-m", "pip", "--version"]),
            Self::WasiClang => Clang::find().is_some(),
            Self::Grub => iso::can_build(),
            Self::Ovmf => iso::ovmf().is_some(),
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Qemu | Self::QemuArm | Self::QemuRiscv32 | Self::Npm => self.executable(),
            Self::Pip => "python3 with pip",
            Self::WasiClang => "clang with wasm-ld and wasi-libc",
            Self::Grub => "grub-mkrescue with xorriso, mtools and GRUB for BIOS and UEFI",
            Self::Ovmf => "OVMF, the UEFI firmware of QEMU",
        })
    }
}

/// A command as a list of words. It is printed as a user would type it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Words(pub Vec<String>);

impl Words {
    /// The words of a command that needs no quoting.
    pub fn new(words: &[&str]) -> Self {
        Self(words.iter().map(ToString::to_string).collect())
    }

    fn with_root_rights(self) -> Self {
        let is_root = cmd!("id", "-u").stderr_null().read().is_ok_and(|id| id == "0");
        if is_root {
            return self;
        }
        Self(["sudo".to_owned()].into_iter().chain(self.0).collect())
    }
}

impl fmt::Display for Words {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join(" "))
    }
}

/// The supported package managers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PackageManager {
    /// Debian, Ubuntu
    Apt,
    /// Fedora
    Dnf,
    /// Arch
    Pacman,
    /// macOS
    Brew,
}

impl PackageManager {
    const ALL: [Self; 4] = [Self::Apt, Self::Dnf, Self::Pacman, Self::Brew];

    /// The first one that this machine has.
    #[must_use]
    pub fn detect() -> Option<Self> {
        Self::ALL.into_iter().find(|manager| answers(&[manager.executable(), "--version"]))
    }

    /// The commands that install a program, in their order. There is none for a program that this
    /// manager does not have.
    #[must_use]
    pub fn install(self, tool: Tool) -> Vec<Words> {
        let packages = self.packages(tool);
        if packages.is_empty() {
            return Vec::new();
        }
        let with = |words: &[&str]| Words::new(&[words, packages].concat());
        match self {
            Self::Apt => {
                let mut commands = Vec::new();
                // A fresh container image has no package lists.
                if !packages.iter().all(|package| answers(&["apt-cache", "show", package])) {
                    commands.push(Words::new(&["apt-get", "update"]).with_root_rights());
                }
                // `env`, because sudo may refuse to set a variable.
                let environment = ["env", "DEBIAN_FRONTEND=noninteractive"];
                let install = ["apt-get", "install", "--yes", "--no-install-recommends"];
                commands.push(with(&[environment.as_slice(), &install].concat()).with_root_rights());
                commands
            }
            Self::Dnf => vec![with(&["dnf", "install", "--assumeyes"]).with_root_rights()],
            Self::Pacman => vec![with(&["pacman", "-Sy", "--needed", "--noconfirm"]).with_root_rights()],
            // Homebrew refuses to run as root.
            Self::Brew => vec![with(&["brew", "install"])],
        }
    }

    const fn executable(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
            Self::Brew => "brew",
        }
    }

    /// The packages of a program, by their names in this package manager.
    pub(crate) const fn packages(self, tool: Tool) -> &'static [&'static str] {
        match (self, tool) {
            (Self::Apt | Self::Pacman, Tool::Qemu) => &["qemu-system-x86"],
            (Self::Dnf, Tool::Qemu) => &["qemu-system-x86-core"],
            (Self::Apt | Self::Pacman, Tool::QemuArm) => &["qemu-system-arm"],
            (Self::Dnf, Tool::QemuArm) => &["qemu-system-arm-core"],
            (Self::Apt, Tool::QemuRiscv32) => &["qemu-system-misc"],
            (Self::Dnf, Tool::QemuRiscv32) => &["qemu-system-riscv-core"],
            (Self::Pacman, Tool::QemuRiscv32) => &["qemu-system-riscv"],
            (Self::Brew, Tool::Qemu | Tool::QemuArm | Tool::QemuRiscv32) => &["qemu"],
            (Self::Apt | Self::Pacman, Tool::Npm) => &["npm"],
            (Self::Dnf, Tool::Npm) => &["nodejs-npm"],
            (Self::Brew, Tool::Npm) => &["node"],
            (Self::Apt, Tool::Grub) => {
                &["grub-common", "grub-pc-bin", "grub-efi-amd64-bin", "xorriso", "mtools"]
            }
            (Self::Dnf, Tool::Grub) => {
                &["grub2-tools-extra", "grub2-pc-modules", "grub2-efi-x64-modules", "xorriso", "mtools"]
            }
            (Self::Pacman, Tool::Grub) => &["grub", "libisoburn", "mtools"],
            (Self::Apt, Tool::Ovmf) => &["ovmf"],
            (Self::Dnf | Self::Pacman, Tool::Ovmf) => &["edk2-ovmf"],
            // Homebrew has no GRUB with both platforms.
            (Self::Brew, Tool::Grub | Tool::Ovmf) => &[],
            (Self::Apt | Self::Dnf, Tool::Pip) => &["python3-pip"],
            (Self::Pacman, Tool::Pip) => &["python-pip"],
            (Self::Brew, Tool::Pip) => &["python"],
            (Self::Apt, Tool::WasiClang) => &["clang", "lld", "wasi-libc", "libclang-rt-dev-wasm32"],
            (Self::Dnf, Tool::WasiClang) => &["clang", "lld", "wasi-libc-devel", "wasi-libc-static"],
            (Self::Pacman, Tool::WasiClang) => &["clang", "lld", "wasi-libc", "wasi-compiler-rt"],
            (Self::Brew, Tool::WasiClang) => &["llvm", "lld", "wasi-libc", "wasi-runtimes"],
        }
    }
}

/// Whether a command exists and succeeds. Its output is discarded.
#[must_use]
pub fn answers(words: &[&str]) -> bool {
    let Some((program, arguments)) = words.split_first() else { return false };
    cmd(*program, arguments).stdin_null().stdout_null().stderr_null().run().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_printed_as_one_types_them() {
        assert_eq!(Words::new(&["brew", "install", "qemu"]).to_string(), "brew install qemu");
    }

    #[test]
    fn homebrew_is_never_run_with_root_rights() {
        let commands = PackageManager::Brew.install(Tool::Qemu);
        assert_eq!(commands, [Words::new(&["brew", "install", "qemu"])]);
    }

    #[test]
    fn one_command_installs_all_packages_of_a_tool() {
        let commands = PackageManager::Brew.install(Tool::WasiClang);
        assert_eq!(commands, [Words::new(&["brew", "install", "llvm", "lld", "wasi-libc", "wasi-runtimes"])]);
    }

    #[test]
    fn a_manager_without_the_program_has_no_command() {
        assert!(PackageManager::Brew.install(Tool::Grub).is_empty());
    }

    #[test]
    fn a_command_that_does_not_exist_does_not_answer() {
        assert!(!answers(&["palimpsest-no-such-program", "--version"]));
    }
}
