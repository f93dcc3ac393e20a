//! Which function of its module a reference refers to.
//!
//! wasmi's handles of functions cannot be compared. `Func` implements neither `Eq` nor `Hash`, its
//! raw form is private, and no instruction compares references. But what a handle is made of is in
//! its `Debug` representation: the store's number and the number of the function in the store.
//! Handles with the same representation are therefore the same. This is checked: two functions that
//! the module defines must have different ones.

use alloc::vec::Vec;
use core::{fmt, fmt::Write};
use wasmi::{Func, Nullable, Val};

use super::SnapshotError;

/// The functions of an instance that references can refer to.
#[derive(Debug)]
pub(crate) struct Functions {
    /// In ascending order of their digests.
    known: Vec<Known>,
}

/// A function, its index in the module, and a digest of its handle.
#[derive(Clone, Copy, Debug)]
struct Known {
    digest: u64,
    index: u32,
    func: Func,
}

impl Functions {
    /// Takes the functions with their indices. Those below `imported` are imports, of which two may
    /// be the same function.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::OutOfHeap`], or [`SnapshotError::Indistinct`] if two functions that the
    /// module defines have handles with the same representation.
    pub(super) fn new(
        functions: impl ExactSizeIterator<Item = (u32, Func)>,
        imported: u32,
    ) -> Result<Self, SnapshotError> {
        let mut known = Vec::new();
        known.try_reserve_exact(functions.len()).map_err(|_| SnapshotError::OutOfHeap)?;
        known.extend(functions.map(|(index, func)| Known { digest: digest(func), index, func }));
        known.sort_unstable_by_key(|known| (known.digest, known.index));
        let is_repeated = |pair: &[Known]| {
            pair[0].index >= imported && pair[0].digest == pair[1].digest && same(pair[0].func, pair[1].func)
        };
        if known.windows(2).any(is_repeated) {
            return Err(SnapshotError::Indistinct);
        }
        Ok(Self { known })
    }

    /// Returns the index of `func` in the module, unless it is a function of the host or of another
    /// instance.
    pub(super) fn index_of(&self, func: Func) -> Option<u32> {
        let digest = digest(func);
        let first = self.known.partition_point(|known| known.digest < digest);
        let candidates = self.known[first..].iter().take_while(|known| known.digest == digest);
        candidates.into_iter().find(|known| same(known.func, func)).map(|known| known.index)
    }
}

/// Returns the handles among `values`, all of which are references to functions.
pub(crate) fn handles(values: &[Val]) -> impl ExactSizeIterator<Item = Func> + '_ {
    values.iter().map(|value| {
        let Val::FuncRef(Nullable::Val(func)) = value else {
            unreachable!("the function consists of `ref.func`s: {value:?}");
        };
        *func
    })
}

/// Returns a digest of the representation of `func`: FNV-1a.
fn digest(func: Func) -> u64 {
    struct Digest(u64);

    impl Write for Digest {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            self.0 = text.bytes().fold(self.0, step);
            Ok(())
        }
    }

    let mut digest = Digest(0xcbf2_9ce4_8422_2325);
    // `Digest` does not fail.
    let _ = write!(digest, "{func:?}");
    digest.0
}

/// Returns whether two handles have the same representation, and so are the same.
fn same(one: Func, other: Func) -> bool {
    /// The start of a text that was not compared yet.
    struct Text {
        bytes: [u8; 256],
        len: usize,
    }

    impl Write for Text {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let end = self.len + text.len();
            self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
            self.len = end;
            Ok(())
        }
    }

    let text = |func: Func| {
        let mut text = Text { bytes: [0; 256], len: 0 };
        write!(text, "{func:?}").ok().map(|()| text)
    };
    // A representation that is too long for the buffer is not the same as any.
    text(one).zip(text(other)).is_some_and(|(one, other)| one.bytes[..one.len] == other.bytes[..other.len])
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmi::{Engine, Instance, Module, Store};

    fn exports(store: &mut Store<()>, engine: &Engine, wat: &str) -> Vec<Func> {
        let wasm = wat::parse_str(wat).expect("the text is a module");
        let module = Module::new(engine, &wasm[..]).expect("the module is valid");
        let instance = Instance::new(&mut *store, &module, &[]).expect("nothing is imported");
        ["a", "b"].iter().filter_map(|name| instance.get_func(&*store, name)).collect()
    }

    #[test]
    fn handles_are_the_same_only_if_they_are_of_one_function() {
        let text = r#"(module (func (export "a")) (func (export "b")))"#;
        let engine = Engine::default();
        let mut store = Store::new(&engine, ());
        let mut other = Store::new(&engine, ());
        let mut all = exports(&mut store, &engine, text);
        all.extend(exports(&mut store, &engine, text));
        all.extend(exports(&mut other, &engine, text));
        all.push(Func::wrap(&mut store, || {}));
        all.push(Func::wrap(&mut store, || {}));
        assert_eq!(all.len(), 8);
        for (position, one) in all.iter().enumerate() {
            for (other, two) in all.iter().enumerate() {
                assert_eq!(same(*one, *two), position == other, "{one:?} {two:?}");
                assert_eq!(digest(*one) == digest(*two), position == other, "{one:?} {two:?}");
            }
        }
    }

    #[test]
    fn a_function_is_found_by_its_handle() {
        let engine = Engine::default();
        let mut store = Store::new(&engine, ());
        let own = exports(&mut store, &engine, r#"(module (func (export "a")) (func (export "b")))"#);
        let host = Func::wrap(&mut store, || {});
        let functions = Functions::new([(3, own[0]), (7, own[1])].into_iter(), 0).expect("they differ");
        assert_eq!([own[0], own[1], host].map(|func| functions.index_of(func)), [Some(3), Some(7), None]);
    }

    #[test]
    fn one_function_may_be_imported_twice_and_not_be_defined_twice() {
        let engine = Engine::default();
        let mut store = Store::new(&engine, ());
        let host = Func::wrap(&mut store, || {});
        let twice = || [(0, host), (1, host)].into_iter();
        assert_eq!(Functions::new(twice(), 2).expect("they are imports").index_of(host), Some(0));
        assert!(matches!(Functions::new(twice(), 0), Err(SnapshotError::Indistinct)));
    }
}
