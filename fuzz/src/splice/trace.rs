//! What a guest does that can be observed, in the terms of no engine.

use std::{collections::BTreeMap, fmt};

/// The maximum number of functions that are called.
pub(super) const CALLS: usize = 8;

/// A value. References are compared only as far as they are null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    I32(u32),
    I64(u64),
    F32(u32),
    F64(u64),
    V128(u128),
    Reference { is_null: bool },
}

/// How an instantiation or a call ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Values(Vec<Value>),
    /// The name of wasmi's trap code.
    Trap(String),
    /// The stack is used up, which each engine does at another depth.
    StackOverflow,
}

/// The content of an exported item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Global(Value),
    Memory {
        bytes: usize,
        hash: u64,
    },
    /// Whether each element is null.
    Table(Vec<bool>),
}

impl Item {
    pub(super) fn memory(bytes: &[u8]) -> Self {
        Self::Memory { bytes: bytes.len(), hash: hash(bytes) }
    }
}

/// Contents of items by the module and the name under which they are exported.
pub(super) type State = BTreeMap<(&'static str, String), Item>;

/// An instantiation or a call, and the state after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) function: String,
    pub(super) outcome: Outcome,
    pub(super) state: State,
}

/// The steps of a guest, in their order.
#[derive(Debug, Default)]
pub(super) struct Trace(pub(super) Vec<Step>);

impl Trace {
    /// Describes the first difference. Nothing is compared from an exhausted stack on.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        for index in 0..self.0.len().max(other.0.len()) {
            let (ours, theirs) = (self.0.get(index), other.0.get(index));
            let steps = [ours, theirs].into_iter().flatten();
            if steps.clone().any(|step| step.outcome == Outcome::StackOverflow) {
                return None;
            }
            if ours != theirs {
                return Some(format!(
                    "step {index}: {:?}, {:?}",
                    Difference(ours, theirs),
                    Difference(theirs, ours)
                ));
            }
        }
        None
    }
}

/// The parts of the first step that are not the same in the second.
struct Difference<'a>(Option<&'a Step>, Option<&'a Step>);

impl fmt::Debug for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(step) = self.0 else { return f.write_str("no step") };
        let items = step.state.iter();
        let items: Vec<_> = items
            .filter(|(name, item)| self.1.is_none_or(|other| other.state.get(name) != Some(item)))
            .collect();
        write!(f, "{:?} {:?} {items:?}", step.function, step.outcome)
    }
}

/// Returns the bits of an argument of the call with this number.
pub(super) fn argument(seed: u64, call: usize, index: usize) -> u128 {
    const WORDS: [u128; 8] = [0, 1, 2, 65_535, 65_536, 1 << 31, 0x3ff8_0000_3fc0_0000, u128::MAX];
    let number = seed.rotate_left(u32::try_from(5 * call + 11 * index).unwrap_or_default());
    let [choice, byte, ..] = number.to_le_bytes();
    WORDS.get(usize::from(choice % 16)).copied().unwrap_or(byte.into())
}

/// Returns a hash of the bytes (FNV-1a over words, with a rotation).
fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let all = words.chain(rest.iter().map(|byte| u64::from(*byte)));
    all.fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
    })
}
