//! The limits of a guest by name, as options of a command line give them.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

macro_rules! limits {
    ($($variant:ident $name:literal,)*) => {
        /// A limit of a guest: a field of the engine's `Limits`, where each is described.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Limit {
            $(
                #[doc = concat!("`", $name, "`")]
                $variant,
            )*
        }

        impl Limit {
            /// All of them, in the order of the engine's fields.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Returns the name of the field.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

limits! {
    ModuleBytes "module_bytes",
    HeaderBytes "header_bytes",
    SectionEntries "section_entries",
    ModuleEntries "module_entries",
    ElementItems "element_items",
    CodeBytes "code_bytes",
    FunctionBytes "function_bytes",
    Nesting "nesting",
    Locals "locals",
    Operands "operands",
    ConstantOperators "constant_operators",
    FunctionWork "function_work",
    ModuleWork "module_work",
    ImageFrames "image_frames",
    Instances "instances",
    StoreEntries "store_entries",
    Memories "memories",
    MemoryBytes "memory_bytes",
    Tables "tables",
    TableElements "table_elements",
    StoreTableElements "store_table_elements",
    HeapBytes "heap_bytes",
    AddressBytes "address_bytes",
    ResidentFrames "resident_frames",
    Fuel "fuel",
    CallDepth "call_depth",
    StackBytes "stack_bytes",
    ReentryDepth "reentry_depth",
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A word is not the name of a limit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no limit is named {word:?}; the limits are {}", Names)]
pub struct UnknownLimit {
    /// The word.
    pub word: String,
}

/// The names of all limits.
struct Names;

impl fmt::Display for Names {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, limit) in Limit::ALL.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{limit}")?;
        }
        Ok(())
    }
}

impl FromStr for Limit {
    type Err = UnknownLimit;

    fn from_str(word: &str) -> Result<Self, UnknownLimit> {
        let found = Self::ALL.iter().find(|limit| limit.name() == word);
        found.copied().ok_or_else(|| UnknownLimit { word: word.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn a_limit_has_one_name_on_the_command_line_and_in_the_request() -> Result<(), serde_json::Error> {
        for limit in Limit::ALL {
            assert_eq!(limit.name().parse(), Ok(*limit));
            assert_eq!(serde_json::to_string(limit)?, format!("\"{limit}\""));
        }
        Ok(())
    }

    #[test]
    fn an_unknown_limit_is_refused_with_the_known_ones() {
        let error = "modules".parse::<Limit>().expect_err("the name is unknown").to_string();
        assert!(error.starts_with("no limit is named \"modules\"; the limits are module_bytes, "), "{error}");
        assert!(error.ends_with(", reentry_depth"), "{error}");
    }
}
