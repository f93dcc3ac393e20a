//! The functions that QuickJS imports: output, and rejected promises.
//!
//! A host function that needs the guest, for example to convert a value to bytes, calls back into
//! it. Such a call cannot be divided into slices. It gets separate fuel, and what it used is then
//! subtracted from the slice. The guest owns the values that it passes, except for the two of a
//! rejection, which the kernel must free.

use alloc::vec::Vec;

use palimpsest_engine::{
    Caller, DataError, DuplicateDefinition, Error, Linker, Memory, SnapshotData, StateBytes, TrapCode,
    TypedFunc, WasmParams, WasmResults,
};
use palimpsest_wasi::{Output, Wasi, WasiState};

use super::Library;
use crate::{
    run::RunError,
    world::{StandardError, StandardOutput},
};

/// The functions that the prelude finds as properties of the global object. Each writes a string.
pub(super) const FUNCTIONS: [&str; 2] = ["stdout", "stderr"];

/// The limit of fuel for a call back into the guest.
const UNDIVIDED_FUEL: u64 = 100_000_000;

/// The bytes of output that one unit of fuel pays for, as in WASI.
const BYTES_PER_UNIT: u64 = 64;

/// The limit of promises that are rejected without a handler at the same time.
const REJECTIONS_MAX: usize = 1024;

/// The data of the library's store.
pub(super) struct Host {
    wasi: Wasi,
    output: StandardOutput,
    guest: Option<Guest>,
    /// The address at which the guest stores the length of a string, or 0 before there is one.
    length_place: u32,
    rejections: Vec<Rejection>,
}

/// What a snapshot records of it.
#[derive(Debug)]
pub(super) struct HostState {
    wasi: WasiState,
    length_place: u32,
    rejections: Vec<Rejection>,
}

/// The guest's functions that the host calls, and its memory.
#[derive(Clone, Copy, Debug)]
struct Guest {
    memory: Memory,
    string_with_length: TypedFunc<(u32, u32), u32>,
    free_string: TypedFunc<u32, ()>,
    free_value: TypedFunc<u32, ()>,
    undefined: TypedFunc<(), u32>,
}

/// A promise that was rejected without a handler.
#[derive(Clone, Copy, Debug)]
struct Rejection {
    /// The content of the promise's box, which is the same for all handles of a promise.
    promise: [u8; PROMISE_BYTES],
    promise_value: u32,
    reason_value: u32,
}

impl Host {
    pub(super) fn new(wasi: Wasi, output: StandardOutput) -> Self {
        Self { wasi, output, guest: None, length_place: 0, rejections: Vec::new() }
    }

    pub(super) fn wasi(&mut self) -> &mut Wasi {
        &mut self.wasi
    }

    /// Returns the reason of the first promise that was rejected without a handler.
    pub(super) fn first_rejection(&self) -> Option<u32> {
        self.rejections.first().map(|rejection| rejection.reason_value)
    }

    /// Returns the address at which the guest stores the length of a string.
    pub(super) fn length_place(&self) -> u32 {
        self.length_place
    }
}

/// The streams are those of the fork. The functions of its instance are found by [`attach`].
impl SnapshotData for Host {
    type State = HostState;

    fn save(&mut self) -> Result<HostState, DataError> {
        let length_place = self.length_place;
        let rejections = self.rejections.clone();
        Ok(HostState { wasi: self.wasi.save()?, length_place, rejections })
    }

    fn restore(&mut self, state: &HostState) -> Result<(), DataError> {
        self.length_place = state.length_place;
        self.rejections.clone_from(&state.rejections);
        self.wasi.restore(&state.wasi)
    }
}

/// The bytes of a promise, and the number of bytes of a rejection.
const PROMISE_BYTES: usize = 8;
const REJECTION_BYTES: usize = PROMISE_BYTES + 2 * size_of::<u32>();

/// In little-endian order: the place for lengths, the number of rejections, the rejections, and the
/// state of WASI.
impl StateBytes for HostState {
    fn write_to(&self, sink: &mut dyn FnMut(&[u8]) -> Result<(), DataError>) -> Result<(), DataError> {
        let count = u32::try_from(self.rejections.len())?;
        sink(&self.length_place.to_le_bytes())?;
        sink(&count.to_le_bytes())?;
        for rejection in &self.rejections {
            sink(&rejection.promise)?;
            sink(&rejection.promise_value.to_le_bytes())?;
            sink(&rejection.reason_value.to_le_bytes())?;
        }
        self.wasi.write_to(sink)
    }

    fn read_from(bytes: &[u8]) -> Result<Self, DataError> {
        let ([length_place, count], rest) = words(bytes)?;
        let count = usize::try_from(count)?;
        let bytes = count.checked_mul(REJECTION_BYTES).filter(|_| count <= REJECTIONS_MAX);
        let (listed, wasi) = bytes.and_then(|bytes| rest.split_at_checked(bytes)).ok_or(TOO_SHORT)?;
        let rejections = listed.chunks_exact(REJECTION_BYTES).map(|bytes| {
            let (promise, values) = bytes.split_first_chunk().ok_or(TOO_SHORT)?;
            let ([promise_value, reason_value], _) = words(values)?;
            Ok(Rejection { promise: *promise, promise_value, reason_value })
        });
        let rejections = rejections.collect::<Result<_, DataError>>()?;
        Ok(Self { wasi: WasiState::read_from(wasi)?, length_place, rejections })
    }
}

const TOO_SHORT: &str = "the state of the driver of QuickJS ends too early; pass all of the snapshot";

/// Splits off two words.
fn words(bytes: &[u8]) -> Result<([u32; 2], &[u8]), DataError> {
    let (first, rest) = bytes.split_first_chunk().ok_or(TOO_SHORT)?;
    let (second, rest) = rest.split_first_chunk().ok_or(TOO_SHORT)?;
    Ok(([u32::from_le_bytes(*first), u32::from_le_bytes(*second)], rest))
}

/// Finds the functions that the host calls. Allocates the place for lengths, unless a fork has it
/// from its snapshot.
pub(super) fn attach(library: &mut Library<Host>) -> Result<(), RunError> {
    if library.store()?.data().length_place == 0 {
        let place = library.call("wasm_malloc", &[4])?;
        library.store()?.data_mut().length_place = place;
    }
    let guest = Guest {
        memory: library.memory,
        string_with_length: library.typed("qjs_get_string_len")?,
        free_string: library.typed("qjs_free_cstring")?,
        free_value: library.typed("qjs_free_value")?,
        undefined: library.typed("qjs_get_undefined")?,
    };
    library.store()?.data_mut().guest = Some(guest);
    Ok(())
}

/// Defines the imports of QuickJS from `env`.
pub(super) fn define(linker: &mut Linker<Host>) -> Result<(), DuplicateDefinition> {
    linker
        .func_wrap("env", "host_call", host_call)?
        .func_wrap("env", "host_promise_rejection", host_promise_rejection)?
        // The guest is never interrupted, module loading fails with a null pointer, and the time
        // zone is UTC.
        .func_wrap("env", "host_interrupt", || 0_u32)?
        .func_wrap("env", "host_module_normalize", |_base: u32, _name: u32| 0_u32)?
        .func_wrap("env", "host_module_load", |_name: u32, _length_place: u32| 0_u32)?
        .func_wrap("env", "host_get_timezone_offset", |_high: u32, _low: u32| 0_u32)?;
    Ok(())
}

/// A script calls one of [`FUNCTIONS`]. Writes the first argument, and returns `undefined`.
fn host_call(
    mut caller: Caller<'_, Host>,
    name: u32,
    name_length: u32,
    _this: u32,
    _count: u32,
    arguments: u32,
) -> Result<u32, Error> {
    let guest = attached(&caller)?;
    let name = bytes(&caller, guest, name, name_length)?;
    let stream = FUNCTIONS.iter().position(|function| function.as_bytes() == name);
    let value = word(&caller, guest, arguments)?;
    let length_place = caller.data().length_place;
    let text = call(&mut caller, guest.string_with_length, (value, length_place))?;
    let length = word(&caller, guest, length_place)?;
    let Some(stream) = stream else {
        return Err(Error::new("QuickJS called a host function that is not defined"));
    };
    // The text is written from the guest's memory. It may be longer than the kernel's heap.
    let (memory, host) = guest.memory.data_and_store_mut(&mut caller);
    let text_bytes = range(memory, text, length)?;
    match stream {
        0 => host.output.write(text_bytes),
        _ => StandardError.write(text_bytes),
    }
    caller.charge_fuel(u64::from(length) / BYTES_PER_UNIT);
    call(&mut caller, guest.free_string, text)?;
    call(&mut caller, guest.undefined, ())
}

/// A promise is rejected without a handler (`is_handled` is 0), or gets one afterwards.
fn host_promise_rejection(
    mut caller: Caller<'_, Host>,
    promise_value: u32,
    reason_value: u32,
    is_handled: u32,
) -> Result<(), Error> {
    let guest = attached(&caller)?;
    let promise = bytes(&caller, guest, promise_value, 8)?;
    let promise = promise.try_into().expect("`bytes` returned 8 bytes");
    let rejections = &mut caller.data_mut().rejections;
    let known = rejections.iter().position(|rejection| rejection.promise == promise);
    let over: &[u32] = match (is_handled, known) {
        (0, _) if rejections.len() >= REJECTIONS_MAX => {
            return Err(Error::new("more than 1024 promises are rejected without a handler"));
        }
        (0, _) => {
            rejections.push(Rejection { promise, promise_value, reason_value });
            &[]
        }
        (_, None) => &[promise_value, reason_value],
        (_, Some(index)) => {
            let first = rejections.remove(index);
            &[promise_value, reason_value, first.promise_value, first.reason_value]
        }
    };
    over.iter().try_for_each(|value| call(&mut caller, guest.free_value, *value))
}

fn attached(caller: &Caller<'_, Host>) -> Result<Guest, Error> {
    caller.data().guest.ok_or_else(|| Error::new("QuickJS called the host before it was started"))
}

/// Calls the guest back, in one piece.
fn call<P: WasmParams, R: WasmResults>(
    caller: &mut Caller<'_, Host>,
    func: TypedFunc<P, R>,
    arguments: P,
) -> Result<R, Error> {
    let left = caller.get_fuel()?;
    caller.set_fuel(UNDIVIDED_FUEL)?;
    let result = func.call(&mut *caller, arguments);
    let used = UNDIVIDED_FUEL - caller.get_fuel()?;
    caller.set_fuel(left.saturating_sub(used))?;
    result
}

/// Returns bytes of the guest's memory.
fn bytes<'a>(
    caller: &'a Caller<'_, Host>,
    guest: Guest,
    start: u32,
    length: u32,
) -> Result<&'a [u8], TrapCode> {
    range(guest.memory.data(caller), start, length)
}

fn range(memory: &[u8], start: u32, length: u32) -> Result<&[u8], TrapCode> {
    let rest = memory.get(start as usize..);
    rest.and_then(|rest| rest.get(..length as usize)).ok_or(TrapCode::MemoryOutOfBounds)
}

/// Returns a little-endian word of the guest's memory.
fn word(caller: &Caller<'_, Host>, guest: Guest, address: u32) -> Result<u32, TrapCode> {
    let bytes = bytes(caller, guest, address, 4)?;
    Ok(u32::from_le_bytes(bytes.try_into().expect("`bytes` returned 4 bytes")))
}
