//! Real programs for the guest side, compiled by somebody else: fetched from npm, checked, cached.
//!
//! Owns their names, versions and hashes. A file is used only if its SHA-256 is the one in this source,
//! whether it was just fetched or lay in the cache. Without npm or a network there is no program: the tour
//! then says so and goes on; in CI that is an error. Called by `run` for the tour.

use crate::packages::Tool;
use crate::setup::{self, MissingPolicy, Need};
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use duct::cmd;
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use tar::Archive;

/// The PNG encoder and decoder of the tour. MIT licence; no imports.
pub(crate) const LODEPNG: Program = Program {
    package: "@cwasm/lodepng",
    version: "0.1.9",
    file: "lodepng.wasm",
    sha256: "26f7e3780b2bb5203a89be59ddda7bda2145aa27cc8387fe37153ffbae5c4744",
};

/// A Wasm file inside an npm package.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    package: &'static str,
    version: &'static str,
    /// Its name in the package and in the boot archive
    pub(crate) file: &'static str,
    sha256: &'static str,
}

/// Finds the program, in the cache or at npm. `None` if it cannot be had; why has then been printed.
///
/// # Errors
/// In CI, where nothing may be left out: the program cannot be had.
pub(crate) fn find(
    workspace: &Workspace,
    program: Program,
    policy: MissingPolicy,
) -> Result<Option<Vec<u8>>> {
    let directory = workspace.output("programs");
    if let Ok(bytes) = fs::read(directory.join(program.file))
        && check(&program, &bytes).is_ok()
    {
        return Ok(Some(bytes));
    }
    let in_ci = env::var_os("CI").is_some_and(|value| value == "true");
    if in_ci {
        setup::require(workspace, &[Need::Tool(Tool::Npm)], policy)?;
    }
    match fetch(&directory, program) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if in_ci => Err(error),
        Err(error) => {
            println!("{} is left out: {error:#}", program.file);
            Ok(None)
        }
    }
}

fn fetch(directory: &Path, program: Program) -> Result<Vec<u8>> {
    let Program { package, version, file, .. } = program;
    println!("fetching {file} from npm: {package} {version}");
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let packed = cmd!(
        Tool::Npm.executable(),
        "pack",
        "--silent",
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        "--fetch-timeout=30000",
        format!("{package}@{version}")
    )
    .dir(directory)
    .stdin_null()
    .stderr_null()
    .read()
    .context("`npm pack` failed: it takes npm 7 or newer and a network")?;
    let package_file = directory.join(packed.lines().last().context("`npm pack` named no file")?);
    let shown = package_file.display();
    let compressed = File::open(&package_file).with_context(|| format!("cannot open {shown}"))?;
    let bytes = unpack(compressed, file)
        .with_context(|| format!("{shown} is damaged"))?
        .with_context(|| format!("{shown} has no {file}"))?;
    check(&program, &bytes)?;
    fs::write(directory.join(file), &bytes).with_context(|| format!("cannot write {file}"))?;
    Ok(bytes)
}

/// Takes one file out of an npm package, where everything is below `package/`; `None` if it is not in there.
fn unpack(compressed: impl Read, file: &str) -> io::Result<Option<Vec<u8>>> {
    let wanted = Path::new("package").join(file);
    for entry in Archive::new(GzDecoder::new(compressed)).entries()? {
        let mut entry = entry?;
        if entry.path()? == wanted {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

fn check(program: &Program, bytes: &[u8]) -> Result<()> {
    let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(
        found == program.sha256,
        "{} {} has the SHA-256 {found} where {} is expected",
        program.package,
        program.version,
        program.sha256
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, Header};

    /// A package as npm makes them, with one file.
    fn package(name: &str, contents: &[u8]) -> io::Result<Vec<u8>> {
        let mut archive = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = Header::new_ustar();
        header.set_size(contents.len() as u64);
        archive.append_data(&mut header, name, contents)?;
        archive.into_inner()?.finish()
    }

    #[test]
    fn the_file_comes_out_of_the_package_as_it_went_in() -> io::Result<()> {
        let package = package("package/a.wasm", b"\0asm")?;
        assert_eq!(unpack(package.as_slice(), "a.wasm")?, Some(b"\0asm".to_vec()));
        assert_eq!(unpack(package.as_slice(), "b.wasm")?, None);
        Ok(())
    }

    #[test]
    fn a_package_that_breaks_off_is_an_error() -> io::Result<()> {
        let package = package("package/a.wasm", b"\0asm")?;
        assert!(unpack(&package[..package.len() / 2], "a.wasm").is_err());
        Ok(())
    }

    #[test]
    fn a_program_with_another_hash_is_refused() {
        let program = Program { sha256: "00", ..LODEPNG };
        let error = check(&program, b"").expect_err("the hash differs");
        assert_eq!(
            error.to_string(),
            "@cwasm/lodepng 0.1.9 has the SHA-256 \
             e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 where 00 is expected"
        );
    }

    #[test]
    fn a_program_with_the_right_hash_is_taken() -> Result<()> {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        check(&Program { sha256: empty, ..LODEPNG }, b"")
    }
}
