//! Defines the functions of preview 1 in a linker.
//!
//! The lists here name every function, including those that return `ENOSYS`. The steps that all
//! calls share are here too: find the guest's memory and its [`Wasi`], charge fuel for the call,
//! and convert a wait to a pause. The functions themselves are in [`calls`](crate::calls).

use palimpsest_engine::{
    Caller, DuplicateDefinition, Error, Extern, FuncType, HostError, Linker, Pause, TrapCode, Val, ValType,
};
use thiserror::Error;
use wasip1::{ERRNO_NOSYS, ERRNO_SUCCESS};

use crate::{
    calls::{Answer, Next, args, clock, fd, open, path, poll, random, readdir, times, transfer},
    memory::{GuestMemory, Turn},
    wasi::Wasi,
};

/// The module that preview 1 is imported from.
const MODULE: &str = "wasi_snapshot_preview1";

/// The progress of a call that is made again. Where it continues is in its arguments.
const AGAIN: u64 = 1;

/// A parameter of an unsupported function.
const I32: ValType = ValType::I32;

/// Functions that return `ENOSYS`, with their parameters.
const UNSUPPORTED: [(&str, &[ValType]); 7] = [
    ("path_link", &[I32, I32, I32, I32, I32, I32, I32]),
    ("path_symlink", &[I32, I32, I32, I32, I32]),
    ("proc_raise", &[I32]),
    ("sock_accept", &[I32, I32, I32]),
    ("sock_recv", &[I32, I32, I32, I32, I32, I32]),
    ("sock_send", &[I32, I32, I32, I32, I32]),
    ("sock_shutdown", &[I32, I32]),
];

/// The guest called `proc_exit`. `downcast_ref` finds it in the engine's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the guest exited with code {code}")]
pub struct Exit {
    /// The exit code; 0 is success.
    pub code: u32,
}

impl HostError for Exit {}

/// A guest called a function of preview 1 but does not export the memory that its pointers refer
/// to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the guest calls `{MODULE}` but exports no memory named `memory`; export its memory under that name")]
#[non_exhaustive]
pub struct NoMemory;

impl HostError for NoMemory {}

/// Defines one function for each line: its name and parameters in preview 1, and the function that
/// implements it.
macro_rules! define {
    ($linker:ident, $wasi:ident; $($name:ident($($arg:ident: $ty:ty),*) => $call:path;)*) => {$({
        let wasi = $wasi.clone();
        $linker.func_wrap(MODULE, stringify!($name), move |mut caller: Caller<'_, T>, $($arg: $ty),*| {
            enter(&mut caller, &wasi, |wasi, memory| $call(wasi, memory, $($arg),*))
        })?;
    })*};
}

/// Defines `wasi_snapshot_preview1`. `wasi` returns the program's [`Wasi`] in the store's data.
///
/// # Errors
///
/// [`DuplicateDefinition`] if one of the functions is already defined.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    wasi: impl Fn(&mut T) -> &mut Wasi + Clone + Send + Sync + 'static,
) -> Result<(), DuplicateDefinition> {
    add_process(linker, wasi.clone())?;
    add_descriptors(linker, wasi.clone())?;
    add_paths(linker, wasi)?;
    add_unsupported(linker)
}

fn add_process<T: 'static>(
    linker: &mut Linker<T>,
    wasi: impl Fn(&mut T) -> &mut Wasi + Clone + Send + Sync + 'static,
) -> Result<(), DuplicateDefinition> {
    define! { linker, wasi;
        args_get(argv: u32, buffer: u32) => args::args_get;
        args_sizes_get(count: u32, bytes: u32) => args::args_sizes_get;
        environ_get(environ: u32, buffer: u32) => args::environ_get;
        environ_sizes_get(count: u32, bytes: u32) => args::environ_sizes_get;
        clock_res_get(id: u32, result: u32) => clock::clock_res_get;
        clock_time_get(id: u32, precision: u64, result: u32) => clock::clock_time_get;
        random_get(buffer: u32, len: u32) => random::random_get;
        poll_oneoff(subscriptions: u32, events: u32, count: u32, result: u32) => poll::poll_oneoff;
        sched_yield() => poll::sched_yield;
    }
    let exit = |code: u32| -> Result<(), Error> { Err(Error::host(Exit { code })) };
    linker.func_wrap(MODULE, "proc_exit", exit)?;
    Ok(())
}

fn add_descriptors<T: 'static>(
    linker: &mut Linker<T>,
    wasi: impl Fn(&mut T) -> &mut Wasi + Clone + Send + Sync + 'static,
) -> Result<(), DuplicateDefinition> {
    define! { linker, wasi;
        fd_advise(fd: u32, offset: u64, len: u64, advice: u32) => fd::fd_advise;
        fd_allocate(fd: u32, offset: u64, len: u64) => fd::fd_allocate;
        fd_close(fd: u32) => fd::fd_close;
        fd_datasync(fd: u32) => fd::fd_datasync;
        fd_fdstat_get(fd: u32, result: u32) => fd::fd_fdstat_get;
        fd_fdstat_set_flags(fd: u32, flags: u32) => fd::fd_fdstat_set_flags;
        fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64) => fd::fd_fdstat_set_rights;
        fd_filestat_get(fd: u32, result: u32) => fd::fd_filestat_get;
        fd_filestat_set_size(fd: u32, size: u64) => fd::fd_filestat_set_size;
        fd_filestat_set_times(fd: u32, accessed: u64, modified: u64, flags: u32)
            => times::fd_filestat_set_times;
        fd_pread(fd: u32, vectors: u32, count: u32, offset: u64, result: u32) => transfer::fd_pread;
        fd_prestat_dir_name(fd: u32, buffer: u32, len: u32) => fd::fd_prestat_dir_name;
        fd_prestat_get(fd: u32, result: u32) => fd::fd_prestat_get;
        fd_pwrite(fd: u32, vectors: u32, count: u32, offset: u64, result: u32) => transfer::fd_pwrite;
        fd_read(fd: u32, vectors: u32, count: u32, result: u32) => transfer::fd_read;
        fd_readdir(fd: u32, buffer: u32, len: u32, cookie: u64, result: u32) => readdir::fd_readdir;
        fd_renumber(from: u32, to: u32) => fd::fd_renumber;
        fd_seek(fd: u32, delta: i64, whence: u32, result: u32) => fd::fd_seek;
        fd_sync(fd: u32) => fd::fd_sync;
        fd_tell(fd: u32, result: u32) => fd::fd_tell;
        fd_write(fd: u32, vectors: u32, count: u32, result: u32) => transfer::fd_write;
    }
    Ok(())
}

fn add_paths<T: 'static>(
    linker: &mut Linker<T>,
    wasi: impl Fn(&mut T) -> &mut Wasi + Clone + Send + Sync + 'static,
) -> Result<(), DuplicateDefinition> {
    define! { linker, wasi;
        path_create_directory(fd: u32, path: u32, len: u32) => path::path_create_directory;
        path_filestat_get(fd: u32, lookup: u32, path: u32, len: u32, result: u32) => path::path_filestat_get;
        path_filestat_set_times(fd: u32, lookup: u32, path: u32, len: u32, accessed: u64, modified: u64,
            flags: u32) => times::path_filestat_set_times;
        path_open(fd: u32, lookup: u32, path: u32, len: u32, flags: u32, base: u64, inheriting: u64,
            fd_flags: u32, result: u32) => open::path_open;
        path_readlink(fd: u32, path: u32, len: u32, buffer: u32, room: u32, result: u32)
            => path::path_readlink;
        path_remove_directory(fd: u32, path: u32, len: u32) => path::path_remove_directory;
        path_rename(fd: u32, path: u32, len: u32, new_fd: u32, new_path: u32, new_len: u32)
            => path::path_rename;
        path_unlink_file(fd: u32, path: u32, len: u32) => path::path_unlink_file;
    }
    Ok(())
}

fn add_unsupported<T: 'static>(linker: &mut Linker<T>) -> Result<(), DuplicateDefinition> {
    for (name, params) in UNSUPPORTED {
        let ty = FuncType::new(params.iter().copied(), [ValType::I32]);
        linker.func_new(MODULE, name, ty, |_, _, results| {
            results.fill(Val::I32(ERRNO_NOSYS.raw().into()));
            Ok(())
        })?;
    }
    Ok(())
}

/// Runs a call on the memory and the [`Wasi`] of the calling guest.
///
/// # Errors
///
/// [`NoMemory`]; a [`Pause`] if the call waits or continues; [`TrapCode::OutOfFuel`] if the guest
/// cannot pay.
fn enter<T: 'static>(
    caller: &mut Caller<'_, T>,
    wasi: &impl Fn(&mut T) -> &mut Wasi,
    call: impl FnOnce(&mut Wasi, &mut GuestMemory<'_>) -> Answer,
) -> Result<u32, Error> {
    let exported = match caller.take_progress() {
        0 => caller.get_export("memory").and_then(Extern::into_memory),
        // The host made the call, so no instance is known whose export it could be.
        _ => wasi(caller.data_mut()).memory.take(),
    };
    let exported = exported.ok_or_else(|| Error::host(NoMemory))?;
    let turn = if caller.can_pause() {
        Turn::Divided
    } else {
        Turn::Whole { units: caller.get_fuel().unwrap_or(u64::MAX) }
    };
    let (bytes, data) = exported.data_and_store_mut(&mut *caller);
    let mut memory = GuestMemory::new(bytes, turn);
    let answer = call(wasi(data), &mut memory);
    let units = memory.units() + wasi(data).take_work();
    caller.charge_fuel(units);
    let success = [Val::I32(ERRNO_SUCCESS.raw().into())];
    match answer {
        Ok(Next::Return) => Ok(ERRNO_SUCCESS.raw().into()),
        Ok(Next::PauseUntil(until_ns)) => Err(Error::host(Pause::until(until_ns, &success))),
        Ok(Next::PauseNow) => Err(Error::host(Pause::now(&success))),
        Ok(Next::Again(arguments)) => {
            wasi(caller.data_mut()).memory = Some(exported);
            let arguments = arguments.map(|argument| Val::I32(argument.cast_signed()));
            Err(Error::host(Pause::again(&arguments, AGAIN)))
        }
        Ok(Next::OutOfFuel) => Err(TrapCode::OutOfFuel.into()),
        Err(errno) => Ok(errno.raw().into()),
    }
}
