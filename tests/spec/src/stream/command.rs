//! The directives of a test file ("Scripts" in the reference interpreter's manual), with binary
//! modules.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::{Pattern, Value};

/// A directive and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Directive<'a> {
    /// Its line in the test file, counted from 1.
    pub line: u32,
    /// Whether it is to pass.
    pub expected: Expected,
    /// What to do.
    #[serde(borrow)]
    pub command: Command<'a>,
}

/// Whether a directive is to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// Like almost all of them.
    Pass,
    /// It is listed, with a reason, among those that fail.
    KnownMiss,
    /// It is listed among those that fail where the compiler's library computes floats.
    SoftFloatMiss,
}

/// What a directive requires. A `wasm` is a binary module, a `message` what the specification calls
/// the failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command<'a> {
    /// Instantiate a module; what follows refers to the instance.
    Module {
        /// The instance's name in the file.
        name: Option<&'a str>,
        /// The module.
        wasm: &'a [u8],
    },
    /// Load a module and keep it.
    Define {
        /// The module's name in the file.
        name: Option<&'a str>,
        /// The module.
        wasm: &'a [u8],
    },
    /// Instantiate a module that was defined.
    Instantiate {
        /// The new instance's name in the file.
        name: Option<&'a str>,
        /// Which module; the last one if none is named.
        definition: Option<&'a str>,
    },
    /// Let later modules import what an instance exports.
    Register {
        /// The module name of the imports.
        module: &'a str,
        /// Which instance; the last one if none is named.
        instance: Option<&'a str>,
    },
    /// Call a function and expect that it returns.
    Invoke(#[serde(borrow)] Invoke<'a>),
    /// The action returns values like these.
    AssertReturn {
        /// The action.
        #[serde(borrow)]
        action: Action<'a>,
        /// One for each result.
        results: Vec<Pattern>,
    },
    /// The call ends in a trap.
    AssertTrap {
        /// The call.
        #[serde(borrow)]
        invoke: Invoke<'a>,
        /// The trap.
        message: &'a str,
    },
    /// The call uses up a resource, such as the stack.
    AssertExhaustion {
        /// The call.
        #[serde(borrow)]
        invoke: Invoke<'a>,
        /// The resource.
        message: &'a str,
    },
    /// The module can be linked and its instantiation traps.
    AssertModuleTraps {
        /// The module.
        wasm: &'a [u8],
        /// The trap.
        message: &'a str,
    },
    /// The module cannot be decoded.
    AssertMalformed {
        /// The module.
        wasm: &'a [u8],
        /// Why.
        message: &'a str,
    },
    /// The module does not validate.
    AssertInvalid {
        /// The module.
        wasm: &'a [u8],
        /// Why.
        message: &'a str,
    },
    /// The module is valid and its imports cannot be had.
    AssertUnlinkable {
        /// The module.
        wasm: &'a [u8],
        /// Why.
        message: &'a str,
    },
    /// An assertion about a text that no binary module corresponds to.
    TextOnly,
}

/// The call of an exported function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Invoke<'a> {
    /// The name of the instance; the last one if none is named.
    pub instance: Option<&'a str>,
    /// The export's name.
    pub func: &'a str,
    /// The arguments.
    pub args: Vec<Value>,
}

/// Something that has results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action<'a> {
    /// Call a function.
    Invoke(#[serde(borrow)] Invoke<'a>),
    /// Read a global variable.
    Get {
        /// The name of the instance; the last one if none is named.
        instance: Option<&'a str>,
        /// The export's name.
        global: &'a str,
    },
}

impl Command<'_> {
    /// Whether the directive asserts something. Others prepare what is asserted.
    #[must_use]
    pub fn is_assertion(&self) -> bool {
        match self {
            Self::Module { .. }
            | Self::Define { .. }
            | Self::Instantiate { .. }
            | Self::Register { .. }
            | Self::Invoke(_) => false,
            Self::AssertReturn { .. }
            | Self::AssertTrap { .. }
            | Self::AssertExhaustion { .. }
            | Self::AssertModuleTraps { .. }
            | Self::AssertMalformed { .. }
            | Self::AssertInvalid { .. }
            | Self::AssertUnlinkable { .. }
            | Self::TextOnly => true,
        }
    }
}
