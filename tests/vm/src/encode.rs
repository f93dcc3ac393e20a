//! Encodes modules that are not known when the kernel is built, or whose texts would be too long.
//!
//! `wasm-encoder` is not used because a test also needs modules that are wrong.

use alloc::vec::Vec;

pub(crate) const I32: u8 = 0x7f;
pub(crate) const FUNC: u8 = 0x60;
pub(crate) const END: u8 = 0x0b;
pub(crate) const DROP: u8 = 0x1a;
pub(crate) const CALL: u8 = 0x10;
pub(crate) const I32_CONST_0: [u8; 2] = [0x41, 0];
pub(crate) const LOCAL_GET_0: [u8; 2] = [0x20, 0];
pub(crate) const VOID: u8 = 0x40;
pub(crate) const FUNCREF: u8 = 0x70;

/// The bytes of `value` in LEB128.
pub(crate) fn number(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

/// The bytes of `value` in signed LEB128.
pub(crate) fn signed(value: u32) -> Vec<u8> {
    let mut bytes = number(value);
    let last = bytes.last_mut().expect("a number has a byte");
    if *last & 0x40 != 0 {
        *last |= 0x80;
        bytes.push(0);
    }
    bytes
}

/// A length, and as many bytes.
pub(crate) fn counted(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("a module has less than 4 GiB");
    [&number(len), bytes].concat()
}

/// A vector of encoded items.
pub(crate) fn vector(items: impl ExactSizeIterator<Item: AsRef<[u8]>>) -> Vec<u8> {
    let mut bytes = number(u32::try_from(items.len()).expect("a module has less than 2^32 items"));
    items.for_each(|item| bytes.extend_from_slice(item.as_ref()));
    bytes
}

pub(crate) fn func_type(params: usize, results: usize) -> Vec<u8> {
    [&[FUNC][..], &counted(&[I32].repeat(params)), &counted(&[I32].repeat(results))].concat()
}

/// A module under construction.
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn new() -> Self {
        Self(b"\0asm\x01\0\0\0".to_vec())
    }

    pub(crate) fn section(mut self, id: u8, contents: &[u8]) -> Self {
        self.0.push(id);
        self.0.extend(counted(contents));
        self
    }

    pub(crate) fn types(self, types: &[Vec<u8>]) -> Self {
        self.section(1, &vector(types.iter()))
    }

    /// Functions by their types.
    pub(crate) fn functions(self, types: &[u32]) -> Self {
        self.section(3, &vector(types.iter().map(|ty| number(*ty))))
    }

    /// The export `run` of a function.
    pub(crate) fn export_run(self, func: u32) -> Self {
        self.section(7, &[&[1, 3][..], b"run", &[0], &number(func)].concat())
    }

    /// Bodies, each with its locals.
    pub(crate) fn code(self, bodies: &[Vec<u8>]) -> Self {
        self.section(10, &vector(bodies.iter().map(|body| counted(body))))
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}
