//! What the kernel is told: one tar file, which QEMU hands over as the single PVH module.
//!
//! Owns the request's JSON form and the names of the files inside. `request.json` comes first, then the Wasm
//! modules that it speaks of. The same request always makes the same bytes. `run` and the test runner build
//! one per boot.

use crate::qemu::Clock;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tar::{Builder, Header};

/// The name of the module that a run executes.
pub(crate) const GUEST: &str = "guest.wasm";

/// What the kernel shall do in this boot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    /// Show what Palimpsest does
    Tour,
    /// Call a function of [`GUEST`]
    Run {
        /// The export; the kernel knows the usual entry points if there is none
        invoke: Option<&'a str>,
        /// Its arguments, as typed: only the kernel knows the function's type
        arguments: &'a [String],
    },
    /// Print the names of the emulator tests
    List,
    /// Run one emulator test
    Test(&'a str),
}

impl Request<'_> {
    fn to_json(self, clock: Clock) -> Value {
        let (mode, invoke, arguments, test) = match self {
            Self::Tour => ("tour", None, [].as_slice(), None),
            Self::Run { invoke, arguments } => ("run", invoke, arguments, None),
            Self::List => ("list", None, [].as_slice(), None),
            Self::Test(name) => ("test", None, [].as_slice(), Some(name)),
        };
        let icount = match clock {
            Clock::Host => false,
            Clock::Instructions => true,
        };
        json!({ "mode": mode, "invoke": invoke, "args": arguments, "test": test, "icount": icount })
    }
}

/// Writes the archive of one boot to `path`. `modules` are pairs of name and contents.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(
    path: &Path,
    request: Request<'_>,
    clock: Clock,
    modules: &[(&str, &[u8])],
) -> Result<()> {
    pack(request, clock, modules)
        .and_then(|bytes| fs::write(path, bytes))
        .with_context(|| format!("cannot write the boot archive {}", path.display()))
}

fn pack(request: Request<'_>, clock: Clock, modules: &[(&str, &[u8])]) -> std::io::Result<Vec<u8>> {
    let request = request.to_json(clock).to_string();
    let mut archive = Builder::new(Vec::new());
    for (name, contents) in [("request.json", request.as_bytes())].iter().chain(modules) {
        let mut header = Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(contents.len() as u64);
        archive.append_data(&mut header, name, *contents)?;
    }
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_run_names_its_function_and_keeps_arguments_as_typed() {
        let arguments = ["-1".to_owned(), "18446744073709551615".to_owned()];
        let request = Request::Run { invoke: Some("add"), arguments: &arguments };
        assert_eq!(
            request.to_json(Clock::Instructions).to_string(),
            r#"{"mode":"run","invoke":"add","args":["-1","18446744073709551615"],"test":null,"icount":true}"#
        );
    }

    #[test]
    fn a_test_is_asked_for_by_name() {
        assert_eq!(
            Request::Test("page-zero").to_json(Clock::Host).to_string(),
            r#"{"mode":"test","invoke":null,"args":[],"test":"page-zero","icount":false}"#
        );
    }

    #[test]
    fn the_request_comes_first_and_modules_keep_their_bytes() -> Result<()> {
        let bytes = pack(Request::Tour, Clock::Host, &[(GUEST, b"\0asm")])?;
        let mut files = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries()? {
            let mut entry = entry?;
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents)?;
            files.push((entry.path()?.into_owned(), contents));
        }
        let request = Request::Tour.to_json(Clock::Host).to_string().into_bytes();
        assert_eq!(files, [("request.json".into(), request), (GUEST.into(), b"\0asm".to_vec())]);
        Ok(())
    }

    #[test]
    fn equal_requests_make_equal_archives() -> Result<()> {
        assert_eq!(pack(Request::List, Clock::Host, &[])?, pack(Request::List, Clock::Host, &[])?);
        Ok(())
    }
}
