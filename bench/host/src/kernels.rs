//! The Wasm kernels that both sides run: the same bytes with the same arguments, in our kernel and
//! in wasmi on Linux.
//!
//! Their sources and modules are in `bench/kernels`, as in the peers' folder. They are committed as
//! modules too, because another compiler makes other code.

use crate::modules::Module;
use crate::peers::{Peers, parse_job};
use anyhow::{Result, ensure};
use palimpsest_host::protocol::Job;

/// The jobs, as the Linux guest's script writes them: `FILE:FUNCTION:ARGUMENT`, with `:new` at the
/// end if each call has a new instance.
const JOBS: [&str; 15] = [
    "fib.wasm:run:24",
    "counter.wasm:run:1000000",
    "kernels.wasm:sieve:200000",
    "kernels.wasm:stream:16",
    "kernels.wasm:streamw:16",
    "kernels.wasm:sort:20000",
    "kernels.wasm:matmul:60",
    "kernels.wasm:sha256:50",
    "kernels.wasm:bulkfill:500",
    "kernels.wasm:bulkcopy:500",
    "kernels.wasm:smallcopy:100000",
    "kernels.wasm:hostcall:100000",
    "kernels.wasm:callind:100000",
    "kernels.wasm:touch:8192:new",
    "grow.wasm:run:256:new",
];

/// The names of the modules, and their bytes.
const MODULES: [(&str, &[u8]); 4] = [
    ("counter.wasm", include_bytes!("../../kernels/counter.wasm")),
    ("fib.wasm", include_bytes!("../../kernels/fib.wasm")),
    ("grow.wasm", include_bytes!("../../kernels/grow.wasm")),
    ("kernels.wasm", include_bytes!("../../kernels/kernels.wasm")),
];

/// Functions to call, and their modules.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kernels {
    /// The functions, with their arguments
    pub(crate) jobs: Vec<Job>,
    /// The modules that they are in, sorted by name
    pub(crate) modules: Vec<Module>,
}

impl Kernels {
    /// The kernels in `bench/kernels`.
    pub(crate) fn committed() -> Self {
        let job = |word| parse_job(word).expect("the list above has jobs only");
        let module = |(file, bytes): (&str, &[u8])| Module { file: file.to_owned(), bytes: bytes.to_vec() };
        Self { jobs: JOBS.map(job).into(), modules: MODULES.map(module).into() }
    }

    /// Checks that the Linux guest runs these kernels.
    ///
    /// # Errors
    /// It runs others, or their modules differ.
    pub(crate) fn check(&self, peers: &Peers) -> Result<()> {
        let theirs = peers.kernels()?;
        ensure!(
            theirs.jobs == self.jobs,
            "the peers do not run the kernels of bench/kernels: {:?}",
            theirs.jobs
        );
        ensure!(theirs.modules == self.modules, "the peers' modules differ from those in bench/kernels");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_has_its_module() {
        let kernels = Kernels::committed();
        for job in &kernels.jobs {
            assert!(kernels.modules.iter().any(|module| module.file == job.file), "{job:?}");
        }
        assert!(kernels.modules.iter().all(|module| module.bytes.starts_with(b"\0asm")));
    }
}
