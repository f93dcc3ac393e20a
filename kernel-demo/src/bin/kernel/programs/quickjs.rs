//! Evaluates a script with QuickJS.
//!
//! The steps are: start the library, define `print` and `console` (the prelude), evaluate the
//! script, run pending jobs, and report uncaught errors. Values are handles: addresses of boxes in
//! the guest's memory, which the kernel must free. Strings are passed as bytes with a length. The
//! functions that the guest calls are in [`host`]. Scripts are classic scripts: without a
//! module loader, `import` fails.

mod host;
mod server;

use alloc::{format, string::String};

use kernel_demo::serial::{self, GuestStream};
use palimpsest_engine::Linker;
use palimpsest_protocol::SnapshotUse;
use palimpsest_wasi::TscClock;

use self::{host::Host, server::Server};
use super::{Library, ProgramError, conclude};
use crate::{
    run::{Ended, Guest, INITIALIZE, Measured, RunError},
    world::{self, StandardOutput, Waiting},
};

/// The exports of QuickJS that the kernel uses. It has 450, each of which would take heap in each
/// fork.
const EXPORTS: &[&str] = &[
    INITIALIZE,
    "memory",
    "qjs_eval",
    "qjs_execute_pending_job",
    "qjs_free_cstring",
    "qjs_free_value",
    "qjs_get_exception",
    "qjs_get_global",
    "qjs_get_prop_string",
    "qjs_get_string_len",
    "qjs_get_undefined",
    "qjs_init",
    "qjs_is_error",
    "qjs_is_exception",
    "qjs_is_job_pending",
    "qjs_new_host_function",
    "qjs_new_number",
    "qjs_set_max_stack_size",
    "qjs_set_promise_rejection_handler",
    "qjs_set_prop_string",
    "wasm_free",
    "wasm_malloc",
];

const PRELUDE: &str = include_str!("quickjs/prelude.js");

/// `JS_EVAL_TYPE_GLOBAL`: a classic script.
const GLOBAL_SCRIPT: u32 = 0;

/// The bytes of stack after which the guest throws a `RangeError`. The interpreter ends a guest
/// whose calls are nested 1,000 deep. A call in JavaScript uses 256 bytes of stack, and up to three
/// calls in Wasm.
const STACK_BYTES: u32 = 128 << 10;

/// The limit of bytes of a value that is reported as text. The rest is left out.
const REPORTED_BYTES_MAX: u32 = 64 << 10;

/// Evaluates the script that the request names: `-e SCRIPT`, or a file.
pub(crate) fn quickjs(guest: Guest<'_>, measured: &mut Measured) -> Result<Ended, RunError> {
    let (name, script) = match requested(guest) {
        Ok(requested) => requested,
        Err(error) => return conclude(Err(error)),
    };
    let time = world::start_clock();
    let mut linker = Linker::new();
    palimpsest_wasi::add_to_linker(&mut linker, Host::wasi)?;
    host::define(&mut linker)?;
    let server = Server { guest, linker: &linker, time, name, script };
    match guest.request.snapshot {
        None => server.initialized(measured, |library, _| evaluate(library, name, script)),
        Some(SnapshotUse::Forks(count)) => {
            server.initialized(measured, |library, measured| server.fork_all(library, count, measured))
        }
        Some(SnapshotUse::Write) => server.initialized(measured, |library, _| write(library)),
        Some(SnapshotUse::Read) => server.restored(measured),
    }
}

/// Writes a snapshot to standard output.
fn write(library: &mut Library<Host>) -> Result<(), ProgramError> {
    let send = |bytes: &[u8]| {
        serial::send(GuestStream::Output, bytes);
        Ok(())
    };
    Ok(library.snapshot()?.write_to(send).map_err(RunError::SnapshotWrite)?)
}

/// Returns the data of a new store.
fn new_host(guest: Guest<'_>, time: TscClock, measured: &Measured) -> Result<Host, RunError> {
    let wasi = world::of(guest, time, Waiting::Pause, &measured.output)?;
    Ok(Host::new(wasi, StandardOutput::new(guest.machine, &measured.output)))
}

/// Returns the name and the text of the script that the request names.
fn requested(guest: Guest<'_>) -> Result<(&str, &[u8]), ProgramError> {
    match guest.request.arguments.as_slice() {
        [] if guest.request.snapshot == Some(SnapshotUse::Write) => Ok(("", &[])),
        [option, script] if option == "-e" => Ok(("<command line>", script.as_bytes())),
        [name] if name != "-e" => {
            let missing = || ProgramError::Reported(format!("{name}: no such file in the directory"));
            Ok((name, guest.machine.guest_file(name).ok_or_else(missing)?))
        }
        _ => Err(ProgramError::Reported(
            "write `-e SCRIPT`, or the name of a file in the directory given with --dir".into(),
        )),
    }
}

/// Creates a runtime and defines the functions that a script may use.
fn start(library: &mut Library<Host>) -> Result<(), ProgramError> {
    if library.call("qjs_init", &[])? != 0 {
        return Err(ProgramError::Reported("QuickJS does not start".into()));
    }
    library.call("qjs_set_max_stack_size", &[STACK_BYTES])?;
    host::attach(library)?;
    let global = library.call("qjs_get_global", &[])?;
    for name in host::FUNCTIONS {
        let (text, length) = put(library, name.as_bytes())?;
        let function = library.call("qjs_new_host_function", &[text, length, 0])?;
        library.call("qjs_set_prop_string", &[global, text, function])?;
        library.call("qjs_free_value", &[function])?;
        library.call("wasm_free", &[text])?;
    }
    library.call("qjs_free_value", &[global])?;
    library.call("qjs_set_promise_rejection_handler", &[1])?;
    run_script(library, "<prelude>", PRELUDE.as_bytes())
}

/// Runs the script and the jobs that it queued.
fn evaluate(library: &mut Library<Host>, name: &str, script: &[u8]) -> Result<(), ProgramError> {
    run_script(library, name, script)?;
    while library.call("qjs_is_job_pending", &[])? != 0 {
        if library.call("qjs_execute_pending_job", &[])?.cast_signed() < 0 {
            return Err(uncaught(library)?);
        }
    }
    match library.store()?.data().first_rejection() {
        Some(reason) => {
            Err(ProgramError::Reported(format!("Uncaught (in promise) {}", describe(library, reason)?)))
        }
        None => Ok(()),
    }
}

fn run_script(library: &mut Library<Host>, name: &str, script: &[u8]) -> Result<(), ProgramError> {
    let (name, _) = put(library, name.as_bytes())?;
    let (script, length) = put(library, script)?;
    let value = library.call("qjs_eval", &[script, length, name, GLOBAL_SCRIPT])?;
    let thrown = library.call("qjs_is_exception", &[value])? != 0;
    for block in [name, script] {
        library.call("wasm_free", &[block])?;
    }
    library.call("qjs_free_value", &[value])?;
    if thrown { Err(uncaught(library)?) } else { Ok(()) }
}

/// Returns the pending exception as an error.
fn uncaught(library: &mut Library<Host>) -> Result<ProgramError, RunError> {
    let exception = library.call("qjs_get_exception", &[])?;
    let described = describe(library, exception)?;
    Ok(ProgramError::Reported(format!("Uncaught {described}")))
}

/// Returns a value as `String()` converts it, and for an error also its stack. Frees the value.
fn describe(library: &mut Library<Host>, value: u32) -> Result<String, RunError> {
    let mut text = text(library, value)?;
    if library.call("qjs_is_error", &[value])? != 0 {
        let (name, _) = put(library, b"stack")?;
        let stack = library.call("qjs_get_prop_string", &[value, name])?;
        let lines = self::text(library, stack)?;
        library.call("qjs_free_value", &[stack])?;
        library.call("wasm_free", &[name])?;
        text = format!("{text}\n{}", lines.trim_end());
    }
    library.call("qjs_free_value", &[value])?;
    Ok(text)
}

/// Returns the start of a value as text.
fn text(library: &mut Library<Host>, value: u32) -> Result<String, RunError> {
    let place = library.store()?.data().length_place();
    let start = library.call("qjs_get_string_len", &[value, place])?;
    if start == 0 {
        return Ok(String::from("<a value that cannot be converted to a string>"));
    }
    let length = library.word(place)?.min(REPORTED_BYTES_MAX);
    let text = String::from_utf8_lossy(library.read(start, length as usize)?).into_owned();
    library.call("qjs_free_cstring", &[start])?;
    Ok(text)
}

/// Copies `text` and a NUL into a new block of the guest's heap. Returns its address and the length
/// of the text.
fn put(library: &mut Library<Host>, text: &[u8]) -> Result<(u32, u32), RunError> {
    let length = u32::try_from(text.len()).expect("the boot archive is below 4 GiB");
    let start = library.call("wasm_malloc", &[length + 1])?;
    library.write(start, text)?;
    library.write(start.wrapping_add(length), &[0])?;
    Ok((start, length))
}
