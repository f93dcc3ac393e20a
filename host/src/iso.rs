//! CD images from which firmware boots a kernel through GRUB or Limine.
//!
//! An image boots on a PC with a BIOS and on one with UEFI. GRUB loads the kernel by Multiboot2
//! without a menu, and a boot archive as a module. Limine loads the kernel by its own protocol.

use crate::packages::answers;
use anyhow::{Context, Result, ensure};
use duct::{Expression, cmd};
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// Composes a CD image with GRUB.
pub(crate) const MAKER: &str = "grub-mkrescue";

/// Composes a CD image of a folder.
const COMPOSER: &str = "xorriso";

/// Limine's binaries for a CD, by their names in its releases.
const LIMINE: [&str; 3] = ["limine-bios.sys", "limine-bios-cd.bin", "limine-uefi-cd.bin"];

/// The configuration of Limine 9 and later.
const LIMINE_CONFIGURATION: &str = "timeout: 0
/Palimpsest
protocol: limine
path: boot():/boot/kernel
";

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
pub(crate) fn can_build() -> bool {
    let programs = [[MAKER, "--version"], [COMPOSER, "-version"], ["mformat", "--version"]];
    programs.iter().all(|words| answers(words)) && MODULES.iter().all(|folder| Path::new(folder).is_dir())
}

/// The UEFI firmware, if it is installed.
#[must_use]
pub fn ovmf() -> Option<&'static Path> {
    OVMF.into_iter().map(Path::new).find(|path| path.is_file())
}

/// Makes the image `disc`, on which GRUB loads `kernel` with the module `archive`.
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
    // Without fonts, languages and themes.
    run(MAKER, &cmd!(MAKER, "--fonts=", "--locales=", "--themes=", "--output", disc, &tree))
}

/// Checks that the folder `loader` has Limine's binaries.
///
/// # Errors
/// Names those that are missing, and where they come from.
pub fn require_limine(loader: &Path) -> Result<()> {
    let missing: Vec<&str> = LIMINE.into_iter().filter(|name| !loader.join(name).is_file()).collect();
    ensure!(
        missing.is_empty(),
        "{} lacks {}: pass the folder of a binary release of Limine 9 or later, for example of \
         `git clone --depth 1 --branch v9.x-binary https://github.com/limine-bootloader/limine`",
        loader.display(),
        missing.join(", ")
    );
    Ok(())
}

/// Makes the image `disc`, on which Limine loads `kernel`. The folder `loader` has Limine's
/// binaries, which [`require_limine`] checks.
///
/// # Errors
/// A file cannot be written, or the composer fails.
pub fn build_limine(disc: &Path, kernel: &Path, loader: &Path) -> Result<()> {
    let tree = disc.with_extension("tree");
    let limine = tree.join("boot").join("limine");
    fs::create_dir_all(&limine).with_context(|| format!("cannot make {}", limine.display()))?;
    copy(kernel, &tree.join("boot").join("kernel"))?;
    for name in LIMINE {
        copy(&loader.join(name), &limine.join(name))?;
    }
    let file = limine.join("limine.conf");
    fs::write(&file, LIMINE_CONFIGURATION).with_context(|| format!("cannot write {}", file.display()))?;
    // The options of Limine's documentation, in the section on hybrid images.
    let bios = ["-b", "boot/limine/limine-bios-cd.bin", "-no-emul-boot", "-boot-load-size", "4"];
    let uefi = ["--efi-boot", "boot/limine/limine-uefi-cd.bin", "-efi-boot-part", "--efi-boot-image"];
    let mut words: Vec<OsString> = ["-as", "mkisofs", "-R"].into_iter().map(Into::into).collect();
    words.extend(bios.into_iter().chain(["-boot-info-table"]).chain(uefi).map(Into::into));
    words.extend(["--protective-msdos-label".into(), tree.into(), "-o".into(), disc.into()]);
    run(COMPOSER, &cmd(COMPOSER, words))
}

/// Runs a command. What it prints is in the error.
fn run(name: &str, command: &Expression) -> Result<()> {
    let ran = command.stderr_to_stdout().stdout_capture().unchecked().run();
    let ran = ran.with_context(|| format!("cannot start {name}"))?;
    ensure!(ran.status.success(), "{name} failed: {}", String::from_utf8_lossy(&ran.stdout).trim_end());
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_limine_is_refused_by_the_names_of_what_it_lacks() {
        let folder = std::env::temp_dir().join(format!("palimpsest-{}-limine", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder can be made");
        fs::write(folder.join(LIMINE[1]), "").expect("a file can be written");
        let error = require_limine(&folder).expect_err("two binaries are missing").to_string();
        assert!(error.contains("limine-bios.sys, limine-uefi-cd.bin: "), "{error}");
        for name in LIMINE {
            fs::write(folder.join(name), "").expect("a file can be written");
        }
        assert!(require_limine(&folder).is_ok());
        fs::remove_dir_all(&folder).expect("the folder is this test's");
    }
}
