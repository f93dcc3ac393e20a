//! Known misses of wasmi, which no comparison should find again.

use wasmparser::{BinaryReaderError, Operator, Parser, Payload};

/// Returns whether wasmi 2.0.0 miscompiles a `select` of the module.
///
/// Where a `select` follows a comparison with zero whose operand is a local, wasmi drops the
/// comparison and tests the accumulator instead of the local.
pub(super) fn is_miscompiled(wasm: &[u8]) -> Result<bool, BinaryReaderError> {
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::CodeSectionEntry(body) = payload? else { continue };
        let mut follows_comparison = false;
        for operator in body.get_operators_reader()? {
            match operator? {
                Operator::I32Eqz | Operator::I32Eq | Operator::I32Ne => follows_comparison = true,
                Operator::Select | Operator::TypedSelect { .. } if follows_comparison => return Ok(true),
                // wasmi emits no code for these.
                Operator::Nop
                | Operator::Drop
                | Operator::LocalGet { .. }
                | Operator::I32Const { .. }
                | Operator::I64Const { .. }
                | Operator::F32Const { .. }
                | Operator::F64Const { .. } => {}
                _ => follows_comparison = false,
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmi::{Engine, Linker, Module, Store};

    fn run(condition: &str) -> (bool, i32) {
        let text = format!(
            r#"(module (func (export "run") (result i32) (local i32)
                (local.set 0 (i32.const 2)) (select (i32.const 1) (local.get 0) {condition})))"#
        );
        let wasm = wat::parse_str(text).expect("the text is well-formed");
        let engine = Engine::default();
        let module = Module::new(&engine, &wasm).expect("the module is valid");
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate_and_start(&mut store, &module);
        let run = instance.expect("it imports nothing").get_typed_func::<(), i32>(&store, "run");
        let result = run.expect("it is exported").call(&mut store, ()).expect("it does not trap");
        (is_miscompiled(&wasm).expect("the module is valid"), result)
    }

    /// The right result is 2. If this fails, wasmi is corrected and this file has no purpose left.
    #[test]
    fn wasmi_still_miscompiles_a_select_after_a_comparison() {
        assert_eq!(run("(i32.eqz (local.get 0))"), (true, 1));
        assert_eq!(run("(i32.and (i32.const 1) (i32.eqz (local.get 0)))"), (false, 2));
    }
}
