//! Finds clang with what it needs to compile for WASI: its linker, a C library, and its own
//! library.

use crate::packages::answers;
use duct::cmd;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;

const TARGET: &str = "--target=wasm32-wasi";

/// Where distributions install wasi-libc if their clang does not find it by itself: Arch, Fedora,
/// Homebrew on ARM and on Intel.
const SYSROOTS: [&str; 4] = [
    "/usr/share/wasi-sysroot",
    "/usr/wasm32-wasi",
    "/opt/homebrew/share/wasi-sysroot",
    "/usr/local/share/wasi-sysroot",
];

/// A compiler that finds its C library.
#[derive(Clone, Debug)]
pub struct Clang {
    base: Vec<OsString>,
    version: String,
}

impl Clang {
    /// Returns this machine's compiler if its linker, the C library and the compiler's own library
    /// are installed too. The variable `WASI_SYSROOT` names another directory of the C library.
    #[must_use]
    pub fn find() -> Option<Self> {
        if !answers(&["wasm-ld", "--version"]) {
            return None;
        }
        let version = cmd!("clang", "--version").stderr_null().read().ok()?;
        let named = env::var_os("WASI_SYSROOT");
        let directories = named.into_iter().chain(SYSROOTS.map(Into::into)).map(Some);
        [None].into_iter().chain(directories).find_map(|sysroot| {
            let base: Vec<_> = [TARGET.into()].into_iter().chain(sysroot.as_deref().map(option)).collect();
            has_libraries(&base).then(|| Self { base, version: version.clone() })
        })
    }

    /// The arguments that every call begins with: the target, and `--sysroot` if it needs one.
    #[must_use]
    pub fn base_arguments(&self) -> &[OsString] {
        &self.base
    }

    /// What the compiler prints about its version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}

fn option(sysroot: &OsStr) -> OsString {
    let mut option = OsString::from("--sysroot=");
    option.push(sysroot);
    option
}

/// Checks that the compiler finds the C library and its own library. It prints the bare name of a
/// file that it does not find.
fn has_libraries(base: &[OsString]) -> bool {
    ["-print-file-name=libc.a", "-print-libgcc-file-name"].iter().all(|question| {
        let words = base.iter().cloned().chain(["--rtlib=compiler-rt".into(), question.into()]);
        cmd("clang", words).stderr_null().read().is_ok_and(|path| {
            let path = Path::new(&path);
            path.is_absolute() && path.is_file()
        })
    })
}
