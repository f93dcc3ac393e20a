//! A guest that can call every function, with helpers that the tests share.

use palimpsest_engine::{Config, Engine, Error, Fixed, Instance, Linker, Memory, Module, Store, Val};
use palimpsest_wasi::{Wasi, WasiBuilder, add_to_linker};
use std::mem::MaybeUninit;
use wasip1::Errno;

use crate::preview1::{FUNCTIONS, guest_wat};

/// The bytes of the guest's memory.
pub(crate) const MEMORY_BYTES: u32 = 2 << 16;

/// Every right that preview 1 has.
pub(crate) const ALL_RIGHTS: u64 = (1 << 30) - 1;

/// Returns an engine over newly allocated memory.
pub(crate) fn engine(config: Config) -> Engine {
    let bytes = Box::leak(vec![MaybeUninit::uninit(); 4 << 20].into_boxed_slice());
    Engine::new(config, Fixed::new(bytes)).unwrap()
}

/// Returns a linker with preview 1, for stores whose data is a [`Wasi`].
pub(crate) fn linker() -> Linker<Wasi> {
    let mut linker = Linker::new();
    add_to_linker(&mut linker, |wasi| wasi).unwrap();
    linker
}

/// Returns the module of a [`Guest`].
pub(crate) fn module(engine: &Engine) -> Module {
    Module::new(engine, &wat::parse_str(guest_wat()).unwrap()).unwrap()
}

/// An instance that exports a wrapper for every function of preview 1.
pub(crate) struct Guest {
    pub(crate) store: Store<Wasi>,
    pub(crate) instance: Instance,
    pub(crate) memory: Memory,
}

/// Where the helpers of [`Guest`] write paths.
const PATH_AT: u32 = 60_000;
/// Where they write a second path.
const OTHER_PATH_AT: u32 = 70_000;
/// Where they write vectors.
const VECTOR_AT: u32 = 80_000;
/// Where they have results written.
pub(crate) const RESULT_AT: u32 = 80_100;
/// Where they write data.
const DATA_AT: u32 = 90_000;

impl Guest {
    pub(crate) fn new(wasi: WasiBuilder) -> Self {
        Self::with_engine(&engine(Config::default()), wasi)
    }

    pub(crate) fn with_engine(engine: &Engine, wasi: WasiBuilder) -> Self {
        Self::in_world(engine, wasi.build())
    }

    pub(crate) fn in_world(engine: &Engine, wasi: Wasi) -> Self {
        Self::of(&module(engine), wasi)
    }

    /// Returns an instance of a module that [`module`] has made.
    pub(crate) fn of(module: &Module, wasi: Wasi) -> Self {
        let mut store = Store::new(module.engine(), wasi);
        let instance = linker().instantiate(&mut store, module).unwrap();
        let memory = instance.get_memory(&store, "memory").unwrap();
        Self { store, instance, memory }
    }

    /// Calls a function of preview 1. For a parameter of 32 bits, the low half of the argument is
    /// used.
    pub(crate) fn try_call(&mut self, name: &str, arguments: &[u64]) -> Result<u16, Error> {
        let (_, params) = FUNCTIONS.iter().find(|(function, _)| *function == name).unwrap();
        assert_eq!(params.len(), arguments.len(), "{name}");
        let value = |(param, argument): (&&str, &u64)| match *param {
            "i64" => Val::I64(argument.cast_signed()),
            _ => Val::I32(low_half(*argument).cast_signed()),
        };
        let values: Vec<_> = params.iter().zip(arguments).map(value).collect();
        let mut results = [Val::I32(-1)];
        let func = self.instance.get_func(&self.store, name).unwrap();
        func.call(&mut self.store, &values, &mut results)?;
        Ok(u16::try_from(results[0].i32().unwrap()).unwrap())
    }

    /// Calls a function of preview 1 that returns.
    pub(crate) fn call(&mut self, name: &str, arguments: &[u64]) -> Result<(), u16> {
        match self.try_call(name, arguments).unwrap() {
            0 => Ok(()),
            errno => Err(errno),
        }
    }

    pub(crate) fn put(&mut self, at: u32, bytes: &[u8]) {
        self.memory.write(&mut self.store, at as usize, bytes).unwrap();
    }

    pub(crate) fn get(&self, at: u32, len: usize) -> &[u8] {
        &self.memory.data(&self.store)[at as usize..][..len]
    }

    pub(crate) fn u32_at(&self, at: u32) -> u32 {
        u32::from_le_bytes(self.get(at, 4).try_into().unwrap())
    }

    pub(crate) fn u64_at(&self, at: u32) -> u64 {
        u64::from_le_bytes(self.get(at, 8).try_into().unwrap())
    }

    /// Writes a path and returns its address and length, as two arguments.
    fn path(&mut self, path: &str) -> [u64; 2] {
        self.put(PATH_AT, path.as_bytes());
        [PATH_AT.into(), path.len() as u64]
    }

    /// Calls one of the functions that take a descriptor and a path.
    pub(crate) fn at_path(&mut self, name: &str, fd: u32, path: &str) -> Result<(), u16> {
        let [at, len] = self.path(path);
        self.call(name, &[fd.into(), at, len])
    }

    pub(crate) fn rename(&mut self, fd: u32, from: &str, new_fd: u32, to: &str) -> Result<(), u16> {
        let [at, len] = self.path(from);
        self.put(OTHER_PATH_AT, to.as_bytes());
        let to = [u64::from(new_fd), OTHER_PATH_AT.into(), to.len() as u64];
        self.call("path_rename", &[[fd.into(), at, len], to].concat())
    }

    /// Opens with all rights except those to write, and follows links.
    pub(crate) fn open(&mut self, fd: u32, path: &str, flags: u16) -> Result<u32, u16> {
        self.open_with(fd, path, flags, ALL_RIGHTS & !wasip1::RIGHTS_FD_WRITE, 0)
    }

    pub(crate) fn open_with(
        &mut self,
        fd: u32,
        path: &str,
        flags: u16,
        rights: u64,
        fd_flags: u16,
    ) -> Result<u32, u16> {
        let [at, len] = self.path(path);
        let flags = [flags.into(), rights, ALL_RIGHTS, fd_flags.into(), RESULT_AT.into()];
        self.call("path_open", &[&[fd.into(), 1, at, len], flags.as_slice()].concat())?;
        Ok(self.u32_at(RESULT_AT))
    }

    /// Opens a file for reading and writing, and creates it if it does not exist.
    pub(crate) fn create(&mut self, fd: u32, path: &str) -> Result<u32, u16> {
        self.open_with(fd, path, wasip1::OFLAGS_CREAT, ALL_RIGHTS, 0)
    }

    pub(crate) fn write(&mut self, fd: u32, bytes: &[u8]) -> Result<u32, u16> {
        self.put(DATA_AT, bytes);
        self.put_vector(bytes.len());
        self.call("fd_write", &[fd.into(), VECTOR_AT.into(), 1, RESULT_AT.into()])?;
        Ok(self.u32_at(RESULT_AT))
    }

    pub(crate) fn read(&mut self, fd: u32, len: usize) -> Result<Vec<u8>, u16> {
        self.put_vector(len);
        self.call("fd_read", &[fd.into(), VECTOR_AT.into(), 1, RESULT_AT.into()])?;
        Ok(self.get(DATA_AT, self.u32_at(RESULT_AT) as usize).to_vec())
    }

    fn put_vector(&mut self, len: usize) {
        self.put(VECTOR_AT, &DATA_AT.to_le_bytes());
        self.put(VECTOR_AT + 4, &u32::try_from(len).unwrap().to_le_bytes());
    }

    pub(crate) fn seek(&mut self, fd: u32, delta: i64, whence: u8) -> Result<u64, u16> {
        self.call("fd_seek", &[fd.into(), delta.cast_unsigned(), whence.into(), RESULT_AT.into()])?;
        Ok(self.u64_at(RESULT_AT))
    }

    pub(crate) fn close(&mut self, fd: u32) -> Result<(), u16> {
        self.call("fd_close", &[fd.into()])
    }

    /// Returns the type and size of what is at a path. Does not follow a link.
    pub(crate) fn stat(&mut self, fd: u32, path: &str) -> Result<(u8, u64), u16> {
        let [at, len] = self.path(path);
        self.call("path_filestat_get", &[fd.into(), 0, at, len, DATA_AT.into()])?;
        Ok((self.get(DATA_AT + 16, 1)[0], self.u64_at(DATA_AT + 32)))
    }

    /// Returns the content of a file.
    pub(crate) fn content(&mut self, fd: u32, path: &str) -> Result<Vec<u8>, u16> {
        let file = self.open(fd, path, 0)?;
        let content = self.read(file, 10_000);
        self.close(file)?;
        content
    }

    /// Returns the names in a directory with their types, read through a buffer of `room` bytes.
    pub(crate) fn list(&mut self, fd: u32, room: u32) -> Result<Vec<(String, u8)>, u16> {
        let mut entries = Vec::new();
        let mut cookie = 0;
        loop {
            let buffer = [fd.into(), DATA_AT.into(), room.into(), cookie, RESULT_AT.into()];
            self.call("fd_readdir", &buffer)?;
            let used = self.u32_at(RESULT_AT);
            let before = entries.len();
            let mut at = DATA_AT;
            while DATA_AT + used - at >= 24 {
                let name_bytes = self.u32_at(at + 16);
                if DATA_AT + used - at < 24 + name_bytes {
                    break;
                }
                let name = String::from_utf8(self.get(at + 24, name_bytes as usize).to_vec()).unwrap();
                entries.push((name, self.get(at + 20, 1)[0]));
                cookie = self.u64_at(at);
                at += 24 + name_bytes;
            }
            if used < room {
                return Ok(entries);
            }
            assert!(entries.len() > before, "no entry fits into {room} bytes");
            assert!(entries.len() < 1000, "the listing does not end");
        }
    }
}

/// Returns the low 32 bits.
fn low_half(argument: u64) -> u32 {
    u32::try_from(argument & u64::from(u32::MAX)).unwrap()
}

/// Returns the error with the number of an error code.
pub(crate) fn errno<T>(errno: Errno) -> Result<T, u16> {
    Err(errno.raw())
}
