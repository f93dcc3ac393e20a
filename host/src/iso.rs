//! CD images from which firmware boots a kernel through GRUB.
//!
//! An image boots on a PC with a BIOS and on one with UEFI. GRUB loads the kernel by Multiboot2
//! without a menu, and a boot archive as a module.

use crate::packages::answers;
use anyhow::{Context, Result, ensure};
use duct::cmd;
use std::fs;
use std::path::Path;

/// Composes a CD image with GRUB.
pub const MAKER: &str = "grub-mkrescue";

/// Where distributions install GRUB's modules for a BIOS and for UEFI.
const MODULES: [&str; 2] = ["/usr/lib/grub/i386-pc", "/usr/lib/grub/x86_64-efi"];

/// Where distributions install the firmware as one file.
const OVMF: [&str; 4] = [
    "/usr/share/ovmf/OVMF.fd",
    "/usr/share/edk2/ovmf/OVMF.inteltdx.fd",
    "/usr/share/edk2/x64/OVMF.4m.fd",
    "/usr/share/qemu/OVMF.fd",
];

/// Whether images can be made: the program, what it calls, and the modules for both firmwares.
#[must_use]
pub fn can_build() -> bool {
    let programs = [[MAKER, "--version"], ["xorriso", "-version"], ["mformat", "--version"]];
    programs.iter().all(|words| answers(words)) && MODULES.iter().all(|folder| Path::new(folder).is_dir())
}

/// The UEFI firmware, if it is installed.
#[must_use]
pub fn ovmf() -> Option<&'static Path> {
    OVMF.into_iter().map(Path::new).find(|path| path.is_file())
}

/// Makes the image `disc`, which boots `kernel` with the module `archive`.
///
/// # Errors
/// A file cannot be written, or GRUB's program fails.
pub fn build(disc: &Path, kernel: &Path, archive: Option<&Path>) -> Result<()> {
    let tree = disc.with_extension("tree");
    let boot = tree.join("boot");
    let configuration = boot.join("grub");
    fs::create_dir_all(&configuration).with_context(|| format!("cannot make {}", configuration.display()))?;
    copy(kernel, &boot.join("kernel"))?;
    let mut script = "multiboot2 /boot/kernel\n".to_owned();
    if let Some(archive) = archive {
        copy(archive, &boot.join("boot.tar"))?;
        script.push_str("module2 /boot/boot.tar\n");
    }
    script.push_str("boot\n");
    let file = configuration.join("grub.cfg");
    fs::write(&file, script).with_context(|| format!("cannot write {}", file.display()))?;
    // Without fonts, languages and themes. Everything that it prints is in the error.
    let maker = cmd!(MAKER, "--fonts=", "--locales=", "--themes=", "--output", disc, &tree);
    let made = maker.stderr_to_stdout().stdout_capture().unchecked().run();
    let made = made.with_context(|| format!("cannot start {MAKER}"))?;
    ensure!(made.status.success(), "{MAKER} failed: {}", String::from_utf8_lossy(&made.stdout).trim_end());
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
