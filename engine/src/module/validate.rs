//! Validates a spliced module.
//!
//! The validator refuses a module of more than 100 tables, and the splice adds one to those of the
//! guest: the host table. Therefore a spliced module that has one is validated in three parts, by
//! the validator that wasmi itself uses:
//!
//! - all sections, without the host table and its export;
//! - the host table, as the only table of a module;
//! - all function bodies, in a module that has the host table.
//!
//! The export of the host table is compared with the only one that the splice writes.

use alloc::vec::Vec;
use core::ops::Range;
use wasm_encoder::Encode;
use wasmparser::{
    BinaryReader, BinaryReaderError, Encoding, ExportSectionReader, ExternalKind, FromReader,
    FuncValidatorAllocations, Parser, Payload, SectionLimited, TableSectionReader, TableType, ValidPayload,
    Validator,
};

use super::{HOST_TABLE, Slots, body, resources::Resources, scan::Scan};
use crate::config::Config;

/// Why the validator refuses a spliced module.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A part of it is invalid.
    Invalid(BinaryReaderError),
    /// The last table is not the host table, or the last export is not the only one with its name.
    NoHostTable,
}

impl From<BinaryReaderError> for Refusal {
    fn from(error: BinaryReaderError) -> Self {
        Self::Invalid(error)
    }
}

impl From<Refusal> for wasmi::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(error) => error.into(),
            Refusal::NoHostTable => Self::new("the spliced module has no host table"),
        }
    }
}

/// Validates the spliced module `wasm` of a guest. If it has a host table, that is the last table
/// of the module, and its export is the last export.
///
/// # Errors
///
/// [`Refusal`] if wasmi's validator would refuse the module for another reason than its number of
/// tables.
pub(super) fn validate(wasm: &[u8], scan: &Scan<'_>, slots: &Slots) -> Result<(), Refusal> {
    let has_host_table = !slots.is_empty();
    validate_parts(wasm, has_host_table.then(|| scan.table_count()))
}

/// Validates a module. `host_index` is the index of the host table, if there is one.
fn validate_parts(wasm: &[u8], host_index: Option<u32>) -> Result<(), Refusal> {
    let features = Config::wasmi_features();
    let mut validator = Validator::new_with_features(features);
    let mut parser = Parser::new(0);
    parser.set_features(features);
    let mut allocations = FuncValidatorAllocations::default();
    let mut host_table = None;
    let mut is_exported = false;
    for payload in parser.parse_all(wasm) {
        let payload = payload?;
        match (&payload, host_index) {
            (Payload::TableSection(section), Some(index)) => {
                let split = Split::of(section, wasm)?;
                validator.table_section(&TableSectionReader::new(reader(&split.others))?)?;
                if validator.types(0).map(|types| types.table_count()) != Some(index) {
                    return Err(Refusal::NoHostTable);
                }
                host_table = Some((index, valid_alone(&split.last)?));
            }
            (Payload::ExportSection(section), Some(index)) => {
                let split = Split::of(section, wasm)?;
                let others = ExportSectionReader::new(reader(&split.others))?;
                validator.export_section(&others)?;
                let is_only = others.into_iter().flatten().all(|export| export.name != HOST_TABLE);
                is_exported = is_only && exports_host_table(&split.last, index)?;
            }
            _ => {
                if let ValidPayload::Func(func, body) = validator.payload(&payload)? {
                    let func = Resources::of(func, host_table);
                    allocations = body::validate(wasm, func, &body, allocations)?;
                }
            }
        }
    }
    let is_complete = host_table.is_some() && is_exported;
    if is_complete || host_index.is_none() { Ok(()) } else { Err(Refusal::NoHostTable) }
}

/// Returns whether the only export of a section with these contents is that of the host table,
/// which has this index.
fn exports_host_table(contents: &[u8], index: u32) -> Result<bool, Refusal> {
    let export = ExportSectionReader::new(reader(contents))?.into_iter().next();
    let export = export.ok_or(Refusal::NoHostTable)??;
    Ok(export.name == HOST_TABLE && export.kind == ExternalKind::Table && export.index == index)
}

/// Returns the type of the only table of a section with these contents, after validating it.
fn valid_alone(contents: &[u8]) -> Result<TableType, Refusal> {
    const VERSION: u16 = 1;
    const NOWHERE: Range<usize> = 0..0;
    let section = TableSectionReader::new(reader(contents))?;
    let mut validator = Validator::new_with_features(Config::wasmi_features());
    validator.version(VERSION, Encoding::Module, &NOWHERE)?;
    validator.table_section(&section)?;
    let table = section.into_iter().next().ok_or(Refusal::NoHostTable)?;
    Ok(table?.ty)
}

fn reader(contents: &[u8]) -> BinaryReader<'_> {
    BinaryReader::new_features(contents, 0, Config::wasmi_features())
}

/// The contents of two sections: all entries of a section but the last, and the last one.
struct Split {
    others: Vec<u8>,
    last: Vec<u8>,
}

impl Split {
    /// Splits a section of `wasm`.
    fn of<'a, T: FromReader<'a>>(section: &SectionLimited<'a, T>, wasm: &[u8]) -> Result<Self, Refusal> {
        let mut starts = Vec::new();
        for entry in section.clone().into_iter_with_offsets() {
            let (start, _) = entry?;
            starts.push(start);
        }
        let (Some(&first), Some(&last)) = (starts.first(), starts.last()) else {
            return Err(Refusal::NoHostTable);
        };
        let contents = |count: u32, range: Range<usize>| {
            let mut contents = Vec::new();
            count.encode(&mut contents);
            contents.extend_from_slice(&wasm[range]);
            contents
        };
        let others = contents(section.count() - 1, first..last);
        Ok(Self { others, last: contents(1, last..section.range().end) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Fuel, Limits},
        module::{image::Imaged, loading::Loading, scan, splice},
    };
    use alloc::{format, string::String};

    /// Returns the spliced module of a guest with `tables` tables that has all that is added.
    fn spliced(tables: u32) -> Vec<u8> {
        let others: String = (2..tables).map(|_| "(table 0 externref)").collect();
        let text = format!(
            r#"(module
                (type $t (func (param i64) (result i32)))
                (import "e" "f" (func $f (type $t)))
                (import "e" "g" (global $g i32))
                (table $grown 1 9 funcref) (table $wide i64 1 9 externref) {others}
                (memory $m 1 3) (memory $n i64 1 3)
                (global $own (mut i64) (i64.const 5))
                (elem (table $grown) (global.get $g) func $f $main) (elem declare func $main)
                (data (memory $n) (i64.const 3) "abc") (data $passive "{passive}")
                (start $start) (export "main" (func $main)) (export "m" (memory $m))
                (func $start (global.set $own (i64.const 6)))
                (func $main (type $t) (local f64 i32)
                    (drop (memory.grow $m (i32.const 1)))
                    (drop (memory.grow $n (i64.const 1)))
                    (memory.discard $n (i64.const 0) (i64.const 65536))
                    (drop (table.grow $grown (ref.func $main) (i32.const 1)))
                    (drop (table.grow $wide (ref.null extern) (i64.const 1)))
                    (memory.fill $m (i32.const 0) (i32.const 1) (local.get 2))
                    (memory.copy $m $n (i32.const 0) (i64.const 1) (local.get 2))
                    (memory.init $m $passive (i32.const 0) (i32.const 1) (local.get 2))
                    (i32.store $n offset=70000 (local.get 0) (i32.wrap_i64 (local.get 0)))
                    (call_indirect $grown (type $t) (local.get 0) (i32.const 0))))"#,
            passive = "p".repeat(70_000)
        );
        let wasm = wat::parse_str(text).expect("the text is a module");
        let config = Config::default().fuel(Fuel::Metered);
        let scan = scan::scan(&wasm, &config, &mut Loading::new(None)).expect("the module is valid");
        let spliced =
            splice::splice(&scan, &Imaged::default(), &Limits::default()).expect("the module is small");
        assert_eq!(spliced.slots.len(), 6);
        spliced.wasm
    }

    /// Returns whether the validator accepts the module as a whole.
    fn is_valid(wasm: &[u8]) -> bool {
        Validator::new_with_features(Config::wasmi_features()).validate_all(wasm).is_ok()
    }

    #[test]
    fn a_module_with_a_table_above_the_validators_limit_is_validated() {
        let wasm = spliced(100);
        assert!(!is_valid(&wasm));
        validate_parts(&wasm, Some(100)).expect("the module is valid");
    }

    /// Changes each byte of a module that the validator can check as a whole.
    #[test]
    fn a_module_that_the_validator_refuses_as_a_whole_is_refused_in_parts() {
        let mut wasm = spliced(99);
        let end = wasm.len() - 70_000;
        assert!(is_valid(&wasm));
        validate_parts(&wasm, Some(99)).expect("the module is valid");
        let mut accepted = 0;
        for position in 0..end {
            let byte = wasm[position];
            for change in [1, 32, 128, 255] {
                wasm[position] = byte ^ change;
                if validate_parts(&wasm, Some(99)).is_ok() {
                    assert!(is_valid(&wasm), "byte {position} changed by {change:#x}");
                    accepted += 1;
                }
            }
            wasm[position] = byte;
        }
        assert!(accepted > 40, "{accepted}");
    }

    #[test]
    fn a_call_through_a_table_after_the_host_table_is_refused() {
        // The host table of a guest with 100 tables has the index 100.
        let wasm = spliced(100);
        assert!(matches!(validate_parts(&wasm, Some(99)), Err(Refusal::NoHostTable | Refusal::Invalid(_))));
        assert!(matches!(validate_parts(&wasm, Some(101)), Err(Refusal::NoHostTable | Refusal::Invalid(_))));
    }

    #[test]
    fn a_module_with_another_number_of_tables_is_refused() {
        let text = r#"(module (type $t (func))
            (table $a (export "\00palimpsest.host-table") 0 externref) (table $b 1 funcref)
            (func (call_indirect $a (type $t) (i32.const 0))))"#;
        let wasm = wat::parse_str(text).expect("the text is a module");
        assert!(!is_valid(&wasm), "it calls through a table of external references");
        for tables in 0..3 {
            assert!(validate_parts(&wasm, Some(tables)).is_err(), "{tables}");
        }
    }

    #[test]
    fn a_second_export_with_the_name_of_the_host_table_is_refused() {
        let text = r#"(module
            (table (export "\00palimpsest.host-table") 0 externref)
            (table (export "\00palimpsest.host-table") 1 funcref))"#;
        let wasm = wat::parse_str(text).expect("the text is a module");
        assert!(!is_valid(&wasm));
        assert!(matches!(validate_parts(&wasm, Some(1)), Err(Refusal::NoHostTable)));
    }

    #[test]
    fn a_module_without_a_host_table_is_refused() {
        let wasm =
            wat::parse_str(r#"(module (table (export "t") 1 funcref))"#).expect("the text is a module");
        assert!(matches!(validate_parts(&wasm, Some(0)), Err(Refusal::NoHostTable)));
        let empty = wat::parse_str("(module)").expect("the text is a module");
        assert!(matches!(validate_parts(&empty, Some(0)), Err(Refusal::NoHostTable)));
    }
}
