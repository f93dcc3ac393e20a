//! `cargo xtask iso`: CD images of the kernels that GRUB or Limine can load.
//!
//! An image boots on a PC with a BIOS and on one with UEFI, in a virtual machine or from a USB
//! stick.

use crate::cli::IsoOptions;
use anyhow::{Context, Result};
use palimpsest_host::iso;
use palimpsest_host::kernel::{self, Image, Target};
use palimpsest_host::setup::{self, DISCS, Need};
use palimpsest_host::workspace::Workspace;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// The example that GRUB loads.
pub(crate) const MULTIBOOT2: Image = Image::new("palimpsest-multiboot2", "multiboot2").without_lto();

/// The example that Limine loads.
pub(crate) const LIMINE: Image = Image::new("palimpsest-limine", "limine").without_lto();

/// Makes the images and prints how to boot each of them.
///
/// # Errors
/// Something is missing and may not be installed, a kernel does not build, or an image cannot be
/// made.
pub(crate) fn run(workspace: &Workspace, options: &IsoOptions) -> Result<ExitCode> {
    if let Some(loader) = &options.limine {
        iso::require_limine(loader)?;
    }
    let policy = options.setup.missing_policy();
    let cores = [Target::Gnu, Target::None].map(|target| Need::Core(target.triple()));
    setup::require(workspace, &cores, policy)?;
    setup::require(workspace, &DISCS, policy)?;
    if let Some(loader) = &options.limine {
        make(workspace, Target::None, LIMINE, |disc, kernel| iso::build_limine(disc, kernel, loader))?;
    } else {
        make(workspace, Target::Gnu, Image::KERNEL, |disc, kernel| iso::build(disc, kernel, None))?;
        make(workspace, Target::None, MULTIBOOT2, |disc, kernel| iso::build(disc, kernel, None))?;
    }
    if let Some(firmware) = iso::ovmf() {
        println!("with UEFI instead of a BIOS: add `-bios {}`", firmware.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the image of one kernel and prints the command that boots it.
fn make(
    workspace: &Workspace,
    target: Target,
    image: Image,
    build: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<()> {
    let output = workspace.output("iso");
    fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
    let kernel = kernel::build(workspace, target, image)?;
    let disc = output.join(image.binary).with_extension("iso");
    build(&disc, &kernel)?;
    println!(
        "{disc}\n    qemu-system-x86_64 -m 256 -cpu max -display none -serial stdio -no-reboot \
         -device isa-debug-exit,iobase=0xf4,iosize=4 -cdrom {disc}",
        disc = disc.display()
    );
    Ok(())
}
