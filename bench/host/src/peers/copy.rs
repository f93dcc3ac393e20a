//! A copy of the peers' folder with one more kernel.
//!
//! The module is added to the kernels, and its job to the script of the Linux guest. The peers'
//! scripts find their neighbours by their own path, so the copy works like the original and shares
//! its cache of builds. A file that is already up to date is not written again, because cargo
//! compares modification times.

use super::job;
use crate::modules::Module;
use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use walkdir::WalkDir;

/// The path of the Linux guest's script in the folder.
pub(super) const SCRIPT: &str = "linux-guest/init";

/// The path of the modules in the folder.
pub(super) const KERNELS: &str = "kernels";

/// Makes the copy or updates it. `word` is the module's job.
///
/// # Errors
/// A file cannot be read or written, or the script has no jobs.
pub(super) fn with_kernel(original: &Path, copy: &Path, module: &Module, word: &str) -> Result<()> {
    for entry in WalkDir::new(original) {
        let entry = entry.context("cannot list the peers' folder")?;
        if !entry.file_type().is_file() {
            continue;
        }
        let name = entry.path().strip_prefix(original).expect("the walk stays below its start");
        let contents = fs::read(entry.path()).with_context(|| format!("cannot read {}", name.display()))?;
        let contents = if name == Path::new(SCRIPT) { with_job(&contents, word)? } else { contents };
        let path = copy.join(name);
        write(&path, &contents)?;
        // Some of the files are executable.
        fs::set_permissions(&path, entry.metadata()?.permissions())?;
    }
    write(&copy.join(KERNELS).join(&module.file), &module.bytes)
}

fn with_job(script: &[u8], word: &str) -> Result<Vec<u8>> {
    let script = str::from_utf8(script).with_context(|| format!("{SCRIPT} is not UTF-8"))?;
    let extended = job::add_to(script, word).with_context(|| format!("{SCRIPT} names no kernels"))?;
    Ok(extended.into_bytes())
}

fn write(path: &Path, contents: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == contents) {
        return Ok(());
    }
    let directory = path.parent().expect("the path ends in a file's name");
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    match fs::remove_file(path) {
        // What was copied may be read-only, like the original.
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot replace {}", path.display()))?;
        }
        Ok(()) | Err(_) => {}
    }
    fs::write(path, contents).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, process};

    #[test]
    fn the_copy_has_one_kernel_more_and_the_original_stays() -> Result<()> {
        let directory = env::temp_dir().join(format!("palimpsest-{}-peers", process::id()));
        let [original, copy] = ["original", "copy"].map(|name| directory.join(name));
        write(&original.join(SCRIPT), b"runner a.wasm:run:1\n")?;
        write(&original.join("kernels/a.wasm"), b"\0asm")?;
        let module = Module { file: "b.wasm".to_owned(), bytes: b"\0asm\x01".to_vec() };
        let made = with_kernel(&original, &copy, &module, "b.wasm:run:2");
        let before = fs::metadata(copy.join("kernels/a.wasm")).and_then(|file| file.modified());
        let again = with_kernel(&original, &copy, &module, "b.wasm:run:2");
        let after = fs::metadata(copy.join("kernels/a.wasm")).and_then(|file| file.modified());
        let scripts = [&original, &copy].map(|folder| fs::read_to_string(folder.join(SCRIPT)));
        let added = (fs::read(copy.join("kernels/b.wasm")), original.join("kernels/b.wasm").exists());
        fs::remove_dir_all(&directory)?;
        made.and(again)?;
        assert_eq!(before?, after?, "a file that is as it was is not written again");
        assert_eq!(
            scripts.map(|script| script.ok()),
            [Some("runner a.wasm:run:1\n".to_owned()), Some("runner a.wasm:run:1 b.wasm:run:2\n".to_owned()),]
        );
        assert_eq!((added.0?, added.1), (module.bytes, false));
        Ok(())
    }
}
